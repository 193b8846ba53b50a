"""Record a profile: measure every configuration of a plan, and survive being interrupted."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rrl.core.knob import Configuration
from rrl.recording.profile import COLUMNS, DESCRIPTION, EPISODES, SCHEMA, Plan
from rrl.support.errors import DataError
from rrl.support.files import write_atomically
from rrl.support.machine import describe_machine, exclusive
from rrl.tuning.episode import Episode, Server
from rrl.tuning.objective import FAILURE_S

_THREADS = {"inter_op": (1, 2, 3, 4), "intra_op": (1, 2, 3, 4), "batch_threads": (0, 1, 2, 3, 4, 8)}
_DEEP_QUEUE = {"grpc_max_threads": 64, "max_enqueued_batches": 1000}

# Loads are about 30, 60 and 85 % of what the best configuration sustained on the 2-core machine
# that the committed profiles come from: 192 requests a second (126 in the busy hour), 35 and 1500.
PLANS: dict[str, Plan] = {
    "mobilenet_v2-threads": Plan(
        "mobilenet_v2", _THREADS, rates_per_s=(60, 115, 165), passes=2, repeats=2
    ),
    "mobilenet_v2-busy": Plan(  # the same grid, when neighbours left the machine half as fast
        "mobilenet_v2", _THREADS, rates_per_s=(38, 76, 107), passes=2, repeats=2
    ),
    "mobilenet_v2-overload": Plan(  # half way from what the default sustains to what the best does
        "mobilenet_v2",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 4)},
        rates_per_s=(117,),
        requests=1000,
    ),
    "inception_v3-threads": Plan(
        "inception_v3",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 1, 2, 4)},
        rates_per_s=(10, 21, 30),
    ),
    "mobilenet_v2-batching": Plan(
        "mobilenet_v2",
        {
            "max_batch_size": (1, 2, 4, 8),
            "batch_timeout_micros": (0, 2000, 10_000),
            "batch_threads": (1, 2, 4),
        },
        rates_per_s=(60, 115, 165),
        # Handler threads block while a request waits, so a full batch needs as many of them.
        fixed={"inter_op": 2, "intra_op": 1, **_DEEP_QUEUE},
    ),
    "keyword-threads": Plan(
        "keyword",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 1, 2, 4)},
        rates_per_s=(450, 900, 1275),
        requests=300,
        repeats=2,
    ),
}
"""The profiles that the repository keeps under `data/`, by folder name."""

Visit = tuple[int, int, list[tuple[int, int]]]
"""A stop of the recording: pass, index of the configuration, its (rate index, repeat) pairs."""

MAX_TRIES = 3  # of one episode, when the load generator was late enough to matter


class Started(Server, Protocol):
    """A server that says how long its last start took."""

    start_s: float


def schedule(plan: Plan) -> Iterator[Visit]:
    """The order of the measurements.

    Each pass visits the configurations in a random order of its own, so slow drift of the machine
    becomes scatter between passes, not a false difference between neighbours.

    Examples
    --------
    >>> plan = Plan("keyword", {"inter_op": (1, 2)}, rates_per_s=(50.0, 90.0), passes=2)
    >>> [(pass_, index, pairs) for pass_, index, pairs in schedule(plan)][0]
    (0, 0, [(0, 0), (1, 0)])
    """
    rates = range(len(plan.rates_per_s))
    pairs = [(rate, repeat) for rate in rates for repeat in range(plan.repeats)]
    for pass_ in range(plan.passes):
        rng = np.random.default_rng([plan.seed, pass_])
        for index in rng.permutation(len(plan.space)):
            yield pass_, int(index), [pairs[i] for i in rng.permutation(len(pairs))]


class Recorder:
    """Measures what a profile folder still lacks, saving after each episode.

    Parameters
    ----------
    plan : Plan
    folder : pathlib.Path
        The profile; an existing one of the same plan is continued.

    Raises
    ------
    DataError
        If the folder holds a profile of another plan.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.columns = [*plan.knobs, *COLUMNS]
        folder.mkdir(parents=True, exist_ok=True)
        self._new = 0  # episodes measured by this recorder
        self._complete = False  # as the folder says: an earlier recording may have died short of it
        self._rows: list[dict[str, str]] = self._resume()
        self._done = {self._key(row) for row in self._rows}

    def __len__(self) -> int:
        return len(self._rows)

    def means(self, rate: int) -> list[tuple[int, int, int, float]]:
        """Pass, repeat, configuration and mean latency (s) of each episode at a rate index.

        A failed request is charged as agents are charged for it; an invalid episode has no mean.
        """
        wanted = f"{self.plan.rates_per_s[rate]:g}"
        space, knobs = self.plan.space, self.plan.knobs
        return [
            (
                int(row["pass"]),
                int(row["repeat"]),
                space.index({knob: int(row[knob]) for knob in knobs}),
                _judged(row),
            )
            for row in self._rows
            if row["rate_per_s"] == wanted
        ]

    def _resume(self) -> list[dict[str, str]]:
        path = self.folder / DESCRIPTION
        if not path.exists():
            self._describe(complete=False)
            return []
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: corrupt ({error}); restore it, or remove it") from None
        if stored.get("plan") != self.plan.to_json():
            raise DataError(f"{path} is of another plan; choose another folder, or remove it")
        here, there = describe_machine(), stored.get("machine", {})
        if any(here[key] != there.get(key) for key in ("processor", "cpus")):
            raise DataError(f"{path} was recorded on another machine; choose another folder")
        self._complete = bool(stored.get("complete"))
        try:
            with (self.folder / EPISODES).open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
        except FileNotFoundError:
            return []

    def _describe(self, complete: bool, **notes: Any) -> None:
        description = {
            "schema": SCHEMA,
            "complete": complete,
            "recorded": datetime.now(UTC).date().isoformat(),
            "machine": describe_machine(),
            "plan": self.plan.to_json(),
            "columns": COLUMNS,
            **notes,
        }
        text = json.dumps(description, indent=2) + "\n"
        write_atomically(self.folder / DESCRIPTION, text)

    def _key(self, row: dict[str, str]) -> tuple[str, ...]:
        return tuple(row[name] for name in (*self.plan.knobs, "rate_per_s", "pass", "repeat"))

    def run(
        self,
        server: Started,
        rng: np.random.Generator,
        order: Iterable[Visit] | None = None,
    ) -> Iterator[Episode]:
        """Measure what is missing of `order` (the plan's own by default), saving as it goes.

        Yields each episode once it is on disk.
        """
        for pass_, index, pairs in schedule(self.plan) if order is None else order:
            configuration = self.plan.space[index]
            missing = [pair for pair in pairs if not self._has(configuration, pass_, *pair)]
            if not missing:
                continue
            with exclusive():
                for rate, repeat in missing:
                    yield self._record(server, configuration, pass_, rate, repeat, rng)

    def finish(self, **notes: Any) -> None:
        """Mark the profile complete, with `notes` and a hash of its episodes, unless it is."""
        if self._complete and not self._new:
            return
        text = (self.folder / EPISODES).read_bytes()
        self._describe(complete=True, sha256=hashlib.sha256(text).hexdigest(), **notes)

    def _has(self, configuration: Configuration, pass_: int, rate: int, repeat: int) -> bool:
        levels = [str(configuration[name]) for name in self.plan.knobs]
        return (*levels, f"{self.plan.rates_per_s[rate]:g}", str(pass_), str(repeat)) in self._done

    def _record(
        self,
        server: Started,
        configuration: Configuration,
        pass_: int,
        rate: int,
        repeat: int,
        rng: np.random.Generator,
    ) -> Episode:
        seed, arrivals = self.plan.arrivals(pass_, rate, repeat)
        for _ in range(MAX_TRIES):
            started = datetime.now(UTC)
            episode = server.measure(configuration, arrivals, rng)
            if episode.valid:
                break
        micros = np.rint(episode.latency * 1e6).astype(np.int64)
        values = {
            **configuration,
            "rate_per_s": f"{self.plan.rates_per_s[rate]:g}",
            "pass": pass_,
            "repeat": repeat,
            "order": len(self._rows),
            "started": started.isoformat(timespec="seconds"),
            "valid": int(episode.valid),
            "slip_share": f"{episode.info.get('slip_share', 0.0):.4f}",
            "start_s": f"{server.start_s:.2f}",
            "mean_s": f"{micros.mean() / 1e6:.6f}",
            "p99_s": f"{np.quantile(micros, 0.99) / 1e6:.6f}",
            "failed": int((~episode.ok).sum()),
            "arrival_seed": seed,
            "latencies_us": " ".join(map(str, micros)),
            "statuses": "" if episode.ok.all() else " ".join(map(str, episode.status)),
        }
        row = {name: str(values[name]) for name in self.columns}
        if not self._new:
            self._describe(complete=False)
        self._new += 1
        self._rows.append(row)
        self._done.add(self._key(row))
        self._save()
        return episode

    def _save(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self.folder / EPISODES, text.getvalue())


def _judged(row: dict[str, str]) -> float:
    """Mean latency (s) that an episode is judged by; NaN if it is not valid."""
    if row["valid"] != "1":
        return np.nan
    if not row["statuses"]:
        return float(row["mean_s"])
    latency, status = (np.array(row[name].split(), float) for name in ("latencies_us", "statuses"))
    return float(np.where(status == 0, latency / 1e6, np.maximum(latency / 1e6, FAILURE_S)).mean())
