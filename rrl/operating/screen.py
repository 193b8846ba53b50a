"""Progress on stderr: one line that is redrawn on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TextIO

COLUMNS = 80  # of a terminal that does not say how many it has


class Screen:
    """Where a run shows what it does; a context manager, because the last line must be ended.

    Parameters
    ----------
    quiet : bool
        Whether nothing is shown.
    stamped : bool
        Whether lasting lines begin with the time of day. Runs that measure a server take long.
    file : text file, optional
        The default is stderr.

    Examples
    --------
    >>> with Screen(file=sys.stdout) as screen:
    ...     screen.progress("1/9", "episode 1/9: threads 2")
    ...     screen("the answer is clear")
    episode 1/9: threads 2
    the answer is clear
    """

    def __init__(
        self, quiet: bool = False, *, stamped: bool = False, file: TextIO | None = None
    ) -> None:
        self._file = sys.stderr if file is None else file
        self._quiet, self._stamped = quiet, stamped
        self._redraws = not quiet and self._file.isatty()
        self._open = False  # whether there is a line of progress that can be drawn over

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, line: str) -> None:
        """Show a line that stays."""
        if not self._quiet:
            self.close()
            stamp = time.strftime("%H:%M:%S ") if self._stamped else ""
            self._write(f"{stamp}{line}\n")

    def progress(self, short: str, line: str) -> None:
        """Show how far the run is: a short text on a terminal, where it may be cut, or a line."""
        if self._redraws:
            room = self._columns() - 1  # in the last column, some terminals begin a new line
            cut = short if len(short) <= room else f"{short[: max(room - 3, 0)]}..."[:room]
            self._write(f"\r{cut}\x1b[K")
            self._open = True
        else:
            self(line)

    def close(self) -> None:
        """Remove the line of progress."""
        if self._open:
            self._open = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        """Write a text; a terminal or a pipe that was closed does not end a run."""
        try:
            print(text, end="", file=self._file, flush=True)
        except BrokenPipeError:  # nobody reads on; what could not be written would fail at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
        except OSError:
            pass

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._file.fileno()).columns or COLUMNS
        except OSError:
            return COLUMNS
