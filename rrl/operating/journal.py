"""The journal of a tuning run: it stores all measurements, so a run can stop at any moment.

The journal is a folder with a file `journal.jsonl` that grows by one line of JSON per episode. Each
line is on disk before the run continues. The first line holds the settings, and the version of the
agent. Nothing else is saved: the same loop with the same answers reaches the same state
(:mod:`rrl.operating.operate`), and a line from which another cost follows is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl.support.errors import DataError, RRLError, UsageError, shown
from rrl.support.files import append, open_alone, remove_leftovers, write_atomically
from rrl.tuning.presets import in_words

Record = dict[str, Any]
"""A line of a journal, and what follows from it (:mod:`rrl.operating.records`)."""

JOURNAL = "journal.jsonl"
SCHEMA = 7
FREE = ("episodes", "rounds", "budget")
"""Settings that may have other values when the run continues."""
OTHER_VERSION = (
    "finish that run with the version of rrl that began it, or begin a new run in another folder"
)
"""What to do with a journal that this version cannot continue."""


def read_records(path: Path, content: bytes) -> tuple[list[Record], int]:
    """Return the records of a journal with this content, and how many of its bytes they have.

    A last line that a kill or a full disk has cut off is left out; the first one is written whole.

    Raises
    ------
    DataError
        If it is no journal, or if another line than the last one is damaged.
    """
    lines = content.splitlines(keepends=True)
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if number == 1 and not (record and isinstance(record.get("settings"), dict)):
            raise DataError(
                f"{path}, line 1: not the first line of a journal; "
                "restore the file, or choose another folder"
            )
        if number == len(lines) and (record is None or not line.endswith(b"\n")):
            return records, len(content) - len(line)
        if record is None:
            raise DataError(
                f"{path}, line {number}: damaged; restore the file, or remove it to start a new run"
            )
        records.append(record)
    return records, len(content)


def _record(line: bytes) -> Record | None:
    """Return the record of a line; None if the line is cut off or damaged."""
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
        The settings that must be the same when the run continues, in a form for JSON.
    agent_version : int, optional
        The version of the agent, which must be the same, too.

    Attributes
    ----------
    records : list of dict
        The records of the journal, in order.

    Raises
    ------
    UsageError
        If another process uses the folder, or if the journal has measurements with other settings.
    DataError
        If a line other than the last is damaged, which the message names. If the file is a link, or
        another version of rrl or of the agent wrote it.

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

    def __init__(
        self,
        folder: str | os.PathLike[str],
        settings: Mapping[str, Any],
        agent_version: int = 1,
    ) -> None:
        self.path = Path(folder) / JOURNAL
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = open_alone(self.path.parent)
        header = {"journal": SCHEMA, "agent_version": agent_version, "settings": settings}
        try:
            self.records = self._open(header)
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


def _difference(path: Path, stored: Record, wanted: Record) -> RRLError | None:
    """Return why a run cannot continue the stored one, in one line that says what to do."""
    versions = {"journal": "journals", "agent_version": "the agent"}
    other = [name for name in versions if stored.get(name) != wanted[name]]
    old, new = stored["settings"], wanted["settings"]
    names = [name for name in {**new, **old} if name not in FREE]
    changed = [name for name in names if old.get(name) != new.get(name)]
    if changed and "journal" not in other:
        of = "of" if changed[0] == "what" else f"with {changed[0]}"
        return UsageError(
            f"{path} is of a run {of} {_value(old, changed[0])}, not {_value(new, changed[0])}: "
            "give the same options to continue it, or choose another folder by --out"
        )
    if not other:
        return None
    number = shown(str(stored.get(other[0])))
    return DataError(
        f"{path} is of version {number} of {versions[other[0]]}, and this rrl has version "
        f"{wanted[other[0]]}: {OTHER_VERSION}"
    )


def is_configuration(value: Any) -> bool:
    """Return whether a value of a file can be a configuration: names, and numbers or text."""
    return isinstance(value, dict) and all(type(one) in (int, float, str) for one in value.values())


def _value(settings: Record, name: str) -> str:
    value = settings.get(name)
    if value is None:
        return "by default"
    return (in_words(value) or "(none)") if is_configuration(value) else repr(value)
