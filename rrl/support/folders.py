"""The folder of a user, which stays, and temporary folders, which end with their owners.

Other users can neither read them nor put anything there. In a shared folder for temporary files
they could: a link of theirs in place of a lock would lead a write to a file of the user.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rrl.support.errors import UsageError
from rrl.support.files import open_alone

NAME = "rrl"  # of the folder of the user

PREFIX = "rrl-server-"  # of a temporary folder: people see what it is for
LOCK_NAME = "owner.lock"
SHORT = Path("/tmp")  # for a socket, whose path may have about a hundred characters


def user_folder(*names: str) -> Path:
    """Return a folder of this user, with mode 0700; it is made if it is missing.

    It lies in ``$XDG_STATE_HOME``, by default ``~/.local/state``. A relative path has no effect, as
    the standard of that variable wants it: commands in two folders would not find each other's
    service. If nothing can be written there, and the disk is not full, it lies where temporary
    files go, with the number of the user in its name.

    Parameters
    ----------
    *names : str
        The folder's place in the user's one, such as ``"ports", "8500"``.

    Raises
    ------
    UsageError
        If it is a link, or it belongs to another user.
    OSError
        If the disk is full.

    Examples
    --------
    >>> folder = user_folder("ports")
    >>> folder.name, oct(folder.stat().st_mode & 0o777)
    ('ports', '0o700')
    """
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not home.is_absolute():
        home = Path(os.path.expanduser("~/.local/state"))
    try:
        home.mkdir(parents=True, exist_ok=True)
        place = _made(home / NAME)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # with room, it would be another folder
            raise
        place = _made(Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}")
    for name in names:
        place = _made(place / name)
    return place


def _made(path: Path) -> Path:
    """Make a folder, or check that it is the user's own."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        raise UsageError(f"{path}: a link, a file or the folder of another user; remove it")
    path.chmod(0o700)
    return path


# --- temporary folders ----------------------------------------------------------------------------


def owned_folder(owner: object, fits: Callable[[Path], bool]) -> Path:
    """Make a temporary folder and return it.

    It is removed with its owner, at the latest when the process ends. Until then, this process
    keeps a file in it locked, and the kernel releases the lock however the process ends. If the
    process is killed, the next one that makes such a folder removes it.

    Parameters
    ----------
    owner : object
        An object that can have weak references.
    fits : callable
        It gets the path that the folder would have where temporary files go, without the last eight
        letters. If it returns False, the folder lies in `SHORT`.

    Examples
    --------
    >>> owner = set()
    >>> folder = owned_folder(owner, lambda path: True)
    >>> _ = (folder / "a.txt").write_text("a")
    >>> del owner
    >>> folder.exists()
    False
    """
    remove_abandoned()
    usual = Path(tempfile.gettempdir())
    place = usual if fits(usual / PREFIX) else SHORT
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    scratch = path / f".{LOCK_NAME}"
    lock = open_alone(scratch, os.O_RDWR | os.O_CREAT)
    scratch.rename(path / LOCK_NAME)  # the file appears only when it is locked
    weakref.finalize(owner, _remove, path, lock, os.getpid())
    return path


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # a forked process also has the owner, but not the folder
        shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def remove_abandoned() -> None:
    """Remove this user's temporary folders whose owner has ended; one without the file stays."""
    places = Path(tempfile.gettempdir()), SHORT
    for path in (path for place in places for path in place.glob(f"{PREFIX}*/")):
        # It has no such file, or its owner lives, or it has just been removed.
        with suppress(OSError, UsageError):
            if path.is_symlink() or path.lstat().st_uid != os.getuid():
                continue  # a link may lead anywhere
            lock = open_alone(path / LOCK_NAME, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_nlink:  # else another process has removed it
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
