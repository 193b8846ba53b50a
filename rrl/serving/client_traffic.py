"""The requests of other clients: seen in the log of Envoy, as a workload, and as an episode.

Envoy writes a line when a request arrives, two lines a second while it is open, and one when it
ends. So a request that hangs is known while it hangs. ``tests/bench_serving.py`` measures how late
the lines come.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rrl.serving.envoy_config import KEPT, TRIAL
from rrl.serving.loadgen import LastingError
from rrl.serving.volley import LOOK_S, as_episode
from rrl.support.errors import GeneratorError, check_interrupt
from rrl.tuning.episode import Episode, Status
from rrl.tuning.watch import Watch

MOST_CALLS = 100_000  # in memory; about 25 MB
RENEW_BYTES = 8 * 2**20
"""A log that is longer than this is read to its end and removed; Envoy begins another one."""

LOG_LATE_S = 0.1
"""Seconds to wait until the log has the lines of what came before."""

LOST_S = 5.0
"""If Envoy writes nothing of a request for so many seconds, the line of its end is lost."""

QUIET_S = 60.0  # without a request for so long, there is no traffic to learn from
_RATE_OVER_S = 10.0
_START, _END = "DownstreamStart", "DownstreamEnd"
_HTTP_ERROR = 400


@dataclass(slots=True)
class Call:
    """A request of others.

    Parameters
    ----------
    arrival : float
        In seconds, by `time.monotonic`.
    route : str
        ``"trial"`` if the server on trial got the request first, otherwise ``"kept"``.
    end : float
        When it was answered or failed, in the same seconds; infinite while it is open.
    failed : bool
        Whether the client got no good answer, or got it only because the request was also sent to
        the kept server: the trial refused it, lost it or held it for too long.
    seen : float
        When Envoy last wrote a line while it was open, in the same seconds.
    by : str
        The server whose answer had begun by then, as ``/path`` or ``host:port``; empty before.
    """

    arrival: float
    route: str
    end: float = math.inf
    failed: bool = False
    seen: float = -math.inf
    by: str = ""


class ClientTraffic:
    """The requests of others at a port; a workload whose times are known only afterwards.

    Before `follow`, none is seen. Only the last `MOST_CALLS` requests stay in memory.

    Examples
    --------
    >>> traffic = ClientTraffic()
    >>> traffic.note({"type": "DownstreamStart", "id": 7, "start_s": time.time(), "route": "kept"})
    >>> len(traffic.open()), len(traffic.since())
    (1, 1)
    >>> end = {"type": "DownstreamEnd", "id": 7, "seconds_us": 20000, "http": 200, "content": ""}
    >>> traffic.note(end)
    >>> [call] = traffic.since()
    >>> len(traffic.open()), round(call.end - call.arrival, 6)
    (0, 0.02)
    """

    def __init__(self) -> None:
        self._log: Path | None = None
        self._calls: deque[Call] = deque(maxlen=MOST_CALLS)  # in the order of their arrival
        self._open: dict[Any, Call] = {}
        self._began = time.monotonic()
        self._mark = 0
        self._file: IO[bytes] | None = None
        self._rest = b""

    def __repr__(self) -> str:
        return "ClientTraffic()"

    def follow(self, log: Path, new_log: Callable[[], None]) -> None:
        """See the requests from now on.

        Parameters
        ----------
        log : pathlib.Path
            The log of Envoy. Lines that are there already belong to earlier times.
        new_log : callable
            It makes Envoy begin another file, after this one was removed.
        """
        self._log, self._new_log, self._began = log, new_log, time.monotonic()
        self._renew(log)  # what nobody has read may be long, or Envoy have a removed file

    @property
    def mark(self) -> int:
        """How many requests have come so far; the argument of `since`."""
        self._read()
        return self._mark

    def since(self, mark: int = 0) -> list[Call]:
        """Return the requests that came after an earlier value of `mark`, the first one first."""
        new = min(max(0, self.mark - mark), len(self._calls))
        return list(islice(reversed(self._calls), new))[::-1]

    def open(self) -> list[Call]:
        """Return the requests without an answer.

        The line of an end may be lost, because the disk is full or the log is too long.
        """
        self._read()
        lately = time.monotonic() - LOST_S
        return [call for call in self._open.values() if max(call.arrival, call.seen) > lately]

    @property
    def rate(self) -> float:
        """Requests per second during the last `_RATE_OVER_S` seconds."""
        self._read()
        now = time.monotonic()
        first = max(now - _RATE_OVER_S, self._began)
        count = sum(call.arrival >= first for call in self._calls)
        return count / max(now - first, 1e-9)

    def arrivals(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return n times at the present rate; the server replaces them by the real ones."""
        return np.arange(n) / max(self.rate, 1e-3)

    def close(self) -> None:
        """Close the log: from now on, no new request is seen."""
        if self._file is not None:
            self._file.close()
        self._log = self._file = None

    def note(self, line: dict[str, Any]) -> None:
        """Take one line of the log."""
        known = self._open.get(line["id"])
        if not known and line["type"] != _END:  # it is new, or older than this object
            if line["route"] not in (KEPT, TRIAL):  # no prediction
                return
            # Envoy tells the time of day. If a clock is set, only requests that are open then
            # get a wrong arrival.
            arrival = float(line["start_s"]) - time.time() + time.monotonic()
            known = self._open[line["id"]] = Call(arrival, str(line["route"]))
            if line["type"] == _START:
                self._calls.append(known)
                self._mark += 1
        if known and line["type"] not in (_START, _END):
            known.seen = known.arrival + 1e-3 * line["milliseconds"]
            known.by = str(line["host"]) if line["http"] else ""
        elif known and line["type"] == _END:
            del self._open[line["id"]]
            microseconds = line.get("seconds_us")
            if microseconds is None:  # the client did not get a whole answer
                microseconds = 1000 * line["milliseconds"]
            repeated = known.route == TRIAL and (line.get("attempts") or 1) > 1
            known.failed = repeated or not _answered(line)
            known.end = known.arrival + 1e-6 * float(microseconds)

    def _read(self) -> None:
        """Read the new lines of the log, and those of a former log that was removed meanwhile."""
        if self._log is None:
            return
        there = self._log.exists()  # so Envoy writes no more to the one before
        if self._file is not None:
            self._take(self._file)
            if there and not os.fstat(self._file.fileno()).st_nlink:
                self._file.close()
                self._file = None
        if there and self._file is None:
            self._file = self._log.open("rb")
            self._take(self._file)
        elif there and self._file is not None and self._file.tell() > RENEW_BYTES:
            self._renew(self._log)

    def _renew(self, log: Path) -> None:
        """Remove the log, and let Envoy begin another one; who reads the old one can go on."""
        log.unlink(missing_ok=True)
        self._new_log()

    def _take(self, file: IO[bytes]) -> None:
        *lines, self._rest = (self._rest + file.read()).split(b"\n")
        for line in filter(None, lines):
            with suppress(ValueError, KeyError, TypeError):  # the disk was full in the middle of it
                self.note(json.loads(line))


def _answered(line: dict[str, Any]) -> bool:
    """Return whether the client of a request that has ended got a good answer."""
    if not line["http"]:  # the client did not wait for it
        return False
    if str(line["content"]).startswith("application/grpc"):
        return line["grpc"] == 0
    whole = line.get("seconds_us") is not None  # what is cut has a good HTTP status, too
    return whole and line["http"] < _HTTP_ERROR


# --- an episode of them ---------------------------------------------------------------------------


class NoTrafficError(GeneratorError, LastingError):
    """The clients send nothing: no configuration is to blame, and a restart would not help."""


class OthersRequests:
    """The requests of other clients, from now on, that go to one server first: the `route`."""

    def __init__(self, traffic: ClientTraffic, route: str) -> None:
        self._traffic, self._route = traffic, route
        self._mark, self._start = traffic.mark, time.monotonic()

    def reason(self, watch: Watch) -> str:
        """Return why a watch stops the episode now, or an empty text."""
        return watch.reason(time.monotonic() - self._start, *self._seen())

    def outcomes(self, *, aborted: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return latencies (s) and statuses of the requests so far.

        If the episode was stopped, the open ones have failed: another server must answer them.
        """
        due, done, failed = self._seen()
        failed |= np.isinf(done) & aborted
        latency = np.minimum(done, time.monotonic() - self._start) - due
        return np.maximum(latency, 0.0), np.where(failed, Status.UNAVAILABLE.value, 0)

    def wait(
        self, count: int, watch: Watch | None, timeout_s: float, check: Callable[[], None]
    ) -> Episode:
        """Wait until the server has answered the first `count` requests.

        A request that is open for more than `timeout_s` seconds has failed. `check` is called again
        and again; it raises ServerError if the server has died.

        Returns
        -------
        Episode
            It has the real arrivals, and no configuration. A request that another server had to
            answer counts as failed. If a watch stops the episode, all requests so far are in it,
            and the open ones are failed: they are late, or another server must answer them.
            Otherwise, ``others`` in its `info` has the requests that came after the first ones.

        Raises
        ------
        ServerError
            If the server dies.
        NoTrafficError
            If too few requests have come, and none comes for `QUIET_S` seconds.
        """
        while True:
            check_interrupt()
            check()
            now = time.monotonic() - self._start
            due, done, failed = self._seen()
            reason = watch.reason(now, due, done, failed) if watch else ""
            over = np.isfinite(done[:count]) | (now - due[:count] > timeout_s)
            if reason or (len(due) >= count and over.all()):
                break
            quiet = len(due) < count and now - max(due, default=0.0) > QUIET_S
            if quiet and not self._traffic.rate:
                raise NoTrafficError(
                    f"no client sent a request for {QUIET_S:.0f} s: send some, or give --rate"
                )
            time.sleep(LOOK_S)
        latency = np.maximum(np.minimum(done, now) - due, 0.0)
        first = len(due) if reason else count
        lost = failed | (np.isinf(done) & (np.arange(len(due)) < first))
        status = np.where(lost, Status.UNAVAILABLE.value, 0)
        arrivals = due[:first] - due[0] if first else due
        none = np.zeros(first)
        episode = as_episode(arrivals, latency[:first], status[:first], none, aborted=reason)
        if reason:
            return episode
        return replace(episode, info={**episode.info, "others": (latency[first:], status[first:])})

    def _seen(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return arrivals and answers in seconds from the start, and failures, by arrival.

        An answer that is not known yet is infinite.
        """
        new = [
            (call.arrival - self._start, call.end - self._start, call.failed)
            for call in self._traffic.since(self._mark)
            if call.route == self._route and call.arrival >= self._start
        ]
        due, done, failed = np.array(sorted(new)).reshape(-1, 3).T
        return due, done, failed.astype(bool)
