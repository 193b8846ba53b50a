"""The finals of a profile: re-measure the best few of each load until the best is known.

A grid is measured a few times only, and the smallest of many noisy means is small partly by luck.
So the best few of each load meet again, round by round on fresh servers and the same arrivals,
until each rival of the best is *separated* (its ratio to the best is above 1) or *tied* (the
ratio is below 1 + tolerance), at 95 % confidence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.episode import Episode
from rrl.profile import Plan
from rrl.record import Recorder, Visit, schedule

TOLERANCE = 0.05
MIN_ROUNDS, MAX_ROUNDS = 3, 10
CONFIDENCE = 0.95


def judge(
    means: NDArray[np.float64], tolerance: float = TOLERANCE, confidence: float = CONFIDENCE
) -> tuple[int, list[str]]:
    """Compare finalists over rounds.

    Parameters
    ----------
    means : ndarray, shape (rounds, finalists)
        Mean latency (s) of each finalist in each round; NaN where it took no part. Rounds are
        paired: one round shares its arrivals and its few minutes of the machine.
    tolerance : float
        A rival whose cost is surely within this share of the best's is tied.
    confidence : float
        Of the two one-sided t-intervals on the mean log ratio.

    Returns
    -------
    best : int
        Column with the smallest geometric mean among those in all rounds but perhaps the last.
    verdicts : list of str, length finalists
        "best", "separated", "tied" or "undecided".

    Examples
    --------
    >>> judge(np.array([[1.0, 1.5, 1.01], [1.1, 1.6, 1.11], [1.0, 1.4, 1.0]]))
    (0, ['best', 'separated', 'tied'])
    """
    from scipy import stats

    logs = np.log(means)
    seen = (~np.isnan(logs)).sum(axis=0)
    contenders = seen >= max(seen.max() - 1, 1)  # one less: the last round may be unfinished
    best = int(np.argmin(np.where(contenders, np.nanmean(logs, axis=0), np.inf)))
    ratios = logs - logs[:, [best]]
    rounds = (~np.isnan(ratios)).sum(axis=0)
    centre = np.nanmean(ratios, axis=0)
    enough = rounds >= 2
    spread = np.full(len(centre), np.inf)
    spread[enough] = np.nanstd(ratios[:, enough], axis=0, ddof=1) / np.sqrt(rounds[enough])
    reach = stats.t.ppf(confidence, np.maximum(rounds - 1, 1)) * spread
    verdicts = np.where(
        centre + reach < np.log1p(tolerance),
        "tied",
        np.where(centre - reach > 0, "separated", "undecided"),
    ).tolist()
    verdicts[best] = "best"
    return best, verdicts


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
        plan = self.recorder.plan
        sums = np.zeros((2, len(plan.space)))
        for pass_, index, mean in self.recorder.means(rate):
            if pass_ < plan.passes:
                sums[:, index] += 1, mean
        with np.errstate(invalid="ignore"):
            return np.argsort(sums[1] / sums[0], kind="stable")[: self.count].tolist()

    def rounds(self, rate: int) -> tuple[list[int], NDArray[np.float64]]:
        """Finalists and their means (s), shape (rounds, finalists); NaN where not measured."""
        finalists, first = self.finalists(rate), self.recorder.plan.passes
        seen: dict[tuple[int, int], list[float]] = {}
        for pass_, index, mean in self.recorder.means(rate):
            if pass_ >= first and index in finalists:
                seen.setdefault((pass_ - first, finalists.index(index)), []).append(mean)
        table = np.full((1 + max((r for r, _ in seen), default=-1), len(finalists)), np.nan)
        for cell, values in seen.items():
            table[cell] = np.mean(values)
        return finalists, table

    def open(self, rate: int, round_: int) -> list[int]:
        """Configurations to measure in a round: all at first, then the best and the undecided."""
        finalists, means = self.rounds(rate)
        if round_ < MIN_ROUNDS:
            return finalists
        verdicts = judge(means)[1]
        if "undecided" not in verdicts:
            return []
        pairs = zip(finalists, verdicts, strict=True)
        return [index for index, verdict in pairs if verdict in ("best", "undecided")]

    def order(self) -> Iterator[Visit]:
        """Rounds over the undecided loads, each in a random order of its own."""
        plan = self.recorder.plan
        for round_ in range(MAX_ROUNDS if self.count else 0):
            visits: dict[int, list[tuple[int, int]]] = {}
            for rate in range(len(plan.rates_per_s)):
                for index in self.open(rate, round_):
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
            if len(means) < 2:
                continue
            verdicts = judge(means)[1]
            decided[f"{per_s:g}"] = {
                "rounds": len(means),
                "finalists": [
                    {**plan.space[index], "mean_s": round(float(mean), 6), "verdict": verdict}
                    for index, mean, verdict in zip(
                        finalists, np.nanmean(means, axis=0), verdicts, strict=True
                    )
                ],
            }
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
