"""Claims C1 to C4 under the paper's conditions: judged on the map of regions.

The cells that fit the paper's setting were declared before the map was computed
(:data:`rrl.studies.map_factors.PAPER_CONDITIONS`). That these cells judge claims is a rule that was
made after the map was known. It takes what is registered: the thresholds, and the numbers and
verdicts of :mod:`rrl.studies.claims`. What differs:

- The agents are the paper's, each with the setting that the tuning chose for a cell.
- A problem is a surface in a cell. All cells of a kind of surface are drawn together, as the loads
  of a testbed are.
- Speed counts the episodes until what an agent serves, or recommends, stays within 10 % of the
  best. Both are judged, as two kinds of problems, and neither stands for the other.
- The map has no fixed radius but the best one of a cell, and keeps no mean cost of a run. So C3
  compares the episodes of the selected radius with those of the best fixed radius.
- A part for which the map has no runs is not testable there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from rrl.studies.claim_tables import Evidence
from rrl.studies.claims import judge_all
from rrl.studies.map_cells import MEASURES, paper_grid
from rrl.studies.map_factors import (
    CELL,
    MIDDLE,
    PAPER_CONDITIONS,
    RIVAL,
    chosen_settings,
    in_paper_conditions,
)
from rrl.studies.other_half import ORACLE
from rrl.studies.problems import surface
from rrl.studies.registration import RegisteredClaim, Registration
from rrl.studies.similarity_error import error_again

AGENTS = {"C1": "rrl", "C2": "rrl", "C3": "rrl-adaptive", "C4": "rrl"}
"""The agent of the paper that each claim is judged for on the map."""


def map_evidence(tuning: pd.DataFrame, runs: pd.DataFrame, length: int) -> Evidence:
    """Return the tables of the cells of the map that fit the paper's setting.

    `tuning` and `runs` are tables of :mod:`rrl.studies.region_map`, and `length` is the number of
    episodes of a judging run. Each agent has the setting that the tuning chose. An oracle arrives
    with the first episode. Of estimates, only the error of measuring again is known.
    """
    chosen, arrivals, errors = chosen_settings(tuning), [], []
    for measure, column in zip(MEASURES, MIDDLE, strict=True):
        head = {"kind": measure, "half": 0, "workload": ""}
        wanted = chosen[(chosen["column"] == column) & in_paper_conditions(chosen)]
        own = runs.merge(wanted[[*CELL, "agent", "setting"]])
        names = zip(own["surface"], *(own[name] for name in CELL), strict=True)
        own = own.assign(
            problem=[f"{kind} {rough:g} {noise:g}" for kind, rough, noise in names],
            first_within_5=np.minimum(own[column], length + 1),
            episodes=length,
            **head,
        )
        oracle = own[own["agent"] == AGENTS["C4"]].assign(agent=ORACLE, first_within_5=1.0)
        arrivals += [own, oracle]
        errors += [
            head | {"problem": noise, "estimator": "again", "error": _error_again(noise)}
            for noise in PAPER_CONDITIONS["noise"]
        ]
    return Evidence(runs=pd.concat(arrivals), similarity=pd.DataFrame(errors))


def _error_again(noise: float) -> float:
    """Return the median error (%) of measuring a configuration again: the noise is a factor."""
    space = paper_grid()[0]
    flat = surface("flat", space, np.ones(len(space)), noise)
    return 100 * float(np.expm1(error_again(flat, np.random.default_rng(0))))


def on_map(registered: Registration) -> Registration:
    """Return the claims of `AGENTS` as the map can judge them, see the head of this module.

    The kinds of problems are the measures, "served" and "recommended". Each has its own verdicts,
    whichever `decides`.
    """

    def there(id: str, claim: RegisteredClaim) -> RegisteredClaim:
        """Return a claim about the agent that the map has, with parts that the map can judge."""
        # Rivals that were tuned for speed elsewhere are tuned for each cell of the map.
        parts = [
            one._replace(against=one.against.removesuffix("-for-speed")) for one in claim.parts
        ]
        price = [one for one in parts if one.metric == "price"]
        fixed = [one._replace(metric="speed", against="rrl") for one in price[:1]]
        parts = [*(one for one in parts if one not in price), *fixed]
        return replace(claim, about=AGENTS[id], also=(AGENTS[id],), parts=tuple(parts))

    return replace(
        registered,
        columns={"paper": (), "recommended": (), "rivals": (RIVAL,)},
        decided_by=MEASURES,
        problems=(),
        claims={id: there(id, registered.claims[id]) for id in AGENTS},
    )


def judge_on_map(
    registered: Registration,
    tuning: pd.DataFrame,
    runs: pd.DataFrame,
    length: int,
    seed: int,
) -> pd.DataFrame:
    """Judge the claims of :func:`on_map` in the cells of the map that fit the paper's setting.

    For `tuning`, `runs` and `length`, see :func:`map_evidence`. The bootstrap draws from the seed.
    For the rows, see :func:`rrl.studies.claims.judge_claim`.
    """
    evidence = map_evidence(tuning, runs, length)
    return judge_all(on_map(registered), evidence, seed)
