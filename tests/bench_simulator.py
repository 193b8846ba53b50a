"""How fast the queue kernel is. A script, not a test.

One core, M/M/4 at 70 % utilisation, which is checked against Erlang C; medians of repeats.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable

import numpy as np

from rrl.simulation.queueing import simulate_queue
from rrl.simulation.testbeds import testbed
from rrl.workloads.workload import Poisson

FOUR = {"threads": 4, "speed": np.ones(4)}
MEAN = 1.3573  # Erlang C: seconds in the system where a service takes 1 s


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    return statistics.median(timeit.repeat(call, number=1, repeat=repeats))


def queues() -> None:
    for n in (10_000, 1_000_000, 100_000_000):  # the largest run needs 4 GiB
        rng = np.random.default_rng(0)
        arrivals, work = Poisson(2.8).arrivals(n, rng), rng.exponential(1.0, n)
        mean = (simulate_queue(arrivals, work, **FOUR)[0] - arrivals).mean()
        seconds = median_seconds(lambda a=arrivals, w=work: simulate_queue(a, w, **FOUR), 3)
        print(f"{n:11,} requests: {1e9 * seconds / n:5.1f} ns each, mean {mean:.3f} s ({MEAN})")
        if n == 1_000_000:
            for name, how in {
                "batches of 4": {**FOUR, "batch_work": [1, 1.2, 1.4, 1.6]},
                "sharing": {"threads": 999, "speed": 4 / np.arange(4, 1003)},
            }.items():
                seconds = median_seconds(lambda h=how: simulate_queue(arrivals, work, **h), 9)  # noqa: B023
                print(f"{name:>20}: {1e9 * seconds / n:5.1f} ns each")


def grids() -> None:
    arrivals = Poisson(100.0).arrivals(100, np.random.default_rng(0))
    for name in ("cpu2", "cpu10", "gpu"):
        server = testbed(name)
        seconds = median_seconds(lambda s=server: s.grid(arrivals, np.random.default_rng(0)), 5)
        each = 1e9 * seconds / len(server.space) / 100
        print(
            f"{name:6} {len(server.space):8,} in {1e3 * seconds:9.1f} ms, {each:5.0f} ns a request"
        )
    server, rng = testbed("cpu10"), np.random.default_rng(0)
    one = median_seconds(lambda: server.measure(server.space[700], arrivals, rng), 200)
    print(f"one episode through measure(): {1e6 * one:.0f} us")


def start() -> None:
    code = "import rrl.simulation.queueing as q; q.simulate_queue([0.0], [1.0])"
    seconds = median_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), 3)
    print(f"a new process imports, loads the compiled kernel and runs it in {seconds:.2f} s")


if __name__ == "__main__":
    queues()
    grids()
    start()
