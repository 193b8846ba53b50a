"""What a service at a port costs its clients: a call through Envoy, a hand-over, and a hang.

`python tests/bench_handover.py --switches 100` (ten minutes and more) serves the keyword model.

- It calls the model in turns: in this process, from message to message, then directly, and through
  Envoy. It prints the medians, and those of the paired differences with 95 % intervals.
- Then requests go through Envoy at 50 a second without a pause, while configurations take over from
  one another. It prints how many requests failed, how long a hand-over takes, and the latency
  during hand-overs (from the start of the new server to the end of the old one) and between them.
- Then calls of another client hang at a trial, at random times. A look every `LOOK_S` seconds, as
  the guard looks, tells how many seconds beyond its limit each call was known as late.

The run ends with 1 if a request failed, or if a hang was known later than `LATEST_S`.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving import models
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client, predict_request
from rrl.serving.saved_model import random_request
from rrl.serving.servable import LoadedModel
from rrl.serving.volley import HEAD_START_S, LOOK_S
from rrl.tuning.episode import Episode
from rrl.tuning.objective import Percentile

MS = 1000.0
CHUNK = 50  # requests of one schedule; the next begins when its last answer is there
LATEST_S = 0.2  # later than this, the guard would act on old news
LIMIT_S = 0.25  # of a request that is not late
SPACE = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 2))])


# --- a call ---------------------------------------------------------------------------------------


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


# --- hand-overs -----------------------------------------------------------------------------------


def load(address: str, inputs: dict, rate: float, stop: threading.Event) -> list[NDArray]:
    """Send requests at a steady rate until told to stop; return arrivals, latencies and codes."""
    found = []
    with Client(address, "keyword") as client:
        payload, due = client.payload(inputs), np.arange(CHUNK) / rate
        while not stop.is_set():
            start = time.monotonic() + HEAD_START_S
            sample = client.fire(payload, due, 30.0)
            found.append((start + due, sample.latency, sample.status))
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def describe(name: str, seconds: NDArray[np.float64]) -> str:
    """Median, p99 with its interval, and maximum."""
    if not len(seconds):
        return f"{name}: no request"
    episode = Episode({}, np.arange(len(seconds)), seconds, np.zeros(len(seconds)))
    p99 = Percentile(99)
    low, high = p99.interval(episode)
    return (
        f"{name}: {len(seconds)} requests, median {MS * np.median(seconds):.1f} ms, "
        f"p99 {MS * p99(episode):.1f} ms (95 % interval {MS * low:.1f} to {MS * high:.1f}), "
        f"largest {MS * seconds.max():.0f} ms"
    )


def hand_over(server: HandoverServer, inputs: dict, options: argparse.Namespace) -> int:
    """Print what hand-overs cost; return how many requests failed."""
    rng, stop, switches = np.random.default_rng(1), threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(load, server.address, inputs, options.rate, stop)
        try:
            for i in range(options.switches):
                time.sleep(options.pause)
                began = time.monotonic()
                server.keep(SPACE[(i + 1) % len(SPACE)])
                server.configure(server.kept, rng)
                switches.append((began, time.monotonic()))
            time.sleep(options.pause)
        finally:
            stop.set()
        arrivals, latency, status = loaded.result()
    during = np.zeros(len(arrivals), dtype=bool)
    for began, ended in switches:
        during |= (arrivals >= began) & (arrivals <= ended)
    low, median, high = np.quantile(np.diff(switches), [0, 0.5, 1])
    print(f"a hand-over: median {median:.1f} s ({low:.1f} to {high:.1f})")
    print(describe("during hand-overs", latency[during]))
    print(describe("between them", latency[~during]))
    failed = np.count_nonzero(status)
    sent = f"{len(latency)} requests at {options.rate:g}/s"
    print(f"{len(switches)} hand-overs, {sent}: {failed} failed")
    return failed


# --- a hang ---------------------------------------------------------------------------------------


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


def hang(server: HandoverServer, inputs: dict, count: int) -> float:
    """Print when calls that hang were known as late; return the largest delay in seconds."""
    rng, late = np.random.default_rng(1), []
    server.keep(SPACE[0])
    trial = server.configure(SPACE[1], rng)
    with Client(server.address, "keyword") as client:
        for _ in range(count):
            client.predict(inputs)
            time.sleep(rng.uniform(0, 0.1))
            trial.pause()
            late.append(known_after(server, trial, client, inputs))
    low, middle, high = MS * np.quantile(late, [0, 0.5, 1])
    print(f"{count} calls that hang, known as late after {middle:.0f} ms ({low:.0f} to {high:.0f})")
    return max(late)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--switches", type=int, default=4)
    parser.add_argument("--rate", type=float, default=50.0, help="requests/s")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between hand-overs")
    parser.add_argument("--hangs", type=int, default=50)
    options = parser.parse_args()
    base, rng = models.build("keyword"), np.random.default_rng(1)
    inputs = random_request(base, rng)
    with HandoverServer(base, SPACE, inputs=inputs) as server:
        server.keep(SPACE[0])
        server.configure(SPACE[0], rng)
        overhead(server, inputs, options.calls)
        bad = hand_over(server, inputs, options)
        return int(bad > 0 or hang(server, inputs, options.hangs) > LATEST_S)


if __name__ == "__main__":
    sys.exit(main())
