"""The verdicts on the paper's claims, from the registration and from the measured tables.

No threshold is here: `data/claims.yaml` has them (:mod:`rrl.studies.registration`). Every claim
about an agent gets a :class:`Number` with an interval for each of its parts: for each registered
agent, for the best rival, and for the references that know more than any agent, by each kind of
problems and each half that is replayed. The verdicts follow from these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.studies.claim_tables import Evidence
from rrl.studies.days import DEFAULT
from rrl.studies.other_half import FIXED, ORACLE, READER
from rrl.studies.registration import FAMILY, ClaimPart, RegisteredClaim, Registration, Rules
from rrl.support.aggregates import Interval, largest_interval, stratified_draws
from rrl.support.intervals import bootstrap_interval
from rrl.support.limits import holm

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]
RESAMPLES = 1000
ESTIMATOR = {"rrl": "copy", "rrl-wide": "copy", "rrl-radius-2": "copy", "rrl-schedule": "copy",
             "rrl-adaptive": "copy", "rrl-gp": "learned", ORACLE: "again"}  # fmt: skip
"""How the agents estimate a region. The rivals have no regions: they know the mean."""
COLUMN = {"speed": "first", "price": "mean_cost", "loss": "deployed"}
"""The column of `runs` or `served` that a metric compares; `latency_s` if it is not here."""


class Number(NamedTuple):
    """A number of a part, for one agent, one kind of problems and one half that is replayed.

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
    testable : bool
        Whether there is such a problem, and an oracle would meet the part there.
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    met: bool = False
    direction: bool = False
    problems: tuple[str, ...] = ()
    each: tuple[float, ...] = ()
    testable: bool = False


def part_number(
    part: ClaimPart,
    rules: Rules,
    tables: Evidence,
    agent: str,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Number:
    """Return the number of a part for an agent or a reference.

    Parameters
    ----------
    part : ClaimPart
    rules : Rules
    tables : Evidence
        See :func:`tables_of`.
    agent : str
    rng : numpy.random.Generator
        It draws the problems and the runs again for the interval.
    resamples : int, optional
        How many times they are drawn again.
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
    ratio, family = found.ratio, part.statistic == FAMILY
    draws = found.draws(rng, resamples, together=family)
    if part.statistic == "largest":
        estimate = largest_interval(np.log(ratio), draws, rules.confidence)
        reduced = Interval(*(100 * (1 - np.exp(-x)) for x in estimate))
        return _number(part, reduced, found.problems, 100 * (1 - 1 / ratio))
    again = _over_problems(draws, found.problems, rng)
    ends = np.quantile(np.exp(again), [(1 - rules.confidence) / 2, (1 + rules.confidence) / 2])
    value = float(np.exp(np.log(ratio).mean()))
    number = _number(part, Interval(value, *ends.tolist()), found.problems, ratio)
    if not family:
        return number
    pairs = zip(found.over, found.under, found.error, strict=True)
    sure = holm([_p_value(*pair) for pair in pairs]) <= 1 - rules.confidence + 1e-12
    better = sure & (np.median(found.over / found.under, axis=1) > 1)
    return number._replace(met=bool(better.all()), direction=bool(better.any()))


class Samples(NamedTuple):
    """The two samples of a ratio, shape (problems, runs), and the errors of the truth's logs.

    `typical` is what summarises the runs of a problem, over their last axis.
    """

    problems: tuple[str, ...]
    over: Values
    under: Values
    error: Values
    typical: Callable[[Values], Values]

    @property
    def ratio(self) -> Values:
        """The ratio on each problem; above 1 is in the sense of the claim."""
        return self.typical(self.over) / self.typical(self.under)

    def draws(self, rng: np.random.Generator, resamples: int, together: bool) -> Values:
        """Return the log ratio of runs that were drawn again, shape (resamples, problems).

        With `together`, the truth errs in the same direction on all problems.
        """
        typical = self.typical
        drawn = stratified_draws(
            lambda x, y: np.log(typical(x) / typical(y)),
            [self.over, self.under],
            rng,
            resamples=resamples,
        )
        errors = rng.normal(size=(resamples, 1) if together else drawn.shape)
        return drawn + errors * self.error


def samples(part: ClaimPart, rules: Rules, tables: Evidence, agent: str) -> Samples:
    """Return the samples of a part's ratio, on the problems that can test it.

    Where the median run of neither agent ever arrives, there is no ratio of episodes. Where that of
    one never does, it counts with one episode more than the horizon: the ratio is a bound.
    """
    saves = part.metric in ("latency", "served")
    table = tables.served if part.metric == "served" else tables.runs
    name = COLUMN.get(part.metric, "latency_s")
    other = DEFAULT if saves else part.against
    rows, ours, others = [], runs_of(table, agent), runs_of(table, other)
    for about in tables.facts.itertuples():
        own, theirs = ours.get(about.problem), others.get(about.problem)
        if own is None or theirs is None or (saves and not about.simple_regret > rules.least_gap):
            continue
        x, y, error = theirs[name].to_numpy(float), own[name].to_numpy(float), 0.0
        x, y = (z[: min(len(x), len(y))] for z in (x, y))
        if part.metric == "speed":
            most = own["episodes"].iloc[0] + 1
            x, y = np.minimum(x, most), np.minimum(y, most)
            if _upper_median(x) == _upper_median(y) == most:
                continue
        elif part.metric == "loss":
            x, y = y, x
        elif part.metric == "served":
            error = float(own["error"].iloc[0])
        elif part.metric == "latency":
            error = float(np.hypot(theirs["error"].iloc[0], own["error"].mean()))
        rows.append((about.problem, x, y, error))
    typical = _upper_median if part.metric == "speed" else _mean
    if not rows:
        return Samples((), np.empty((0, 1)), np.empty((0, 1)), np.empty(0), typical)
    names, over, under, errors = zip(*rows, strict=True)
    return Samples(tuple(names), np.array(over), np.array(under), np.array(errors), typical)


def _mean(values: Values) -> Values:
    return values.mean(axis=-1)


def _upper_median(values: Values) -> Values:
    """Return the median of the last axis; of an even number, the later one in the middle."""
    return np.sort(values, axis=-1)[..., values.shape[-1] // 2]


def _over_problems(draws: Values, problems: Sequence[str], rng: np.random.Generator) -> Values:
    """Return the mean of problems that are drawn again, shape (resamples,).

    All loads of a testbed are drawn together, because they share its machine and model. If there is
    only one testbed, its loads are drawn.
    """
    names = [name.split()[0] for name in problems]
    names = list(problems) if len(set(names)) == 1 else names
    groups, index = np.unique(names, return_inverse=True)
    member = (index == np.arange(len(groups))[:, None]).astype(float)
    drawn = rng.integers(len(groups), size=(len(draws), len(groups)))
    sums, counts = draws @ member.T, member.sum(axis=1)
    return np.take_along_axis(sums, drawn, axis=1).sum(axis=1) / counts[drawn].sum(axis=1)


def _p_value(over: Values, under: Values, error: float) -> float:
    """Compare the runs of a load seed by seed, and once more with the error of the truth."""
    from scipy.stats import norm, wilcoxon

    logs = np.log(over / under)
    p = float(wilcoxon(logs, method="asymptotic").pvalue) if np.any(logs) else 1.0
    se = np.hypot(logs.std(ddof=1) / np.sqrt(len(logs)), error) if len(logs) > 1 else error
    return max(p, float(2 * norm.sf(abs(logs.mean()) / se))) if se > 0 else p


def _late(part: ClaimPart, rules: Rules, tables: Evidence, agent: str) -> Number:
    """Compare fractions of late requests: exact limits that hold for all problems together."""
    from scipy.stats import binomtest

    counts, defaults, ours = [], *(runs_of(tables.runs, name) for name in (DEFAULT, agent))
    for about in tables.facts.itertuples():
        base, own = defaults.get(about.problem), ours.get(about.problem)
        if base is None or own is None or not about.simple_regret > rules.least_gap:
            continue
        late, m = float(base["late"].iloc[0]), int(base["requests"].iloc[0])
        n = int(own["requests"].median())
        if late >= rules.least_late:
            counts.append((about.problem, round(late * m), m, round(own["late"].mean() * n), n))
    if not counts:
        return Number()
    each = 1 - (1 - rules.confidence) / (2 * len(counts))
    value, low, high = [], [], []
    for _, default_late, m, own_late, n in counts:
        default, less = (  # Clopper and Pearson's
            binomtest(*of).proportion_ci(each) for of in ((default_late, m), (own_late, n))
        )
        value.append(100 * (1 - (own_late / n) / (default_late / m)))
        low.append(100 * (1 - less.high / default.low))
        high.append(100 * (1 - less.low / default.high))
    problems = tuple(one[0] for one in counts)
    return _number(part, Interval(max(value), max(low), max(high)), problems, np.array(value))


def _similarity(part: ClaimPart, tables: Evidence, agent: str, rng: np.random.Generator) -> Number:
    """Return the error of the agent's estimates, or its ratio to that of the mean of all."""
    if not len(tables.similarity) or agent in (READER, FIXED):
        return Number()
    cells = tables.similarity.pivot(index="problem", columns="estimator", values="error")
    own = cells[ESTIMATOR.get(agent, "mean")]
    if part.metric == "similarity":
        estimate = Interval(*bootstrap_interval(own.to_numpy(), rng))
        return _number(part, estimate, tuple(own.index), own.to_numpy())
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
    return _number(part, Interval(total, total, total), tuple(rows["problem"]), np.array([total]))


def _number(part: ClaimPart, estimate: Interval, problems: Sequence[str], each: Values) -> Number:
    ends = estimate.low, estimate.high
    met, direction = (bool(part.beyond(*ends, x)) for x in (part.threshold, part.direction))
    values = tuple(np.asarray(each, dtype=float).tolist())
    return Number(*estimate, met, direction, tuple(problems), values)


def runs_of(table: pd.DataFrame, agent: str) -> dict[str, pd.DataFrame]:
    """Return the runs of an agent by problem, each by seed."""
    if not len(table):
        return {}
    found = table[table["agent"] == agent].sort_values("seed", kind="stable")
    return dict(iter(found.groupby("problem", sort=False)))


# --- verdicts -------------------------------------------------------------------------------------

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
    for kind in registered.kinds:
        halves = {half: tables_of(tables, kind, claim, half) for half in (0, 1)}
        late = claim.objective == "late"
        measured = {half for half, rows in halves.items() if len(rows.runs if late else rows.facts)}
        known = [half for half in halves if not half or (claim.about and half in measured)]
        halves = {half: halves[half] for half in known}
        rival = _best_rival(claim.parts[0], registered, [*halves.values()], rng)
        others = (*REFERENCES, rival) if claim.about else ()
        for half, rows in halves.items():
            reached = [_reached(part, rules, rows, rng) for part in claim.parts]
            for agent in (*own, *others):
                found = [part_number(part, rules, rows, agent, rng) for part in claim.parts]
                numbers[kind, agent, half] = tuple(
                    one._replace(testable=bool(one.problems) and (reach or one.met))
                    for one, reach in zip(found, reached, strict=True)
                )
    both = {p.kind for p in registered.problems if p.testbed.endswith("/1")} if claim.about else {}
    needed = {kind: 1 + (kind in both) for kind in registered.kinds}
    by_kind = {kind: [n for key, n in numbers.items() if key[:2] == (kind, claim.about)]
               for kind in registered.kinds}  # fmt: skip
    kind = deciding(registered.decided_by, by_kind)
    rest = {name.split()[0] for parts in by_kind[kind] for one in parts for name in one.problems}
    after = bool(rest & set(registered.already_read))
    return Judged(id, claim, kind, numbers, needed, after)


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

    of_part = ["metric", "against", "statistic", "threshold"]
    of_number = ["value", "low", "high", "met", "testable"]
    rows = []
    for one in judged:
        for (kind, agent, half), parts in one.numbers.items():
            verdict = "" if agent in REFERENCES else one.word(kind, agent)
            for part, found in zip(one.claim.parts, parts, strict=True):
                columns = [
                    *(getattr(part, n) for n in of_part),
                    *(getattr(found, n) for n in of_number),
                ]
                rest = len(found.problems), kind == one.kind, verdict
                rows.append((one.id, kind, agent, half, *columns, *rest))
    names = ["claim", "kind", "agent", "half", *of_part, *of_number, "problems", "decides"]
    return pd.DataFrame(rows, columns=[*names, "verdict"])


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
