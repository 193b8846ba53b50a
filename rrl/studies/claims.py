"""The verdicts on the paper's claims, from the registration and from the measured tables.

No threshold is here: `data/claims.yaml` has them (:mod:`rrl.studies.registration`). Every claim
about an agent gets a number and a verdict for each registered agent, for the best rival, and for
each kind of problems apart: recorded on the real runtime, simulated, held out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rrl.studies.claim_numbers import Number, part_number
from rrl.studies.claim_runs import Evidence
from rrl.studies.claim_samples import ceiling, runs_on, samples
from rrl.studies.registered import ClaimPart, RegisteredClaim, Registration

if TYPE_CHECKING:
    import pandas as pd

NOBODY = ""
"""The name of the agent where a claim is about none."""


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
        The agents that it was measured for on that kind; the last one is the best rival there.
    numbers : mapping of (str, str) to tuple of Number
        By kind and agent, a number for each part.
    """

    id: str
    claim: RegisteredClaim
    kind: str
    agents: tuple[str, ...]
    numbers: Mapping[tuple[str, str], tuple[Number, ...]]

    def word(self, kind: str, agent: str) -> str:
        """Return the verdict on an agent by a kind of problems."""
        return verdict(self.numbers[kind, agent])

    @property
    def verdict(self) -> str:
        """The verdict on the agent that the claim is about, by the kind that decides."""
        return self.word(self.kind, self.claim.about)

    @property
    def number(self) -> Number:
        """The number of the first part, for the agent that the claim is about."""
        return self.numbers[self.kind, self.claim.about][0]


def verdict(numbers: Iterable[Number]) -> str:
    """Return the verdict that follows from the numbers of a claim's parts.

    Examples
    --------
    >>> met, not_met = Number(met=True, problems=("p",)), Number(problems=("p",))
    >>> verdict([met]), verdict([met, not_met]), verdict([not_met]), verdict([Number()])
    ('reproduced', 'partly', 'not', 'cannot be tested')
    """
    numbers = list(numbers)
    if not any(one.tested for one in numbers):
        return "cannot be tested"
    if all(one.met for one in numbers):
        return "reproduced"
    return "partly" if any(one.met or one.direction for one in numbers) else "not"


def judge_claim(
    id: str, registered: Registration, tables: Evidence, rng: np.random.Generator
) -> Judged:
    """Measure a claim for all its agents and all kinds of problems, and find who decides.

    Parameters
    ----------
    id : str
        A key of the registered claims.
    registered : Registration
    tables : Evidence
    rng : numpy.random.Generator
    """
    claim, rules = registered.claims[id], registered.rules
    own = (*registered.paper_agents, *claim.also, *registered.recommended)
    own = tuple(dict.fromkeys(own)) if claim.about else (NOBODY,)
    numbers: dict[tuple[str, str], tuple[Number, ...]] = {}
    rivals = {}
    for kind in registered.kinds:
        rows = tables_of(tables, kind, claim)
        rivals[kind] = [best_rival(claim.parts[0], registered, rows, rng)] if claim.about else []
        for agent in (*own, *rivals[kind]):
            parts = (part_number(part, rules, rows, agent, rng) for part in claim.parts)
            numbers[kind, agent] = tuple(parts)
    kind = deciding(registered.decided_by, {k: numbers[k, claim.about] for k in registered.kinds})
    return Judged(id, claim, kind, (*own, *rivals[kind]), numbers)


def deciding(kinds: Sequence[str], numbers: Mapping[str, Sequence[Number]]) -> str:
    """Return the kind that decides: the first one that can test every part of a claim.

    If none can test every part, it is the first one that can test some part.

    Examples
    --------
    >>> numbers = {"held_out": (Number(problems=("p",)), Number()), "real": (Number(), Number())}
    >>> deciding(["held_out", "real"], numbers)
    'held_out'
    >>> numbers["real"] = (Number(problems=("q",)),) * 2
    >>> deciding(["held_out", "real"], numbers)
    'real'
    """
    for enough in (all, any):
        for kind in kinds:
            if enough(number.tested for number in numbers[kind]):
                return kind
    return kinds[-1]


def best_rival(
    part: ClaimPart, registered: Registration, tables: Evidence, rng: np.random.Generator
) -> str:
    """Return the rival with the best value of a part; the first rival if none can be tested."""
    values = {}
    for rival in registered.rivals:
        found = part_number(part, registered.rules, tables, rival, rng, resamples=2)
        values[rival] = found.value if part.above is not None else -found.value
    known = {rival: value for rival, value in values.items() if not np.isnan(value)}
    return max(known, key=lambda rival: known[rival], default=registered.rivals[0])


def judge_all(
    registered: Registration, tables: Evidence, rng: np.random.Generator
) -> dict[str, Judged]:
    """Return every claim with its numbers and verdicts, in the order of the registration."""
    return {id: judge_claim(id, registered, tables, rng) for id in registered.claims}


def tables_of(tables: Evidence, kind: str, claim: RegisteredClaim) -> Evidence:
    """Return the rows of a kind of problems, and of the workloads that a claim is about.

    For a claim about late requests, `runs` are those of agents that minimised their fraction.
    """

    def rows(table: pd.DataFrame) -> pd.DataFrame:
        if not len(table):
            return table
        if "workload" not in table:
            return table[table["kind"] == kind]
        return table[(table["kind"] == kind) & table["workload"].isin(claim.workloads or ("",))]

    found = tables._replace(runs=tables.late) if claim.objective == "late" else tables
    recorded = tables.recorded if kind == "real" else tables.recorded[:0]
    return Evidence(*map(rows, found[:5]), recorded, rows(tables.late))


def columns_table(judged: Iterable[Judged]) -> pd.DataFrame:
    """Return all numbers and verdicts: one row per claim, kind of problems, agent and part.

    Returns
    -------
    DataFrame
        `problems` is the number of problems that could test the part. `decides` marks the kind that
        decides.
    """
    import pandas as pd

    rows = []
    for one in judged:
        for (kind, agent), parts in one.numbers.items():
            head = {"claim": one.id, "kind": kind, "agent": agent, "decides": kind == one.kind}
            for part, found in zip(one.claim.parts, parts, strict=True):
                row = {"metric": part.metric, "against": part.against, "statistic": part.statistic}
                row |= {"threshold": found.threshold, "value": found.value, "low": found.low}
                row |= {"high": found.high, "met": found.met, "problems": len(found.problems)}
                rows.append(head | row | {"verdict": one.word(kind, agent)})
    return pd.DataFrame(rows)


def by_problem(judged: Judged, kind: str, part: int = 0) -> pd.DataFrame:
    """Return a part's value on each problem of a kind: one row per problem and agent.

    `counted` is false for the overload, which no claim counts.

    Examples
    --------
    >>> from rrl.studies.registration import read_registration
    >>> claim = read_registration("data").claims["C5"]
    >>> numbers = {("real", "rrl-gp"): (Number(problems=("p",), each=(42.0,)),)}
    >>> by_problem(Judged("C5", claim, "real", ("rrl-gp",), numbers), "real").to_dict("records")
    [{'problem': 'p', 'agent': 'rrl-gp', 'value': 42.0, 'counted': True}]
    """
    import pandas as pd

    rows = [
        {"problem": problem, "agent": agent, "value": value, "counted": kind != "overload"}
        for (one, agent), parts in judged.numbers.items()
        if one == kind
        for problem, value in zip(parts[part].problems, parts[part].each, strict=True)
    ]
    return pd.DataFrame(rows, columns=["problem", "agent", "value", "counted"])


def problems_table(registered: Registration, tables: Evidence) -> pd.DataFrame:
    """Return what each problem can test: one row per problem.

    Returns
    -------
    DataFrame
        Besides the columns of :class:`rrl.studies.claim_runs.Evidence`, `ceiling_<rival>` is by
        what factor an agent can be faster than a rival at most, for the rivals of C4. `saves` is
        whether the default leaves enough to save for C5 to C7 and C9.
    """
    rules, table = registered.rules, tables.facts.copy()
    if table.empty:
        return table
    counts = ["configurations", "good", "possible", "default_requests"]  # unknown of a day
    table[counts] = table[counts].astype("Int64")
    for part in registered.claims["C4"].parts:
        values = []
        for problem in table["problem"]:
            rows = runs_on(tables.runs, problem, part.against)
            known = not rows.empty
            horizon = rows["episodes"].iloc[0] if known else 0
            values.append(ceiling(rows["first"].to_numpy(), rules, horizon) if known else np.nan)
        table[f"ceiling_{part.against}"] = values
    table["saves"] = table["simple_regret"] > rules.least_gap
    return table


def improvement(
    registered: Registration, tables: Evidence, kind: str, agent: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return how likely the agent is sooner within 5 %, and deploys better, than each other agent.

    Returns
    -------
    DataFrame
        One row per other agent: for the measures `first` and `deployed`, the probability of
        improvement over all problems of the kind, with its stratified bootstrap interval. Two runs
        that never get there count as one half, as equal ones do.
    """
    import pandas as pd

    from rrl.support.aggregates import probability_of_improvement, stratified_interval

    runs = tables.runs[tables.runs["kind"] == kind]
    judged = set(tables.facts.loc[tables.facts["judged"].astype(bool), "problem"])
    rows = []
    for other in registered.agents:
        row: dict[str, object] = {"agent": other}
        for measure in ("first", "deployed") if other != agent else ():
            part = runs if measure == "deployed" else runs[runs["problem"].isin(judged)]
            pair = [as_matrix(part, name, measure) for name in (agent, other)]
            if min(map(len, pair)) == 0:
                continue
            found = stratified_interval(probability_of_improvement, pair, rng, resamples=500)
            row |= dict(zip((measure, f"{measure}_low", f"{measure}_high"), found, strict=True))
        if len(row) > 1:
            rows.append(row)
    return pd.DataFrame(rows)


def as_matrix(runs: pd.DataFrame, agent: str, column: str) -> np.ndarray:
    """Return a column as an array of shape (problems, seeds)."""
    own = runs[runs["agent"] == agent]
    return own.pivot(index="problem", columns="seed", values=column).to_numpy(dtype=float)


def speed_table(
    registered: Registration, tables: Evidence, agent: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the factors of C4 for one agent: one row per problem and rival.

    Returns
    -------
    DataFrame
        `problem`, `kind`, `rival`, `ratio` with its 95 % limits `low` and `high`, and `ceiling`.
        Only problems that can judge speed are there, however low the ceiling.
    """
    import pandas as pd

    rows = []
    for kind in registered.kinds:
        claim = registered.claims["C4"]
        part_of = tables_of(tables, kind, claim)
        for part in claim.parts:
            open_part = ClaimPart(
                part.metric, part.statistic, part.against, part.direction, above=0.0
            )
            found = samples(open_part, registered.rules, part_of, agent)
            if not found.problems:
                continue
            low, high = np.quantile(found.draws(rng), [0.025, 0.975], axis=0)
            most = found.over.mean(axis=1) / registered.rules.least_episodes
            most = np.maximum(most, 1.0)  # whoever begins with the same configuration is as quick
            head = {"kind": kind, "rival": part.against, "problem": found.problems}
            columns = {"ratio": found.ratio, "low": low, "high": high, "ceiling": most}
            rows.append(pd.DataFrame(head | columns))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
