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
LOCK_NAME = "owner.lock"
SHORT = "/tmp"  # for a socket, whose path may have about a hundred characters


class OwnedFolder:
    """A temporary folder of this process, which only its user can read.

    The folder is removed with this object, at the latest when the process ends. If the process is
    killed, the next one that makes a folder removes it.

    Parameters
    ----------
    name : str
        A word for the folder's name, to tell people what it is for.
    parent : pathlib.Path, optional
        Where the folder is made. By default, it is made where temporary files go.

    Attributes
    ----------
    path : pathlib.Path

    Examples
    --------
    >>> folder = OwnedFolder("example")
    >>> _ = (folder.path / "a.txt").write_text("a")
    >>> folder.remove()
    >>> folder.path.exists()
    False
    """

    def __init__(self, name: str, parent: Path | None = None) -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-", dir=parent))
        scratch = self.path / f".{LOCK_NAME}"
        lock = open_alone(scratch, os.O_RDWR | os.O_CREAT)
        scratch.rename(self.path / LOCK_NAME)  # the file appears only when it is locked
        self._finalizer = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def remove(self) -> None:
        """Remove the folder now."""
        self._finalizer()


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked process also has the object, but not the folder
        shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def places() -> list[Path]:
    """Return where owned folders may lie: where temporary files go, then a place of short name."""
    return [Path(place) for place in dict.fromkeys((tempfile.gettempdir(), SHORT))]


def remove_abandoned() -> list[Path]:
    """Remove this user's folders whose owner has ended, and return them.

    A folder whose owner lives is never touched, because its lock is held. A folder without a lock
    file is not touched either.
    """
    removed = []
    for path in (path for place in places() for path in place.glob(f"{PREFIX}*/")):
        # It has no lock file, or its owner lives, or it has just been removed.
        with suppress(OSError, UsageError):
            if path.is_symlink() or path.lstat().st_uid != os.getuid():
                continue  # a link may lead anywhere
            lock = open_alone(path / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_nlink:  # else another process has removed it
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path)
            finally:
                os.close(lock)
    return removed
