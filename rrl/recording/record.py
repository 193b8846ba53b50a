"""Record a profile: measure what its plan fixes, append rows, continue after an interruption."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.core.knob import Knob
from rrl.recording.plan import HALVES, REPEATS, ROUNDS, Key, Plan, ordered
from rrl.recording.profile import (
    COLUMNS,
    DESCRIPTION,
    EPISODES,
    OTHER_WORK,
    REJECTED,
    SCHEMA,
    Profile,
    episodes_hash,
    read_profile,
)
from rrl.recording.truth import judge_half
from rrl.serving.quiet import load_tensorflow
from rrl.support.errors import DataError, UnstableError, UsageError
from rrl.support.files import alone_in, append, read_json, write_atomically
from rrl.support.machine import BUSY, describe_machine, exclusive
from rrl.tuning.episode import Episode

if TYPE_CHECKING:
    from rrl.serving.live import LiveServer

SWEEPS = 3  # sweeps over a pass; each one measures what is still missing


class Recorder:
    """Measure the episodes that a profile folder does not have yet, and append each of them.

    An episode counts if the load generator was on time. No limit is on a latency. But the generator
    may delay requests by a tenth of the mean latency, so the same delay is sooner too long for a
    fast configuration. If other processes used more than `BUSY` of the processor time meanwhile,
    the episode does not count either. What does not count is measured again at the end of its pass,
    up to `SWEEPS` times in all. Beside other work, the last of these times counts: some machines
    are never idle.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        The folder of the profile. An existing profile of the same plan is continued.
    server : LiveServer
    """

    def __init__(self, plan: Plan, folder: Path, server: LiveServer) -> None:
        self.plan, self.folder, self.server = plan, folder, server
        self.columns = [*plan.knobs, *COLUMNS, *OTHER_WORK]
        self._done: set[Key] = set()

    def run(self) -> Iterator[tuple[int, Episode]]:
        """Measure the missing episodes in order, and mark the profile as complete.

        Meanwhile, no other process may record into the folder.

        Yields
        ------
        done, episode
            The number of episodes recorded so far, and the newest episode, which is on disk.

        Raises
        ------
        DataError
            If the folder has a profile of another plan or from another machine.
        UnstableError
            If an episode of the plan is missing at the end, because no try counted.
        UsageError
            If another process records into the folder.
        """
        with alone_in(self.folder):
            if self._resume():
                return
            missing = 0
            for keys in self._passes():
                for sweep in range(1, SWEEPS + 1):
                    yield from self._sweep(keys, last=sweep == SWEEPS)
                missing += len(self._left(keys))
            self._finish(missing)

    # --- what is to be measured -------------------------------------------------------------------

    def _passes(self) -> Iterator[list[Key]]:
        """Yield the passes over the grid and then, if it is whole, those over the finalists."""
        plan = self.plan
        grid = dict.fromkeys(range(len(plan.space)), plan.pairs)
        passes = [ordered(plan, grid, pass_) for pass_ in range(plan.passes)]
        yield from passes
        if plan.finalists and not any(map(self._left, passes)):
            best = self._finalists()
            for pass_ in range(plan.passes, plan.passes + len(HALVES) * ROUNDS):
                yield ordered(plan, best, pass_)

    def _finalists(self) -> Mapping[int, list[tuple[int, int]]]:
        """Return the episodes of a pass over the best configurations of a load by either half."""
        plan, profile = self.plan, read_profile(self.folder)
        grid = Profile(profile.description, profile.grid)
        wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for number, rate in enumerate(plan.rates_per_s):
            halves = [judge_half(grid, rate, half).cost for half in HALVES]
            best = [np.argsort(cost, kind="stable")[: plan.finalists] for cost in halves]
            for i in np.unique(best).tolist():
                pairs = [(number, repeat) for repeat in range(REPEATS)]
                wanted[plan.space.index(grid.space[i])] += pairs
        return wanted

    def _left(self, keys: list[Key]) -> list[Key]:
        """Return those of some episodes that are not on disk."""
        return [key for key in keys if key not in self._done]

    # --- measurements -----------------------------------------------------------------------------

    def _sweep(self, keys: list[Key], last: bool) -> Iterator[tuple[int, Episode]]:
        """Measure the missing episodes of a pass once; yield those that count."""
        for index, visit in groupby(self._left(keys), key=itemgetter(1)):
            with exclusive():
                self.server.configure(self.plan.space[index])
                for key in visit:
                    episode = self._measure(key, last)
                    if key in self._done:
                        yield len(self._done), episode

    def _measure(self, key: Key, last: bool) -> Episode:
        """Measure and save an episode, which may not count."""
        pass_, index, rate, repeat = key
        configuration = self.plan.space[index]
        seed, arrivals = self.plan.arrivals(pass_, rate, repeat)
        started = datetime.now(UTC)
        episode = self.server.measure(configuration, arrivals, np.random.default_rng(seed))
        row = {
            **configuration,
            "rate_per_s": f"{self.plan.rates_per_s[rate]:g}",
            "pass": pass_,
            "repeat": repeat,
            "order": len(self._done),
            "started": started.isoformat(timespec="seconds"),
            "start_s": f"{self.server.start_s:.2f}",
            "arrival_seed": seed,
            **_values_of(episode),
        }
        disturbed = row["other_work"] > BUSY and not last
        self._save(key, row, "slip" if not episode.valid else "busy" if disturbed else "")
        return episode

    def _save(self, key: Key, values: Mapping[str, Any], why: str) -> None:
        """Append an episode to those that count, or to the rejected ones with the reason."""
        row = {name: str(values[name]) for name in self.columns}
        if why:
            _append_row(self.folder / REJECTED, {"why": why, **row})
        else:
            _append_row(self.folder / EPISODES, row)
            self._done.add(key)

    # --- the folder -------------------------------------------------------------------------------

    def _finish(self, missing: int) -> None:
        """Mark the profile as complete; refuse that while episodes are missing."""
        if missing:
            raise UnstableError(
                f"{self.folder}: {missing} episodes of the plan did not count in any of "
                f"{SWEEPS} tries, because the load generator was late ({REJECTED} has them); the "
                "same command tries them again, best on an idle machine"
            )
        self._describe(complete=True, sha256=episodes_hash(self.folder / EPISODES))

    def _resume(self) -> bool:
        """Read the recording so far, or begin one; return whether the profile is complete."""
        path, complete = self.folder / DESCRIPTION, False
        if path.exists():
            stored = read_json(path)
            if not (isinstance(stored, dict) and isinstance(stored.get("machine", {}), dict)):
                raise DataError(f"{path}: it is no description of a profile; choose another folder")
            if stored.get("plan") != self.plan.to_json():
                raise DataError(f"{path} is from another plan; choose another folder, or remove it")
            here, there = describe_machine(), stored.get("machine", {})
            if any(here[key] != there.get(key) for key in ("processor", "cpus")):
                raise DataError(f"{path} was recorded on another machine; choose another folder")
            complete = bool(stored.get("complete"))
        _remove_cut_off(self.folder / REJECTED)
        if not _remove_cut_off(self.folder / EPISODES):
            self._describe(complete=False)
            return False
        self._done.update(self._recorded())
        return complete

    def _recorded(self) -> Iterator[Key]:
        """Yield the episodes on disk."""
        path, table = self.folder / EPISODES, read_profile(self.folder).table
        if list(table) != self.columns:
            raise DataError(f"{path}: its columns are not those of the plan; choose another folder")
        rates = Knob("rate_per_s", (f"{rate:g}" for rate in self.plan.rates_per_s))
        for line, row in enumerate(table.to_dict("records"), 2):
            try:
                index = self.plan.space.index({knob: row[knob] for knob in self.plan.knobs})
                rate = rates.index(f"{row['rate_per_s']:g}")
            except ValueError as error:
                raise DataError(
                    f"{path}, line {line}: no episode of the plan ({error}); restore the file, or "
                    "choose another folder"
                ) from None
            yield row["pass"], index, rate, row["repeat"]

    def _describe(self, complete: bool, **notes: Any) -> None:
        description = {
            "schema": SCHEMA,
            "complete": complete,
            "recorded": datetime.now(UTC).date().isoformat(),
            "machine": describe_machine(),
            "plan": self.plan.to_json(),
            "columns": COLUMNS | OTHER_WORK,
            **notes,
        }
        text = json.dumps(description, indent=2) + "\n"
        write_atomically(self.folder / DESCRIPTION, text)


# --- rows -----------------------------------------------------------------------------------------


def _values_of(episode: Episode) -> dict[str, Any]:
    """Return the columns of a row that describe the result of an episode."""
    micros = np.rint(episode.latency * 1e6).astype(np.int64)
    return {
        "valid": int(episode.valid),
        "slip_share": f"{episode.info.get('slip_share', 0.0):.4f}",
        "mean_s": f"{micros.mean() / 1e6:.6f}",
        "p99_s": f"{np.quantile(micros, 0.99) / 1e6:.6f}",
        "failed": int((~episode.ok).sum()),
        "latencies_us": " ".join(map(str, micros)),
        "statuses": "" if episode.ok.all() else " ".join(map(str, episode.status)),
        **{name: episode.info[name] for name in OTHER_WORK},
    }


def _append_row(path: Path, row: Mapping[str, str]) -> None:
    """Add a row to a CSV file; when this returns, the row is on disk."""
    import pandas as pd

    begins = not path.exists() or not path.stat().st_size
    text = pd.DataFrame([row]).to_csv(index=False, header=begins, lineterminator="\n")
    append(path, text)


def _remove_cut_off(path: Path) -> bool:
    """Remove the end of a CSV file that a kill cut off; return whether rows are left.

    This is the last line if it does not end. A header without a row is removed, too.
    """
    if not path.exists():
        return False
    text = path.read_bytes()
    rows = text.count(b"\n") > 1  # the first line names the columns
    whole = text.rfind(b"\n") + 1 if rows else 0
    if whole < len(text):
        os.truncate(path, whole)
    return rows


# --- on a server that is started here -------------------------------------------------------------


def check_gpu() -> None:
    """Raise UsageError if TensorFlow finds no GPU."""
    load_tensorflow()
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        raise UsageError(
            "the plan needs a GPU, and TensorFlow finds none; if this machine has one, install "
            "tensorflow[and-cuda], see data/README.md"
        )
