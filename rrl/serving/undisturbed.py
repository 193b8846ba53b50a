"""Bring what must not stay half done to its end, though the process was asked to end."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
