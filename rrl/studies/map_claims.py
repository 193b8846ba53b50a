"""Claims C1 to C4 under the paper's conditions: judged on the map of regions.

The cells that fit the paper's setting were declared before the map was computed
(:data:`rrl.studies.map_factors.PAPER_CONDITIONS`). That these cells judge claims is a rule that was
made after the map was known. It takes what is registered: the thresholds, and the numbers and
verdicts of :mod:`rrl.studies.claims`. What differs:

- The agents are the paper's, each with the setting that the tuning chose for a cell.
- A problem is a surface in a cell. All cells of a kind of surface are drawn together, as the loads
  of a testbed are.
- Speed counts the episodes until what an agent serves, or recommends, stays within 10 % of the
  best. Both are judged, and neither stands for the other.
- The map has no fixed radius but the best one of a cell, and keeps no mean cost of a run. So C3
  compares the episodes of the selected radius with those of the best fixed radius.
- A part for which the map has no runs is not testable there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rrl.studies.claims import Number, part_number, part_row, verdict
from rrl.studies.map_cells import MEASURES, paper_grid
from rrl.studies.map_factors import (
    CELL,
    MIDDLE,
    PAPER_CONDITIONS,
    chosen_settings,
    in_paper_conditions,
)
from rrl.studies.other_half import ORACLE
from rrl.studies.problems import surface
from rrl.studies.registration import ClaimPart, Registration
from rrl.studies.similarity_error import error_again

if TYPE_CHECKING:
    import pandas as pd

AGENTS = {"C1": "rrl", "C2": "rrl", "C3": "rrl-adaptive", "C4": "rrl"}
"""The agent of the paper that each claim is judged for on the map."""


def map_runs(tuning: pd.DataFrame, runs: pd.DataFrame, column: str, length: int) -> pd.DataFrame:
    """Return the runs in the cells of the map that fit the paper's setting, to judge speed by.

    `tuning` and `runs` are tables of :mod:`rrl.studies.region_map`, `column` is what a run is
    measured by, such as "served_10", and `length` is the number of episodes of a judging run. Each
    agent has the setting that the tuning chose. An oracle arrives with the first episode.
    """
    import pandas as pd

    chosen = chosen_settings(tuning)
    chosen = chosen[(chosen["column"] == column) & in_paper_conditions(chosen)]
    own = runs.merge(chosen[[*CELL, "agent", "setting"]])
    names = zip(own["surface"], *(own[name] for name in CELL), strict=True)
    own = own.assign(
        problem=[f"{kind} {rough:g} {noise:g}" for kind, rough, noise in names],
        first=own[column],
        episodes=length,
    )
    knows = own[own["agent"] == AGENTS["C4"]].assign(agent=ORACLE, first=1.0)
    return pd.concat([own, knows])


def _error_again(noise: float) -> float:
    """Return the median error (%) of measuring a configuration again: the noise is a factor."""
    space = paper_grid()[0]
    flat = surface("flat", space, np.ones(len(space)), noise)
    return 100 * float(np.expm1(error_again(flat, np.random.default_rng(0))))


def parts_there(parts: Sequence[ClaimPart]) -> list[ClaimPart]:
    """Return the parts of a claim as the map can judge them, see the head of this module.

    Examples
    --------
    >>> rest = "rrl", "geometric mean", 1.0, "above", 1.0
    >>> sooner = ClaimPart("speed", *rest)._replace(against="q-learning-for-speed")
    >>> fixed = [ClaimPart("price", *rest)] * 2
    >>> [(part.metric, part.against) for part in parts_there([sooner, *fixed])]
    [('speed', 'q-learning'), ('speed', 'rrl')]
    """
    own = [part._replace(against=part.against.removesuffix("-for-speed")) for part in parts]
    price = [one._replace(metric="speed", against="rrl") for one in own if one.metric == "price"]
    return [*(part for part in own if part.metric != "price"), *price[:1]]


def judge_on_map(
    registered: Registration,
    tuning: pd.DataFrame,
    runs: pd.DataFrame,
    length: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Judge the claims of `AGENTS` in the cells of the map that fit the paper's setting.

    For `tuning`, `runs` and `length`, see :func:`map_runs`. With `rng`, the surfaces and the
    runs are drawn again.

    Returns
    -------
    DataFrame
        One row per claim, measure ("served", "recommended") and part, with the columns claim,
        agent, measure, metric, against, threshold, value, low, high, `oracle` (what an oracle
        reaches), met, testable, problems (their number) and `verdict` on all parts of the claim.
    """
    import pandas as pd

    draws = int(rng.integers(2**31))  # a number must not depend on which others there are
    errors = [(noise, "again", _error_again(noise)) for noise in PAPER_CONDITIONS["noise"]]
    again = pd.DataFrame(errors, columns=["problem", "estimator", "error"])

    def number_of(part: ClaimPart, own: pd.DataFrame, agent: str) -> Number:
        """Return the number of a part; one without problems where the map has no such runs."""
        rows = {("speed", agent): own, ("similarity", ORACLE): again}.get((part.metric, agent))
        rng = np.random.default_rng(draws)
        return Number() if rows is None else part_number(part, registered.rules, rows, agent, rng)

    found = []
    for measure, column in zip(MEASURES, MIDDLE, strict=True):
        own = map_runs(tuning, runs, column, length)
        for id, agent in AGENTS.items():
            rows = []
            for part in parts_there(registered.claims[id].parts):
                oracle, number = (number_of(part, own, name) for name in (ORACLE, agent))
                row = {"claim": id, "agent": agent, "measure": measure}
                row |= part_row(part, number, oracle.met)
                rows.append(row | {"problems": len(number.problems), "oracle": oracle.value})
            parts = pd.DataFrame(rows)
            found.append(parts.assign(verdict=verdict(parts)))
    return pd.concat(found, ignore_index=True)
