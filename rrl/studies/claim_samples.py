"""The two samples behind most numbers of the claims.

Most metrics are ratios of two means over the runs of a problem, from a sample in the numerator and
one in the denominator. A ratio above 1 is in the sense of the claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.studies.claim_runs import Evidence
from rrl.studies.day_tables import DEFAULT
from rrl.studies.registered import ClaimPart, Rules
from rrl.support.aggregates import stratified_draws
from rrl.support.limits import restricted_mean

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Samples:
    """The two samples of a ratio, shape (problems, runs), and the errors of the truth's logs."""

    problems: tuple[str, ...]
    over: Values
    under: Values
    error: Values

    @property
    def ratio(self) -> Values:
        """The ratio of the means on each problem."""
        return self.over.mean(axis=-1) / self.under.mean(axis=-1)

    def draws(
        self, rng: np.random.Generator, resamples: int = 2000, together: bool = False
    ) -> Values:
        """Return the ratio of runs that were drawn again, shape (resamples, problems).

        With `together`, the truth errs in the same direction on all problems.
        """
        both = [self.over, self.under]
        drawn = stratified_draws(
            lambda x, y: x.mean(axis=-1) / y.mean(axis=-1), both, rng, resamples=resamples
        )
        errors = rng.normal(size=(resamples, 1) if together else drawn.shape)
        return drawn * np.exp(errors * self.error)


def samples(part: ClaimPart, rules: Rules, tables: Evidence, agent: str) -> Samples:
    """Return the samples of a part's ratio, on the problems that can test it."""
    facts = tables.facts.set_index("problem") if len(tables.facts) else tables.facts
    table = tables.served if part.metric == "served" else tables.runs
    column = {"speed": "first", "served": "latency_s", "latency": "latency_s"}
    name = column.get(part.metric, "deployed")
    other = DEFAULT if part.metric == "served" else part.against
    rows = []
    for problem, about in facts.iterrows():
        own = runs_on(table, problem, agent)
        theirs = own if part.metric == "latency" else runs_on(table, problem, other)
        if own.empty or theirs.empty:
            continue
        x, y, error = theirs[name].to_numpy(float), own[name].to_numpy(float), 0.0
        if part.metric == "speed":
            if not about["judged"] or not _can_judge(part, rules, x, y, own["episodes"].iloc[0]):
                continue
            x, y = (np.minimum(z, own["episodes"].iloc[0]) for z in (x, y))
        elif part.metric in ("latency", "served") and not about["simple_regret"] > rules.least_gap:
            continue
        elif part.metric == "served" and "error" in own:
            error = float(own["error"].iloc[0])
        elif part.metric == "loss":
            x, y = y, x
        elif part.metric == "latency":
            x = np.full(len(y), about["default_s"])
            error = float(np.hypot(about["default_error"], own["error"].mean()))
        rows.append((problem, x, y, error))
    if not rows:
        return Samples((), np.empty((0, 1)), np.empty((0, 1)), np.empty(0))
    names, over, under, errors = zip(*rows, strict=True)
    return Samples(tuple(names), np.array(over), np.array(under), np.array(errors, dtype=float))


def runs_on(table: pd.DataFrame, problem: str, agent: str) -> pd.DataFrame:
    """Return the runs of an agent on a problem, by seed."""
    if not len(table):
        return table
    found = table[(table["problem"] == problem) & (table["agent"] == agent)]
    return found.sort_values("seed")


def ceiling(theirs: Values, rules: Rules, horizon: float) -> float:
    """Return by what factor an agent can be faster than another at most.

    The other's own speed limits it: nobody recommends a better configuration before the registered
    least number of episodes.
    """
    return float(restricted_mean(theirs, horizon)) / rules.least_episodes


def _can_judge(part: ClaimPart, rules: Rules, theirs: Values, ours: Values, horizon: float) -> bool:
    """Return whether a problem says something about speed: who never arrives is not compared."""
    reached = max(np.mean(theirs <= horizon), np.mean(ours <= horizon))
    possible = ceiling(theirs, rules, horizon) >= part.least_ceiling
    return bool(reached >= rules.least_reached and possible)
