"""How the settings of all agents that learn or search are chosen: alike, by what clients pay.

Every agent gets the same problems, the same starts, arrivals and noise, and about as many settings.
A setting is scored by the excess of its first `EPISODES` episodes (:mod:`rrl.studies.measures`):
the mean over the seeds on each problem, then the geometric mean of excess + `LEAST` over the
problems. So a problem counts by how many times less clients pay, however steep its costs are, as in
the comparisons of agents. Excesses far below `LEAST` count as equal, because nobody would notice.

*Problems.* :mod:`rrl.studies.banks` says which problems choose the settings, and on which others
the chosen settings are judged. No recording is among them.

*Successive halving.* All settings run with a few seeds, the best quarter of them with twice the
seeds, and so on. From `ENOUGH` seeds on, it ends when the best one stays the same with twice the
seeds, and at the latest with `MOST` seeds. Of scores that agree in three digits, the first of the
list is taken. The problems that judge get `ENOUGH` seeds.

``python -m rrl.studies.choosing`` writes ``settings.csv`` (each setting that was tried) and
``judged.csv`` (the default and the chosen setting on each problem that judges) to
``data/choosing``. Defaults are not changed by it: they are in the code.

References
----------
Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016 (successive halving).
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rrl.core.exploration import Boltzmann
from rrl.core.knob import Configuration
from rrl.core.region import FixedRadius, Nearest
from rrl.core.space import Floats
from rrl.rivals.agents import SETTINGS, maker
from rrl.studies.banks import JUDGING, TUNING, open_problem, problem_names, serve
from rrl.studies.behaviour import code
from rrl.studies.measures import excess, ratio_of_excesses
from rrl.studies.outcomes import write_csv
from rrl.studies.sweeps import Sweep, Task
from rrl.support.errors import Parser, UsageError, command
from rrl.support.number_options import whole
from rrl.tuning.loop import MakeAgent

EPISODES = 300
LEAST = 0.01
"""This is added to every excess before its logarithm is taken."""

FIRST_SEED, JUDGING_SEED = 9500, 9700
"""The first seeds on the problems that choose, and on those that judge."""
FEW, ENOUGH, MOST = 2, 16, 32
"""Seeds of the first round, of the last one at least, and at most."""
SLOW = {"deep-q-network": (1, 4, 8), "gp-ei": (1, 2, 4)}
"""The same for agents that take long for a decision."""
FINALISTS = 3
"""At least so many settings stay to the end."""


# --- settings -------------------------------------------------------------------------------------


def settings() -> dict[str, list[str]]:
    """Return the settings of each agent that are tried, as JSON.

    Examples
    --------
    >>> tried = settings()
    >>> [len(tried[agent]) for agent in ("rrl", "q-learning", "gp-ei", "rrl-gp")]
    [36, 32, 12, 1]
    """
    rates, slower = (0.3, 0.1, 0.03, 0.01), (0.3, 0.1, 0.03)
    temperatures = (0.02, 0.005, 50), (0.02, 0.002, 50), (0.01, 0.002, 50)
    hotter = [(start, start / 10, life) for start in (0.05, 0.1, 0.2) for life in (20, 50)]
    falls = [(1.0, end, life) for end in (0.0, 0.02) for life in (5, 10, 20)]
    deep = (1.0, 0.0, 5), (1.0, 0.0, 10), (0.3, 0.0, 20), (0.1, 0.02, 20)
    budgets = (2, 3, 5, 7, 10, 13, 16, 20, 25, 30, 40, 50, 70, 100, 150, 300)
    grids: dict[str, dict[str, Iterable[Any]]] = {
        "rrl": {"learning_rate": rates, "temperature": temperatures, "radius": (1.0, 2.0, 3.0)},
        "rrl-one-cell": {"learning_rate": rates, "temperature": [*temperatures, *hotter]},
        "rrl-adaptive": {
            "learning_rate": rates,
            "temperature": temperatures,
            "radius": (None, 2.5),
        },
        "rrl-prior": {"cells": (7, 13, 19, 27), "temperature": [*temperatures, (0.05, 0.005, 50)]},
        "rrl-gp": {},
        "q-learning": {
            "epsilon": [*falls, (0.3, 0.0, 50), (0.3, 0.02, 20)],
            "learning_rate": rates,
        },
        "q-learning-near": {
            "epsilon": [(1.0, 0.0, life) for life in (10, 20, 40)],
            "learning_rate": slower,
            "radius": (1.0, 1.5, 2.0, 3.0),
        },
        "deep-q-network": {"epsilon": deep, "learning_rate": (0.03, 0.01, 0.003, 0.001)},
        "optimistic-table": {
            "share": (1.0, 2.0, 4.0, 8.0),
            "growth": (0.1, 0.25, 0.5),
            "sure": (0.5, 1.0, 2.0),
        },
        "hill-climbing": {
            "radius": (1.0, 1.5, 2.0),
            "tries": (0.5, 0.8, 0.9, 1.0),
            "sure": (0.5, 1.0, 1.5),
        },
        "coordinate-descent": {"repeats": (1, 2, 3, 5), "rounds": (1, 2, 3, 6)},
        "random": {"budget": budgets},
        "zooming": {
            "lipschitz": (0.125, 0.25, 0.5, 1.0, 2.0),
            "confidence": (0.0125, 0.025, 0.05, 0.1),
        },
        "gp-ei": {"initial": (2, 5, 10), "length": (0.25, 0.5, 1.0, 2.0)},
    }
    return {
        agent: [
            json.dumps(dict(zip(grid, values, strict=True)))
            for values in itertools.product(*grid.values())
        ]
        for agent, grid in grids.items()
    }


def agent_with(agent: str, setting: str, start: Configuration | None = None) -> MakeAgent:
    """Return a function that makes an agent with one of the :func:`settings`.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> make = agent_with("rrl", settings()["rrl"][-1])
    >>> make(paper_cpu(), np.random.default_rng(0)).region.radius
    3.0
    """
    changes = json.loads(setting)
    if "temperature" in changes and agent != "rrl-one-cell":
        changes["exploration"] = Boltzmann(*changes.pop("temperature"))
    if "radius" in changes and agent == "rrl":
        changes["region"] = FixedRadius(changes.pop("radius"))
    if "cells" in changes:
        changes["region"] = Nearest(changes.pop("cells"))
    return maker(agent, start=start, **changes)


# --- the study ------------------------------------------------------------------------------------


def run_settings(
    sweep: Sweep, agent: str, tried: Sequence[str], role: str, first: int, seeds: int
) -> Floats:
    """Return the excess of some settings, shape (settings, problems, seeds).

    Each setting is run from `seeds` seeds from the `first` on, on all problems of a role, in
    resumable pieces.
    """
    block, tasks = _seeds(agent)[0], []
    for setting in tried:
        for seed in range(first, first + seeds, block):
            what = agent, setting, role, seed, block
            tasks.append(Task(("choosing", *what, code()), _run, (*what, sweep.data)))
    found = [one["excess"] for one in sweep.compute_pieces(tasks)]
    per = len(found) // len(tried)
    return np.array([np.concatenate(found[k : k + per], 1) for k in range(0, len(found), per)])


def _seeds(agent: str) -> tuple[int, int, int]:
    return SLOW.get(agent, (FEW, ENOUGH, MOST))


def _run(
    agent: str, setting: str, role: str, first: int, seeds: int, data: str
) -> dict[str, Floats]:
    rows, starting = [], partial(agent_with, agent, setting)
    for name in problem_names(role):
        problem, run = open_problem(name, data), range(first, first + seeds)
        served = [serve(problem, starting, seed, EPISODES) for seed in run]
        rows.append(excess(served, float(problem.cost.min()), EPISODES))
    return {"excess": np.array(rows)}


def score(found: Floats) -> float:
    """Return the geometric mean of excess + `LEAST` over the problems, less `LEAST`.

    Parameters
    ----------
    found : ndarray, shape (problems, seeds)

    Examples
    --------
    >>> round(score(np.array([[0.03, 0.03], [0.1, 0.2]])), 3)
    0.07
    """
    return float(np.exp(np.log(found.mean(axis=1) + LEAST).mean()) - LEAST)


def choose(sweep: Sweep, agent: str, tried: Sequence[str]) -> pd.DataFrame:
    """Choose the setting of an agent by successive halving; print a line per round.

    Returns
    -------
    DataFrame
        A row per setting, the best first: the `agent`, the `setting`, the `seeds` of its last
        round, its `excess` there (:func:`score`), whether it is `chosen`, and whether the choice is
        `stable`: the same with half the seeds.
    """
    few, enough, most = _seeds(agent)
    left, seeds, rows, best = list(tried), few, dict[str, tuple[int, float]](), ""
    while True:
        found = run_settings(sweep, agent, left, TUNING, FIRST_SEED, seeds)
        scores = {setting: score(one) for setting, one in zip(left, found, strict=True)}
        left.sort(key=lambda setting: float(f"{scores[setting]:.3g}"))
        stable, best = best == left[0], left[0]
        rows |= {setting: (seeds, scores[setting]) for setting in left}
        print(f"{agent}: {best}, excess {scores[best]:.3g}: best of {len(left)}, {seeds} seeds")
        if seeds >= most or (seeds >= enough and (stable or len(tried) == 1)):
            break
        left, seeds = left[: max(-(-len(left) // 4), FINALISTS)], 2 * seeds
    table = pd.DataFrame(
        [(agent, setting, *rows[setting], setting == best, stable) for setting in tried],
        columns=["agent", "setting", "seeds", "excess", "chosen", "stable"],
    )
    return table.sort_values(["seeds", "excess"], ascending=[False, True], kind="stable")


def judge(sweep: Sweep, agent: str, chosen: str) -> pd.DataFrame:
    """Run an agent with its default settings and the chosen ones on the problems that judge.

    Returns
    -------
    DataFrame
        A row per problem: the `agent`, the `problem`, the number of `seeds`, and the mean excess
        with the `default` and with the `chosen` settings.
    """
    seeds, names = _seeds(agent)[1], problem_names(JUDGING)
    both = [json.dumps(SETTINGS.get(agent, {})), chosen]
    before, after = run_settings(sweep, agent, both, JUDGING, JUDGING_SEED, seeds).mean(axis=2)
    columns = {"problem": names, "seeds": seeds, "default": before, "chosen": after}
    return pd.DataFrame({"agent": agent, **columns})


def summary(tried: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return a row per agent, from the tables of :func:`choose` and :func:`judge`.

    Returns
    -------
    DataFrame
        The number of settings `tried`, the `setting` that was chosen with its `seeds`, whether that
        is `stable`, the excess where it was chosen (`tuning`), and the excess with the `default`
        and the `chosen` settings where it is judged, with their `ratio` and its 95 % interval, for
        which problems are drawn again. The agent with the lowest excess where it is judged is the
        first.
    """
    best = tried[tried["chosen"]].set_index("agent")
    table = best[["setting", "seeds", "stable"]].assign(tuning=best["excess"])
    table.insert(0, "tried", tried.groupby("agent").size())
    for agent, rows in judged.groupby("agent"):
        before, after = (rows[name].to_numpy() for name in ("default", "chosen"))
        limits = ratio_of_excesses(after, before, np.random.default_rng(0))
        values = score(before[:, None]), score(after[:, None]), *limits
        table.loc[agent, ["default", "chosen", "ratio", "low", "high"]] = values
    return table.sort_values("chosen")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Choose the settings of the agents, judge them, and write the two tables."""
    parser = Parser(
        prog="python -m rrl.studies.choosing",
        description=f"{__doc__.splitlines()[0]} Resumable; a part of the agents keeps the rest of "
        "the tables. All agents together take about an hour of one core.",
    )
    every = settings()
    parser.add_argument("--agents", default=",".join(every), help="names, separated by commas")
    parser.add_argument("--data", default="data", help="read surfaces/, write choosing/")
    parser.add_argument("--build", default="build", help="the folder of what is computed already")
    parser.add_argument("--workers", type=whole(1, 1000), help="processes; one per CPU by default")
    options = parser.parse_args(argv)
    agents = options.agents.split(",")
    if unknown := [agent for agent in agents if agent not in every]:
        raise UsageError(f"{unknown[0]!r} has no settings to choose: use {', '.join(every)}")
    sweep = Sweep((), data=options.data, build=options.build, workers=options.workers)
    files = [Path(options.data) / "choosing" / f"{name}.csv" for name in ("settings", "judged")]
    for agent in agents:
        tried = choose(sweep, agent, every[agent])
        judged = judge(sweep, agent, tried.loc[tried["chosen"], "setting"].item())
        for file, table in zip(files, (tried, judged), strict=True):
            others = [pd.read_csv(file).query("agent != @agent")] if file.exists() else []
            write_csv(pd.concat([*others, table]), file, "%.5g")
    print(summary(*map(pd.read_csv, files)).round(3).to_string())


if __name__ == "__main__":
    sys.exit(main())
