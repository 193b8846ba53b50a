"""The numbers of the claims: each metric of the registration, on all problems of a kind.

Every number of a part is about one agent and one kind of problems, and has an interval. It also
says on which problems it rests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.studies.claim_runs import Evidence
from rrl.studies.claim_samples import Samples, runs_on, samples
from rrl.studies.registered import ClaimPart, Rules
from rrl.support.aggregates import Interval, largest_interval
from rrl.support.intervals import bootstrap_interval
from rrl.support.limits import fraction_limits, holm

Values = NDArray[np.float64]

ESTIMATOR = {"rrl": "copy", "rrl-wide": "copy", "rrl-adaptive": "copy",
             "rrl-gp": "learned"}  # fmt: skip
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
    if part.statistic == "all of a family":
        sources = (tables, tables._replace(served=tables.other_half))
        return _family(
            part, rules, [samples(part, rules, one, agent) for one in sources], rng, resamples
        )
    found = samples(part, rules, tables, agent)
    if not found.problems:
        return Number()
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


def _family(
    part: ClaimPart,
    rules: Rules,
    sources: Sequence[Samples],
    rng: np.random.Generator,
    resamples: int,
) -> Number:
    """Test every load of a family; the number is the geometric mean of all.

    A load with two sources, a replay and the half that nobody replayed, counts by both: with the
    smaller ratio, and with the larger p-value.
    """
    names = tuple(dict.fromkeys(name for one in sources for name in one.problems))
    if not names:
        return Number()
    found = [
        [_load(one, one.problems.index(name)) for one in sources if name in one.problems]
        for name in names
    ]
    sure = holm([max(load.p for load in both) for both in found]) <= 1 - rules.confidence + 1e-12
    centre = np.array([min(load.centre for load in both) for both in found])
    better = [sure & (centre > limit) for limit in (part.above, part.direction)]
    weaker = [min(both, key=lambda load: load.ratio) for both in found]
    rows = [[load.source.over[load.at], load.source.under[load.at]] for load in weaker]
    over, under = np.moveaxis(np.array(rows), 1, 0)
    chosen = Samples(names, over, under, np.array([load.error for load in weaker]))
    draws = np.log(chosen.draws(rng, resamples, together=True)).mean(axis=1)
    value = float(np.exp(np.log(chosen.ratio).mean()))
    return Number(value, *_limits(np.exp(draws), rules.confidence), bool(better[0].all()),
                  bool(better[1].any()), names, tuple(chosen.ratio.tolist()),
                  float(part.above or 0.0))  # fmt: skip


class _Load(NamedTuple):
    """One load of a family by one source: its median ratio, p-value, mean ratio, and error."""

    source: Samples
    at: int
    centre: float
    p: float
    ratio: float
    error: float


def _load(source: Samples, at: int) -> _Load:
    """Compare the runs of a load seed by seed, and once more with the error of the truth."""
    from scipy.stats import norm, wilcoxon

    logs, error = np.log(source.over[at] / source.under[at]), float(source.error[at])
    p = float(wilcoxon(logs, method="asymptotic").pvalue) if np.any(logs) else 1.0
    se = np.hypot(logs.std(ddof=1) / np.sqrt(len(logs)), error) if len(logs) > 1 else error
    if se > 0:
        p = max(p, float(2 * norm.sf(abs(logs.mean()) / se)))
    centre = float(np.exp(np.median(logs)))
    return _Load(source, at, centre, p, float(source.ratio[at]), error)


def _late(part: ClaimPart, rules: Rules, tables: Evidence, agent: str) -> Number:
    """Compare fractions of late requests: exact limits that hold for all problems together."""
    if not len(tables.facts) or not len(tables.runs):
        return Number()
    facts = tables.facts.set_index("problem")
    counts = []
    for problem, about in facts.iterrows():
        own = runs_on(tables.runs, problem, agent)
        often = (
            about["simple_regret"] > rules.least_gap and about["default_late"] >= rules.least_late
        )
        if often and not own.empty:
            n, base = int(own["requests"].median()), int(about["default_requests"])
            pairs = ((about["default_late"], base), (own["late"].mean(), n))
            counts.append((problem, *((round(fraction * m), m) for fraction, m in pairs)))
    if not counts:
        return Number()
    each = 1 - (1 - rules.confidence) / (2 * len(counts))
    value, low, high = [], [], []
    for _, default, own in counts:
        (d_low, d_high), (o_low, o_high) = (fraction_limits(*pair, each) for pair in (default, own))
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
