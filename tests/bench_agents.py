"""What a decision costs: every agent and peer side by side. A script, not a test.

A decision is one ask, one tell and one best, as in the loop. Costs are a bowl with 7 % noise,
computed beforehand. An agent stops when its budget of time is spent, and what it did not reach is
shown as "-".
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from rrl import paper_cpu, testbed
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import AGENTS, maker
from rrl.support.errors import UsageError
from rrl.support.machine import one_thread

EPISODES = (50, 200, 1000)
WINDOW = 20  # decisions whose mean is shown
GRIDS = (11, 51, 101)
LIMITS_US = {11: 20, 101: 50}  # of the paper's agents with a copy, by the levels per knob
RRL_LIMIT_S = 5e-3


def bowl(space: ConfigSpace) -> np.ndarray:
    away = space.positions - space.positions.mean(axis=0)
    return 0.1 * (1 + (away**2).mean(axis=1) / np.ptp(space.positions, axis=0).max() ** 2)


def decisions(agent, space: ConfigSpace, episodes: int, budget_s: float) -> list[float]:
    """Seconds of each decision; fewer than `episodes` if the budget is spent."""
    costs, noise = bowl(space), np.random.default_rng(1).normal(1, 0.07, episodes)
    seconds, end = [], time.perf_counter() + budget_s
    while len(seconds) < episodes and time.perf_counter() < end:
        start = time.perf_counter()
        configuration = agent.ask(10.0)
        asked = time.perf_counter()
        cost = float(costs[space.index(configuration)] * noise[len(seconds)])
        told = time.perf_counter()
        agent.tell(configuration, cost)
        agent.best(10.0)
        seconds.append(time.perf_counter() - told + asked - start)
    return seconds


def show(milliseconds: float | None) -> str:
    return f"{'-':>11}" if milliseconds is None else f"{milliseconds:11.4g}"


def window(seconds: list[float], after: int) -> float | None:
    """Mean of the last decisions up to that episode, in ms; some agents refit now and then only."""
    reached = seconds[max(after - WINDOW, 0) : after]
    return 1e3 * statistics.fmean(reached) if len(seconds) >= after else None


def by_episode(title: str, space: ConfigSpace, budget_s: float) -> None:
    """All agents on one space: late decisions, the mean over the run, and the slowest decision."""
    heads = "".join(f"{f'after {n}':>11}" for n in EPISODES) + f"{'mean':>11}{'slowest':>11}"
    print(f"\nms per decision, {title}{heads}   decisions  (budget {budget_s:g} s)")
    for name in AGENTS:
        try:
            agent = AGENTS[name](space, np.random.default_rng(0))
        except (UsageError, AttributeError, ModuleNotFoundError) as error:
            print(f"{name:35}  absent: {error}")
            continue
        seconds = decisions(agent, space, EPISODES[-1], budget_s)
        reached = "".join(show(window(seconds, n)) for n in EPISODES)
        whole = show(1e3 * statistics.fmean(seconds)) + show(1e3 * max(seconds))
        print(f"{name:35}{reached}{whole}{len(seconds):12}", flush=True)


def by_grid(budget_s: float) -> None:
    heads = "".join(f"{f'{n}^3':>11}" for n in GRIDS)
    print(f"\nms per decision, 200 episodes{heads}")
    for name in AGENTS:
        row = []
        for n in GRIDS:
            space = paper_cpu(n - 1)
            try:
                agent = AGENTS[name](space, np.random.default_rng(0))
            except (UsageError, AttributeError, ModuleNotFoundError):
                break
            row.append(window(decisions(agent, space, 200, budget_s), 200))
        if row:
            print(f"{name:27}{''.join(map(show, row))}", flush=True)


def judge(what: str, seconds: float, limit_s: float) -> None:
    verdict = "within" if seconds <= limit_s else "BEYOND"
    print(f"{what:62}{1e6 * seconds:9.1f} us, {verdict} {1e6 * limit_s:.0f}", flush=True)


def goals() -> None:
    """The goals: see LIMITS_US for a copy, with any size of the region; 5 ms for `rrl`."""
    print("\nus per decision, and the goal")
    for n, limit in LIMITS_US.items():
        space = paper_cpu(n - 1)
        for name in ("rrl-boltzmann", "rrl-released-copy"):
            for radius in (1.0, 2.0, 3.0):
                agent = maker(name, radius=radius)(space, np.random.default_rng(0))
                decisions(agent, space, 100, 60.0)  # the first ones build trees and balls
                each = statistics.median(decisions(agent, space, 2000, 60.0))
                judge(f"{name}, {n}^3, radius {radius:g}: median of 2000", each, limit / 1e6)
    space = paper_cpu(10)
    for episodes in (300, 1000):
        agent = AGENTS["rrl-adaptive"](space, np.random.default_rng(0))
        mean = statistics.fmean(decisions(agent, space, episodes, 60.0))
        judge(f"rrl-adaptive, 11^3: mean over {episodes}", mean, LIMITS_US[11] / 1e6)
    for title, where in (("11^3", space), ("cpu2-joint", testbed("cpu2-joint").space)):
        agent = AGENTS["rrl"](where, np.random.default_rng(0))
        seconds = decisions(agent, where, 1000, 120.0)
        judge(f"rrl, {title}: mean over {len(seconds)}", statistics.fmean(seconds), RRL_LIMIT_S)
        judge(f"rrl, {title}: mean of the last {WINDOW}", statistics.fmean(seconds[-WINDOW:]),
              RRL_LIMIT_S)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budget", type=float, default=20.0, help="seconds per agent and column")
    parser.add_argument("--goals", action="store_true", help="only what has a goal")
    arguments = parser.parse_args()
    with one_thread():  # one core, as the server needs the others
        if not arguments.goals:
            by_episode("11 x 11 x 11      ", paper_cpu(10), arguments.budget)
            by_episode("cpu2-joint (1296) ", testbed("cpu2-joint").space, arguments.budget)
            by_grid(arguments.budget)
        goals()
