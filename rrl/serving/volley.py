"""Send requests at their scheduled times, whether or not earlier ones were answered.

The latency of a request counts from its scheduled time. Therefore a slow server cannot slow the
arrivals down, and it cannot hide its queue ("coordinated omission").
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode, Status
from rrl.tuning.watch import Watch

LOOK_S = 0.02  # how often a watch looks at the open requests
HEAD_START_S = 0.01  # the first arrival must not be late already

MAX_SLIP_FRACTION = 0.10
"""An episode is invalid if the generator's own delay exceeds this fraction of the latency."""


def as_episode(
    due: NDArray[np.float64],
    latency: NDArray[np.float64],
    status: NDArray[np.int64],
    slip: NDArray[np.float64],
    *,
    details: str = "",
    aborted: str = "",
) -> Episode:
    """Return what was measured for n requests, in order of arrival; the configuration is left out.

    The episode is invalid if the generator's own delay exceeds `MAX_SLIP_FRACTION` of the latency.
    Requests that were cancelled when the episode was stopped have no latency, so they do not count.

    Parameters
    ----------
    due : ndarray, shape (n,)
        Arrivals in seconds from the start, as scheduled; those of other clients as they came.
    latency : ndarray, shape (n,)
        Seconds from the arrival to the answer or to the failure.
    status : ndarray of int, shape (n,)
        gRPC status codes.
    slip : ndarray, shape (n,)
        Seconds between the arrival and the time when the request left.
    details : str
        The server's own text about the first request, if that failed.
    aborted : str
        Why a watch stopped the episode; empty if it ended as planned.

    Examples
    --------
    >>> late = np.array([1e-3, 1e-3])
    >>> one = as_episode(np.zeros(2), np.array([0.1, 1e-3]), np.array([0, 1]), late)
    >>> one.valid, one.info["slip_share"]
    (True, 0.01)
    >>> failed = as_episode(late, late, np.array([14, 4]), late, details="queue is full")
    >>> failed.valid, failed.info["failure"]
    (False, 'UNAVAILABLE: queue is full')
    """
    waited = status != Status.CANCELLED.value
    delay = slip[waited]
    fraction = float(delay.mean() / latency[waited].mean()) if delay.any() else 0.0
    info: dict[str, Any] = {"slip_s": slip, "slip_share": fraction}
    if status.all():
        info["failure"] = f"{Status(status[0]).name}: {' '.join(details.split())}"
    if aborted:
        info["aborted"] = aborted
    return Episode({}, due, latency, status, fraction <= MAX_SLIP_FRACTION, info)


@contextmanager
def _on_time() -> Iterator[None]:
    """Let this thread, and those that it starts, run as soon as they have work.

    Realtime priority needs a right (root, or a limit `ulimit -r` above 0). Without it, a request
    may wait until the server or another process gives a processor back.
    """
    usual: tuple[int, os.sched_param] | None = None
    try:
        gc.freeze()  # the garbage collector need not look at what stays
        with suppress(AttributeError, OSError):  # another system, or no right
            usual = os.sched_getscheduler(0), os.sched_getparam(0)
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        yield
    finally:
        if usual is not None:
            os.sched_setscheduler(0, *usual)
        gc.unfreeze()


class Volley:
    """The requests of one episode: sent, answered, and watched.

    Parameters
    ----------
    call : callable
        It sends request number i and returns its gRPC future.
    due : ndarray, shape (n,)
        Scheduled arrivals in seconds from the start.
    watch : Watch, optional
        It may stop the episode. Then the open requests are cancelled, and the others are not sent.
    also : callable, optional
        With a watch, it is asked for another reason to stop, or an empty text, every few hundredths
        of a second. It is told for how many seconds open requests have waited without any answer.
    """

    def __init__(
        self,
        call: Callable[[int], Any],
        due: NDArray[np.float64],
        watch: Watch | None,
        also: Callable[[float], str] | None = None,
    ) -> None:
        self._call, self._due, self._watch, self._also = call, due, watch, also
        n = len(due)
        self._left, self._done = np.zeros(n), np.full(n, np.inf)
        self._status = np.zeros(n, dtype=np.int64)
        self._sent, self._open = 0, dict[int, Any]()  # an ended call would keep its answer
        self._answers = threading.Semaphore(0)
        self._details = ""  # what the server says of the first request
        self._reason, self._asked = "", -np.inf
        self._start = self._heard = time.monotonic() + HEAD_START_S

    def fire(self) -> Episode:
        """Send all requests, and wait for the answers; an exception cancels what is open."""
        try:
            with _on_time():
                self._send()
                self._wait()
        except BaseException as error:
            self._cancel()
            if isinstance(error, ServerError):
                error.lost = self._sent
            raise
        if self._reason and not self._sent:  # an episode has at least one request
            none, cancelled = np.zeros(1), np.array([Status.CANCELLED.value])
            return as_episode(self._due[:1], none, cancelled, none, aborted=self._reason)
        k = self._sent
        due = self._due[:k]
        return as_episode(
            due,
            latency=self._done[:k] - self._start - due,
            status=self._status[:k],
            slip=self._left[:k] - self._start - due,
            details=self._details,
            aborted=self._reason,
        )

    def _send(self) -> None:
        for i, at in enumerate(self._start + self._due):
            if self._stopped_before(at):
                return
            self._left[i] = time.monotonic()
            self._open[i] = call = self._call(i)
            self._sent += 1
            call.add_done_callback(lambda call, i=i: self._finish(i, call))

    def _finish(self, i: int, call: Any) -> None:
        self._status[i] = call.code().value[0]
        if i == 0:
            self._details = call.details() or ""
        self._done[i] = self._heard = time.monotonic()
        del self._open[i]
        self._answers.release()

    def _stopped_before(self, at: float) -> bool:
        """Sleep until a time, and return whether the watch stops the episode before it.

        The last look is before the sleep. After the sleep, a look would make the request late, and
        a server would seem slower with a watch than without one.
        """
        while not self._look():
            wait = max(at - time.monotonic(), 0.0)
            if self._watch is None or wait <= LOOK_S:
                time.sleep(wait)
                return False
            time.sleep(min(wait / 2, LOOK_S))  # so that there is time for another look
        return True

    def _look(self) -> str:
        """Let the watch look at the requests so far; return its reason to stop."""
        if self._watch is not None and not self._reason:
            k, now = self._sent, time.monotonic() - self._start
            done, failed = self._done[:k] - self._start, self._status[:k] != 0
            self._reason = self._watch.reason(now, self._due[:k], done, failed)
            if self._also is not None and now > self._asked + LOOK_S:
                self._asked = now
                self._reason = self._reason or self._also(self._quiet_s())
        return self._reason

    def _quiet_s(self) -> float:
        """Return for how many seconds open requests have waited without any answer."""
        first = min(list(self._open), default=None)
        if first is None:
            return 0.0
        return max(0.0, time.monotonic() - max(self._heard, float(self._left[first])))

    def _wait(self) -> None:
        """Wait until every request has ended; a stop cancels those that are open."""
        answered = 0
        while answered < self._sent and not self._look():
            answered += self._answers.acquire(timeout=None if self._watch is None else LOOK_S)
        if self._reason:
            self._cancel()
        for _ in range(answered, self._sent):
            self._answers.acquire()

    def _cancel(self) -> None:
        for call in list(self._open.values()):
            call.cancel()
