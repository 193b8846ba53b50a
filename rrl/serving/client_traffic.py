"""An episode that consists of the requests of other clients."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rrl.serving.loadgen import LastingError
from rrl.serving.traffic import ObservedTraffic
from rrl.serving.volley import LOOK_S, Sample
from rrl.support.errors import GeneratorError
from rrl.tuning.episode import Status
from rrl.tuning.watch import Watch

QUIET_S = 60.0  # without a request for so long, there is no traffic to learn from


class NoTrafficError(GeneratorError, LastingError):
    """The clients send nothing: no configuration is to blame, and a restart would not help."""


class ClientTraffic:
    """The requests that clients send themselves; a workload whose times are known only afterwards.

    Attributes
    ----------
    traffic : ObservedTraffic
        What is seen at the port. It is set when the port is open.
    """

    def __init__(self) -> None:
        self.traffic = ObservedTraffic()

    def __repr__(self) -> str:
        return "ClientTraffic()"

    @property
    def rate(self) -> float:
        """Requests per second during the last ten seconds."""
        return self.traffic.rate_per_s()

    def arrivals(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return n times at the present rate; the server replaces them by the real ones."""
        return np.arange(n) / max(self.rate, 1e-3)


class OthersRequests:
    """What other clients send from now on, as far as one server gets it first.

    Parameters
    ----------
    traffic : ObservedTraffic
    route : str
        The server, ``"trial"`` or ``"kept"``.
    """

    def __init__(self, traffic: ObservedTraffic, route: str) -> None:
        self._traffic, self._route = traffic, route
        self._mark, self._start = traffic.mark, time.monotonic()

    def reason(self, watch: Watch) -> str:
        """Return why a watch stops the episode now, or an empty text."""
        return watch.at(time.monotonic() - self._start, *self._seen())

    def outcomes(self, *, aborted: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return latencies (s) and statuses of the requests so far.

        If the episode was stopped, the open requests have failed, because another server must
        answer them.
        """
        due, done, failed = self._seen()
        failed |= np.isinf(done) & aborted
        latency = np.minimum(done, time.monotonic() - self._start) - due
        return np.maximum(latency, 0.0), np.where(failed, Status.UNAVAILABLE.value, 0)

    def wait(
        self, count: int, watch: Watch | None, timeout_s: float, check: Callable[[], None]
    ) -> Sample:
        """Wait until the server has answered the first `count` requests.

        A request that is open for more than `timeout_s` seconds has failed. `check` is called again
        and again; it raises ServerError if the server has died.

        Returns
        -------
        Sample
            `due` has the real arrivals. A request that another server had to answer counts as
            failed. If a watch stops the episode, all requests so far are in it, and the open ones
            are failed: they are late, or another server must answer them. Otherwise, `others` has
            those that came while the first ones were waited for.

        Raises
        ------
        ServerError
            If the server dies.
        NoTrafficError
            If too few requests have come, and none comes for `QUIET_S` seconds.
        """
        while True:
            check()
            now = time.monotonic() - self._start
            due, done, failed = self._seen()
            reason = watch.at(now, due, done, failed) if watch else ""
            over = np.isfinite(done[:count]) | (now - due[:count] > timeout_s)
            if reason or (len(due) >= count and over.all()):
                break
            quiet = len(due) < count and now - max(due, default=0.0) > QUIET_S
            if quiet and not self._traffic.rate_per_s():
                raise NoTrafficError(
                    f"no client sent a request for {QUIET_S:.0f} s: send some, or give --rate"
                )
            time.sleep(LOOK_S)
        latency = np.maximum(np.minimum(done, now) - due, 0.0)
        first = len(due) if reason else count
        lost = failed | (np.isinf(done) & (np.arange(len(due)) < first))
        status = np.where(lost, Status.UNAVAILABLE.value, 0)
        return Sample(
            latency=latency[:first],
            status=status[:first],
            slip=np.zeros(first),
            aborted=reason,
            aborted_s=now if reason else None,
            due=due[:first] - due[0] if first else due,
            others=None if first == len(due) else (latency[first:], status[first:]),
        )

    def _seen(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return arrivals and answers in seconds from the start, and failures, by arrival.

        An answer that is not known yet is infinite.
        """
        still_open, ended = self._traffic.look(self._mark)
        waiting = [arrival for arrival, way in still_open if way == self._route]
        mine = ended.route == self._route
        arrival = np.concatenate([ended.arrival[mine], waiting])
        answers = (ended.arrival + ended.latency)[mine]
        done = np.concatenate([answers, np.full(len(waiting), np.inf)])
        failed = (ended.status != 0) | ended.saved
        failed = np.concatenate([failed[mine], np.zeros(len(waiting), dtype=bool)])
        order = np.argsort(arrival, kind="stable")
        new = order[arrival[order] >= self._start]
        return arrival[new] - self._start, done[new] - self._start, failed[new]
