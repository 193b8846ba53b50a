"""Record a profile: measure what its plan fixes, append rows, continue after an interruption."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rrl.core.knob import Configuration
from rrl.recording.other_work import BUSY, OtherWork
from rrl.recording.plan import HALVES, REPEATS, ROUNDS, Plan, Visit, ordered
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
from rrl.support.files import (
    append,
    open_alone,
    read_json,
    remove_leftovers,
    write_atomically,
)
from rrl.support.machine import describe_machine, exclusive
from rrl.tuning.episode import Episode, Server

if TYPE_CHECKING:
    from rrl.serving.sample import Inputs

MAX_TRIES = 3  # tries per episode in one visit; later sweeps try again if none counts
SWEEPS = 3  # sweeps over a pass; each one measures what is still missing

Key = tuple[int, int, int, int]
"""An episode: its pass, the numbers of its configuration and of its rate, and its repeat."""


class Recordable(Server, Protocol):
    """A server that reports how long its last start took."""

    start_s: float

    def configure(self, configuration: Configuration) -> Any:
        """Start a configuration and warm it up."""


class Recorder:
    """Measure the episodes that a profile folder does not have yet, and append each of them.

    An episode counts if the load generator was on time. No limit is on a latency. But the generator
    may delay requests by a tenth of the mean latency, so the same delay is sooner too long for a
    fast configuration. If other processes used more than `BUSY` of the processor time meanwhile,
    the episode is measured again, but the last try counts: some machines are never idle.

    While it is open, no other process can open one for the same folder.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        The folder of the profile. An existing profile of the same plan is continued.
    others : OtherWork, optional
        It measures the work of other processes.

    Raises
    ------
    UsageError
        If another process records into the folder.
    DataError
        If the folder has a profile of another plan or from another machine.
    """

    def __init__(self, plan: Plan, folder: Path, others: OtherWork | None = None) -> None:
        self.plan, self.folder = plan, folder
        self.columns = [*plan.knobs, *COLUMNS, *OTHER_WORK]
        self._others = others or OtherWork()
        self._new = 0  # episodes measured by this recorder
        self._complete = False  # whether an earlier recording has marked the folder as complete
        self._number = {tuple(map(str, c.values())): n for n, c in enumerate(plan.space)}
        self._rates = [f"{rate:g}" for rate in plan.rates_per_s]
        self._done: set[Key] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = open_alone(folder)  # before anything is read: two would append the same rows
        try:
            self._resume()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process record into the folder."""
        os.close(self._lock)

    def __len__(self) -> int:
        return len(self._done)

    # --- what is to be measured -------------------------------------------------------------------

    def order(self) -> Iterator[list[Visit]]:
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

    def _left(self, visits: Iterable[Visit]) -> list[Visit]:
        """Return what is left of some visits: the episodes that are not on disk."""
        left = [
            (pass_, index, [pair for pair in pairs if (pass_, index, *pair) not in self._done])
            for pass_, index, pairs in visits
        ]
        return [visit for visit in left if visit[2]]

    # --- measurements -----------------------------------------------------------------------------

    def run(self, server: Recordable, rng: np.random.Generator) -> Iterator[Episode]:
        """Measure the missing episodes in order; yield each saved one."""
        for visits in self.order():
            for _ in range(SWEEPS):
                for pass_, index, pairs in self._left(visits):
                    with exclusive():
                        server.configure(self.plan.space[index])
                        for rate, repeat in pairs:
                            yield from self._try(server, (pass_, index, rate, repeat), rng)

    def _try(self, server: Recordable, key: Key, rng: np.random.Generator) -> Iterator[Episode]:
        """Measure an episode until it counts, or has been tried too often."""
        for number in range(1, MAX_TRIES + 1):
            episode = self._measure(server, key, rng, last=number == MAX_TRIES)
            if key in self._done:
                yield episode
                return

    def _measure(
        self, server: Recordable, key: Key, rng: np.random.Generator, last: bool
    ) -> Episode:
        """Measure and save an episode, which may not count."""
        pass_, index, rate, repeat = key
        configuration = self.plan.space[index]
        seed, arrivals = self.plan.arrivals(pass_, rate, repeat)
        started = datetime.now(UTC)
        self._others.start()
        episode = server.measure(configuration, arrivals, rng)
        other_work = self._others.look()
        row = {
            **configuration,
            "rate_per_s": self._rates[rate],
            "pass": pass_,
            "repeat": repeat,
            "order": len(self),
            "started": started.isoformat(timespec="seconds"),
            "start_s": f"{server.start_s:.2f}",
            "arrival_seed": seed,
            **values_of(episode),
            "other_work": other_work,
        }
        disturbed = other_work > BUSY and not last
        self._save(row, "slip" if not episode.valid else "busy" if disturbed else "")
        return episode

    def _save(self, values: Mapping[str, Any], why: str) -> None:
        """Append an episode to those that count, or to the rejected ones with the reason."""
        if not self._new:
            self._describe(complete=False)
        self._new += 1
        row = {name: str(values[name]) for name in self.columns}
        if why:
            append_row(self.folder / REJECTED, {"why": why, **row})
            return
        append_row(self.folder / EPISODES, row)
        self._keep(row)

    def _keep(self, row: Mapping[str, str]) -> None:
        """Remember an episode that is on disk."""
        index = self._number[tuple(row[knob] for knob in self.plan.knobs)]
        rate = self._rates.index(row["rate_per_s"])
        self._done.add((int(row["pass"]), index, rate, int(row["repeat"])))

    # --- the folder -------------------------------------------------------------------------------

    def finish(self) -> None:
        """Mark the profile as complete if it is not, with a hash of its episodes.

        Raises
        ------
        UnstableError
            If an episode of the plan is missing, because none of its tries counted.
        """
        left = [visit for visits in self.order() for visit in self._left(visits)]
        if missing := sum(len(pairs) for *_, pairs in left):
            raise UnstableError(
                f"{self.folder}: {missing} episodes of the plan did not count in any of "
                f"{SWEEPS * MAX_TRIES} tries, because the load generator was late ({REJECTED} has "
                "them); the same command tries them again, best on an idle machine"
            )
        if not self._complete or self._new:
            self._describe(complete=True, sha256=episodes_hash(self.folder / EPISODES))
        else:
            read_profile(self.folder)  # it refuses episodes that were changed

    def _resume(self) -> None:
        remove_leftovers(self.folder)
        path = self.folder / DESCRIPTION
        if not path.exists():
            self._describe(complete=False)
            return
        stored = read_json(path)
        if not (isinstance(stored, dict) and isinstance(stored.get("machine", {}), dict)):
            raise DataError(f"{path}: it is no description of a profile; choose another folder")
        if stored.get("plan") != self.plan.to_json():
            raise DataError(f"{path} is from another plan; choose another folder, or remove it")
        here, there = describe_machine(), stored.get("machine", {})
        if any(here[key] != there.get(key) for key in ("processor", "cpus")):
            raise DataError(f"{path} was recorded on another machine; choose another folder")
        self._complete = bool(stored.get("complete"))
        read_appended(self.folder / REJECTED, ["why", *self.columns])  # its last line may be cut
        for row in read_appended(self.folder / EPISODES, self.columns):
            try:
                self._keep(row)
            except (LookupError, ValueError):
                raise DataError(
                    f"{self.folder / EPISODES}: row {len(self) + 1} is no episode of the plan; "
                    "restore the file, or choose another folder"
                ) from None

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


def values_of(episode: Episode) -> dict[str, Any]:
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
    }


def append_row(path: Path, row: Mapping[str, str]) -> None:
    """Add a row to a CSV file; when this returns, the row is on disk."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    if not path.exists() or not path.stat().st_size:
        writer.writeheader()
    writer.writerow(row)
    append(path, text.getvalue())


def read_appended(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file that rows are appended to; remove a cut-off last line.

    Raises
    ------
    DataError
        If the file has other columns, or cannot be read.
    """
    import pandas as pd

    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        os.truncate(path, len(whole))
    if not whole:
        return []
    # Not the csv module: its fields have at most 128 KiB, which are 20,000 latencies.
    try:
        table = pd.read_csv(io.BytesIO(whole), dtype=str, keep_default_na=False)
    except ValueError as error:
        why = str(error).strip()
        raise DataError(f"{path}: {why}; restore the file, or choose another folder") from None
    if list(table) != columns:
        raise DataError(f"{path}: its columns are not those of the plan; choose another folder")
    return table.to_dict("records")


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


def record_live(
    plan: Plan,
    folder: Path,
    *,
    base: Path | None = None,
    inputs: Sequence[Inputs] | None = None,
    **settings: Any,
) -> Iterator[tuple[int, Episode]]:
    """Record a plan on a new server, or continue the recording in `folder`.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        The folder of the profile.
    base : pathlib.Path, optional
        The base path of one's own model. By default, the plan names a known model.
    inputs : sequence, optional
        The requests to send to one's own model. The default is one random request.
    **settings
        Of :class:`rrl.serving.live.LiveServer`, such as `executable`, `start_timeout_s` (s),
        `signature`, and the `timeout_s` of a request (s).

    Yields
    ------
    done, episode
        The number of episodes recorded so far, and the newest episode, which is on disk.

    Raises
    ------
    UsageError
        If this machine cannot record the plan, or if another process records into the folder.
    """
    from rrl.serving.live import LiveServer
    from rrl.serving.models import build
    from rrl.serving.saved_model import random_request

    if plan.gpu:
        check_gpu()
    rng = np.random.default_rng(plan.seed)
    with closing(Recorder(plan, folder)) as recorder:
        if base is None:
            base = build(plan.model)
            inputs = [random_request(base, rng)]
        with LiveServer(base, plan.space, inputs=inputs, fixed=plan.fixed, **settings) as server:
            for episode in recorder.run(server, rng):
                yield len(recorder), episode
            recorder.finish()
