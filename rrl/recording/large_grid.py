"""Record a large grid at one load: two halves of the data, beside a server that is the reference.

A grid of 1296 configurations takes hours, and no machine is alike for hours. So a *reference
server*, which always runs the default, is measured before and after each visit of a
configuration. Dividing a visit by the reference's running median takes the drift out.

A recording has three stages. The *passes* visit every configuration once for each half of the data.
The *draws* visit the good ones again, and a random twentieth for the noise. The *finals* compare
each half's best in rounds. Each visit has a server process of its own. Nothing is recorded while
anything else uses the processor, and a stop at any time loses one visit at most::

    python -m rrl.recording.large_grid data/plans/keyword-joint.yaml data/recording/keyword-joint
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration, Value
from rrl.core.space import ConfigSpace
from rrl.recording.rows import append, commit, read_appended
from rrl.recording.steadiness import Others, processor_ticks, stolen
from rrl.serving.live import LiveServer
from rrl.serving.models import build, sample
from rrl.serving.sample import Inputs
from rrl.support.errors import (
    DataError,
    Parser,
    UnstableError,
    UsageError,
    command,
    interrupt_by_signals,
)
from rrl.support.machine import describe_machine, exclusive
from rrl.support.one_writer import open_alone
from rrl.tuning.episode import Episode
from rrl.tuning.presets import effective_space, serving_knob
from rrl.workloads.workload import Poisson

HALVES = ("A", "B")
STAGES = ("pass", "draw", "final")
TRIES = 3  # tries of a visit in a row; a later start of the recorder tries again
LOOK_S, PAUSE_S = 0.5, 3.0  # how long a look at other processes takes, and the pause between two
EPISODES, REJECTED, STARTS = "episodes.csv", "rejected.csv", "starts.csv"
MEASURED = (
    *("stage", "half", "draw", "order", "started", "commit", "processor", "arrival_seed"),
    *("visit_s", "start_s", "reference_before_s", "reference_after_s", "steal", "foreign", "slip"),
    *("mean_s", "failed", "quantiles_us"),
)
STARTED = ("started", "commit", "processor", "cpus", "versions", "reference_s", "accepted")


def _print(line: str) -> None:
    print(line, flush=True)


class Visit(NamedTuple):
    """One measurement of a configuration: its stage and half, its draw or round, its number."""

    stage: str
    half: str
    draw: int
    number: int


@dataclass(frozen=True)
class GridPlan:
    """What is measured, in which order and by which rule; fixed before the first row.

    Parameters
    ----------
    model : str
        Name of a known model.
    knobs : mapping of str to sequence of value
        Values of each knob. Configurations that differ only in settings without effect count once.
    fixed : mapping
        Settings of all configurations.
    rate_per_s : float
        The load, in requests per second.
    requests : int
        Requests of an episode.
    seed : int
        Seed of the orders and the arrivals.
    quantiles : int
        How many quantiles of the latency a row keeps.
    reference : mapping
        Of the reference server: `configuration`, `rate_per_s`, `look_s` (seconds of a look),
        `window` (visits of the running median), `beside` (whether it is measured beside each
        visit), and `median_s`, `fastest`, `slowest`: the recorder starts if the median of `looks`
        looks, divided by the median of the pilot, is between the last two.
    limits : mapping
        A visit counts if `slip`, the generator's delay as a fraction of the mean latency, `steal`
        and `foreign`, the fractions of the processor time that the hypervisor and other processes
        took, are not above these.
    hours : mapping
        The cap of each stage, in hours of the recorder's running time.
    draws : mapping
        `each` more draws in a half for a configuration whose smoothed mean is at most `within`
        times the lowest, and for a random `fraction` of all.
    finals : mapping
        Each half's `best` meet in `rounds` rounds of each half.

    Raises
    ------
    UsageError
        If a number is out of range.
    """

    model: str
    knobs: Mapping[str, Sequence[Value]]
    fixed: Configuration
    rate_per_s: float
    requests: int
    seed: int
    quantiles: int
    reference: Mapping[str, Any]
    limits: Mapping[str, float]
    hours: Mapping[str, float]
    draws: Mapping[str, float]
    finals: Mapping[str, int]

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "requests", "quantiles"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(f"{name} must be above 0, got {getattr(self, name)}")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan from a YAML file.

        Raises
        ------
        DataError
            If it is no plan.
        """
        import yaml

        try:
            return cls(**yaml.safe_load(path.read_text(encoding="utf-8")))
        except (TypeError, yaml.YAMLError) as error:
            raise DataError(f"{path}: it is no plan of a grid ({error})") from None

    @cached_property
    def space(self) -> ConfigSpace:
        """The grid of configurations."""
        return effective_space(self.knobs)

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """Quantile levels of a row, shape (quantiles,): the middles of equal parts of 0 to 1."""
        return (np.arange(self.quantiles) + 0.5) / self.quantiles

    def arrivals(self, visit: Visit) -> tuple[int, NDArray[np.float64]]:
        """Return the seed and the Poisson arrivals (s) of a visit.

        All configurations get the same arrivals in the same stage, half and draw.
        """
        entropy = [self.seed, STAGES.index(visit.stage), HALVES.index(visit.half), visit.draw]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        return seed, Poisson(self.rate_per_s).arrivals(self.requests, np.random.default_rng(seed))

    def rng(self, *numbers: int) -> np.random.Generator:
        """Return the generator of an order; the arrivals have others."""
        return np.random.default_rng([self.seed, 100, *numbers])

    def passes(self) -> Iterator[Visit]:
        """Yield the first stage: every configuration once for A, then once for B."""
        for half in HALVES:
            for index in self.rng(HALVES.index(half)).permutation(len(self.space)).tolist():
                yield Visit("pass", half, 0, index)

    def further(self, means: Mapping[str, NDArray[np.float64]]) -> Iterator[Visit]:
        """Yield the second stage; the halves alternate, and the best of each come first.

        Parameters
        ----------
        means : mapping of str to ndarray, shape (n,)
            Mean latency (s) of each configuration in the passes, for each half; NaN if missing.
        """
        count = round(self.draws["fraction"] * len(self.space))
        random = self.rng(len(HALVES)).permutation(len(self.space))[:count].tolist()
        wanted = {}
        for half in HALVES:
            smoothed = self.smoothed(means[half])
            order = np.argsort(smoothed, kind="stable")
            good = order[
                smoothed[order] <= self.draws["within"] * np.fmin.reduce(smoothed)
            ].tolist()
            wanted[half] = [*good, *(index for index in random if index not in good)]
        for draw in range(int(self.draws["each"])):
            for place in range(max(map(len, wanted.values()))):
                for half in HALVES:
                    if place < len(wanted[half]):
                        yield Visit("draw", half, draw, wanted[half][place])

    def last(self, means: Mapping[str, NDArray[np.float64]]) -> Iterator[Visit]:
        """Yield the third stage: rounds of each half's best, in which the halves alternate.

        Parameters
        ----------
        means : mapping of str to ndarray, shape (n,)
            Mean latency (s) of each configuration in the passes and the draws, for each half.
        """
        best = int(self.finals["best"])
        orders = {half: np.argsort(means[half])[:best] for half in HALVES}
        union = sorted({int(i) for h in HALVES for i in orders[h] if np.isfinite(means[h][i])})
        for round_ in range(int(self.finals["rounds"])):
            for number, half in enumerate(HALVES):
                for place in self.rng(len(HALVES) + 1, round_, number).permutation(len(union)):
                    yield Visit("final", half, round_, union[place])

    def smoothed(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return means whose logarithm is averaged with that of what lies within one step.

        Parameters
        ----------
        means : ndarray, shape (n,)
            Mean latency (s) of each configuration; NaN if missing.
        """
        logs, found = np.log(means), np.full(len(means), np.nan)
        for index in np.flatnonzero(~np.isnan(logs)):
            around = np.nanmean(logs[self.space.steps(int(index)) <= 1])
            found[index] = 0.5 * (logs[index] + around)
        return np.exp(found)


def known_model(plan: GridPlan, models: str | os.PathLike[str]) -> Stand:
    """Return the servers of a plan for a known model, which is built if it is missing."""
    inputs = [sample(plan.model, np.random.default_rng(plan.seed))]
    return Stand(plan, build(plan.model, models), inputs)


class Stand:
    """The two servers of a recording: the one that is measured, and the reference beside it.

    Only one of them runs at a time; the other one is paused, so that it uses no processor.

    Parameters
    ----------
    plan : GridPlan
    base : path
        The base path of the model.
    inputs : sequence, optional
        The requests; by default random values that fit the model.
    """

    def __init__(
        self,
        plan: GridPlan,
        base: str | os.PathLike[str],
        inputs: Sequence[Inputs] | None = None,
    ) -> None:
        self.plan, self._stack = plan, ExitStack()
        rng = np.random.default_rng(plan.seed)
        given: dict[str, Any] = {"inputs": inputs, "fixed": plan.fixed}
        usual = dict(plan.reference["configuration"])
        alone = ConfigSpace([serving_knob(name, [value]) for name, value in usual.items()])
        self.server = self._stack.enter_context(LiveServer(base, plan.space, **given))
        self._reference = self._stack.enter_context(LiveServer(base, alone, **given))
        self._usual, self._rng = usual, rng
        rate = plan.reference["rate_per_s"]
        count = round(rate * plan.reference["look_s"])
        self._arrivals = Poisson(rate).arrivals(count, np.random.default_rng(plan.seed))

    def close(self) -> None:
        """Stop both servers."""
        self._stack.close()

    def look(self) -> float:
        """Return the mean latency (s) of the reference, which runs only meanwhile."""
        self._reference.resume()
        episode = self._reference.measure(self._usual, self._arrivals, self._rng)
        self._reference.pause()
        return float(episode.latency.mean())

    def visit(self, index: int, arrivals: NDArray[np.float64], beside: bool) -> dict[str, Any]:
        """Measure a configuration in a new process; return the values of a row, and the episode.

        Parameters
        ----------
        index : int
            The configuration.
        arrivals : ndarray, shape (n,)
            Arrivals in seconds from the start.
        beside : bool
            Whether to measure the reference before and after it.
        """
        configuration = self.plan.space[index]
        self.server.configure(configuration, self._rng)
        self.server.pause()
        before_s = self.look() if beside else np.nan
        self.server.resume()
        ticks = processor_ticks()
        episode = self.server.measure(configuration, arrivals, self._rng)
        steal = stolen(ticks, processor_ticks())
        start_s = self.server.start_s
        self.server.close()
        after_s = self.look() if beside else np.nan
        return {
            "start_s": f"{start_s:.3f}",
            "reference_before_s": f"{before_s:.6f}",
            "reference_after_s": f"{after_s:.6f}",
            "steal": f"{steal:.4f}",
            **summary(episode, self.plan.levels),
        }


def summary(episode: Episode, levels: NDArray[np.float64]) -> dict[str, str]:
    """Return what a row keeps of an episode: mean, failures and quantiles, instead of latencies.

    The mean (s) and the quantiles (microseconds) are those of the requests that were answered.
    """
    answered = episode.latency[episode.ok]
    quantiles = np.rint(np.quantile(answered, levels) * 1e6) if len(answered) else np.zeros(0)
    return {
        "slip": f"{episode.info['slip_share']:.4f}",
        "mean_s": f"{answered.mean() if len(answered) else np.nan:.6f}",
        "failed": str(int((~episode.ok).sum())),
        "quantiles_us": " ".join(f"{value:.0f}" for value in quantiles),
    }


class GridRecorder:
    """Append the rows of a plan that a folder lacks; one process at a time.

    Parameters
    ----------
    plan : GridPlan
    folder : pathlib.Path
        The folder of the recording; one that exists is continued.
    say : callable
        It is told in one line what happens.

    Raises
    ------
    UsageError
        If another process records into the folder.
    DataError
        If the folder has rows of another plan.
    """

    def __init__(self, plan: GridPlan, folder: Path, say: Callable[[str], None] = _print) -> None:
        self.plan, self.folder, self._say = plan, folder, say
        folder.mkdir(parents=True, exist_ok=True)
        self.knobs = [knob.name for knob in plan.space.knobs]
        self.columns = [*self.knobs, *MEASURED]
        self._machine, self._commit = describe_machine(), commit()
        self._others = Others()
        self._lock = open_alone(folder)
        try:
            self.rows = read_appended(folder / EPISODES, self.columns)
            self._lost = read_appended(folder / REJECTED, ["why", *self.columns])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process record into the folder."""
        os.close(self._lock)

    def hours(self, stage: str) -> float:
        """Return the hours that all visits of a stage took, whether they count or not."""
        rows = (row for row in (*self.rows, *self._lost) if row["stage"] == stage)
        return sum(float(row["visit_s"]) for row in rows) / 3600

    def means(self) -> dict[str, NDArray[np.float64]]:
        """Return the mean latency (s) of each configuration before the finals, for each half.

        It is the geometric mean of its draws, in which a failed request makes the latency infinite;
        NaN if there is none.
        """
        n = len(self.plan.space)
        logs: dict[str, list[list[float]]] = {half: [[] for _ in range(n)] for half in HALVES}
        for row in self.rows:
            if row["stage"] != STAGES[-1]:
                value = np.inf if int(row["failed"]) else np.log(float(row["mean_s"]))
                logs[row["half"]][self._index(row)].append(value)
        return {
            half: np.exp([float(np.mean(of)) if of else np.nan for of in logs[half]])
            for half in HALVES
        }

    def visits(self, stage: str) -> Iterator[Visit]:
        """Return all visits of a stage; the stages before it must have ended."""
        if stage == "pass":
            return self.plan.passes()
        return self.plan.further(self.means()) if stage == "draw" else self.plan.last(self.means())

    def run(self, stand: Stand) -> Iterator[tuple[str, int, int]]:
        """Measure what is missing; yield the stage, the visits that it has, and those it wants."""
        self._begin(stand)
        for stage in STAGES:
            wanted = list(self.visits(stage))
            done = {self._visit_of(row) for row in self.rows}
            for visit in wanted:
                if visit not in done and self.hours(stage) < self.plan.hours[stage]:
                    self._measure(stand, visit)
                    have = sum(row["stage"] == stage for row in self.rows)
                    yield stage, have, len(wanted)
            missing = len(wanted) - sum(row["stage"] == stage for row in self.rows)
            if missing:
                self._say(f"{stage}: {missing} of {len(wanted)} visits are missing")
                if self.hours(stage) < self.plan.hours[stage]:
                    raise UnstableError(
                        f"{missing} visits of stage {stage!r} did not count in {TRIES} tries; the "
                        "same command tries them again"
                    )

    def _begin(self, stand: Stand) -> None:
        """Check that this machine is as fast as the pilot's, and note the start.

        Raises
        ------
        UnstableError
            If it is not.
        """
        rule = self.plan.reference
        self._wait()
        stand.look()
        found_s = float(np.median([stand.look() for _ in range(rule["looks"])]))
        fits = rule["fastest"] <= found_s / rule["median_s"] <= rule["slowest"]
        values = {
            "started": _now(),
            "commit": self._commit,
            "processor": self._machine["processor"],
            "cpus": self._machine["cpus"],
            "versions": " ".join(f"{k}={v}" for k, v in self._machine["versions"].items()),
            "reference_s": f"{found_s:.6f}",
            "accepted": int(fits),
        }
        append(self.folder / STARTS, {name: str(values[name]) for name in STARTED})
        if not fits:
            raise UnstableError(
                f"the reference takes {1e3 * found_s:.2f} ms here, {1e3 * rule['median_s']:.2f} ms "
                "when the plan was made: this machine is another one, or busy; try again later"
            )

    def _wait(self) -> None:
        """Wait until no other process uses the processor."""
        told = False
        while True:
            self._others.begin()
            time.sleep(LOOK_S)
            fraction = self._others.fraction()
            if fraction <= self.plan.limits["foreign"]:
                return
            if not told:
                told = True
                self._say(f"waiting: other processes use {fraction:.0%} of the processor time")
            time.sleep(PAUSE_S)

    def _measure(self, stand: Stand, visit: Visit) -> None:
        """Measure a visit until it counts, and append its row; give up after some tries."""
        for _ in range(TRIES):
            self._wait()
            with exclusive():
                row, why = self._row(stand, visit)
            if not why:
                append(self.folder / EPISODES, row)
                self.rows.append(row)
                return
            append(self.folder / REJECTED, {"why": why, **row})
            self._lost.append({"why": why, **row})
            self._say(f"rejected ({why}): {visit}")

    def _row(self, stand: Stand, visit: Visit) -> tuple[dict[str, str], str]:
        """Return the row of a visit, and why it does not count; empty if it does."""
        seed, arrivals = self.plan.arrivals(visit)
        started, began = _now(), time.monotonic()
        self._others.begin()
        measured = stand.visit(visit.number, arrivals, bool(self.plan.reference["beside"]))
        foreign = self._others.fraction()
        values = {
            **self.plan.space[visit.number],
            "stage": visit.stage,
            "half": visit.half,
            "draw": visit.draw,
            "order": len(self.rows),
            "started": started,
            "commit": self._commit,
            "processor": self._machine["processor"],
            "arrival_seed": seed,
            "visit_s": f"{time.monotonic() - began:.3f}",
            "foreign": f"{foreign:.4f}",
            **measured,
        }
        row = {name: str(values[name]) for name in self.columns}
        limits = self.plan.limits
        return row, next((name for name in limits if float(row[name]) > limits[name]), "")

    def _index(self, row: Mapping[str, str]) -> int:
        return self.plan.space.index({name: int(row[name]) for name in self.knobs})

    def _visit_of(self, row: Mapping[str, str]) -> Visit:
        return Visit(row["stage"], row["half"], int(row["draw"]), self._index(row))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Record a plan into a folder, or go on with a recording."""
    parser = Parser("python -m rrl.recording.large_grid", description="Record a large grid.")
    parser.add_argument("plan", type=Path, help="a file of data/plans/")
    parser.add_argument("folder", type=Path, help="where the rows are appended")
    parser.add_argument("--models", default="build/models", help="where the model is built")
    options = parser.parse_args(argv)
    plan = GridPlan.read(options.plan)
    interrupt_by_signals()
    with (
        closing(GridRecorder(plan, options.folder)) as recorder,
        closing(known_model(plan, options.models)) as stand,
    ):
        for stage, have, wanted in recorder.run(stand):
            _print(f"{stage}: {have}/{wanted}, {recorder.hours(stage):.2f} h")
    return 0


if __name__ == "__main__":
    sys.exit(main())
