"""The numbers of the claims: each metric of the registration, on all problems of a kind.

Every number of a part is about one agent and one kind of problems, and has an interval. It also
says on which problems it rests. Most metrics are ratios of two means over the runs of a problem,
from a sample in the numerator and one in the denominator. A ratio above 1 is in the sense of the
claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.studies.claim_runs import DEFAULT, Evidence
from rrl.studies.registered import ClaimPart, Rules
from rrl.support.aggregates import Interval, largest_interval, stratified_draws
from rrl.support.intervals import bootstrap_interval
from rrl.support.limits import holm, restricted_mean, share_limits

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

ESTIMATOR = {"rrl-boltzmann": "copy", "rrl-boltzmann-wide": "copy", "rrl-adaptive": "copy",
             "rrl": "learned"}  # fmt: skip
"""How the agents estimate a region. The rivals have no regions: they know the mean."""


@dataclass(frozen=True)
class Number:
    """A number of a part, for one agent and one kind of problems.

    Parameters
    ----------
    value, low, high : float
        NaN if no problem can test the part.
    met, direction : bool
        Whether the part is met, and whether it has the claim's direction.
    problems : tuple of str
        The problems that it rests on.
    each : tuple of float
        The value on each of them.
    threshold : float
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    met: bool = False
    direction: bool = False
    problems: tuple[str, ...] = ()
    each: tuple[float, ...] = ()
    threshold: float = float("nan")

    @property
    def tested(self) -> bool:
        """Whether there is a problem that can test the part."""
        return len(self.problems) > 0


def beyond(
    part: ClaimPart, estimate: Interval, threshold: float | None = None
) -> tuple[bool, bool]:
    """Return whether an interval is beyond a part's threshold, and beyond its direction.

    Examples
    --------
    >>> part = ClaimPart("speed", "geometric mean", "q-learning", direction=1, above=8)
    >>> beyond(part, Interval(9.0, 8.5, 9.5)), beyond(part, Interval(9.0, 7.0, 11.0))
    ((True, True), (False, True))
    """
    if part.above is not None:
        limit = part.above if threshold is None else threshold
        return estimate.low > limit, estimate.low > part.direction
    limit = part.below if threshold is None else threshold
    return estimate.high < limit, estimate.high < part.direction


def part_number(
    part: ClaimPart,
    rules: Rules,
    tables: Evidence,
    agent: str,
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Number:
    """Return the number of a part for an agent.

    Parameters
    ----------
    part : ClaimPart
    rules : Rules
    tables : Evidence
        The tables of one kind of problems, and of those workloads that the claim is about.
    agent : str
    rng : numpy.random.Generator
        It draws the runs again for the interval.
    resamples : int, optional
        How many times the runs are drawn again.
    """
    if part.metric in ("similarity", "information"):
        return _similarity(part, tables, agent, rng)
    if part.metric in ("runtime", "binary"):
        return _count(part, tables)
    if part.metric == "late":
        return _late(part, rules, tables, agent)
    found = samples(part, rules, tables, agent)
    if not found.problems:
        return Number()
    if part.statistic == "all of a family":
        return _family(part, rules, found, rng, resamples)
    draws = found.draws(rng, resamples)
    if part.statistic == "largest":
        logs = largest_interval(np.log(found.ratio), np.log(draws), rules.confidence)
        estimate = Interval(*(100 * (1 - np.exp(-x)) for x in logs))
        each = 100 * (1 - 1 / found.ratio)
    else:
        low, high = _limits(np.exp(np.log(draws).mean(axis=1)), rules.confidence)
        estimate = Interval(float(np.exp(np.log(found.ratio).mean())), low, high)
        each = found.ratio
    return _number(part, estimate, found.problems, each)


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

    def draws(self, rng: np.random.Generator, resamples: int = 2000) -> Values:
        """Return the ratio of runs that were drawn again, shape (resamples, problems)."""
        both = [self.over, self.under]
        drawn = stratified_draws(
            lambda x, y: x.mean(axis=-1) / y.mean(axis=-1), both, rng, resamples=resamples
        )
        return drawn * np.exp(rng.normal(size=drawn.shape) * self.error)


def samples(part: ClaimPart, rules: Rules, tables: Evidence, agent: str) -> Samples:
    """Return the samples of a part's ratio, on the problems that can test it."""
    facts = tables.facts.set_index("problem") if len(tables.facts) else tables.facts
    column = {"speed": "first", "served": "latency_s", "latency": "latency_s"}
    name = column.get(part.metric, "deployed")
    rows = []
    for problem, about in facts.iterrows():
        own, theirs = _compared(part, tables, str(problem), agent)
        if own.empty or theirs.empty:
            continue
        x, y, error = theirs[name].to_numpy(float), own[name].to_numpy(float), 0.0
        if part.metric == "speed":
            if not about["judged"] or not _can_judge(part, rules, x, y, own["episodes"].iloc[0]):
                continue
            x, y = (np.minimum(z, own["episodes"].iloc[0]) for z in (x, y))
        elif part.metric in ("latency", "served") and not about["gap"] > rules.least_gap:
            continue
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


def _compared(
    part: ClaimPart, tables: Evidence, problem: str, agent: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the runs of an agent on a problem, and those that they are compared with.

    Under a changing load, a recording has two pairs: what was served in its replay, and the same by
    the half that no agent replayed. The pair with the smaller ratio counts.
    """
    if part.metric != "served":
        own = runs_on(tables.runs, problem, agent)
        same = part.metric == "latency"  # the truth of the default is one of the facts
        return own, own if same else runs_on(tables.runs, problem, part.against)
    sources = tables.served, tables.other_half
    pairs = [
        (runs_on(table, problem, agent), runs_on(table, problem, DEFAULT)) for table in sources
    ]
    known = [pair for pair in pairs if not (pair[0].empty or pair[1].empty)]
    return min(known, key=_ratio, default=pairs[0])


def _ratio(pair: tuple[pd.DataFrame, pd.DataFrame]) -> float:
    ours, theirs = (rows["latency_s"].mean() for rows in pair)
    return float(theirs / ours)


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


def _family(
    part: ClaimPart, rules: Rules, found: Samples, rng: np.random.Generator, resamples: int
) -> Number:
    """Test every load of a family, seed by seed; the number is the geometric mean of all."""
    from scipy.stats import wilcoxon

    logs = np.log(found.over / found.under)
    p = [wilcoxon(row, method="asymptotic").pvalue if np.any(row) else 1.0 for row in logs]
    sure = holm(p) <= 1 - rules.confidence + 1e-12
    limits = (part.above, part.direction)
    better = [sure & (np.exp(np.median(logs, axis=1)) > limit) for limit in limits]
    low, high = _limits(np.exp(np.log(found.draws(rng, resamples)).mean(axis=1)), rules.confidence)
    value = float(np.exp(np.log(found.ratio).mean()))
    return Number(value, low, high, bool(better[0].all()), bool(better[1].any()), found.problems,
                  tuple(found.ratio.tolist()), float(part.above))  # fmt: skip


def _late(part: ClaimPart, rules: Rules, tables: Evidence, agent: str) -> Number:
    """Compare shares of late requests: exact limits that hold for all problems together."""
    if not len(tables.facts) or not len(tables.runs):
        return Number()
    facts = tables.facts.set_index("problem")
    counts = []
    for problem, about in facts.iterrows():
        own = runs_on(tables.runs, problem, agent)
        often = about["gap"] > rules.least_gap and about["default_late"] >= rules.least_late
        if often and not own.empty:
            n, base = int(own["requests"].median()), int(about["default_requests"])
            pairs = ((about["default_late"], base), (own["late"].mean(), n))
            counts.append((problem, *((round(share * m), m) for share, m in pairs)))
    if not counts:
        return Number()
    each = 1 - (1 - rules.confidence) / (2 * len(counts))
    value, low, high = [], [], []
    for _, default, own in counts:
        (d_low, d_high), (o_low, o_high) = (share_limits(*pair, each) for pair in (default, own))
        value.append(100 * (1 - (own[0] / own[1]) / (default[0] / default[1])))
        low.append(100 * (1 - o_high / d_low))
        high.append(100 * (1 - o_low / d_high))
    problems = tuple(one[0] for one in counts)
    return _number(part, Interval(max(value), max(low), max(high)), problems, np.array(value))


def _similarity(part: ClaimPart, tables: Evidence, agent: str, rng: np.random.Generator) -> Number:
    """Return the error of the agent's estimates, or its ratio to that of the mean of all."""
    if not len(tables.similarity):
        return Number()
    cells = tables.similarity.pivot(index="problem", columns="estimator", values="error")
    own = cells[ESTIMATOR.get(agent, "mean")]
    if part.metric == "similarity":
        repeat = tables.similarity.groupby("problem")["repeat"].first().median()
        threshold = max(float(part.below), float(repeat))
        estimate = Interval(*bootstrap_interval(own.to_numpy(), rng))
        return _number(part, estimate, tuple(own.index), own.to_numpy(), threshold)
    ratio = (own / cells[part.against]).to_numpy()
    centre = bootstrap_interval(np.log(ratio), rng, statistic=np.mean)
    return _number(part, Interval(*np.exp(centre).tolist()), tuple(own.index), ratio)


def _count(part: ClaimPart, tables: Evidence) -> Number:
    """Count the recorded episodes, all or only those of the binary."""
    rows = tables.recorded
    if not len(rows):
        return Number()
    counted = rows[rows["binary"].astype(bool)] if part.metric == "binary" else rows
    total = float(counted["episodes"].sum())
    return _number(part, Interval(total, total, total), tuple(rows["profile"]), np.array([total]))


def _number(
    part: ClaimPart,
    estimate: Interval,
    problems: Sequence[str],
    each: Values,
    threshold: float | None = None,
) -> Number:
    met, direction = beyond(part, estimate, threshold)
    if threshold is None:
        threshold = part.above if part.above is not None else part.below
    return Number(*estimate, bool(met), bool(direction), tuple(problems),
                  tuple(np.asarray(each, dtype=float).tolist()), float(threshold))  # fmt: skip


def _limits(draws: Values, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
