"""Write a file completely or not at all, by one process at a time, add to a file, and read one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import lock_descriptor

from rrl.support.errors import DataError, UsageError

MARK = "rrl-"  # before the number of the process, in the names of files that replace others


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends without an error.

    The old file stays intact if the disk is full, an exception occurs or the process is killed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as file:
    ...         _ = file.write(b"whole")
    ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
    [('a.txt', 'whole')]
    """
    scratch = path.with_name(f".{path.name}.{MARK}{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(scratch):
            error.filename = str(path)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def open_alone(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file or a folder, and lock it until it is closed; return its descriptor.

    The kernel also releases the lock when the process ends, however it ends.

    Raises
    ------
    UsageError
        If another one has it open in this way.
    """
    file = os.open(path, flags, 0o644)
    if lock_descriptor(file, blocking=False):
        return file
    os.close(file)
    raise UsageError(
        f"{path}: another run uses it; wait for that one, stop it, or choose another folder"
    )


@contextmanager
def alone_in(folder: Path) -> Iterator[int]:
    """Let no other process use a folder during the block; yield the descriptor of the folder.

    The folder is made if it is missing. Half-written files that killed processes left there are
    removed. Those of a process that lives stay.

    Raises
    ------
    UsageError
        If another process uses the folder in this way.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     for number in (os.getpid(), 2**22 + 1):  # the second is larger than any process number
    ...         _ = (Path(name) / f".a.txt.{MARK}{number}").write_text("half")
    ...     with alone_in(Path(name)):
    ...         [path.suffix == f".{MARK}{os.getpid()}" for path in Path(name).iterdir()]
    ...         try:
    ...             with alone_in(Path(name)):
    ...                 pass
    ...         except UsageError as error:
    ...             str(error).partition(": ")[2]
    [True]
    'another run uses it; wait for that one, stop it, or choose another folder'
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = open_alone(folder)
    try:
        for left in folder.glob(f".*.{MARK}*"):
            number = left.suffix.removeprefix(f".{MARK}")
            if number.isdecimal() and left.is_file() and not Path("/proc", number).exists():
                left.unlink(missing_ok=True)
        yield lock
    finally:
        os.close(lock)


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file completely or not at all; write the text unchanged, in UTF-8."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def append(path: Path, text: str) -> None:
    """Add a text to a file; when this returns, it is on disk. If it fails, nothing was added."""
    end = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            os.truncate(path, end)
        raise OSError(error.errno, error.strerror, str(path)) from None


def read_text(path: Path) -> str:
    """Return a file's text without a byte-order mark.

    Raises
    ------
    DataError
        If it is not UTF-8. The message names the line, the byte and its place.
    """
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} line {line}: not UTF-8 at byte {error.start} (0x{data[error.start]:02x}); "
            "save the file as UTF-8"
        ) from None


def read_json(path: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the content of a JSON file; `object_hook` is that of :func:`json.loads`.

    Raises
    ------
    DataError
        If the text is not UTF-8, is not JSON, or is nested too deeply.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "a.json"
    ...     write_atomically(path, '{"a": [1]}')
    ...     read_json(path)
    {'a': [1]}
    """
    text = read_text(path)
    try:
        return json.loads(text, object_hook=object_hook)
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error}); restore it") from None
    except RecursionError:
        raise DataError(f"{path}: its JSON is nested too deeply; restore it") from None
