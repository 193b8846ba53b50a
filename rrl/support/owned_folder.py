"""A temporary folder that never outlives its owner for long, even if the owner is killed.

The owner holds a lock on a file in the folder. The kernel releases the lock when the process ends,
however it ends. The next process that makes such a folder removes those that nobody owns.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

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
        lock = os.open(scratch, os.O_RDWR | os.O_CREAT, 0o600)
        lock_descriptor(lock)
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
    for path in _folders():
        try:
            lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            ownerless = lock_descriptor(lock, blocking=False)
            if ownerless and os.fstat(lock).st_nlink:  # else another process has just removed it
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
        finally:
            os.close(lock)
    return removed


def _folders() -> Iterator[Path]:
    """Find this user's folders; a link is not one, wherever it leads."""
    for place in places():
        for path in place.glob(f"{PREFIX}*/"):
            try:
                if not path.is_symlink() and path.lstat().st_uid == os.getuid():
                    yield path
            except OSError:  # it has just been removed
                continue
