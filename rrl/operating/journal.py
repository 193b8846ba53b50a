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

from rrl.operating.records import Record
from rrl.support.errors import DataError, RRLError, UsageError, shown
from rrl.support.files import open_alone, remove_leftovers
from rrl.tuning.presets import in_words

JOURNAL = "journal.jsonl"
SCHEMA = 6
RAISABLE = ("episodes", "rounds", "budget")
"""Settings that may be larger when the run continues."""
OTHER_VERSION = (
    "finish that run with the version of rrl that began it, or begin a new run in another folder"
)
"""What to do with a journal that this version cannot continue."""
_HEADER = b'{"journal":'  # how the first line begins


def read_records(path: Path, content: bytes) -> tuple[list[Record], int]:
    """Return the records of a journal with this content, and how many of its bytes they have.

    A last line that a kill or a full disk has cut off is left out.

    Raises
    ------
    DataError
        If it is no journal, or if another line than the last one is damaged.
    """
    lines = content.splitlines(keepends=True)
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if number == 1 and not _is_header(line, record):
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
        If another process holds the journal, or if it has measurements with other settings.
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
        self.folder = Path(folder)
        self.path = self.folder / JOURNAL
        self.records: list[Record] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink():
            raise DataError(f"{self.path}: it is a link; remove it, or choose another folder")
        self._file = open_alone(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        try:
            plain = json.loads(json.dumps(settings))
            self._open({"journal": SCHEMA, "agent_version": agent_version, "settings": plain})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, so that another process may continue it."""
        os.close(self._file)

    def _open(self, header: Record) -> None:
        remove_leftovers(self.folder)
        with open(os.dup(self._file), "rb") as file:
            records, whole = read_records(self.path, file.read())
        error = _difference(self.path, records[0], header) if records else None
        if error and len(records) > 1:
            raise error
        if error:  # nothing was measured, so nothing is lost
            records, whole = [], 0
        os.ftruncate(self._file, whole)
        if not records:
            self._write(header)
            _sync(self.folder)
        self.records = records[1:]

    def append(self, record: Record) -> None:
        """Add a record; when this returns, it is on disk; if this fails, no part of it remains."""
        self._write(record)
        self.records.append(record)

    def _write(self, record: Record) -> None:
        data = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = 0
            while written < len(data):  # a nearly full disk may write only a part
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)
            raise OSError(error.errno, error.strerror, str(self.path)) from None


def _is_header(line: bytes, record: Record | None) -> bool:
    """Return whether the first line of a file is that of a journal, or was cut off or damaged."""
    if record is None:
        return _HEADER.startswith(line.strip(b"\0")[: len(_HEADER)])
    return "journal" in record and isinstance(record.get("settings"), dict)


def _difference(path: Path, stored: Record, wanted: Record) -> RRLError | None:
    """Return why a run cannot continue the stored one, in one line that says what to do."""
    versions = {"journal": "journals", "agent_version": "the agent"}
    other = [name for name in versions if stored.get(name) != wanted[name]]
    old, new = stored["settings"], wanted["settings"]
    changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    kept = [name for name in changed if not (name in RAISABLE and _larger(old, new, name))]
    if kept and "journal" not in other:
        of = "of" if kept[0] == "what" else f"with {kept[0]}"
        return UsageError(
            f"{path} is of a run {of} {_value(old, kept[0])}, not {_value(new, kept[0])}: "
            "give the same options to continue it, or choose another folder by --out"
        )
    if not other:
        return None
    number = shown(str(stored.get(other[0])))
    return DataError(
        f"{path} is of version {number} of {versions[other[0]]}, and this rrl has version "
        f"{wanted[other[0]]}: {OTHER_VERSION}"
    )


def _larger(old: Record, new: Record, name: str) -> bool:
    """Return whether both have a number of this name, and the new one is larger."""
    before, now = old.get(name), new.get(name)
    return isinstance(before, int) and isinstance(now, int) and now > before


def is_configuration(value: Any) -> bool:
    """Return whether a value of a file can be a configuration: names, and numbers or text."""
    return isinstance(value, dict) and all(type(one) in (int, float, str) for one in value.values())


def _value(settings: Record, name: str) -> str:
    value = settings.get(name)
    if value is None:
        return "by default"
    return (in_words(value) or "(none)") if is_configuration(value) else repr(value)


def _sync(folder: Path) -> None:
    """Write a folder's own entries to disk, so that a new file survives a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
