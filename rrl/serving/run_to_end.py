"""Run a command to its end, whatever the user presses meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rrl.serving.undisturbed import undisturbed

KILL_S = 10.0  # longest wait for the end of a command that was killed


@undisturbed()
def run_to_end(words: Sequence[str], timeout_s: float, log: Path) -> int:
    """Run a command, wait until it ends, and return its exit status.

    A command that is stopped halfway may leave no server at all. Therefore the first Ctrl-C waits
    for its end, and so does any SIGTERM or SIGHUP; the second Ctrl-C stops it.

    Parameters
    ----------
    words : sequence of str
    timeout_s : float
        Seconds allowed for the command.
    log : pathlib.Path
        File for the output. A server that the command starts may write there, too.

    Raises
    ------
    OSError
        If the command cannot be started.
    subprocess.TimeoutExpired
        If it takes too long. It is stopped then, if that is permitted.
    """
    started: list[subprocess.Popen[bytes]] = []

    def run() -> int:
        with _new_log(log) as output:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must not reach the server
            )
        started.append(process)
        return process.wait(timeout_s)

    try:
        # Ctrl-C interrupts the main thread alone, so the start is never cut in half, and leaving
        # the block waits for the end. Another Ctrl-C interrupts this wait. If the start of a thread
        # was interrupted, the pool would not wait for it, so at first it does something else.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(os.getpid).result()
            return pool.submit(run).result()
    finally:
        for process in started:
            # A command of another user, as by sudo, cannot be stopped: it goes on.
            with suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(KILL_S)


def _new_log(log: Path) -> BinaryIO:
    """Open a new file for its owner only: an older server may still write into the old one."""
    try:
        log.unlink(missing_ok=True)
        return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError:  # a full disk must not prevent a restart
        return open(os.devnull, "wb")
