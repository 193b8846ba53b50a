"""A file or a folder that one process at a time writes, and what a killed one has left there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import lock_descriptor

from rrl.support.errors import UsageError


def open_alone(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file or a folder, and lock it until it is closed; return its descriptor.

    The kernel also releases the lock when the process ends, however it ends.

    Raises
    ------
    UsageError
        If another one has it open in this way.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     first = open_alone(Path(folder))
    ...     try:
    ...         open_alone(Path(folder))
    ...     except UsageError as error:
    ...         str(error).partition(": ")[2]
    ...     os.close(first)
    'another run uses it; wait for that one, stop it, or choose another folder'
    """
    file = os.open(path, flags, 0o644)
    if lock_descriptor(file, blocking=False):
        return file
    os.close(file)
    raise UsageError(
        f"{path}: another run uses it; wait for that one, stop it, or choose another folder"
    )


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove what processes that were killed left beside the files that they were replacing.

    It is named ``.NAME.PID`` or, if it is a folder, ``.NAME.*.PID``. What belongs to a process that
    lives stays.

    Parameters
    ----------
    folder : pathlib.Path
        It may be missing.
    *names : str
        Names of the files or folders; they may be patterns.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for number in (os.getpid(), 2**22 + 1):  # the second is larger than any process number
    ...         _ = (Path(folder) / f".a.txt.{number}").write_text("half")
    ...     remove_leftovers(Path(folder), "a.txt")
    ...     [path.suffix == f".{os.getpid()}" for path in Path(folder).iterdir()]
    [True]
    """
    for name in names:
        for left in folder.glob(f".{name}.*"):
            number = left.suffix[1:]
            if not number.isdecimal() or Path("/proc", number).exists():
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
