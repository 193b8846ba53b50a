"""The finals of a profile: re-measure the best few of each load until the best is known.

A grid is measured a few times only, and the smallest of many noisy means is small partly by luck.
So the best few of each load meet again, round by round on the same arrivals, until each rival of
the best is *separated* (its cost ratio to the best is above 1) or *tied* (the ratio is within the
tolerance of 1, above and below), see :mod:`rrl.recording.judging`. Each has a server, and they take
turns; after some rounds all start anew, since a process may be lucky, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.recording.judging import Verdict, judge
from rrl.recording.profile import Plan
from rrl.recording.record import Recorder, Visit
from rrl.tuning.episode import Episode

if TYPE_CHECKING:
    from rrl.serving.live import LiveServer

LOOKS = (4, 8, 16, 32, 64, 128, 192)  # rounds of a load after which finalists are judged
MOST_ROUNDS = 2 * LOOKS[-1]  # those of slow hours, which do not count, included
CONFIDENCE = 1 - (1 - 0.95) / len(LOOKS)  # of each look, so that all together keep to 95 %
FRESH = 4  # rounds after which the servers start anew
COMPARABLE = 1.5  # an episode in which all are this much slower than on the grid is left out


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
            if pass_ >= plan.passes and index in finalists and not np.isnan(mean):
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
            if pass_ < plan.passes and not np.isnan(mean):
                sums[:, index] += 1, mean
        with np.errstate(invalid="ignore"):
            return sums[1] / sums[0]

    def open(self, rate: int) -> list[int]:
        """Configurations of the next round: all at first, then the best and the undecided."""
        finalists, means = self.rounds(rate)
        verdicts = self._judge(means)
        if not verdicts:
            return finalists
        words = [verdict.word for verdict in verdicts]
        if "undecided" not in words:
            return []
        pairs = zip(finalists, words, strict=True)
        return [index for index, word in pairs if word in ("best", "undecided")]

    def _judge(self, means: NDArray[np.float64]) -> list[Verdict]:
        """Verdicts by the episodes up to the last look; none before the first."""
        seen = self._seen(means)
        return judge(means[:seen], confidence=CONFIDENCE)[1] if seen else []

    def _seen(self, means: NDArray[np.float64]) -> int:
        """Episodes up to the last look."""
        looks = [look * self.recorder.plan.repeats for look in LOOKS]
        return max((look for look in looks if look <= len(means)), default=0)

    def order(self, rate: int, rounds: int = LOOKS[-1]) -> Iterator[Visit]:
        """At most so many rounds of one load, until all its finalists are decided.

        In a round each finalist meets each of the plan's repeats once, in a random order. A round
        that was interrupted stays as it is: its rest would meet another hour's machine.
        """
        plan = self.recorder.plan
        done = 1 + max(row[0] for row in self.recorder.means(rate)) - plan.passes
        last = min(done + rounds, MOST_ROUNDS) if self.count else done
        for round_ in range(done, last):
            finalists = self.open(rate)
            if len(self.rounds(rate)[1]) >= LOOKS[-1] * plan.repeats:
                return
            rng = np.random.default_rng([plan.seed, plan.passes + round_, rate])
            for repeat in range(plan.repeats):
                for index in rng.permutation(finalists).tolist():
                    yield plan.passes + round_, index, [(rate, repeat)]

    def verdicts(self) -> dict[str, Any]:
        """What the finals decided at each load, for `profile.json`."""
        plan = self.recorder.plan
        decided: dict[str, Any] = {}
        for rate, per_s in enumerate(plan.rates_per_s if self.count else ()):
            finalists, means = self.rounds(rate)
            verdicts = self._judge(means)
            if not verdicts:
                continue
            best = [verdict.word for verdict in verdicts].index("best")
            means = means[: self._seen(means)]
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


class Team:
    """A server for each configuration that is asked for, all started once; a context manager.

    They take turns within seconds of each other, so that a ratio of two hardly feels the machine's
    ups and downs, and none has to start anew for each episode. Whose turn it is not is paused: ten
    idle servers would take half a processor from the one that serves.

    Parameters
    ----------
    make : callable
        Returns a server that does not run yet.
    """

    def __init__(self, make: Callable[[], LiveServer]) -> None:
        self._make, self._stack = make, ExitStack()
        self._servers: dict[tuple[Any, ...], LiveServer] = {}
        self.start_s = 0.0  # how long the last one asked took to start

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Serve an episode by the configuration's own server, started if need be."""
        key = tuple(sorted(configuration.items()))
        if key in self._servers:
            self._servers[key].resume()
        else:
            self._servers[key] = self._stack.enter_context(self._make())
        episode = self._servers[key].measure(configuration, arrivals, rng)
        self._servers[key].pause()
        self.start_s = self._servers[key].start_s
        return episode


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
    path, inputs = build(plan.model, models), sample(plan.model, rng)

    def make() -> LiveServer:
        return LiveServer(path, plan.space, inputs=inputs, fixed=plan.fixed, executable=executable)

    with make() as server:
        for episode in recorder.run(server, rng):
            yield len(recorder), episode
    finals = Finals(recorder, finalists)
    undecided = range(len(plan.rates_per_s))
    while undecided := [rate for rate in undecided if next(finals.order(rate), None)]:
        for rate in undecided:
            with Team(make) as team:
                for episode in recorder.run(team, rng, finals.order(rate, FRESH)):
                    yield len(recorder), episode
    recorder.finish(finals=finals.verdicts())
