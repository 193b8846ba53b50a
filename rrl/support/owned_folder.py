"""A temporary folder that never outlives its owner for long, even if the owner is killed.

The owner holds a lock on a file in the folder. The kernel releases the lock when the process ends,
however it ends. The next process that makes such a folder removes those that nobody owns.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from rrl.support.errors import UsageError
from rrl.support.files import open_alone

PREFIX = "rrl-"
NAME = f"{PREFIX}server-"  # so a folder's name begins, which tells people what it is for
LOCK_NAME = "owner.lock"
SHORT = "/tmp"  # for a socket, whose path may have about a hundred characters


def owned_folder(owner: object, place: Path) -> Path:
    """Make a temporary folder, which only this user can read, and return it.

    It is removed with its owner, at the latest when the process ends. If the process is killed, the
    next one that makes a folder removes it.

    Parameters
    ----------
    owner : object
        An object that can have weak references.
    place : pathlib.Path
        Where the folder is made, one of :func:`places`.

    Examples
    --------
    >>> owner = set()
    >>> folder = owned_folder(owner, places()[0])
    >>> _ = (folder / "a.txt").write_text("a")
    >>> del owner
    >>> folder.exists()
    False
    """
    remove_abandoned()
    path = Path(tempfile.mkdtemp(prefix=NAME, dir=place))
    scratch = path / f".{LOCK_NAME}"
    lock = open_alone(scratch, os.O_RDWR | os.O_CREAT)
    scratch.rename(path / LOCK_NAME)  # the file appears only when it is locked
    weakref.finalize(owner, _remove, path, lock, os.getpid())
    return path


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked process also has the owner, but not the folder
        shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def places() -> list[Path]:
    """Return where owned folders may lie: where temporary files go, then a place of short name."""
    return [Path(place) for place in dict.fromkeys((tempfile.gettempdir(), SHORT))]


def remove_abandoned() -> None:
    """Remove this user's folders whose owner has ended.

    A folder whose owner lives is never touched, because its lock is held. A folder without a lock
    file is not touched either.
    """
    for path in (path for place in places() for path in place.glob(f"{PREFIX}*/")):
        # It has no lock file, or its owner lives, or it has just been removed.
        with suppress(OSError, UsageError):
            if path.is_symlink() or path.lstat().st_uid != os.getuid():
                continue  # a link may lead anywhere
            lock = open_alone(path / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_nlink:  # else another process has removed it
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
