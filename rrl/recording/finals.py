"""The finals of a profile: re-measure the best few of each load until the best is known.

A grid is measured a few times only, and the smallest of many noisy means is small partly by luck.
So the best few of each load meet again, round by round on fresh servers and the same arrivals,
until each rival of the best is *separated* (its cost ratio to the best is above 1) or *tied* (the
ratio is within the tolerance of 1, above and below), at 95 % confidence. Episodes are paired, and
the ratio's centre is a robust one: neighbours on a shared machine slow some episodes several times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.episode import Episode
from rrl.recording.profile import Plan
from rrl.recording.record import Recorder, Visit, schedule

TOLERANCE = 0.05
MIN_ROUNDS, MAX_ROUNDS = 3, 120
CONFIDENCE = 0.95
COMPARABLE = 1.5  # an episode in which all are this much slower than on the grid is left out


def centre_interval(
    values: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Centre of a symmetric distribution with one-sided confidence limits, robust to outliers.

    The Hodges-Lehmann estimate: the median of all pairwise means. Its limits come from Wilcoxon's
    signed-rank statistic (normal approximation). One episode in ten may be several times too slow
    because of a neighbour on the machine; a mean and its t-interval would follow it.

    Parameters
    ----------
    values : ndarray, shape (n,)
    confidence : float
        Of each of the two limits.

    Returns
    -------
    centre, low, high : float
        The limits are infinite when there are too few values for this confidence.

    References
    ----------
    Hodges and Lehmann, "Estimates of location based on rank tests", Annals of Mathematical
    Statistics 34(2), 1963.

    Examples
    --------
    >>> centre_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 600.0]))
    (3.5, 2.0, 302.0)
    """
    from scipy import stats

    n = len(values)
    first, second = np.triu_indices(n)
    means = np.sort((values[first] + values[second]) / 2)
    variance = n * (n + 1) * (2 * n + 1) / 24
    cut = int(np.floor(n * (n + 1) / 4 - stats.norm.ppf(confidence) * np.sqrt(variance)))
    if cut < 0:
        return float(np.median(means)), -np.inf, np.inf
    return float(np.median(means)), float(means[cut]), float(means[-1 - cut])


@dataclass(frozen=True)
class Verdict:
    """How a finalist compares with the best: cost ratio with its limits, and the word for it."""

    word: str
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0


def judge(
    means: NDArray[np.float64], tolerance: float = TOLERANCE, confidence: float = CONFIDENCE
) -> tuple[int, list[Verdict]]:
    """Compare finalists over episodes.

    Parameters
    ----------
    means : ndarray, shape (episodes, finalists)
        Mean latency (s) of each finalist in each episode; NaN where it took no part. Rows are
        paired: one episode's arrivals and a few minutes of the machine are shared.
    tolerance : float
        A rival is tied when its cost is surely within this share of the best's, above or below.
    confidence : float
        Of each limit on the log ratio, see `centre_interval`.

    Returns
    -------
    best : int
        Column with the smallest typical cost, by median polish: finalists that were dropped early
        took part in other episodes than the rest.
    verdicts : list of Verdict, length finalists
        Their word is "best", "separated", "tied" or "undecided".

    Raises
    ------
    ValueError
        If nothing was measured.

    Examples
    --------
    >>> rounds = np.linspace(1, 2, 6)[:, None] * [1.0, 1.5, 1.01]
    >>> best, verdicts = judge(rounds)
    >>> best, [verdict.word for verdict in verdicts]
    (0, ['best', 'separated', 'tied'])
    """
    logs = np.log(means)
    if logs.shape[1] == 0 or np.isnan(logs).all():
        raise ValueError("no episode to judge by: measure a round first")
    best = int(np.argmin(_median_polish(logs)))
    verdicts = []
    for ratios in _ratios(logs, best):
        centre, low, high = centre_interval(ratios, confidence)
        tied = max(-low, high) < np.log1p(tolerance)
        word = "tied" if tied else "separated" if low > 0 else "undecided"
        verdicts.append(Verdict(word, *np.exp([centre, low, high]).tolist()))
    verdicts[best] = Verdict("best")
    return best, verdicts


def _median_polish(logs: NDArray[np.float64], sweeps: int = 20) -> NDArray[np.float64]:
    """Effect of each column when rows have effects too and cells may be missing (Tukey, 1977)."""
    columns = np.zeros(logs.shape[1])
    for _ in range(sweeps):
        rows = np.nanmedian(logs - columns, axis=1, keepdims=True)
        columns = np.nanmedian(logs - rows, axis=0)
    return columns


def _ratios(logs: NDArray[np.float64], column: int) -> list[NDArray[np.float64]]:
    """Log ratios of each finalist to one of them, in the episodes that both took part in."""
    differences = (logs - logs[:, [column]]).T
    return [row[~np.isnan(row)] for row in differences]


class Finals:
    """The adaptive order of the rounds; hand `order()` to `Recorder.run`.

    Parameters
    ----------
    recorder : Recorder
        Its plan's own passes must be complete.
    finalists : int
        How many of each load take part; 0 for no finals.
    """

    def __init__(self, recorder: Recorder, finalists: int = 10) -> None:
        self.recorder, self.count = recorder, finalists

    def finalists(self, rate: int) -> list[int]:
        """The best of the plan's own passes at a rate index, best first."""
        return np.argsort(self._grid(rate), kind="stable")[: self.count].tolist()

    def rounds(self, rate: int) -> tuple[list[int], NDArray[np.float64]]:
        """Finalists and their means (s), shape (episodes, finalists); NaN where not measured.

        Episodes of hours in which the whole machine was far slower than for the grid are left out:
        at the same load it was then another server, nearer to overload.
        """
        finalists, plan = self.finalists(rate), self.recorder.plan
        seen: dict[tuple[int, int], float] = {}
        for pass_, repeat, index, mean in self.recorder.means(rate):
            if pass_ >= plan.passes and index in finalists:
                episode = (pass_ - plan.passes) * plan.repeats + repeat
                seen[episode, finalists.index(index)] = mean
        table = np.full((1 + max((row for row, _ in seen), default=-1), len(finalists)), np.nan)
        for cell, mean in seen.items():
            table[cell] = mean
        table = table[~np.isnan(table).all(axis=1)]
        slowness = np.nanmedian(table / self._grid(rate)[finalists], axis=1)
        return finalists, table[slowness < COMPARABLE]

    def _grid(self, rate: int) -> NDArray[np.float64]:
        """Means (s) of the plan's own passes at a rate index, shape (configurations,)."""
        plan = self.recorder.plan
        sums = np.zeros((2, len(plan.space)))
        for pass_, _, index, mean in self.recorder.means(rate):
            if pass_ < plan.passes:
                sums[:, index] += 1, mean
        with np.errstate(invalid="ignore"):
            return sums[1] / sums[0]

    def open(self, rate: int) -> list[int]:
        """Configurations of the next round: all at first, then the best and the undecided."""
        finalists, means = self.rounds(rate)
        if len(means) < MIN_ROUNDS * self.recorder.plan.repeats:
            return finalists
        words = [verdict.word for verdict in judge(means)[1]]
        if "undecided" not in words:
            return []
        pairs = zip(finalists, words, strict=True)
        return [index for index, word in pairs if word in ("best", "undecided")]

    def order(self) -> Iterator[Visit]:
        """Rounds over the undecided loads, each in a random order of its own.

        A round that was interrupted stays as it is: its rest would meet another hour's machine.
        """
        plan = self.recorder.plan
        passes = [
            row[0] for rate in range(len(plan.rates_per_s)) for row in self.recorder.means(rate)
        ]
        done = max(passes, default=-1) + 1 - plan.passes
        for round_ in range(max(done, 0), MAX_ROUNDS if self.count else 0):
            visits: dict[int, list[tuple[int, int]]] = {}
            for rate in range(len(plan.rates_per_s)):
                for index in self.open(rate):
                    visits.setdefault(index, []).extend((rate, r) for r in range(plan.repeats))
            rng = np.random.default_rng([plan.seed, plan.passes + round_])
            for index in rng.permutation(sorted(visits)).tolist():
                yield plan.passes + round_, index, visits[index]

    def verdicts(self) -> dict[str, Any]:
        """What the finals decided at each load, for `profile.json`."""
        plan = self.recorder.plan
        decided: dict[str, Any] = {}
        for rate, per_s in enumerate(plan.rates_per_s if self.count else ()):
            finalists, means = self.rounds(rate)
            if len(means) < MIN_ROUNDS:
                continue
            best, verdicts = judge(means)
            typical = float(np.nanmedian(means[:, best]))
            rows = []
            for index, verdict in zip(finalists, verdicts, strict=True):
                numbers = {
                    "best_s": typical,
                    "ratio": verdict.ratio,
                    "low": verdict.low,
                    "high": verdict.high,
                }
                rows.append({**plan.space[index], "verdict": verdict.word})
                rows[-1].update({k: round(v, 6) for k, v in numbers.items() if np.isfinite(v)})
            decided[f"{per_s:g}"] = {"episodes": len(means), "finalists": rows}
        return decided


def record_live(
    plan: Plan,
    folder: Path,
    finalists: int = 0,
    executable: str | None = None,
    models: str | os.PathLike[str] = "build/models",
) -> Iterator[tuple[int, Episode]]:
    """Record a plan, then its finals, on servers started here; continues what `folder` holds.

    Parameters
    ----------
    plan : Plan
        Its model is one that `rrl.serving.models` can build.
    folder : pathlib.Path
        The profile to write.
    finalists : int
        See `Finals`; 0 for none.
    executable : str, optional
        See `rrl.serving.launcher.find_executable`.
    models : path
        Where models are built.

    Yields
    ------
    done, episode
        Episodes recorded so far, and the newest, which is on disk.
    """
    from rrl.serving.live import LiveServer
    from rrl.serving.models import build, sample

    recorder = Recorder(plan, folder)
    rng = np.random.default_rng(plan.seed)
    server = LiveServer(
        build(plan.model, models),
        plan.space,
        inputs=sample(plan.model, rng),
        fixed=plan.fixed,
        executable=executable,
    )
    finals = Finals(recorder, finalists)
    with server:
        for order in (schedule(plan), finals.order()):
            for episode in recorder.run(server, rng, order):
                yield len(recorder), episode
    recorder.finish(finals=finals.verdicts())
