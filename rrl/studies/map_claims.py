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
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.studies.claim_tables import Evidence
from rrl.studies.claims import Number, part_number, verdict
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


def map_evidence(tuning: pd.DataFrame, runs: pd.DataFrame, column: str, length: int) -> Evidence:
    """Return the tables of the claims for the cells of the map that fit the paper's setting.

    Parameters
    ----------
    tuning, runs : DataFrame
        See :mod:`rrl.studies.region_map`.
    column : str
        What a run is measured by, such as "served_10".
    length : int
        Episodes of a judging run.
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
    similarity = [(noise, "again", _error_again(noise)) for noise in PAPER_CONDITIONS["noise"]]
    return Evidence(
        runs=pd.concat([own, knows]),
        late=pd.DataFrame(),
        served=pd.DataFrame(),
        similarity=pd.DataFrame(similarity, columns=["problem", "estimator", "error"]),
        facts=own[["problem"]].drop_duplicates(),
        recorded=pd.DataFrame(),
    )


def _error_again(noise: float) -> float:
    """Return the median error (%) of measuring a configuration again: the noise is a factor."""
    space = paper_grid()[0]
    flat = surface("flat", space, np.ones(len(space)), noise)
    return 100 * float(np.expm1(error_again(flat, np.random.default_rng(0))))


def parts_there(parts: Sequence[ClaimPart]) -> list[ClaimPart]:
    """Return the parts of a claim as the map can judge them, see the head of this module.

    Examples
    --------
    >>> fixed = [ClaimPart("price", "geometric mean", name, 1, above=1) for name in ("rrl", "x")]
    >>> sooner = ClaimPart("speed", "geometric mean", "q-learning-for-speed", 1, above=8)
    >>> [(part.metric, part.against) for part in parts_there([sooner, *fixed])]
    [('speed', 'q-learning'), ('speed', 'rrl')]
    """
    own = [replace(part, against=part.against.removesuffix("-for-speed")) for part in parts]
    price = [replace(one, metric="speed", against="rrl") for one in own if one.metric == "price"]
    return [*(part for part in own if part.metric != "price"), *price[:1]]


def judge_on_map(
    registered: Registration,
    tuning: pd.DataFrame,
    runs: pd.DataFrame,
    length: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Judge the claims of `AGENTS` in the cells of the map that fit the paper's setting.

    Parameters
    ----------
    registered : Registration
    tuning, runs, length, rng
        See :func:`map_evidence`. With `rng`, the surfaces and the runs are drawn again.

    Returns
    -------
    DataFrame
        One row per claim, measure ("served", "recommended") and part, with the columns claim,
        agent, measure, metric, against, threshold, value, low, high, `oracle` (what an oracle
        reaches), met, testable, problems (their number) and `verdict` on all parts of the claim.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    draws = int(rng.integers(2**31))  # a number must not depend on which others there are
    for measure, column in zip(MEASURES, MIDDLE, strict=True):
        tables = map_evidence(tuning, runs, column, length)
        for id, agent in AGENTS.items():
            parts, found = parts_there(registered.claims[id].parts), []
            for part in parts:
                oracle, number = (
                    _number(part, registered, tables, name, np.random.default_rng(draws))
                    for name in (ORACLE, agent)
                )
                able = bool(number.problems) and (oracle.met or number.met)
                found.append((number._replace(testable=able), oracle))
            head = {"claim": id, "agent": agent, "measure": measure}
            head["verdict"] = verdict(number for number, _ in found)
            for part, (number, oracle) in zip(parts, found, strict=True):
                row = {name: getattr(part, name) for name in ("metric", "against", "threshold")}
                row |= number._asdict() | {"problems": len(number.problems)}
                rows.append(head | row | {"oracle": oracle.value})
    return pd.DataFrame(rows)


def _number(
    part: ClaimPart,
    registered: Registration,
    tables: Evidence,
    agent: str,
    rng: np.random.Generator,
) -> Number:
    """Return the number of a part; one without problems where the map has no such runs."""
    of_speed = part.metric == "speed"
    again = part.metric == "similarity" and agent == ORACLE
    return (
        part_number(part, registered.rules, tables, agent, rng) if of_speed or again else Number()
    )
