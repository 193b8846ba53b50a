"""The episode, which is one measurement, and the protocol of all servers that can produce one.

A *server* runs one configuration under one sequence of arrivals and returns an :class:`Episode`.
Simulated, recorded and live servers all follow the protocol :class:`Server`, so an agent cannot
distinguish them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.core.space import Bools, ConfigSpace, Floats, Ints
from rrl.support.errors import GeneratorError

MAX_INVALID = 5  # episodes in a row; after these, the machine is too busy to measure anything
TOO_LATE = (
    f"{MAX_INVALID} invalid episodes in a row: the load generator itself was late; "
    "free the machine, or lower the rate"
)


class Status(IntEnum):
    """How a request ended; the numbers are gRPC's own status codes.

    Arrays are made of and compared with plain numbers such as `Status.OK.value`. If NumPy gets a
    member itself, it looks for attributes of the member. Until Python 3.12, code written in Python
    does this look-up, and NumPy drops an interrupt that arrives in it.

    Examples
    --------
    >>> Status.UNAVAILABLE.name, int(Status.OK)
    ('UNAVAILABLE', 0)
    """

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


def check_arrivals(arrivals: ArrayLike) -> Floats:
    """Check arrival times and return them as an array.

    There must be at least one time. All times must be finite, not negative and sorted.

    Parameters
    ----------
    arrivals : array_like, shape (n,)
        Arrival times in seconds from the start of the episode.

    Raises
    ------
    ValueError
        If the times break one of these rules.

    Examples
    --------
    >>> check_arrivals([0, 0.5])
    array([0. , 0.5])
    """
    times = np.asarray(arrivals, dtype=float)
    if times.ndim != 1 or not len(times):
        raise ValueError("an episode needs at least one request, got an empty workload")
    if not (np.isfinite(times).all() and times[0] >= 0 and (np.diff(times) >= 0).all()):
        raise ValueError("arrivals must be finite seconds, 0 or more, and sorted; sort them first")
    return times


@dataclass(frozen=True, eq=False)
class Episode:
    """One measurement: one configuration serves one sequence of arrivals.

    Parameters
    ----------
    configuration : mapping of str to int, float or str
        The configuration that served, by knob name.
    arrivals : ndarray, shape (n,)
        Scheduled arrival times in seconds from the start of the episode, sorted.
    latency : ndarray, shape (n,)
        Seconds from the *scheduled* arrival to the response, so a late sender cannot hide a slow
        server. For a failed request, it is the time until the failure was known.
    status : ndarray of int, shape (n,)
        A :class:`Status` for each request.
    valid : bool
        False if the measurement itself went wrong, for example because requests were sent too late.
    info : mapping
        Details of the run by name, as far as they are known: ``aborted``, why a watch stopped the
        episode; ``failure``, what the server says if no request was answered; ``others``, the
        latencies (s) and statuses of the requests of other clients; ``memory_bytes``, the memory of
        the server without the files that it maps; ``other_work``, the fraction of the processors'
        time that others used (:mod:`rrl.support.machine`); ``slip_share``, how late the requests
        left, as a fraction of their latency; ``server``, the kind of the server, and more of it.

    Raises
    ------
    ValueError
        If the arrays differ in length, a latency is NaN or negative, or the arrivals do not pass
        `check_arrivals`.

    Examples
    --------
    >>> episode = Episode({"inter_op": 2}, [0.0, 0.1], [0.02, 0.03], [0, 0])
    >>> len(episode), round(float(episode.latency.mean()), 3), episode.bad(0.025)
    (2, 0.025, 1)
    """

    configuration: Configuration
    arrivals: Floats
    latency: Floats
    status: Ints
    valid: bool = True
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the dataclass is frozen; its arrays are made read-only too
        for name, dtype in (("arrivals", float), ("latency", float), ("status", np.int64)):
            array = np.array(getattr(self, name), dtype=dtype).reshape(-1)
            array.flags.writeable = False
            set_(self, name, array)
        set_(self, "configuration", dict(self.configuration))
        set_(self, "info", dict(self.info))
        check_arrivals(self.arrivals)
        if not len(self.arrivals) == len(self.latency) == len(self.status):
            raise ValueError(
                f"{len(self.arrivals)} arrivals, {len(self.latency)} latencies and "
                f"{len(self.status)} statuses: an episode needs one of each per request"
            )
        if not np.all(self.latency >= 0):
            raise ValueError("latencies must be numbers of seconds, at least 0 (NaN is not one)")

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def ok(self) -> Bools:
        """Whether each request was answered, shape (n,)."""
        return self.status == Status.OK.value

    @property
    def failed(self) -> Bools:
        """Whether each request failed, shape (n,).

        A request that was open when a watch stopped the episode was cancelled by the one who sent
        it. So it has not failed, and its latency is only known to be longer than the time until
        then.
        """
        stopped = bool(self.info.get("aborted"))
        return ~self.ok & ~(stopped & (self.status == Status.CANCELLED.value))

    def bad(self, late_s: float) -> int:
        """Return how many requests failed or took longer than `late_s` seconds.

        Examples
        --------
        >>> stopped = Episode({}, [0, 0, 0], [0.3, 0.3, 0.1], [0, 1, 1], info={"aborted": "worse"})
        >>> stopped.bad(0.2)
        2
        """
        return int(np.count_nonzero(self.failed | (self.latency > late_s)))


class Server(Protocol):
    """Protocol of all servers that can run a configuration: simulated, recorded or live.

    A server that can stop an episode while it runs is a :class:`rrl.tuning.watch.WatchingServer`.
    """

    @property
    def space(self) -> ConfigSpace:
        """The configurations that it can run."""
        ...

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Serve the requests that arrive at `arrivals` (s) under `configuration`."""
        ...


def measure_valid(
    server: Server, configuration: Configuration, arrivals: Floats, rng: np.random.Generator
) -> Episode:
    """Measure a configuration until an episode is valid, and return that one.

    Raises
    ------
    ServerError
        If the server fails.
    GeneratorError
        If too many episodes in a row are invalid.
    """
    for _ in range(MAX_INVALID):
        episode = server.measure(configuration, arrivals, rng)
        if episode.valid:
            return episode
    raise GeneratorError(TOO_LATE)
