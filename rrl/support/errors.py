"""Errors of the commands: one line on stderr and an exit code, without a traceback.

The codes are the same for every command. 0: the command succeeded. 2: the usage or a parameter is
wrong. 3: the data are bad. 4: the server under test failed. 5: the measurement ended, but it is
not stable, or a claim is not met. 6: the server runs, but does not answer. 7: the recommended
configuration cannot serve, so the default stays. 130: the command was interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import ClassVar, NoReturn, ParamSpec

INTERRUPTED = 130
SHOWN = 60  # characters of a value in a message
P = ParamSpec("P")

_NO_ROOM = "; make room and run it again: what was saved before is intact"
_REMEDIES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: _NO_ROOM,  # the limit of `ulimit -f`
    errno.ENOENT: "; check the path",
    errno.EISDIR: "; give a file",
    errno.EACCES: "; choose another folder, or change its permissions",
    errno.EROFS: "; choose another folder",
    errno.EEXIST: "; choose another name",
    errno.ENOTDIR: "; choose another folder",
    errno.ENAMETOOLONG: "; choose a shorter name",
}


class RRLError(Exception):
    """An error that a user can correct: the message names the thing, its value and the remedy.

    Examples
    --------
    >>> [error.code for error in (UsageError, DataError, ServerError, UnstableError)]
    [2, 3, 4, 5]
    """

    code: ClassVar[int] = 1


class UsageError(RRLError, ValueError):
    """A command, an option or a parameter cannot be used (exit code 2)."""

    code = 2


class DataError(RRLError, ValueError):
    """A file or table cannot be read in the format that it should have (exit code 3)."""

    code = 3


class ServerError(RRLError, RuntimeError):
    """The server under test does not start, does not answer or crashes (exit code 4).

    Parameters
    ----------
    message : str
    lost : int
        Number of requests that were sent and got no answer because of it.
    started : bool
        Whether it failed after it had started. Then the configuration may be innocent.
    """

    code = 4

    def __init__(self, message: str = "", lost: int = 0, started: bool = False) -> None:
        super().__init__(message)
        self.lost, self.started = lost, started


class HangError(ServerError):
    """The server under test runs, but does not answer (exit code 6)."""

    code = 6


class DeployError(ServerError):
    """The recommended configuration cannot serve, so the default stays (exit code 7)."""

    code = 7


class GeneratorError(ServerError):
    """No request came, or the service or the generator failed: no configuration is to blame."""


class UnstableError(RRLError, RuntimeError):
    """A measurement or run ended, but it is not stable, or a claim is not met (exit code 5)."""

    code = 5


def shown(text: str) -> str:
    """Return a value for a message: quoted, without line breaks, and cut to 60 characters.

    Examples
    --------
    >>> shown("0,07"), shown("a" * 500).count("a")
    ("'0,07'", 60)
    """
    return repr(text[:SHOWN]) + ("..." if len(text) > SHOWN else "")


_came: list[int] = []  # the signals since `interrupt_by_signals`


def interrupt_by_signals() -> None:
    """Let SIGTERM and SIGHUP interrupt the process as Ctrl-C does, so that it saves and cleans up.

    The first signal interrupts it. Afterwards, SIGTERM and SIGHUP do not disturb the cleaning: a
    supervisor, or a terminal that is closed, does not know of it. Ctrl-C interrupts again, because
    whoever presses it can read what happens. A SIGHUP that is ignored already, as `nohup` wants it,
    stays ignored, and so does a SIGINT.
    """

    def interrupt(number: int, _: object) -> None:
        _came.append(number)
        for other in numbers:
            signal.signal(other, lambda *_: None)  # children would inherit SIG_IGN
        raise KeyboardInterrupt

    _came.clear()
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)


def check_interrupt() -> None:
    """Raise KeyboardInterrupt if a signal has come since :func:`interrupt_by_signals`.

    Python drops an exception that is raised while an object is finalised, so a long loop calls this
    before each step. The cleaning after an interrupt must not call it.
    """
    if _came:
        raise KeyboardInterrupt


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake as a :class:`UsageError`, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise an error instead of printing the whole usage text."""
        if message.endswith("expected one argument"):
            option = message.split()[1].rstrip(":")
            message += f"; write a value that begins with a dash as {option}=VALUE"
        raise UsageError(f"{message}; `{self.prog} --help` lists the options")


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Make `main` return an exit code and report every error in one line.

    Parameters
    ----------
    main : callable
        It takes the command line, or None for that of the process. It returns an exit code, or
        None for 0.

    Returns
    -------
    callable
        The same function, but it reports errors instead of raising them. A mistake in rrl itself
        is also reported in one line. If the environment has ``RRL_TRACEBACK=1``, every error keeps
        its traceback.

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
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except BrokenPipeError:  # `| head` stops reading; the flush at exit must not fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("RRL_TRACEBACK") == "1":
                raise
            message, code = explain(error)
            try:
                print("rrl:", " ".join(message.split()), file=sys.stderr)
                sys.stdout.flush()
            except OSError:  # a terminal that was closed takes no more text, nor at the exit
                for stream in (sys.stdout, sys.stderr):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            # Since bpo-1054041, `python -m` ends by the signal if an interrupt met code that Python
            # had as text, as that of dataclasses; unless other such code has run since.
            exec("")
            return code

    return run


def explain(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of any exception."""
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
