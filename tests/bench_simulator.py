"""How fast the queue kernel is. A script, not a test.

One core, M/M/4 at 70 % utilisation, which is checked against Erlang C; medians of repeats.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from rrl.simulation.queueing import simulate_queue
from rrl.simulation.simulator import SimulatedServer
from rrl.simulation.testbeds import testbed
from rrl.workloads.workload import Poisson

SERVERS, UTILISATION = 4, 0.7
BYTES_PER_REQUEST = 33  # arrival, work, departure and batch edge, 8 each; rejected, 1
MEAN = 1.3573  # Erlang C: seconds in the system where a service takes 1 s


def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    arrivals = Poisson(SERVERS * UTILISATION).arrivals(n, rng)
    return arrivals, rng.exponential(1.0, n)


def kernel(n: int) -> float:
    """Mean time in the system, with the drawing of random numbers."""
    arrivals, work = draw(n)
    passage = simulate_queue(arrivals, work, threads=SERVERS, speed=np.ones(SERVERS))
    return float((passage.departure - arrivals).mean())


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def queues() -> None:
    mean = kernel(1_000_000)
    seconds = median_seconds(lambda: kernel(1_000_000), 9)
    print(f"M/M/{SERVERS} at {UTILISATION:.0%}: a mean of {mean:.3f} s, by Erlang C {MEAN}")
    print(f"{'with the drawing':20} {1e6 / seconds:12,.0f} requests/s")
    arrivals, work = draw(1_000_000)
    for label, settings in {
        "queue alone": {"threads": SERVERS, "speed": np.ones(SERVERS)},
        "batches of 4": {"threads": 4, "speed": np.ones(4), "batch_work": [1, 1.2, 1.4, 1.6]},
        "sharing": {"threads": 999, "speed": 4 / np.arange(4, 1003)},
    }.items():
        simulate = lambda settings=settings: simulate_queue(arrivals, work, **settings)  # noqa: E731
        rate = len(work) / median_seconds(simulate, 9)
        print(f"{label:20} {rate:12,.0f} requests/s")


def scaling() -> None:
    """10^4 to 10^8 requests; the largest run needs 3.3 GiB."""
    print("\nrequests          ns a request (linear if constant)   peak memory of this process")
    print("                  queue alone    drawing included")
    for n in (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000):
        repeats = 1 if n >= 10_000_000 else 5
        start = time.perf_counter()
        arrivals, work = draw(n)
        drawing = time.perf_counter() - start
        call = lambda a=arrivals, w=work: simulate_queue(a, w, threads=4, speed=np.ones(4))  # noqa: E731
        seconds = median_seconds(call, repeats)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        each = (1e9 * seconds / n, 1e9 * (seconds + drawing) / n)
        print(f"{n:11,} {each[0]:16.1f} {each[1]:18.1f} {peak:18.2f} GiB", flush=True)
    print(f"inputs and results together: {BYTES_PER_REQUEST} bytes a request")


def grids() -> None:
    print("\n100 requests under every configuration")
    for name in ("cpu2", "cpu10", "gpu", "cpu64"):
        server = testbed(name)
        arrivals = Poisson(100.0).arrivals(100, np.random.default_rng(0))
        seconds = median_seconds(lambda s=server, a=arrivals: whole_grid(s, a), 5)
        each = 1e9 * seconds / len(server.space) / 100
        print(
            f"{name:6} {len(server.space):8,} in {1e3 * seconds:9.1f} ms, {each:5.0f} ns a request"
        )
    server, rng = testbed("cpu10"), np.random.default_rng(0)
    one = median_seconds(lambda: server.measure(server.space[700], arrivals, rng), 200)
    print(f"one episode through measure(): {1e6 * one:.0f} us")


def whole_grid(server: SimulatedServer, arrivals: np.ndarray) -> None:
    for _ in server.grid(arrivals, np.random.default_rng(0)):
        pass


def start() -> None:
    code = "import rrl.simulation.queueing as q; q.simulate_queue([0.0], [1.0])"
    seconds = median_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True), 3)
    print(f"\na new process imports, loads the compiled kernel and runs it in {seconds:.2f} s")


if __name__ == "__main__":
    kernel(10)  # compiles, or loads the cached code
    queues()
    scaling()
    grids()
    start()
