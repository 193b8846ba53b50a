"""The verdicts on the paper's claims, from the registration and from the measured tables.

No threshold is here: `data/claims.yaml` has them (:mod:`rrl.studies.registration`). Every part of a
claim gets a :class:`Number` with an interval: for each registered agent, for the best rival, and
for the references that know more than any agent, by each kind of problems and each half that is
replayed. :func:`judge_claim` returns them as one table, and the verdicts follow from its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm, wilcoxon

from rrl.core.space import Floats
from rrl.studies.claim_tables import Evidence
from rrl.studies.days import DEFAULT
from rrl.studies.other_half import FIXED, ORACLE, READER
from rrl.studies.registration import FAMILY, METRICS, ClaimPart, RegisteredClaim, Registration
from rrl.support.aggregates import holm, largest_interval, stratified_draws
from rrl.support.intervals import bootstrap_interval

RESAMPLES = 20_000  # with 1000, an end of an interval near a threshold decides by luck
ESTIMATOR = {"rrl": "copy", "rrl-wide": "copy", "rrl-radius-2": "copy", "rrl-schedule": "copy",
             "rrl-adaptive": "copy", "rrl-gp": "learned", ORACLE: "again"}  # fmt: skip
"""How the agents estimate a region. The rivals have no regions: they know the mean."""


class Number(NamedTuple):
    """A number of a part, for one agent, one kind of problems and one half that is replayed.

    Parameters
    ----------
    value, low, high : float
        NaN if no problem can test the part.
    met : bool
        Whether the interval lies beyond the threshold.
    problems : tuple of str
        The problems that it rests on.
    directed : bool
        Whether the interval has the claim's direction.
    each : tuple of float
        The value on each of the problems.
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    met: bool = False
    problems: tuple[str, ...] = ()
    directed: bool = False
    each: tuple[float, ...] = ()


def part_number(
    part: ClaimPart,
    rules: SimpleNamespace,
    rows: pd.DataFrame,
    agent: str,
    seed: int,
    resamples: int = RESAMPLES,
) -> Number:
    """Return the number of a part for an agent or a reference, from the :func:`rows_of` a claim.

    For the interval, the problems and the runs are drawn again, `resamples` times. Each number
    draws from the seed anew, so it does not depend on which others there are. Where the rows lack
    what a part needs, no problem can test it.
    """
    rng = np.random.default_rng(seed)
    if part.metric in ("similarity", "information"):
        return _similarity(part, rows, agent, rng)
    if part.metric in ("runtime", "binary"):
        return _count(part, rows)
    if part.metric == "late":
        return _late(part, rules, rows, agent)
    found = samples(part, rules, rows, agent)
    if not found:
        return Number()
    problems, *columns = zip(*found, strict=True)
    over, under, error = map(np.array, columns)
    typical, family = _upper_median if part.metric == "speed" else _mean, part.statistic == FAMILY
    ratio = typical(over) / typical(under)  # above 1 is in the sense of the claim
    draws = stratified_draws(
        lambda x, y: np.log(typical(x) / typical(y)), [over, under], rng, resamples=resamples
    )
    # For a family, the truth errs in the same direction on all problems.
    draws = draws + rng.normal(size=(resamples, 1) if family else draws.shape) * error
    if part.statistic == "largest":
        estimate = largest_interval(np.log(ratio), draws, rules.confidence)
        reduced = [100 * (1 - np.exp(-x)) for x in estimate]
        return _number(part, reduced, problems, 100 * (1 - 1 / ratio))
    again = _over_problems(draws, problems, rng)
    ends = np.quantile(np.exp(again), [(1 - rules.confidence) / 2, (1 + rules.confidence) / 2])
    value = float(np.exp(np.log(ratio).mean()))
    number = _number(part, (value, *ends.tolist()), problems, ratio)
    if not family:
        return number
    pairs = zip(over, under, error, strict=True)
    sure = holm([_p_value(*pair) for pair in pairs]) <= 1 - rules.confidence + 1e-12
    better = sure & (np.median(over / under, axis=1) > 1)
    return number._replace(met=bool(better.all()), directed=bool(better.any()))


def samples(
    part: ClaimPart, rules: SimpleNamespace, rows: pd.DataFrame, agent: str
) -> list[tuple[str, Floats, Floats, float]]:
    """Return the two samples of a part's ratio, on each problem that can test it.

    Where the median run of neither agent ever arrives, there is no ratio of episodes. Where that of
    one never does, it counts with one episode more than the horizon: the ratio is a bound.

    Returns
    -------
    list of (str, ndarray, ndarray, float)
        The problem, the values over and under the fraction line, each of shape (runs,), and the
        error of the logarithm of the ratio in the truth.
    """
    found, name = [], METRICS[part.metric][1]
    for problem, own, theirs in _both(part, rules, rows, agent):
        over, under, error = theirs[name].to_numpy(float), own[name].to_numpy(float), 0.0
        if part.metric == "speed":
            most = own["episodes"].iloc[0] + 1
            if _upper_median(over) == _upper_median(under) == most:
                continue
        elif part.metric == "loss":
            over, under = under, over
        elif part.metric in ("latency", "served"):
            error = float(np.hypot(theirs["error"].iloc[0], own["error"].mean()))
        found.append((problem, over, under, error))
    return found


def _both(
    part: ClaimPart, rules: SimpleNamespace, rows: pd.DataFrame, agent: str
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield the problems on which the agent and its rival ran, each with the runs by seed.

    Where the default is near the best, nothing can be saved: such problems compare none with it.
    """
    if METRICS[part.metric][1] not in rows:
        return
    other = DEFAULT if part.against == "default" else part.against
    both = rows[rows["agent"].isin([agent, other])].sort_values("seed", kind="stable")
    ours, theirs = (
        dict(iter(both[both["agent"] == name].groupby("problem", sort=False)))
        for name in (agent, other)
    )
    for problem, runs in ours.items():
        able = other != DEFAULT or runs["simple_regret"].iloc[0] > rules.least_gap
        if able and problem in theirs:
            yield problem, runs, theirs[problem]


def _mean(values: Floats) -> Floats:
    return values.mean(axis=-1)


def _upper_median(values: Floats) -> Floats:
    """Return the median of the last axis; of an even number, the later one in the middle."""
    middle = values.shape[-1] // 2
    return np.partition(values, middle, axis=-1)[..., middle]


def _over_problems(draws: Floats, problems: Sequence[str], rng: np.random.Generator) -> Floats:
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


def _p_value(over: Floats, under: Floats, error: float) -> float:
    """Compare the runs of a load seed by seed, and once more with the error of the truth."""
    logs = np.log(over / under)
    p = float(wilcoxon(logs, method="asymptotic").pvalue) if np.any(logs) else 1.0
    se = np.hypot(logs.std(ddof=1) / np.sqrt(len(logs)), error) if len(logs) > 1 else error
    return max(p, float(2 * norm.sf(abs(logs.mean()) / se))) if se > 0 else p


def _late(part: ClaimPart, rules: SimpleNamespace, rows: pd.DataFrame, agent: str) -> Number:
    """Compare fractions of late requests: exact limits that hold for all problems together."""
    counts = []
    for problem, own, base in _both(part, rules, rows, agent):
        late, m = float(base["late"].iloc[0]), int(base["requests"].iloc[0])
        n = int(own["requests"].median())
        if late >= rules.least_late:
            counts.append((problem, round(late * m), m, round(own["late"].mean() * n), n))
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
    return _number(part, (max(value), max(low), max(high)), problems, np.array(value))


def _similarity(
    part: ClaimPart, rows: pd.DataFrame, agent: str, rng: np.random.Generator
) -> Number:
    """Return the error of the agent's estimates, or its ratio to that of the mean of all."""
    estimator = ESTIMATOR.get(agent, "mean")
    needed = {estimator, part.against} - {"truth"}
    if agent in (READER, FIXED) or not needed <= set(rows.get("estimator", ())):
        return Number()
    cells = rows.pivot(index="problem", columns="estimator", values="error")
    own = cells[estimator]
    if part.metric == "similarity":
        return _number(part, bootstrap_interval(own.to_numpy(), rng), own.index, own.to_numpy())
    ratio = (own / cells[part.against]).to_numpy()
    centre = bootstrap_interval(np.log(ratio), rng, statistic=np.mean)
    return _number(part, np.exp(centre).tolist(), own.index, ratio)


def _count(part: ClaimPart, rows: pd.DataFrame) -> Number:
    """Count the recorded episodes of the runtime, or of the binary."""
    if not len(rows):
        return Number()
    total = float(rows[part.metric].sum())
    return _number(part, [total] * 3, rows["problem"], np.array([total]))


def _number(
    part: ClaimPart, estimate: Sequence[float], problems: Iterable[str], each: Floats
) -> Number:
    """Return the number with a value and the limits of its interval."""
    value, low, high = estimate
    met, directed = (bool(part.beyond(low, high, x)) for x in (part.threshold, part.direction))
    return Number(value, low, high, met, tuple(problems), directed, tuple(each.tolist()))


# --- verdicts -------------------------------------------------------------------------------------

SHOWN, PARTLY, NOT_SHOWN = "shown", "partly shown", "not shown"
NOT_TESTABLE = "not testable here"
VERDICTS = (SHOWN, PARTLY, NOT_SHOWN, NOT_TESTABLE)
USE = "a use"
"""In place of a verdict, where something is a use of the system and no claim."""
REFERENCES = (ORACLE, READER, FIXED)
FREE = ("loss", "runtime", "binary")
"""Metrics whose parts are testable without an oracle."""


def judge_all(registered: Registration, evidence: Evidence, seed: int) -> pd.DataFrame:
    """Return the numbers and verdicts of every claim, see :func:`judge_claim`."""
    every = [judge_claim(id, registered, evidence, seed) for id in registered.claims]
    return pd.concat(every, ignore_index=True)


def judge_claim(id: str, registered: Registration, evidence: Evidence, seed: int) -> pd.DataFrame:
    """Measure a claim for all its agents and all kinds of problems, and judge it.

    The bootstrap of each number draws from the seed.

    Returns
    -------
    DataFrame
        One row per kind of problems, half that is replayed, agent or reference, and part. The
        columns are `claim`, `kind`, `agent` (empty if the claim is about none) and `half`; those of
        :class:`rrl.studies.registration.ClaimPart` and of :class:`Number`; `testable`, whether some
        problem, and an oracle, can test the part; `decides` for the kind of problems that decides,
        and `verdict` on the agent by the kind. The verdict is the weaker one of both halves; a
        reference has none.
    """
    claim, rules, columns = registered.claims[id], registered.rules, registered.columns
    agents, rows = [""], []
    for kind in registered.kinds:
        halves = [rows_of(claim, evidence, kind, half) for half in (0, 1)]
        if not len(halves[1]):
            halves.pop()  # a count has no halves, and what is simulated has none either
        if claim.about:
            rival = _best_rival(claim.parts[0], registered, halves)
            own = (*columns["paper"], *claim.also, *columns["recommended"])
            agents = list(dict.fromkeys((*own, *REFERENCES, rival)))
        for half, given in enumerate(halves):
            numbers = {
                (agent, part): part_number(part, rules, given, agent, seed)
                for agent in agents
                for part in claim.parts
            }
            for (agent, part), number in numbers.items():
                reached = part.metric in FREE or numbers[ORACLE, part].met or number.met
                row = {"claim": id, "kind": kind, "agent": agent, "half": half}
                row |= part._asdict() | number._asdict()
                rows.append(row | {"testable": bool(number.problems) and reached})
    judged = pd.DataFrame(rows)
    decides = deciding(registered.decided_by, judged[judged["agent"] == claim.about])
    judged = judged.assign(decides=judged["kind"] == decides, verdict="")
    recorded = {p.kind for p in registered.problems if p.testbed.endswith("/1") and claim.about}
    about_agents = judged[~judged["agent"].isin(REFERENCES)]
    for (kind, _), numbers in about_agents.groupby(["kind", "agent"]):
        word = USE if claim.use else _weaker(numbers, needed=1 + (kind in recorded))
        judged.loc[numbers.index, "verdict"] = word
    return judged


def verdict(parts: pd.DataFrame) -> str:
    """Return the verdict that follows from the numbers of a claim's parts by one half.

    Examples
    --------
    >>> import pandas as pd
    >>> def of(*parts):
    ...     return verdict(pd.DataFrame(parts, columns=["testable", "met", "directed"]))
    >>> met, missed, neither = (True, True, True), (True, False, False), (False, False, False)
    >>> of(met), of(met, missed), of(missed), of(neither)
    ('shown', 'partly shown', 'not shown', 'not testable here')
    """
    testable, met = parts["testable"], parts["met"]
    if not testable.any():
        return NOT_TESTABLE
    if (met & testable).all():
        return SHOWN
    return PARTLY if ((met | parts["directed"]) & testable).any() else NOT_SHOWN


def _weaker(numbers: pd.DataFrame, needed: int) -> str:
    """Return the weaker verdict of all halves; with fewer than are needed, nothing is shown."""
    words = [verdict(parts) for _, parts in numbers.groupby("half")]
    word = max(words, key=VERDICTS.index)
    return PARTLY if word == SHOWN and len(words) < needed else word


def deciding(kinds: Sequence[str], numbers: pd.DataFrame) -> str:
    """Return the kind that decides: the first one that can test every part, by each half.

    If none can, it is the first one that can test some part; and if none can, the last one.
    """
    testable = numbers.groupby("kind")["testable"]
    for enough in (testable.all(), testable.any()):
        for kind in kinds:
            if enough[kind]:
                return kind
    return kinds[-1]


def _best_rival(part: ClaimPart, registered: Registration, halves: Sequence[pd.DataFrame]) -> str:
    """Return the rival with the best mean value of both halves; the first if none has any."""
    values = {}
    for rival in registered.columns["rivals"]:
        found = [part_number(part, registered.rules, rows, rival, 0, 2).value for rows in halves]
        if not np.isnan(found).all():
            values[rival] = np.nanmean(found) * (1 if part.side == "above" else -1)
    return max(values, key=lambda rival: values[rival], default=registered.columns["rivals"][0])


def rows_of(claim: RegisteredClaim, evidence: Evidence, kind: str, half: int) -> pd.DataFrame:
    """Return the rows that judge a claim by a kind of problems and a half: all of one table."""
    table: pd.DataFrame = getattr(evidence, METRICS[claim.parts[0].metric][0])
    if not len(table):
        return table
    own = (table["kind"] == kind) & (table["half"] == half)
    return table[own & table["workload"].isin(claim.workloads or ("",))]


def confirmed(id: str, agent: str, judged: pd.DataFrame, apart: pd.DataFrame) -> str:
    """Return whether the problems that confirm give an agent the verdict of the others.

    Parameters
    ----------
    id, agent : str
        The claim, and the agent that it is about.
    judged, apart : DataFrame
        The numbers and verdicts by the other problems, and by those that confirm.

    Returns
    -------
    str
        "cannot say" if a part cannot be tested by both halves of either, "yes" if the verdicts are
        equal, or "no".
    """
    words = []
    for table in (judged, apart):
        own = table[(table["claim"] == id) & (table["agent"] == agent) & table["decides"]]
        if set(own["half"]) != {0, 1} or not own["testable"].all():
            return "cannot say"
        words.append(own["verdict"].iloc[0])
    return "yes" if words[0] == words[1] else "no"


# --- what to read from the table of numbers -------------------------------------------------------


def by_half(judged: pd.DataFrame, id: str, agent: str) -> pd.DataFrame:
    """Return an agent's numbers of a claim's first part by the kind that decides, one per half."""
    own = judged[(judged["claim"] == id) & (judged["agent"] == agent) & judged["decides"]]
    return own.drop_duplicates("half")


def by_problem(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the value of some numbers on each of their problems, a row per number and problem.

    The columns are `kind`, `problem`, `agent`, `half`, `against` and `value`.
    """
    rows = numbers[["kind", "problems", "agent", "half", "against", "each"]]
    rows = rows.explode(["problems", "each"], ignore_index=True).dropna()
    rows = rows.rename(columns={"problems": "problem", "each": "value"})
    return rows.astype({"problem": str, "value": float})
