"""The requests of others, as the log of the Envoy in front of the servers tells them.

Envoy writes a line when a request arrives, and another one when it ends. So a request that hangs is
known while it hangs. ``tests/bench_data_path.py`` measures how late the lines come.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from rrl.serving.envoy_config import TRIAL
from rrl.tuning.episode import Status

MOST_RECORDS = 100_000  # in memory; about 18 MB
RENEW_BYTES = 8 * 2**20
"""A log that is longer than this is read to its end and removed; Envoy begins another one."""

LOG_LATE_S = 0.1
"""Seconds to wait until the log has the lines of what came before."""

_RATE_OVER_S = 10.0
_START, _END = "DownstreamStart", "DownstreamEnd"
_HTTP_ERROR = 400


RECORD = np.dtype(
    [
        ("arrival", np.float64),
        ("latency", np.float64),
        ("status", np.int64),
        ("route", "U5"),
        ("saved", np.bool_),
    ]
)
"""A request of others that was answered or failed.

`arrival` is in seconds by `time.monotonic`, and `latency` counts the seconds from there to the
answer or to the failure. `status` is the gRPC status code that the client sees; a failure of REST
is UNKNOWN. `route` is ``"trial"`` if the server on trial got the request first, otherwise
``"kept"``. `saved` says whether the request had to be sent to the kept server, too, because the
trial refused it, lost it or held it for too long.
"""


class ObservedTraffic:
    """The requests of others at a port; all methods may be called by any thread.

    Only the last `MOST_RECORDS` requests stay in memory.

    Parameters
    ----------
    log : pathlib.Path, optional
        The log of Envoy. Lines that are there already belong to earlier times. Without a log, no
        request is seen.
    new_log : callable, optional
        It makes Envoy begin another file, after this one was renamed.

    Attributes
    ----------
    mark : int
        How many requests have ended since the start. It is the argument of `since`.

    Examples
    --------
    >>> traffic = ObservedTraffic()
    >>> mark = traffic.mark
    >>> traffic.note({"type": "DownstreamStart", "id": 7, "start_s": time.time(), "route": "kept"})
    >>> len(traffic.open()), len(traffic.since(mark))
    (1, 0)
    >>> end = {"type": "DownstreamEnd", "id": 7, "seconds_us": 20000, "http": 200, "content": ""}
    >>> traffic.note(end)
    >>> len(traffic.open()), traffic.since(mark).latency.tolist()
    (0, [0.02])
    """

    def __init__(
        self,
        log: Path | None = None,
        new_log: Callable[[], None] = lambda: None,
    ) -> None:
        self._log, self._new_log = log, new_log
        self._ended: deque[tuple[float, float, int, str, bool]] = deque(maxlen=MOST_RECORDS)
        self._open: dict[Any, tuple[float, str]] = {}
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._mark = 0
        self._file: IO[bytes] | None = None
        self._rest, self._renamed = b"", False
        if log is not None and log.exists():  # what nobody has read may be long
            self._file = log.open("rb")
            self._rename()
            self._file.seek(0, os.SEEK_END)

    @property
    def mark(self) -> int:
        """How many requests have ended since the start."""
        self._read()
        return self._mark

    def since(self, mark: int = 0) -> Any:
        """Return a record array of the requests that ended after an earlier value of `mark`.

        They are in the order of their ends; see :data:`RECORD` for the fields.
        """
        with self._lock:
            new = min(max(0, self.mark - mark), len(self._ended))
            records = list(itertools.islice(reversed(self._ended), new))[::-1]
        return np.array(records, dtype=RECORD).view(np.recarray)

    def open(self) -> list[tuple[float, str]]:
        """Return the requests without an answer: arrival (seconds, monotonic) and route."""
        return self.look(self.mark)[0]

    def look(self, mark: int) -> tuple[list[tuple[float, str]], Any]:
        """Return `open` and `since` of one moment: each request is in one of them."""
        with self._lock:
            ended = self.since(mark)
            return list(self._open.values()), ended

    def rate_per_s(self) -> float:
        """Return how many requests per second came in during the last `_RATE_OVER_S` seconds."""
        self._read()
        now = time.monotonic()
        first = max(now - _RATE_OVER_S, self._began)
        with self._lock:
            count = sum(arrival >= first for arrival, _ in self._open.values())
            for arrival, latency, *_ in reversed(self._ended):
                if arrival + latency < first:  # all others ended earlier still
                    break
                count += arrival >= first
        return count / max(now - first, 1e-9)

    def forget_open(self) -> None:
        """Forget the open requests: Envoy has ended, and nothing is known of them any more."""
        with self._lock:
            self._open.clear()

    def close(self) -> None:
        """Close the log: from now on, no new request is seen."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._log = self._file = None

    def note(self, line: dict[str, Any]) -> None:
        """Take one line of the log."""
        with self._lock:
            if line["type"] == _START:
                # Envoy tells the time of day. If a clock is set, only requests that are open then
                # get a wrong arrival.
                arrival = float(line["start_s"]) - time.time() + time.monotonic()
                self._open[line["id"]] = arrival, str(line["route"])
            elif line["type"] == _END and (begun := self._open.pop(line["id"], None)):
                arrival, route = begun
                status = _status(line)
                microseconds = line.get("seconds_us")
                if microseconds is None:  # the client left before an answer
                    microseconds = 1000 * line["milliseconds"]
                saved = route == TRIAL and (line.get("attempts") or 1) > 1
                record = arrival, 1e-6 * float(microseconds), status, route, saved
                self._ended.append(record)
                self._mark += 1

    def _read(self) -> None:
        """Read what is new in the log."""
        if self._log is None:
            return
        with self._lock:
            if self._file is None:
                if not self._log.exists():
                    return
                self._file = self._log.open("rb")
            self._take(self._file)
            if self._renamed and self._log.exists():  # now Envoy writes to the new one
                self._take(self._file)
                self._file.close()
                self._file, self._renamed = self._log.open("rb"), False
                self._take(self._file)
            elif not self._renamed and self._file.tell() > RENEW_BYTES:
                self._rename()

    def _rename(self) -> None:
        assert self._log is not None
        old = self._log.with_suffix(".old")
        self._log.replace(old)
        old.unlink()  # the open file stays readable
        self._new_log()
        self._renamed = True

    def _take(self, file: IO[bytes]) -> None:
        *lines, self._rest = (self._rest + file.read()).split(b"\n")
        for line in filter(None, lines):
            try:
                self.note(json.loads(line))
            except (ValueError, KeyError, TypeError):  # the disk was full in the middle of it
                continue


def _status(line: dict[str, Any]) -> int:
    """Return the gRPC status code of a request that has ended."""
    if not line["http"]:  # the client did not wait for the answer
        return int(Status.CANCELLED.value)
    if str(line["content"]).startswith("application/grpc"):
        return int(line["grpc"])
    return 0 if line["http"] < _HTTP_ERROR else int(Status.UNKNOWN.value)
