"""How late the load generator is, what Envoy costs clients, and when the guard knows of a hang.

`python tests/bench_serving.py` (a few minutes) serves the keyword model.

- Poisson arrivals go to the server itself. The slip counts from the scheduled time; an episode is
  valid if its mean is at most 10 % of the mean latency.
- Then it calls the model in turns: in this process, from message to message, then directly, and
  through Envoy. It prints the medians, and those of the paired differences with 95 % intervals.
- Then calls of another client hang at a trial, at random times. A look every `LOOK_S` seconds, as
  the guard looks, tells how many seconds beyond its limit each call was known as late.

The run ends with 1 if a hang was known later than `LATEST_S`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from clients import predict
from scipy.stats import bootstrap

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving import models
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import SIGNATURE, Client, predict_request
from rrl.serving.sample import random_inputs
from rrl.serving.saved_model import newest_version, saved_inputs
from rrl.serving.servable import LoadedModel
from rrl.serving.volley import LOOK_S

MS = 1000.0
N = 400  # requests of an episode
LATEST_S = 0.2  # later than this, the guard would act on old news
LIMIT_S = 0.25  # of a request that is not late
SPACE = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 2))])


# --- the load generator ---------------------------------------------------------------------------


def milliseconds(values: np.ndarray) -> str:
    """Median and p99."""
    return f"{MS * np.median(values):7.2f} {MS * np.quantile(values, 0.99):7.2f}"


def slip(address: str, inputs: dict, rounds: int) -> None:
    """Print a line for each rate; times in milliseconds."""
    print("rate/s  latency p50, p99  slip p50, p99  fraction valid")
    with Client(address, "keyword") as client:
        payload = client.payload(inputs)
        client.fire(payload, np.zeros(32))
        for rate in (100, 200, 400, 800):
            episodes = []
            for seed in range(rounds):
                due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, N))
                episodes.append(client.fire(payload, due))
            latency = milliseconds(np.concatenate([episode.latency for episode in episodes]))
            late = milliseconds(np.concatenate([episode.info["slip_s"] for episode in episodes]))
            fractions = [episode.info["slip_share"] for episode in episodes]
            valid = sum(episode.valid for episode in episodes)
            print(
                f"{rate:5d} {latency} {late} {np.median(fractions):6.3f} {valid}/{rounds}",
                flush=True,
            )


# --- a call ---------------------------------------------------------------------------------------


def overhead(server: HandoverServer, inputs: dict, calls: int) -> None:
    """Print what a call takes in process, directly and through Envoy."""
    model = LoadedModel("keyword", models.build("keyword") / "1", None, (SPACE[0]["inter_op"], 0))
    request = predict_request(inputs, "keyword")
    direct_address = server._kept_server.address
    with Client(direct_address, "keyword") as direct, Client(server.address, "keyword") as through:
        ways = {
            "in process": lambda: model.predict(request),
            "direct": lambda: predict(direct, inputs),
            "through Envoy": lambda: predict(through, inputs),
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(20 + calls):
            for way in list(ways)[:: 1 if number % 2 else -1]:
                began = time.perf_counter()
                ways[way]()
                took[way].append(time.perf_counter() - began)
    before = None
    for way, values in took.items():
        now = MS * np.array(values[20:])
        added = ""
        if before is not None:
            more = now - before
            found = bootstrap([more], np.median, method="percentile", n_resamples=2000)
            low, high = found.confidence_interval
            added = f"; added {np.median(more):+.2f} ms (95 % interval {low:+.2f} to {high:+.2f})"
        print(f"{calls} rounds {way}: median {np.median(now):.2f} ms{added}")
        before = now


# --- a hang ---------------------------------------------------------------------------------------


def known_after(server: HandoverServer, trial: ModelServer, client: Client, inputs: dict) -> float:
    """Return how many seconds after a hanging call became late it was known as late."""
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        call = pool.submit(predict, client, inputs)
        while True:
            now = time.monotonic()
            late = [c for c in server.traffic.open() if now - c.arrival > LIMIT_S]
            if any(c.arrival >= began - 0.05 for c in late):
                break
            time.sleep(LOOK_S)
        trial.resume()
        call.result()
    return now - began - LIMIT_S


def hang(server: HandoverServer, inputs: dict, count: int) -> float:
    """Print when calls that hang were known as late; return the largest delay in seconds."""
    rng, late = np.random.default_rng(1), []
    trial = server.configure(SPACE[1])
    with Client(server.address, "keyword") as client:
        for _ in range(count):
            predict(client, inputs)
            time.sleep(rng.uniform(0, 0.1))
            trial.pause()
            late.append(known_after(server, trial, client, inputs))
    low, middle, high = MS * np.quantile(late, [0, 0.5, 1])
    print(f"{count} calls that hang, known as late after {middle:.0f} ms ({low:.0f} to {high:.0f})")
    return max(late)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="episodes of a rate")
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--hangs", type=int, default=50)
    options = parser.parse_args()
    base = models.build("keyword")
    needed = saved_inputs(newest_version(base)[1], SIGNATURE)
    inputs = random_inputs(needed, np.random.default_rng(1))
    with HandoverServer(base, SPACE, inputs=inputs) as server:
        server.keep(SPACE[0])
        server.configure(SPACE[0])
        slip(server._kept_server.address, inputs, options.rounds)
        overhead(server, inputs, options.calls)
        return int(hang(server, inputs, options.hangs) > LATEST_S)


if __name__ == "__main__":
    sys.exit(main())
