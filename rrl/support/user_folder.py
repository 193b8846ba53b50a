"""A folder of the user, for locks, notes and what outlives a process.

Other users can neither read it nor put anything there. In a shared folder for temporary files they
could: a link of theirs in place of a lock would lead a write to a file of the user.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from rrl.support.errors import UsageError

NAME = "rrl"


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
