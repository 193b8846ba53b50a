"""The journal of a tuning run: it stores all measurements, so a run can stop at any moment.

The journal is a folder with two files. `journal.jsonl` grows by one line per episode. Each line has
a checksum and is on disk before the run continues. The first line holds the settings. `agent.json`
is a snapshot of the agent. From time to time it is replaced as a whole. The snapshot only saves
time: a new agent of the same job that gets the measurements again reaches the same state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from rrl.core.agent import Agent
from rrl.operating.records import Record, learned
from rrl.support.errors import DataError, UsageError
from rrl.support.files import write_atomically
from rrl.support.one_writer import open_alone, remove_leftovers

JOURNAL, SNAPSHOT = "journal.jsonl", "agent.json"
SCHEMA = 2  # schema 1 differs only in the names of agents
RENAMED = {
    "default": "rrl",
    "rrl": "rrl-boltzmann",
    "rrl-wide": "rrl-boltzmann-wide",
    "adaptive-rrl": "rrl-adaptive",
    "released-rrl": "rrl-released",
    "released-rrl-copy": "rrl-released-copy",
}
"""The names of agents in schema 1, and their names now."""
RAISABLE = ("episodes", "rounds", "budget")
"""Settings that may be larger when the run continues."""
_WRITTEN = (SNAPSHOT, "result.json", "batching*.txt", "tuning.*", "cpus.*")  # each as a whole
SNAPSHOT_EVERY = 10  # episodes; a resumed run tells the agent fewer than these again
_MARK = ',"crc32":"'
_HEADER = b'{"journal":'  # how the first line begins


def encode(record: Record) -> str:
    r"""Return a record as one line of JSON that ends with the checksum of the text before it.

    Examples
    --------
    >>> encode({"episode": 0, "cost": 0.1})
    '{"episode":0,"cost":0.1,"crc32":"8331ff01"}\n'
    """
    body = json.dumps(record, separators=(",", ":"), allow_nan=False)[:-1]
    return f'{body}{_MARK}{crc32(body.encode()):08x}"}}\n'


def decode(line: bytes) -> Record | None:
    """Return the record of a line; None if the line is cut off or damaged.

    Examples
    --------
    >>> decode(encode({"episode": 0}).encode())
    {'episode': 0}
    >>> decode(b'{"episode":1,"crc32":"00000000"}')
    """
    body, mark, end = line.rstrip(b"\r\n").rpartition(_MARK.encode())
    if not mark or end != b'%08x"}' % crc32(body):
        return None
    try:
        return json.loads(body + b"}")
    except (ValueError, RecursionError):  # rrl does not write such lines
        return None


class Journal:
    """An append-only file of records that one process at a time may write; a context manager.

    Parameters
    ----------
    folder : path
        The folder is made if it is missing. If it holds a journal, that journal is continued.
    settings : mapping
        The settings that must be the same when the run continues, in a form for JSON.

    Attributes
    ----------
    records : list of dict
        The records of the journal, in order.
    recovered : bool
        Whether the last line was cut off, by a kill or a full disk, and was removed.

    Raises
    ------
    UsageError
        If another process holds the journal, or if it has measurements with other settings.
    DataError
        If a line other than the last is damaged. The message names that line.

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
        self.folder = Path(folder)
        self.path = self.folder / JOURNAL
        self.records: list[Record] = []
        self.recovered = False
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open_alone(self.path, os.O_RDWR | os.O_CREAT)
        try:
            self._open(json.loads(json.dumps(settings)))
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

    def _open(self, settings: Record) -> None:
        remove_leftovers(self.folder, *_WRITTEN)
        header = {"journal": SCHEMA, "settings": settings}
        lines = self.path.read_bytes().splitlines(keepends=True)
        records = [decode(line) for line in lines]
        if lines and not _is_header(lines[0]):
            raise DataError(
                f"{self.path}, line 1: not the first line of a journal; "
                "restore the file, or choose another folder"
            )
        if lines and (records[-1] is None or not lines[-1].endswith(b"\n")):
            self.recovered = True
            os.ftruncate(self._file, sum(map(len, lines[:-1])))
            records.pop()
        if None in records:
            raise DataError(
                f"{self.path}, line {records.index(None) + 1}: damaged (its checksum does not "
                "match); restore the file, or remove it to start a new run"
            )
        os.lseek(self._file, 0, os.SEEK_END)
        if not records:
            self._write(header)
            _sync(self.folder)
        elif not _continues(stored := _renamed(records[0]), header):
            if any("machine" not in record for record in records[1:]):
                raise UsageError(f"{self.path} {_difference(stored, header, records[0])}")
            os.ftruncate(self._file, 0)  # nothing was measured, so nothing is lost
            self._write(header)
            records = [header]
        self.records = [record for record in records[1:] if record is not None]

    def append(self, record: Record) -> None:
        """Add a record; when this returns, it is on disk; if this fails, no part of it remains."""
        self._write(record)
        self.records.append(record)

    def _write(self, record: Record) -> None:
        data = encode(record).encode()
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = 0
            while written < len(data):  # a nearly full disk may write only a part
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    # --- the agent ------------------------------------------------------------------------------

    def save(self, agent: Agent) -> None:
        """Replace the snapshot with the agent's state after the last record."""
        snapshot = {"records": len(self.records), "last": _checksum(self.records)}
        text = json.dumps(snapshot | {"state": agent.state()})
        write_atomically(self.folder / SNAPSHOT, text + "\n")

    def agent(self, make: Callable[[], Agent]) -> Agent:
        """Return the agent in its state after the last record.

        Parameters
        ----------
        make : callable
            This function makes a new agent.

        Raises
        ------
        DataError
            If the agent does not choose the configurations that are in the journal.
        """
        agent, told = make(), 0
        episodes = learned(self.records)
        if (snapshot := self._snapshot()) is not None:
            try:
                agent.restore(snapshot["state"])
                told = len(learned(self.records[: snapshot["records"]]))
            except ValueError:  # another version of the agent wrote it; the records are enough
                agent = make()
        for record in episodes[told:]:
            done = record.get("guard", {})
            for choice, charge in done.get("refused", ()):
                self._same(agent, record, choice)
                agent.tell(choice, charge)
            asked = done.get("asked", record["configuration"])
            if asked is not None:
                self._same(agent, record, asked)
            if done.get("told", True):
                agent.tell(record["configuration"], record["cost"])
        return agent

    def _same(self, agent: Agent, record: Record, choice: Any) -> None:
        """Let the agent choose, and check that its choice is the one of the journal."""
        asked = dict(agent.ask(record["load_per_s"]))
        if asked != choice:
            raise DataError(
                f"{self.path}, line {self.records.index(record) + 2}: the agent chooses {asked} "
                f"where the journal has {choice}: another version of it wrote this; choose "
                "another folder"
            )

    def _snapshot(self) -> Record | None:
        """Return the snapshot if it is complete and belongs to this journal."""
        try:
            snapshot = json.loads((self.folder / SNAPSHOT).read_text(encoding="utf-8"))
            known = self.records[: snapshot["records"]]
            fits = len(known) == snapshot["records"] and snapshot["last"] == _checksum(known)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return snapshot if fits else None


def _is_header(line: bytes) -> bool:
    """Return whether the first line of a file is that of a journal, or was cut off or damaged."""
    record = decode(line)
    if record is None:
        return _HEADER.startswith(line.strip(b"\0")[: len(_HEADER)])
    return "journal" in record and isinstance(record.get("settings"), dict)


def _checksum(records: list[Record]) -> int:
    return crc32(encode(records[-1]).encode()) if records else 0


def _renamed(header: Record) -> Record:
    """Return the first line of a journal as this version would write it."""
    if header.get("journal") != 1:
        return header
    settings = dict(header["settings"])
    if "agent" in settings:
        settings["agent"] = RENAMED.get(settings["agent"], settings["agent"])
    return {"journal": SCHEMA, "settings": settings}


def _continues(stored: Record, wanted: Record) -> bool:
    """Return whether a run with the wanted settings continues the stored one."""
    return stored.get("journal") == wanted["journal"] and not _changed(
        stored["settings"], wanted["settings"]
    )


def _changed(old: Record, new: Record) -> list[str]:
    """Return the names of the settings that forbid to continue; `RAISABLE` ones may grow."""
    names = [name for name in dict.fromkeys((*new, *old)) if old.get(name) != new.get(name)]
    return [
        name
        for name in names
        if name not in RAISABLE or None in (old.get(name), new.get(name)) or new[name] < old[name]
    ]


def _difference(stored: Record, wanted: Record, written: Record) -> str:
    """Return a text that names the first different setting and says what to do."""
    if stored.get("journal") != wanted["journal"]:
        return f"has schema {stored.get('journal')!r}, this version of rrl writes {SCHEMA}"
    old, new = stored["settings"], wanted["settings"]
    name = _changed(old, new)[0]
    before = written["settings"].get(name)
    then = "" if before == old.get(name) else f" (then called {before!r})"
    return (
        f"is of a run with {name} {_value(old, name)}{then}, not {_value(new, name)}: "
        "give the same options to continue it, or choose another folder"
    )


def _value(settings: Record, name: str) -> str:
    return repr(settings[name]) if settings.get(name) is not None else "by default"


def _sync(folder: Path) -> None:
    """Write a folder's own entries to disk, so that a new file survives a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
