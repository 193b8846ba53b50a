"""The journal of a tuning run: it stores what a server answers, so a run can stop at any moment.

The journal is a folder with a file `journal.jsonl` that grows by one line of JSON per episode. Each
line is on disk before the run continues. The first line holds the settings of the run. Nothing else
is saved: the same loop with the same answers reaches the same state (:mod:`rrl.operating.operate`).
In that loop, a :class:`TapedServer` answers from the journal until it ends, and then the real
server does. Whatever follows from the answers, such as costs, choices and the state of the guard,
is computed again, and a line from which something else follows is refused.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.operating.log import LOG
from rrl.support.errors import DataError, ServerError, UsageError
from rrl.support.files import alone_in, append, write_atomically
from rrl.tuning.episode import Episode, Server
from rrl.tuning.presets import in_words
from rrl.tuning.watch import Watch, WatchingServer, measure_watched

Record = dict[str, Any]
"""A line of a journal."""

JOURNAL, COMMAND = "journal.jsonl", "command"
SCHEMA = 14


@dataclass(frozen=True)
class Journal:
    """A file of records, and those that it has; :func:`open_journal` opens it."""

    path: Path
    records: list[Record]

    def append(self, record: Record) -> None:
        """Add a record; when this returns, it is on disk."""
        append(self.path, _line(record))
        self.records.append(record)


@contextmanager
def open_journal(
    folder: str | os.PathLike[str], settings: Mapping[str, Any], command: str = ""
) -> Iterator[Journal]:
    """Open the journal of a folder for the block; meanwhile, no other process may use it.

    Parameters
    ----------
    folder : path
        The folder is made if it is missing. If it holds a journal, that journal is continued.
    settings : mapping
        What must be the same when the run continues, in a form for JSON. One of the settings is the
        version of the agent.
    command : str
        The command that begins the run. A run may continue by another one.

    Raises
    ------
    UsageError
        If another process uses the folder, or if the journal has measurements with other settings,
        or of another version of rrl.
    DataError
        If a line is damaged, or the file is a link.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_journal(folder, {"seed": 1}) as journal:
    ...         journal.append({"episode": 0, "cost": 0.1})
    ...     with open_journal(folder, {"seed": 1}) as journal:
    ...         journal.records
    [{'episode': 0, 'cost': 0.1}]
    """
    path = Path(folder) / JOURNAL
    with alone_in(path.parent) as place:
        records = _continued(path, {"journal": SCHEMA, **settings, COMMAND: command})
        os.fsync(place)  # so that a new file survives a power loss
        yield Journal(path, records)


def _continued(path: Path, header: Record) -> list[Record]:
    """Return the records of a file; begin it if nothing was measured with other settings.

    A last line that a kill, a full disk or a loss of power has damaged is cut off. This is never
    the first one, which is written whole.
    """
    records, size = _whole_lines(path)
    error = _difference(path, records[0], json.loads(_line(header))) if records else None
    if error and len(records) > 1:
        raise error
    if error or not records:
        write_atomically(path, _line(header))
        return []
    os.truncate(path, size)
    return records[1:]


def read_journal(folder: Path) -> tuple[Record, list[Record]]:
    """Return the settings and the records of the journal in a folder, which a run may still use.

    Raises
    ------
    DataError
        If there is none, or it is damaged.
    """
    records, _ = _whole_lines(folder / JOURNAL)
    if not records:
        raise DataError(f"{folder}: no {JOURNAL} there; give the folder of `rrl tune` or replay")
    return records[0], records[1:]


def _whole_lines(path: Path) -> tuple[list[Record], int]:
    """Return the records of a file without a damaged last one, and their length in bytes."""
    if path.is_symlink():
        raise DataError(f"{path}: it is a link; remove it, or choose another folder")
    lines = BytesIO(path.read_bytes() if path.exists() else b"").readlines()
    records = [_record(line) for line in lines]
    if len(records) > 1 and not records[-1]:
        del records[-1]
    if records and "journal" not in records[0]:
        records[0] = {}
    if {} in records:
        raise DataError(
            f"{path}, line {records.index({}) + 1}: no line of a journal, or a damaged one; "
            "restore the file, or choose another folder by --out"
        )
    return records, sum(map(len, lines[: len(records)]))


def _record(line: bytes) -> Record:
    """Return the record of a line; an empty one if the line is damaged or cut off."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else {}
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _line(record: Record) -> str:
    how: dict[str, Any] = {"allow_nan": False, "default": np.ndarray.tolist}
    return json.dumps(record, separators=(",", ":"), **how) + "\n"


def _difference(path: Path, old: Record, new: Record) -> UsageError | None:
    """Return why a run cannot continue the stored one, in one line that says what to do."""
    changed = [n for n in {**new, **old} if n != COMMAND and old.get(n) != new.get(n)]
    if not changed:
        return None
    name = changed[0]  # it says why the others differ
    of = "of" if name == "what" else f"with {name}"
    was, wanted = ("by default" if x.get(name) is None else repr(x[name]) for x in (old, new))
    return UsageError(
        f"{path} is of a run {of} {was}, not {wanted}: continue it with the same options of the "
        "same version of rrl, or choose another folder by --out"
    )


# --- the answers of a server ----------------------------------------------------------------------

NUMBERS = ("memory_bytes", "other_work")
REPORTED = (*NUMBERS, "aborted", "failure", "others")
"""The entries of an episode's `info` that a journal stores."""


class TapedServer(WatchingServer):
    """A server that plays a tape until it ends, and then notes there what another one answers.

    An answer is an error, or an episode, with the configuration that was asked for.

    Parameters
    ----------
    space : ConfigSpace
    server : Server or None
        It is needed when the tape has ended.
    tape : sequence of dict
        The answers to play.

    Attributes
    ----------
    answers : list of dict
        All answers so far, played or new.
    """

    def __init__(
        self, space: ConfigSpace, server: Server | None, tape: Sequence[dict[str, Any]]
    ) -> None:
        self.space, self._server, self._left = space, server, iter(tape)
        self.answers: list[dict[str, Any]] = []

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Return the next episode of the tape, or measure one.

        Raises
        ------
        ServerError
            If the server fails, or the tape says that it has failed.
        ValueError, TypeError, LookupError
            If the tape has something else than an answer, or nobody can measure what it lacks.
        """
        answer = next(self._left, None)
        if answer is not None:
            self.answers.append(answer)
            if answer["configuration"] != dict(configuration):
                raise ValueError(f"it is of {answer['configuration']}, not of {configuration}")
            if "error" in answer:
                lost, started = int(answer["lost"]), bool(answer["started"])
                raise ServerError(str(answer["error"]), lost, started)
            episode = Episode(**answer)
            for name in NUMBERS:
                if not 0 <= episode.info.get(name, 0) < math.inf:
                    raise ValueError(f"{name} {episode.info[name]!r}")
            return episode
        if self._server is None:
            raise ValueError("there is no such measurement")
        try:
            episode = measure_watched(self._server, configuration, arrivals, rng, watch)
        except ServerError as error:
            if error.started:
                LOG.warning(f"the server failed with {in_words(configuration)}: {error}")
            failed = {"error": str(error), "lost": error.lost, "started": error.started}
            self.answers.append({"configuration": dict(configuration), **failed})
            raise
        names = ("configuration", "arrivals", "latency", "status")
        new = {name: getattr(episode, name) for name in names}
        new["info"] = {name: episode.info[name] for name in REPORTED if name in episode.info}
        self.answers.append(new | {"valid": bool(episode.valid)})
        return episode
