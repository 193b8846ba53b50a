"""How late the load generator is: `python tests/bench_generator.py`, part of `make bench`.

Poisson arrivals go to the keyword model on the local server. The slip counts from the scheduled
time; an episode is valid if its mean is at most 10 % of the mean latency.
"""

from __future__ import annotations

import argparse
import os

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl.serving import models
from rrl.serving.launcher import ModelServer
from rrl.serving.live import MAX_SLIP_FRACTION
from rrl.serving.loadgen import Client
from rrl.serving.saved_model import random_request

MS = 1000.0
N = 400  # requests of an episode
SETTINGS = {"inter_op": 1, "intra_op": 1}


def milliseconds(values: np.ndarray) -> str:
    return f"{MS * np.median(values):7.2f} {MS * np.quantile(values, 0.99):7.2f}"


def main() -> None:
    """Print a line for each rate; times in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    base = models.build("keyword")
    inputs = random_request(base, np.random.default_rng(0))
    print("rate/s  latency p50, p99  slip p50, p99  fraction valid")
    with ModelServer(base, SETTINGS) as server, Client(server.address, server.name) as client:
        payload = client.payload(inputs)
        client.fire(payload, np.zeros(32))
        for rate in (100, 200, 400, 800):
            samples = []
            for seed in range(rounds):
                due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, N))
                samples.append(client.fire(payload, due))
            latency = milliseconds(np.concatenate([sample.latency for sample in samples]))
            slip = milliseconds(np.concatenate([sample.slip for sample in samples]))
            fractions = np.array([sample.slip_share() for sample in samples])
            valid = (fractions <= MAX_SLIP_FRACTION).sum()
            print(
                f"{rate:5d} {latency} {slip} {np.median(fractions):6.3f} {valid}/{rounds}",
                flush=True,
            )


if __name__ == "__main__":
    main()
