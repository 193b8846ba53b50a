"""The service at a port: where it listens, and what goes on there when a run ends."""

from __future__ import annotations

import ipaddress
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from rrl.support.errors import RRLError
from rrl.tuning.presets import in_words

if TYPE_CHECKING:
    from rrl.serving.handover import HandoverServer


def opened(server: HandoverServer) -> None:
    """Say where a service listens, and who can reach it."""
    reach = ""
    if not ipaddress.ip_address(server.door.bind).is_loopback:
        reach = "; other machines can send requests there, unless a firewall closes the port"
    say(f"clients may use {server.door} during the tuning and afterwards{reach}")
    if exposed := server.exposed:
        say(exposed)


def leave_running(server: HandoverServer) -> None:
    """Let the kept configuration go on at the port without this process.

    If it does not start, or this is interrupted, the configuration that serves now goes on.

    Raises
    ------
    ServerError
        If nothing serves.
    """
    interrupted = None
    with undisturbed():
        try:
            server.return_to_kept(np.random.default_rng(0))
        except KeyboardInterrupt as error:
            interrupted = error
        except (RRLError, OSError) as error:
            say(f"the configuration to keep cannot take over: {error}")
        left = server.leave()
        say(
            f"{server.door} stays in service with {in_words(left.configuration)}; the log is "
            f"{left.log}; end it with: rrl stop {server.door.port}"
        )
        say("if that server ends, only a supervisor starts it again: see the page for operators")
    if interrupted:
        raise interrupted


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put SIGTERM and SIGHUP off until the end of the block; Ctrl-C still interrupts it.

    A supervisor that stops this process, or a terminal that is closed after Ctrl-C, does not know
    that a service is between two states. Who presses Ctrl-C can read what happens.

    If the block ends without an error, and none was on its way before it, the first of these
    signals is delivered then. Otherwise, the process ends anyway.

    Examples
    --------
    >>> with undisturbed():
    ...     signal.raise_signal(signal.SIGTERM)
    ...     raise ValueError("an error of its own")
    Traceback (most recent call last):
    ...
    ValueError: an error of its own
    """
    if threading.current_thread() is not threading.main_thread():  # it gets no signal
        yield
        return
    came: list[int] = []
    left_alone = signal.SIG_IGN, None  # None: set by another language, and it cannot be restored
    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) not in left_alone]
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came and sys.exception() is None:
        signal.raise_signal(came[0])


def say(line: str) -> None:
    """Write a line for people to read."""
    with suppress(OSError):  # a terminal that was closed must not end the service
        print("rrl:", line, file=sys.stderr, flush=True)
