"""Print a digest of what every agent chooses on ten problems: the guard of a refactoring.

Two versions of the package whose outputs are equal make the same choices, and observe the same
costs, in every episode. Agents that need an optional package, or much time, are left out.

    python tests/agent_choices.py > before.txt
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

import rrl
from rrl.core.rrl import gp
from rrl.studies.problems import open_scenario
from rrl.studies.scenario import Scenario
from rrl.support.machine import one_thread

EPISODES = 120
LEFT_OUT = ("gp-ei", "skopt-gp", "optuna-tpe", "optuna-tpe-multivariate", "smac")
DATA = Path(__file__).parent.parent / "data"


def agents() -> dict[str, Callable]:
    """Makers of agents by name: those of the package, and RRL with other parts."""
    named = {name: make for name, make in rrl.AGENTS.items() if name not in LEFT_OUT}
    variants = {
        "table": partial(rrl.RRL, average=False, learning_rate=0.5),
        "one load level": lambda s, rng: rrl.RRL(s, rng, loads=rrl.LoadLevels(math.inf)),
        "learned, radius 2": lambda s, rng: rrl.RRL(
            s,
            rng,
            similarity=rrl.LearnedSimilarity(),
            region=rrl.FixedRadius(2.0),
            learning_rate=1.0,
            average=False,
        ),
        "copy, whole space": lambda s, rng: gp(s, rng, similarity=rrl.Copy(), average=True),
        "short horizon": partial(rrl.recommended, exploration=rrl.ExpectedSaving(30)),
    }
    return named | variants


def problems() -> Iterator[Scenario]:
    """Surfaces, simulated servers and recorded profiles; the last two have a changing load."""
    for name in ("wide", "narrow", "pool"):
        yield open_scenario(name, data=DATA)
    for name, rate in (
        ("cpu10", 12.5),
        ("gpu", 500.0),
        ("cpu2", 115.0),
        ("mobilenet_v2-threads", 115.0),
        ("keyword-threads", 900.0),
        ("gpu", rrl.Phases((0, 40, 80), (1 / 200, 1 / 900, 1 / 200))),
        ("mobilenet_v2-busy", rrl.Phases((0, 40, 80), (1 / 38, 1 / 107, 1 / 38))),
    ):
        yield open_scenario(name, rate, DATA)


def main() -> None:
    """Run every agent once on every problem."""
    for number, problem in enumerate(problems()):
        for name, make in agents().items():
            agent = make(problem.space, np.random.default_rng([0, 0]))
            run = rrl.tune(
                problem.server,
                agent,
                problem.workload,
                EPISODES,
                np.random.default_rng([0, 1]),
                requests=problem.requests,
            )
            told = [
                (problem.space.index(chosen), problem.space.index(best), cost.hex(), load.hex())
                for chosen, best, cost, load in zip(
                    run.configurations, run.recommended, run.costs, run.loads, strict=True
                )
            ]
            digest = hashlib.sha256(repr(told).encode()).hexdigest()
            print(f"{number} {problem.name} | {name} | {digest}", flush=True)


if __name__ == "__main__":
    with one_thread():
        main()
