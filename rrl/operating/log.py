"""What a run says while it runs: lines with the time of day on stderr, by the module `logging`."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress


class _Stderr(logging.Handler):
    """Write to the stderr of the moment. A closed terminal or pipe does not end a run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except OSError:  # nobody reads on; what could not be written would fail at exit
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


LOG = logging.getLogger("rrl")
"""INFO is progress, which `--quiet` hides; WARNING is what an operator must know in any case."""

LOG.setLevel(logging.INFO)


def show(quiet: bool) -> None:
    """Let a command show these lines; a program that imports the package decides for itself."""
    if not LOG.handlers:
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        LOG.addHandler(handler)
    LOG.setLevel(logging.WARNING if quiet else logging.INFO)
