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


def stop_by_others(
    traffic: ObservedTraffic, mark: int, route: str, start: float, watch: Watch
) -> Callable[[], str]:
    """Make a function that watches the requests of other clients on a server.

    Parameters
    ----------
    traffic : ObservedTraffic
    mark : int
        The traffic's mark at the start of the episode.
    route : str
        The server that got the requests first, ``"trial"`` or ``"kept"``.
    start : float
        Start of the episode in seconds by `time.monotonic`. Earlier requests do not count.
    watch : Watch

    Returns
    -------
    callable
        It returns the watch's reason to stop, or an empty text.
    """
    return lambda: watch.at(time.monotonic() - start, *_seen(traffic, mark, route, start))


def requests_of_others(
    traffic: ObservedTraffic, mark: int, route: str, start: float, *, aborted: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return latencies (s) and statuses of what others sent to a server since a start.

    Parameters
    ----------
    traffic, mark, route, start
        See :func:`stop_by_others`.
    aborted : bool
        Whether the episode was stopped. Then the open requests have failed, because another server
        must answer them.
    """
    due, done, failed = _seen(traffic, mark, route, start)
    failed |= np.isinf(done) & aborted
    latency = np.minimum(done, time.monotonic() - start) - due
    return np.maximum(latency, 0.0), np.where(failed, Status.UNAVAILABLE.value, 0)


def wait_for_requests(
    traffic: ObservedTraffic,
    route: str,
    check: Callable[[], None],
    count: int,
    watch: Watch | None,
    timeout_s: float,
) -> Sample:
    """Wait until a server has answered the first `count` requests of others from now on.

    A request that is open for more than `timeout_s` seconds has failed. `check` is called again and
    again; it raises ServerError if the server has died.

    Returns
    -------
    Sample
        `due` has the real arrivals. A request that another server had to answer counts as failed.
        If a watch stops the episode, all requests so far are in it, and the open ones are failed:
        they are late, or another server must answer them. Otherwise, `others` has those that came
        while the first ones were waited for.

    Raises
    ------
    ServerError
        If the server dies.
    NoTrafficError
        If too few requests have come, and none comes for `QUIET_S` seconds.
    """
    start, mark = time.monotonic(), traffic.mark
    while True:
        check()
        now = time.monotonic() - start
        due, done, failed = _seen(traffic, mark, route, start)
        reason = watch.at(now, due, done, failed) if watch else ""
        over = np.isfinite(done[:count]) | (now - due[:count] > timeout_s)
        if reason or (len(due) >= count and over.all()):
            break
        quiet = len(due) < count and now - max(due, default=0.0) > QUIET_S
        if quiet and not traffic.rate_per_s():
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


def _seen(
    traffic: ObservedTraffic, mark: int, route: str, start: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return arrivals and answers in seconds from the start, and failures, in order of arrival.

    An answer that is not known yet is infinite. Only requests of the `route` that came
    after the start are among them.
    """
    still_open, ended = traffic.look(mark)
    waiting = [arrival for arrival, way in still_open if way == route]
    mine = ended.route == route
    arrival = np.concatenate([ended.arrival[mine], waiting])
    done = np.concatenate([(ended.arrival + ended.latency)[mine], np.full(len(waiting), np.inf)])
    failed = (ended.status != 0) | ended.saved
    failed = np.concatenate([failed[mine], np.zeros(len(waiting), dtype=bool)])
    order = np.argsort(arrival, kind="stable")
    new = order[arrival[order] >= start]
    return arrival[new] - start, done[new] - start, failed[new]
