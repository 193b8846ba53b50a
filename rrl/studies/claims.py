"""The verdicts on the paper's claims, from the registration and from the measured tables.

No threshold is here: `data/claims.yaml` has them (:mod:`rrl.studies.registration`). Every claim
about an agent gets numbers for each registered agent, for the best rival, and for the references
that know more than any agent, for each kind of problems and for each half that is replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.studies.claim_numbers import Number, part_number
from rrl.studies.claim_tables import Evidence
from rrl.studies.other_half import FIXED, ORACLE, READER
from rrl.studies.registration import ClaimPart, RegisteredClaim, Registration, Rules

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]
SHOWN, PARTLY, NOT_SHOWN = "shown", "partly shown", "not shown"
NOT_TESTABLE = "not testable here"
VERDICTS = (SHOWN, PARTLY, NOT_SHOWN, NOT_TESTABLE)
USE = "a use"
"""In place of a verdict, where something is a use of the system and no claim."""
NOBODY = ""
"""The name of the agent where a claim is about none."""
REFERENCES = (ORACLE, READER, FIXED)
Key = tuple[str, str, int]
"""A kind of problems, an agent or a reference, and the half that is replayed."""


@dataclass(frozen=True)
class Judged:
    """A claim with its numbers and verdicts.

    Parameters
    ----------
    id : str
    claim : RegisteredClaim
    kind : str
        The kind of problems that decides.
    agents : tuple of str
        The agents that it was measured for; the last one is the best rival by the kind that
        decides.
    numbers : mapping of Key to tuple of Number
        A number for each part.
    halves : mapping of str to int
        How many halves of each kind of problems a verdict needs.
    after_results : bool
        Whether its problems had been read when the rules last changed.
    """

    id: str
    claim: RegisteredClaim
    kind: str
    agents: tuple[str, ...]
    numbers: Mapping[Key, tuple[Number, ...]]
    halves: Mapping[str, int]
    after_results: bool = False

    def of(self, agent: str, part: int = 0) -> list[Number]:
        """Return an agent's numbers of a part by the kind that decides, one for each half."""
        keys = (key for key in self.numbers if key[:2] == (self.kind, agent))
        return [self.numbers[key][part] for key in sorted(keys)]

    def word(self, kind: str, agent: str) -> str:
        """Return the verdict on an agent by a kind of problems: the weaker one of both halves."""
        if self.claim.use:
            return USE
        words = [verdict(parts) for key, parts in self.numbers.items() if key[:2] == (kind, agent)]
        word = max(words, key=VERDICTS.index, default=NOT_TESTABLE)
        return PARTLY if word == SHOWN and len(words) < self.halves[kind] else word

    @property
    def verdict(self) -> str:
        """The verdict on the agent that the claim is about, by the kind that decides."""
        return self.word(self.kind, self.claim.about)


def verdict(numbers: Iterable[Number]) -> str:
    """Return the verdict that follows from the numbers of a claim's parts by one half.

    Examples
    --------
    >>> met, missed = Number(met=True, testable=True), Number(testable=True)
    >>> verdict([met]), verdict([met, missed]), verdict([missed]), verdict([Number()])
    ('shown', 'partly shown', 'not shown', 'not testable here')
    """
    numbers = list(numbers)
    able = [number for number in numbers if number.testable]
    if not able:
        return NOT_TESTABLE
    if all(number.met and number.testable for number in numbers):
        return SHOWN
    return PARTLY if any(one.met or one.direction for one in able) else NOT_SHOWN


def judge_claim(
    id: str, registered: Registration, tables: Evidence, rng: np.random.Generator
) -> Judged:
    """Measure a claim for all its agents and all kinds of problems, and find who decides."""
    claim, rules = registered.claims[id], registered.rules
    columns = registered.columns
    own = (*columns["paper"], *claim.also, *columns["recommended"])
    own = tuple(dict.fromkeys(own)) if claim.about else (NOBODY,)
    numbers: dict[Key, tuple[Number, ...]] = {}
    rivals = {}
    for kind in registered.kinds:
        halves = {half: tables_of(tables, kind, claim, half) for half in (0, 1)}
        late = claim.objective == "late"
        measured = {half for half, rows in halves.items() if len(rows.runs if late else rows.facts)}
        known = [half for half in halves if not half or (claim.about and half in measured)]
        halves = {half: halves[half] for half in known}
        rivals[kind] = _best_rival(claim.parts[0], registered, [*halves.values()], rng)
        others = (*REFERENCES, rivals[kind]) if claim.about else ()
        for half, rows in halves.items():
            reached = [_reached(part, rules, rows, rng) for part in claim.parts]
            for agent in (*own, *others):
                found = [part_number(part, rules, rows, agent, rng) for part in claim.parts]
                numbers[kind, agent, half] = tuple(
                    replace(one, testable=bool(one.problems) and (reach or one.met))
                    for one, reach in zip(found, reached, strict=True)
                )
    both = {p.kind for p in registered.problems if p.testbed.endswith("/1")} if claim.about else {}
    needed = {kind: 1 + (kind in both) for kind in registered.kinds}
    by_kind = {kind: [n for key, n in numbers.items() if key[:2] == (kind, claim.about)]
               for kind in registered.kinds}  # fmt: skip
    kind = deciding(registered.decided_by, by_kind)
    rest = {name.split()[0] for parts in by_kind[kind] for one in parts for name in one.problems}
    after = bool(rest & set(registered.already_read))
    rival = (rivals[kind],) if claim.about else ()
    return Judged(id, claim, kind, (*own, *rival), numbers, needed, after)


def judge_all(
    registered: Registration, tables: Evidence, rng: np.random.Generator
) -> dict[str, Judged]:
    """Return every claim with its numbers and verdicts, in the order of the registration."""
    return {id: judge_claim(id, registered, tables, rng) for id in registered.claims}


def _reached(part: ClaimPart, rules: Rules, tables: Evidence, rng: np.random.Generator) -> bool:
    """Return whether an oracle would meet a part; a loss and a count need none."""
    free = part.metric in ("loss", "runtime", "binary")
    return free or part_number(part, rules, tables, ORACLE, rng).met


def deciding(kinds: Sequence[str], numbers: Mapping[str, Sequence[Sequence[Number]]]) -> str:
    """Return the kind that decides: the first one that can test every part, by each half.

    If none can, it is the first one that can test some part; and if none can, the last one.
    """
    for enough in (all, any):
        for kind in kinds:
            if enough(one.testable for parts in numbers[kind] for one in parts):
                return kind
    return kinds[-1]


def _best_rival(
    part: ClaimPart, registered: Registration, tables: Sequence[Evidence], rng: np.random.Generator
) -> str:
    """Return the rival with the best mean value of both halves; the first if none has any."""
    values = {}
    for rival in registered.columns["rivals"]:
        found = [part_number(part, registered.rules, rows, rival, rng, 2).value for rows in tables]
        if not np.isnan(found).all():
            values[rival] = np.nanmean(found) * (1 if part.above is not None else -1)
    return max(values, key=lambda rival: values[rival], default=registered.columns["rivals"][0])


def tables_of(tables: Evidence, kind: str, claim: RegisteredClaim, half: int) -> Evidence:
    """Return the rows of a kind, of a half, and of the workloads that a claim is about.

    For a claim about late requests, `runs` are those of agents that minimised their fraction.
    """

    def rows(table: pd.DataFrame) -> pd.DataFrame:
        if not len(table):
            return table
        own = (table["kind"] == kind) & (table["half"] == half)
        return table[own & table["workload"].isin(claim.workloads or ("",))]

    found = tables._replace(runs=tables.late) if claim.objective == "late" else tables
    return Evidence(*map(rows, found))


# --- tables for the notebook ----------------------------------------------------------------------


def columns_table(judged: Iterable[Judged]) -> pd.DataFrame:
    """Return all numbers: one row per claim, kind of problems, agent, half and part.

    Returns
    -------
    DataFrame
        `problems` is the number of problems that the number rests on. `decides` marks the kind that
        decides, and `verdict` is by both halves.
    """
    import pandas as pd

    rows = []
    for one in judged:
        for (kind, agent, half), parts in one.numbers.items():
            head = {"claim": one.id, "kind": kind, "agent": agent, "half": half}
            for part, found in zip(one.claim.parts, parts, strict=True):
                row: dict[str, Any] = {"metric": part.metric, "against": part.against}
                row |= {"statistic": part.statistic}
                row |= {"threshold": part.threshold, "value": found.value, "low": found.low}
                row |= {"high": found.high, "met": found.met, "testable": found.testable}
                row |= {"problems": len(found.problems), "decides": kind == one.kind}
                verdict = "" if agent in REFERENCES else one.word(kind, agent)
                rows.append(head | row | {"verdict": verdict})
    return pd.DataFrame(rows)


def by_problem(judged: Judged, part: int = 0) -> pd.DataFrame:
    """Return a part's value on each problem: one row per kind, problem, agent and half."""
    import pandas as pd

    columns = ["kind", "problem", "agent", "half", "value"]
    rows = [
        (kind, problem, agent, half, value)
        for (kind, agent, half), parts in judged.numbers.items()
        for problem, value in zip(parts[part].problems, parts[part].each, strict=True)
    ]
    return pd.DataFrame(rows, columns=columns)


def as_matrix(runs: pd.DataFrame, agent: str, column: str) -> Values:
    """Return a column as an array of shape (problems, seeds); each half is a problem."""
    own = runs[runs["agent"] == agent]
    return own.pivot(index=["problem", "half"], columns="seed", values=column).to_numpy(dtype=float)
