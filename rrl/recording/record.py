"""Record a profile: measure what its plan fixes, append rows, continue after an interruption."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from rrl.core.knob import Configuration
from rrl.recording.plan import Plan, Visit, ordered
from rrl.recording.profile import (
    COLUMNS,
    DESCRIPTION,
    EPISODES,
    PROBED,
    REJECTED,
    SCHEMA,
    episodes_hash,
    read_profile,
)
from rrl.recording.rows import append, charged_mean, commit, read_appended, values_of
from rrl.recording.steadiness import Probe, SteadyMachine
from rrl.serving.settings import ADAPTIVE
from rrl.support.errors import DataError, UnstableError
from rrl.support.files import open_alone, read_json, remove_leftovers, write_atomically
from rrl.support.machine import describe_machine, exclusive
from rrl.tuning.episode import Episode, Server

if TYPE_CHECKING:
    import pandas as pd

MAX_TRIES = 5  # tries per episode in one visit; later sweeps try again if all of them fail
SWEEPS = 3  # sweeps over a pass; each one measures what is still missing


class Recordable(Server, Protocol):
    """A server that can be paused, and that reports how long its last start took."""

    start_s: float

    def configure(self, configuration: Configuration, rng: np.random.Generator) -> Any:
        """Start a configuration and warm it up."""

    def pause(self) -> None:
        """Pause the server."""

    def resume(self) -> None:
        """Let the server continue, and warm it up."""


class Recorder:
    """Measure the episodes that a profile folder does not have yet, and append each of them.

    While it is open, no other process can open one for the same folder.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        The folder of the profile. An existing profile of the same plan is continued.
    probe : callable, optional
        It returns seconds. The default is a :class:`rrl.recording.steadiness.Probe` if the plan
        has a rule.
    say : callable, optional
        It is told in one line why the recording waits.

    Raises
    ------
    UsageError
        If another process records into the folder.
    DataError
        If the folder has a profile of another plan or from another machine.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        probe: Any = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.plan, self.folder = plan, folder
        self.knobs = list(plan.configurations[0])
        self.columns = [*self.knobs, *COLUMNS, *PROBED]
        self._machine = SteadyMachine(plan.rule, probe or Probe(), say) if plan.rule else None
        self._commit = commit()
        self._new = 0  # episodes measured by this recorder
        self._complete = False  # whether an earlier recording has marked the folder as complete
        folder.mkdir(parents=True, exist_ok=True)
        values = [tuple(str(c[name]) for name in self.knobs) for c in plan.configurations]
        self._number = {texts: number for number, texts in enumerate(values)}
        self._means: dict[str, dict[tuple[int, int, int], float]] = defaultdict(dict)  # by load
        self._lock = open_alone(folder)  # before anything is read: two would append the same rows
        try:
            for row in self._resume():
                self._keep(row)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process record into the folder."""
        os.close(self._lock)

    def __len__(self) -> int:
        return sum(map(len, self._means.values()))

    def means(self, rate: int) -> pd.DataFrame:
        """Return `pass`, `repeat`, `configuration` (its number) and `mean_s` at a rate index.

        There is one row per episode. Failed requests count as they do for agents.
        """
        import pandas as pd

        rows = [(*episode, mean) for episode, mean in self._means[self._load(rate)].items()]
        table = pd.DataFrame(rows, columns=["pass", "repeat", "configuration", "mean_s"])
        return table.astype({"mean_s": float})

    def _keep(self, row: dict[str, str]) -> None:
        """Remember an episode that is on disk."""
        index = self._number[tuple(row[knob] for knob in self.knobs)]
        episode = int(row["pass"]), int(row["repeat"]), index
        self._means[row["rate_per_s"]][episode] = charged_mean(row)

    def grid_means(self, rate: int, passes: Iterable[int]) -> NDArray[np.float64]:
        """Return means (s) over passes at a rate index, shape (configurations,); NaN if none."""
        rows = self.means(rate)
        means = rows[rows["pass"].isin(list(passes))].groupby("configuration")["mean_s"].mean()
        return means.reindex(range(len(self.plan.configurations))).to_numpy()

    def order(self) -> Iterator[list[Visit]]:
        """Yield the passes: first those over all configurations, then those over selected ones."""
        plan = self.plan
        whole = dict.fromkeys(range(len(plan.configurations)), plan.pairs)
        for pass_ in range(plan.passes):
            yield ordered(plan, whole, pass_)
        if plan.again:
            wanted = self._worth()
            for pass_ in range(plan.passes, plan.grid_passes):
                yield ordered(plan, wanted, pass_)

    def _worth(self) -> Mapping[int, list[tuple[int, int]]]:
        """Return the episodes of configurations whose mean is below `worth` times the best."""
        plan = self.plan
        wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for rate in range(len(plan.rates_per_s)):
            means = self.grid_means(rate, range(plan.passes))
            limit = plan.worth * np.fmin.reduce(means[: len(plan.space)])
            for index in np.flatnonzero(means < limit).tolist():
                wanted[index] += [(rate, repeat) for repeat in range(plan.repeats)]
        return wanted

    def run(
        self,
        server: Recordable,
        rng: np.random.Generator,
        order: Iterable[list[Visit]] | None = None,
    ) -> Iterator[Episode]:
        """Measure the missing episodes of `order` (default: the plan's); yield each saved one.

        Raises
        ------
        UnstableError
            If the machine stays outside the limits of the plan's rule.
        """
        for visits in self.order() if order is None else order:
            for _ in range(SWEEPS):
                for pass_, index, pairs in visits:
                    configuration = self.plan.configurations[index]
                    missing = [p for p in pairs if not self._has(index, pass_, *p)]
                    if missing:
                        with exclusive():
                            yield from self._visit(server, configuration, pass_, missing, rng)

    def _visit(
        self,
        server: Recordable,
        configuration: Configuration,
        pass_: int,
        pairs: list[tuple[int, int]],
        rng: np.random.Generator,
    ) -> Iterator[Episode]:
        server.configure(configuration, rng)
        server.pause()
        if self._machine:
            self._machine.look()
        for rate, repeat in pairs:
            for _ in range(MAX_TRIES):
                episode = self._measure(server, configuration, pass_, rate, repeat, rng)
                if episode is not None:
                    yield episode
                    break

    def _measure(
        self,
        server: Recordable,
        configuration: Configuration,
        pass_: int,
        rate: int,
        repeat: int,
        rng: np.random.Generator,
    ) -> Episode | None:
        """Measure and save an episode between two probes; return None if it does not count."""
        seed, arrivals = self.plan.arrivals(pass_, rate, repeat)
        before_s = self._machine.wait() if self._machine else 0.0
        server.resume()
        if configuration.get("batch_threads") == ADAPTIVE:  # first it adapts to the load
            server.measure(configuration, self.plan.arrivals(pass_, rate, repeat + 1000)[1], rng)
        started = datetime.now(UTC)
        psutil.cpu_times_percent()  # what it tells next is of the time from here on
        episode = server.measure(configuration, arrivals, rng)
        steal = psutil.cpu_times_percent().steal / 100
        server.pause()
        after_s = self._machine.look() if self._machine else 0.0
        where = {
            **configuration,
            "rate_per_s": self._load(rate),
            "pass": pass_,
            "repeat": repeat,
            "started": started.isoformat(timespec="seconds"),
            "start_s": f"{server.start_s:.2f}",
            "arrival_seed": seed,
            "steal": f"{steal:.4f}",
            "commit": self._commit,
        }
        why = "" if episode.valid else "slip"
        if self._machine:
            rule = self._machine.rule
            where["speed_before"] = f"{rule.speed(before_s):.4f}"
            where["speed_after"] = f"{rule.speed(after_s):.4f}"
            why = rule.objection(before_s, after_s, steal, episode.valid)
        self._save(where | values_of(episode), why)
        return None if why else episode

    def _save(self, values: Mapping[str, Any], why: str) -> None:
        """Append an episode to those that count, or to the rejected ones with the reason."""
        if not self._new:
            self._describe(complete=False)
        self._new += 1
        values = {"order": len(self), "speed_before": "", "speed_after": "", **values}
        row = {name: str(values[name]) for name in self.columns}
        if why:
            append(self.folder / REJECTED, {"why": why, **row})
            return
        append(self.folder / EPISODES, row)
        self._keep(row)

    def finish(self) -> None:
        """Mark the profile as complete if it is not, with a hash of its episodes.

        Raises
        ------
        UnstableError
            If an episode of the passes is missing, because none of its tries counted.
        """
        if missing := self._missing():
            raise UnstableError(
                f"{self.folder}: {missing} episodes of the plan did not count in any of "
                f"{SWEEPS * MAX_TRIES} tries ({REJECTED} has the reasons), so the recording is not "
                "complete; the same command tries them again"
            )
        if not self._complete or self._new:
            self._describe(complete=True, sha256=episodes_hash(self.folder / EPISODES))
        else:
            read_profile(self.folder)  # it refuses episodes that were changed

    def _missing(self) -> int:
        """Return how many episodes of the passes are not on disk; the finals may end early."""
        return sum(
            not self._has(index, pass_, *pair)
            for visits in self.order()
            for pass_, index, pairs in visits
            for pair in pairs
        )

    def _resume(self) -> list[dict[str, str]]:
        remove_leftovers(self.folder)
        path = self.folder / DESCRIPTION
        if not path.exists():
            self._describe(complete=False)
            return []
        stored = read_json(path)
        if not isinstance(stored, dict):
            raise DataError(f"{path}: it is no description of a profile; choose another folder")
        if not self.plan.is_stored(stored.get("plan")):
            raise DataError(f"{path} is from another plan; choose another folder, or remove it")
        here, there = describe_machine(), stored.get("machine", {})
        if any(here[key] != there.get(key) for key in ("processor", "cpus")):
            raise DataError(f"{path} was recorded on another machine; choose another folder")
        self._complete = bool(stored.get("complete"))
        read_appended(self.folder / REJECTED, ["why", *self.columns])  # its last line may be cut
        return read_appended(self.folder / EPISODES, self.columns)

    def _describe(self, complete: bool, **notes: Any) -> None:
        description = {
            "schema": SCHEMA,
            "complete": complete,
            "recorded": datetime.now(UTC).date().isoformat(),
            "machine": describe_machine(),
            "plan": self.plan.to_json(),
            "columns": COLUMNS | PROBED,
            **notes,
        }
        text = json.dumps(description, indent=2) + "\n"
        write_atomically(self.folder / DESCRIPTION, text)

    def _load(self, rate: int) -> str:
        return f"{self.plan.rates_per_s[rate]:g}"

    def _has(self, index: int, pass_: int, rate: int, repeat: int) -> bool:
        return (pass_, repeat, index) in self._means[self._load(rate)]
