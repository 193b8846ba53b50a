"""What server and Envoy add to a call, and how late the guard sees a request that is late.

`python tests/bench_data_path.py --calls 600` serves the keyword model. It calls the model in turns:
in this process, from message to message, then directly, and through Envoy. It prints the medians,
and the medians of the paired differences with their 95 % intervals. Then calls of another client
hang at a trial, at random times. A look every `LOOK_S` seconds, as the guard looks, tells how many
seconds beyond its limit each call was known as late. The run ends with 1 if any was known later
than `LATEST_S`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving import models
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client, predict_request
from rrl.serving.servable import LoadedModel
from rrl.serving.volley import LOOK_S

MS = 1000.0
LATEST_S = 0.2  # later than this, the guard would act on old news
LIMIT_S = 0.25  # of a request that is not late
SPACE = ConfigSpace([Knob("inter_op", (1, 2))])


def seconds(call: Callable[[], object]) -> float:
    """Return the time of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def overhead(server: HandoverServer, inputs: dict, calls: int) -> None:
    """Print what a call takes in process, directly and through Envoy."""
    model = LoadedModel("keyword", models.build("keyword") / "1", None, (SPACE[0]["inter_op"], 0))
    request = predict_request(inputs, "keyword")
    direct_address = server._kept_server.address
    with Client(direct_address, "keyword") as direct, Client(server.address, "keyword") as through:
        ways = {
            "in process": lambda: model.predict(request),
            "direct": lambda: direct.predict(inputs),
            "through Envoy": lambda: through.predict(inputs),
        }
        took: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(20 + calls):
            for way in list(ways)[:: 1 if number % 2 else -1]:
                took[way].append(seconds(ways[way]))
    before = None
    for way, values in took.items():
        now = np.array(values[20:])
        added = ""
        if before is not None:
            low, middle, high = MS * np.array(interval(now - before))
            added = f"; added {middle:+.2f} ms (95 % interval {low:+.2f} to {high:+.2f})"
        print(f"{calls} rounds {way}: median {MS * np.median(now):.2f} ms{added}")
        before = now


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the median with its 95 % interval by the bootstrap."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(values, (2000, len(values))), axis=1)
    return tuple(np.quantile(medians, [0.025, 0.5, 0.975]))


def known_after(server: HandoverServer, trial: ModelServer, client: Client, inputs: dict) -> float:
    """Return how many seconds after a hanging call became late it was known as late."""
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        call = pool.submit(client.predict, inputs, 30.0)
        while True:
            now = time.monotonic()
            late = [c for c in server.traffic.open() if now - c.arrival > LIMIT_S]
            if any(c.arrival >= began - 0.05 for c in late):
                break
            time.sleep(LOOK_S)
        trial.resume()
        call.result()
    return now - began - LIMIT_S


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--hangs", type=int, default=50)
    options = parser.parse_args()
    base, rng = models.build("keyword"), np.random.default_rng(1)
    inputs = models.sample("keyword", rng)
    with HandoverServer(base, SPACE, inputs=inputs) as server:
        server.keep(SPACE[0])
        server.configure(SPACE[0], rng)
        overhead(server, inputs, options.calls)
        trial = server.configure(SPACE[1], rng)
        late = []
        with Client(server.address, "keyword") as client:
            for _ in range(options.hangs):
                client.predict(inputs)
                time.sleep(rng.uniform(0, 0.1))
                trial.pause()
                late.append(known_after(server, trial, client, inputs))
    low, middle, high = np.quantile(late, [0, 0.5, 1])
    print(
        f"{len(late)} calls that hang, known as late after {MS * middle:.0f} ms "
        f"({MS * low:.0f} to {MS * high:.0f})"
    )
    return int(high > LATEST_S)


if __name__ == "__main__":
    sys.exit(main())
