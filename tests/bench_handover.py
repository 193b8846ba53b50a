"""Hand-overs under a steady load of the keyword model: what is lost, and what the latency does.

`python tests/bench_handover.py --switches 100` (ten minutes and more) prints how many requests
were sent, failed and lost, how long a hand-over takes, the latency during and between them, and by
how much the memory of this process grew after the first ones.
Requests go through Envoy at 50 a second without a pause; those that arrive between the start
of the new server and the end of the old one count as during.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time

import numpy as np
import psutil
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving import models
from rrl.serving.handover import HandoverServer
from rrl.serving.loadgen import Client
from rrl.tuning.episode import Episode
from rrl.tuning.objective import Percentile

MS = 1000.0
CHUNK = 50  # requests of one schedule; the next begins when its last answer is there
SPACE = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 2))])


class Load:
    """Requests at a steady rate, from a thread of its own, until told to stop."""

    def __init__(self, address: str, model: str, rate: float) -> None:
        self.sent = 0
        self.arrivals: list[float] = []  # by time.monotonic
        self.latency: list[float] = []
        self.status: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(address, model, rate))
        self._thread.start()

    def _run(self, address: str, model: str, rate: float) -> None:
        rng = np.random.default_rng(0)
        with Client(address, model) as client:
            payload = client.payload(models.sample(model, rng))
            due = np.arange(CHUNK) / rate
            while not self._stop.is_set():
                self.sent += CHUNK
                start = time.monotonic() + 0.01
                sample = client.fire(payload, due, 30.0)
                self.arrivals += (start + due).tolist()
                self.latency += sample.latency.tolist()
                self.status += sample.status.tolist()

    def stop(self) -> None:
        """Wait for the last answers."""
        self._stop.set()
        self._thread.join()


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


def main() -> int:
    """Print the figures; 1 if a request was lost or failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--switches", type=int, default=4)
    parser.add_argument("--rate", type=float, default=50.0, help="requests/s")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between hand-overs")
    options = parser.parse_args()
    base, rng = models.build("keyword"), np.random.default_rng(1)
    with HandoverServer(base, SPACE, inputs=models.sample("keyword", rng)) as server:
        server.configure(SPACE[0], rng)
        load, switches, memory = Load(server.address, "keyword", options.rate), [], []
        try:
            for i in range(options.switches):
                time.sleep(options.pause)
                began = time.monotonic()
                server.configure(SPACE[(i + 1) % len(SPACE)], rng)
                switches.append((began, time.monotonic()))
                memory.append(psutil.Process().memory_info().rss / 2**20)
            time.sleep(options.pause)
        finally:
            load.stop()
    arrivals, latency = np.array(load.arrivals), np.array(load.latency)
    failed, lost = sum(map(bool, load.status)), load.sent - len(latency)
    during = np.zeros(len(arrivals), dtype=bool)
    for began, ended in switches:
        during |= (arrivals >= began) & (arrivals <= ended)
    low, median, high = np.quantile(np.diff(switches), [0, 0.5, 1])
    print(f"a hand-over: median {median:.1f} s ({low:.1f} to {high:.1f})")
    print(describe("during hand-overs", latency[during]))
    print(describe("between them", latency[~during]))
    print(
        f"{len(switches)} hand-overs, {load.sent} requests at {options.rate:g}/s: "
        f"{failed} failed, {lost} lost"
    )
    early = memory[len(memory) // 3]  # caches fill until then
    print(f"memory after a third of them {early:.0f} MiB, at the end {memory[-1] - early:+.1f} MiB")
    return int(failed or lost)


if __name__ == "__main__":
    sys.exit(main())
