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

from rrl import paper_cpu
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import AGENTS, maker
from rrl.support.errors import UsageError
from rrl.support.machine import one_thread

EPISODES = (50, 200, 1000)
WINDOW = 20  # decisions whose mean is shown
GRIDS = (11, 51, 101)
LIMITS_US = {11: 20, 101: 50}  # of the paper's variants, with radius 3 on the widest grid


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


def by_episode(budget_s: float) -> None:
    heads = "".join(f"{f'after {n}':>11}" for n in EPISODES)
    print(f"ms a decision, 11 x 11 x 11{heads}   decisions/s at the end  (budget {budget_s:g} s)")
    for name in AGENTS:
        space = paper_cpu(10)
        try:
            agent = AGENTS[name](space, np.random.default_rng(0))
        except (UsageError, AttributeError, ModuleNotFoundError) as error:
            print(f"{name:27}  absent: {error}")
            continue
        seconds = decisions(agent, space, EPISODES[-1], budget_s)
        reached = "".join(show(window(seconds, n)) for n in EPISODES)
        rate = 1 / statistics.fmean(seconds[-WINDOW:])
        print(f"{name:27}{reached}{rate:14,.0f}  after {len(seconds)}", flush=True)


def by_grid(budget_s: float) -> None:
    heads = "".join(f"{f'{n}^3':>11}" for n in GRIDS)
    print(f"\nms a decision, 200 episodes{heads}")
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


def paper_variants() -> None:
    """The claim: 20 us on the paper's grid, 50 us on 101^3 with the paper's radius."""
    print("\nus a decision of the paper's variants, median of 2000 (limit)")
    for n, limit in LIMITS_US.items():
        space = paper_cpu(n - 1)
        for name in ("rrl-boltzmann", "rrl-released-copy"):
            for radius in (1.0, 2.0, 3.0):
                agent = maker(name, radius=radius)(space, np.random.default_rng(0))
                decisions(agent, space, 100, 60.0)  # the first ones build trees and balls
                each = 1e6 * statistics.median(decisions(agent, space, 2000, 60.0))
                verdict = "within" if each <= limit else "BEYOND"
                print(f"{name:20} {n}^3, radius {radius:g}: {each:7.1f} us, {verdict} {limit}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budget", type=float, default=20.0, help="seconds an agent and column")
    parser.add_argument("--paper", action="store_true", help="the paper's variants alone")
    arguments = parser.parse_args()
    with one_thread():  # one core, as the server needs the others
        if not arguments.paper:
            by_episode(arguments.budget)
            by_grid(arguments.budget)
        paper_variants()
