"""What a command says when it cannot go on: one line on stderr and an exit code, no traceback.

The codes are the same for every command: 0 done, 2 usage or a bad parameter, 3 bad data, 4 the
server under test failed, 5 measured but not stable or a claim not met, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ClassVar, NoReturn

INTERRUPTED = 130

_NO_ROOM = "; make room and run it again: what was saved before is intact"
_REMEDIES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,  # `ulimit -f`
    errno.EACCES: "; choose another folder, or change its permissions",
    errno.EROFS: "; choose another folder",
}


class RRLError(Exception):
    """What a user can put right: the message names the thing, its value and the remedy.

    Examples
    --------
    >>> [error.code for error in (UsageError, DataError, ServerError, UnstableError)]
    [2, 3, 4, 5]
    """

    code: ClassVar[int] = 1


class UsageError(RRLError, ValueError):
    """A command, an option or a parameter that cannot be used (exit code 2)."""

    code = 2


class DataError(RRLError, ValueError):
    """A file or table that cannot be read as what it claims to be (exit code 3)."""

    code = 3


class ServerError(RRLError, RuntimeError):
    """The server under test did not start, answer or survive (exit code 4)."""

    code = 4


class UnstableError(RRLError, RuntimeError):
    """Measured or run to the end, but not stable, or a claim is not met (exit code 5)."""

    code = 5


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake as a :class:`UsageError`, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage."""
        raise UsageError(f"{message}; `{self.prog} --help` lists the options")


def command(
    main: Callable[[Sequence[str] | None], int | None],
) -> Callable[[Sequence[str] | None], int]:
    """Make `main` return an exit code and report whatever goes wrong in one line.

    Parameters
    ----------
    main : callable
        Takes the command line (None: that of the process) and returns an exit code or None for 0.

    Returns
    -------
    callable
        The same, without exceptions. A mistake in rrl itself is reported in one line as well;
        with ``RRL_TRACEBACK=1`` in the environment every error keeps its traceback.

    Examples
    --------
    >>> @command
    ... def main(argv=None):
    ...     raise DataError("profile.csv: no column 'latency'; rename it")
    >>> import contextlib, sys
    >>> with contextlib.redirect_stderr(sys.stdout):
    ...     main([])
    rrl: profile.csv: no column 'latency'; rename it
    3
    """

    @wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv) or 0
        except BrokenPipeError:  # `| head` has read enough; keep the interpreter's own flush quiet
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("RRL_TRACEBACK") == "1":
                raise
            message, code = _explain(error)
            print("rrl:", " ".join(message.split()), file=sys.stderr)
            return code

    return run


def _explain(error: BaseException) -> tuple[str, int]:
    """Message and exit code of any exception."""
    name = type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted", INTERRUPTED
    if isinstance(error, RRLError):
        return str(error) or name, error.code
    if isinstance(error, ImportError):
        return f"{error}; `make env` installs what rrl needs", UsageError.code
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        remedy = _REMEDIES.get(error.errno or 0, "")
        return f"{place}{error.strerror or error}{remedy}", DataError.code
    if isinstance(error, ValueError | TypeError):  # how rrl's functions refuse an argument
        return str(error) or name, UsageError.code
    return f"{name}: {error} (RRL_TRACEBACK=1 shows where)", RRLError.code
