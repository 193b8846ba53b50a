"""The journal of a tuning run: it stores all measurements, so a run can stop at any moment.

The journal is a folder with a file `journal.jsonl` that grows by one line of JSON per episode. Each
line is on disk before the run continues. The first line holds the settings of the run. Nothing else
is saved: the same loop with the same answers reaches the same state (:mod:`rrl.operating.operate`),
and a line from which another cost follows is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl.support.errors import DataError, RRLError, UsageError, shown
from rrl.support.files import append, open_alone, remove_leftovers, write_atomically

Record = dict[str, Any]
"""A line of a journal."""

JOURNAL = "journal.jsonl"
SCHEMA = 10
VERSIONS = {"journal": "journals", "agent_version": "the agent"}
"""Settings that a version of rrl has, and no option."""
OTHER_VERSION = (
    "finish that run with the version of rrl that began it, or begin a new run in another folder"
)
"""What to do with a journal that this version cannot continue."""


def read_records(path: Path, content: bytes) -> tuple[list[Record], int]:
    """Return the records of a journal with this content, and how many of its bytes they have.

    A last line that a kill, a full disk or a loss of power has damaged is left out. This is never
    the first one, which is written whole.

    Raises
    ------
    DataError
        If it is no journal, or if a line is damaged.
    """
    *lines, cut_off = content.split(b"\n")
    records = [_record(line) for line in lines]
    if len(records) > 1 and records[-1] is None:
        records, cut_off = records[:-1], lines[-1] + b"\n" + cut_off
    if content and not (records and records[0] and "journal" in records[0]):
        raise DataError(
            f"{path}, line 1: not the first line of a journal; "
            "restore the file, or choose another folder"
        )
    if None in records:
        raise DataError(
            f"{path}, line {records.index(None) + 1}: damaged; restore the file, or remove it to "
            "start a new run"
        )
    return [record for record in records if record is not None], len(content) - len(cut_off)


def _record(line: bytes) -> Record | None:
    """Return the record of a line; None if the line is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


class Journal:
    """An append-only file of records that one process at a time may write; a context manager.

    Parameters
    ----------
    folder : path
        The folder is made if it is missing. If it holds a journal, that journal is continued.
    settings : mapping
        What must be the same when the run continues, in a form for JSON. One of the settings is the
        version of the agent.

    Raises
    ------
    UsageError
        If another process uses the folder, or if the journal has measurements with other settings.
    DataError
        If a line is damaged, the file is a link, or another version of rrl wrote it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Journal(folder, {"seed": 1}) as journal:
    ...         journal.append({"episode": 0, "cost": 0.1})
    ...     with Journal(folder, {"seed": 1}) as journal:
    ...         journal.records
    [{'episode': 0, 'cost': 0.1}]
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = Path(folder) / JOURNAL
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open_alone(self.path.parent)
        try:
            self.records = self._open({"journal": SCHEMA, **settings})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process continue the journal."""
        os.close(self._lock)

    def _open(self, header: Record) -> list[Record]:
        """Return the records of the file; begin it if nothing was measured with other settings."""
        remove_leftovers(self.path.parent)
        if self.path.is_symlink():
            raise DataError(f"{self.path}: it is a link; remove it, or choose another folder")
        content = self.path.read_bytes() if self.path.exists() else b""
        records, whole = read_records(self.path, content)
        error = _difference(self.path, records[0], json.loads(_line(header))) if records else None
        if error and len(records) > 1:
            raise error
        if error or not records:
            write_atomically(self.path, _line(header))
            os.fsync(self._lock)  # so that a new file survives a power loss
            return []
        os.truncate(self.path, whole)
        return records[1:]

    def append(self, record: Record) -> None:
        """Add a record; when this returns, it is on disk."""
        append(self.path, _line(record))
        self.records.append(record)


def _line(record: Record) -> str:
    return json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"


def _difference(path: Path, old: Record, new: Record) -> RRLError | None:
    """Return why a run cannot continue the stored one, in one line that says what to do."""
    changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    if not changed:
        return None
    name = changed[0]  # it says why the others differ
    if name in VERSIONS:
        return DataError(
            f"{path} is of version {shown(str(old.get(name)))} of {VERSIONS[name]}, and this rrl "
            f"has version {new.get(name)}: {OTHER_VERSION}"
        )
    of = "of" if name == "what" else f"with {name}"
    return UsageError(
        f"{path} is of a run {of} {_value(old, name)}, not {_value(new, name)}: "
        "give the same options to continue it, or choose another folder by --out"
    )


def _value(settings: Record, name: str) -> str:
    value = settings.get(name)
    return "by default" if value is None else repr(value)
