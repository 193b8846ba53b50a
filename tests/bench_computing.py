"""How long decisions of agents and the queue kernel take. A script, not a test.

A decision is one ask, one tell and one best, as in the loop. Its time is that of the processor, so
other work on the machine hardly counts. Costs are a bowl with 7 % noise, computed beforehand. Of
the same run several times, the lowest number is the undisturbed. The queue has one core, M/M/4 at
70 % utilisation, which is checked against Erlang C; medians of repeats.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from itertools import product

import numpy as np

from rrl import paper_cpu, testbed
from rrl.core.knob import Knob
from rrl.core.region import FixedRadius
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import AGENTS, maker
from rrl.simulation.queueing import simulate_queue
from rrl.support.machine import one_thread
from rrl.workloads.workload import Poisson

LATE = 100  # decisions whose median counts
RRL_LIMITS_S = {"1296": 0.1e-3, "10^6": 50e-3}  # of the paper's agents, by configurations
ADAPTIVE_LIMIT_S = 2e-3  # of a radius that Bayesian optimisation selects
GP_LIMITS_S = {"1296": 3e-3, "10,000": 20e-3, "10^6": 50e-3}  # of `rrl-gp`, by configurations


def bowl(space: ConfigSpace) -> np.ndarray:
    away = space.positions - space.positions.mean(axis=0)
    return 0.1 * (1 + (away**2).mean(axis=1) / np.ptp(space.positions, axis=0).max() ** 2)


def decisions(agent, space: ConfigSpace, episodes: int) -> list[float]:
    """Seconds of each decision."""
    costs, noise = bowl(space), np.random.default_rng(1).normal(1, 0.07, episodes)
    seconds = []
    for factor in noise:
        start = time.thread_time()
        configuration = agent.ask(10.0)
        asked = time.thread_time()
        cost = float(costs[space.index(configuration)] * factor)
        told = time.thread_time()
        agent.tell(configuration, cost)
        agent.best(10.0)
        seconds.append(time.thread_time() - told + asked - start)
    return seconds


def judge(what: str, seconds: float, limit_s: float) -> None:
    verdict = "within" if seconds <= limit_s else "BEYOND"
    print(f"{what:45}{1e6 * seconds:9.1f} us, {verdict} {1e6 * limit_s:.0f}", flush=True)


def runs_of(make, space: ConfigSpace, episodes: int, repeats: int) -> list[list[float]]:
    """The same run several times; the first is left out, because it imports and compiles."""
    made = (make(space, np.random.default_rng(0)) for _ in range(repeats + 1))
    return [decisions(agent, space, episodes) for agent in made][1:]


def agents() -> None:
    joint, million = testbed("cpu2-joint").space, paper_cpu(100)
    for name, radius in product(("rrl", "rrl-released-copy"), (1.0, 2.0, 3.0)):
        make = maker(name, region=FixedRadius(radius))
        for space, (title, limit), how in zip(
            (joint, million), RRL_LIMITS_S.items(), ((1000, 8), (200, 1)), strict=True
        ):
            late = min(statistics.median(run[-LATE:]) for run in runs_of(make, space, *how))
            judge(f"{name}, {title}, radius {radius:g}: median", late, limit)
    runs = runs_of(AGENTS["rrl-adaptive"], joint, 1000, 5)
    judge("rrl-adaptive, 1296: mean", min(map(statistics.fmean, runs)), ADAPTIVE_LIMIT_S)
    ten = [ConfigSpace([Knob(name, range(10)) for name in names]) for names in ("abcd", "abcdef")]
    spaces = joint, *ten
    for where, (title, limit) in zip(spaces, GP_LIMITS_S.items(), strict=True):
        runs = runs_of(AGENTS["rrl-gp"], where, 1000, 2)
        late = min(statistics.median(run[-LATE:]) for run in runs)
        judge(f"rrl-gp, {title}: median after 1000", late, limit)


# --- the queue kernel -----------------------------------------------------------------------------


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
    with one_thread():  # one core, as the server needs the others
        agents()
    queues()
    grids()
    start()
