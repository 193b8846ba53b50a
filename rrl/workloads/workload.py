"""Arrival times: when the clients of a server send requests, in seconds from the start.

Every workload has a long-run mean ``rate`` in requests per second. ``arrivals(n, rng)`` returns the
times of its first `n` requests. An agent sees only :func:`estimate_rate` of past arrivals.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Times = NDArray[np.float64]

WINDOW = 100  # arrivals of which a load is estimated
HIGHEST_RATE = 1e6  # highest estimate of a load (requests/s), also for simultaneous arrivals


class Workload(Protocol):
    """Protocol of all objects that generate the arrival times of requests."""

    @property
    def rate(self) -> float:
        """Long-run mean arrivals per second."""
        ...

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        ...


@dataclass(frozen=True)
class Poisson:
    """Poisson arrivals of independent clients: exponential gaps with mean 1/`rate` seconds.

    Parameters
    ----------
    rate : float
        Requests per second.

    Raises
    ------
    ValueError
        If `rate` is not a positive number.

    Examples
    --------
    >>> Poisson(rate=10.0).arrivals(3, np.random.default_rng(1)).round(3)
    array([0.107, 0.138, 0.676])
    """

    rate: float

    def __post_init__(self) -> None:
        check_positive("rate", self.rate, "requests/s")

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        return np.cumsum(rng.exponential(1 / self.rate, check_size(n)))


@dataclass(frozen=True)
class Phases:
    """Poisson arrivals whose mean gap changes at given episodes.

    Parameters
    ----------
    starts : tuple of int
        First episode of each phase. The first value is 0, and the values increase. A run
        (:func:`rrl.tune`) only watches episode 0, to estimate the load. So among the episodes that
        it serves, each later phase begins one earlier.
    gaps : tuple of float
        Mean interarrival time of each phase in seconds.
    episodes : int
        Number of episodes. The last phase ends there, but it continues if more are requested.
    requests : int
        Requests per episode.

    Raises
    ------
    ValueError
        If the phases do not start at 0 and increase, or a gap is not positive.

    References
    ----------
    Default values: released code of Qin et al., SC'19, doi 10.1145/3295500.3356164.

    Examples
    --------
    >>> round(Phases().rate, 2)
    12.15
    """

    starts: tuple[int, ...] = (0, 800, 1300, 2000, 2400)
    gaps: tuple[float, ...] = (0.07, 0.06, 0.07, 0.10, 0.12)
    episodes: int = 3000
    requests: int = 100

    def __post_init__(self) -> None:
        edges = (*self.starts, self.episodes)
        if len(self.starts) != len(self.gaps) or not self.starts:
            raise ValueError(
                f"{len(self.starts)} starts and {len(self.gaps)} gaps: a phase needs one of each"
            )
        if self.starts[0] != 0 or min(np.diff(edges)) <= 0:
            raise ValueError(f"phases must start at 0 and increase to the end, got {edges}")
        check_size(self.requests)
        for gap in self.gaps:
            check_positive("gap", gap, "s")

    @property
    def rate(self) -> float:
        """Mean requests per second over all episodes."""
        lengths = np.diff((*self.starts, self.episodes))
        return float(self.episodes / (lengths @ np.array(self.gaps)))

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        episode = np.arange(check_size(n)) // self.requests
        phase = np.searchsorted(self.starts, episode, side="right") - 1
        return np.cumsum(rng.exponential(np.array(self.gaps)[phase]))


@dataclass(frozen=True)
class Fleet:
    """Many sensors that each report once per period: the load of massive IoT.

    Report k of device i arrives at ``phase[i] + k * period + delay``. The phases are uniform over
    0 to ``spread * period``, and each delay is uniform over 0 to `jitter`. The fleet already runs
    before time 0.

    Parameters
    ----------
    devices : int
        Number of sensors.
    period : float
        Seconds between two reports of one device.
    jitter : float
        Longest delay of a report in seconds.
    spread : float
        Fraction of the period over which the phases lie. With 0, all devices report at once.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> round(Fleet(devices=5000, period=60.0, jitter=0.5).rate, 2)
    83.33
    """

    devices: int
    period: float
    jitter: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        check_size(self.devices, "devices")
        check_positive("period", self.period, "s")
        if not (math.isfinite(self.jitter) and self.jitter >= 0):
            raise ValueError(f"jitter {self.jitter} s: must be at least 0")
        if not 0 <= self.spread <= 1:
            raise ValueError(f"spread {self.spread}: must lie in 0 to 1, a fraction of the period")

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.devices / self.period

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        # A report arrives at most `late` periods after its tick, so these ticks are enough.
        late = math.ceil(self.spread + self.jitter / self.period)
        ticks = np.arange(-late, math.ceil(check_size(n) / self.devices) + late)
        phase = rng.uniform(0, self.spread * self.period, self.devices)
        delay = rng.uniform(0, self.jitter, (len(ticks), self.devices))
        times = (ticks[:, None] * self.period + phase + delay).reshape(-1)
        return np.sort(times[times >= 0])[:n]


def cut_into_episodes(arrivals: ArrayLike, requests: int) -> Iterator[Times]:
    """Cut a long sequence of arrivals into episodes; the time of each episode starts at 0.

    Parameters
    ----------
    arrivals : array_like, shape (n,)
        Sorted arrival times in seconds.
    requests : int
        Requests per episode. An incomplete last episode is left out.

    Yields
    ------
    ndarray, shape (requests,)
        Arrival times in seconds since the last arrival of the previous episode.

    Raises
    ------
    ValueError
        If `requests` is not at least 1.

    Examples
    --------
    >>> [one.tolist() for one in cut_into_episodes([1.0, 2.0, 4.0, 8.0, 9.0], requests=2)]
    [[1.0, 2.0], [2.0, 6.0]]
    """
    times, size = np.asarray(arrivals, dtype=float), check_size(requests, "requests per episode")
    for first in range(0, len(times) - size + 1, size):
        yield times[first : first + size] - (times[first - 1] if first else 0.0)


def estimate_rate(arrivals: ArrayLike) -> float:
    """Estimate the load from past arrivals.

    The estimate is the number of gaps between the `WINDOW` latest arrivals, divided by their total
    time. A window counted in requests has the same relative error at every load, about
    ``1 / sqrt(WINDOW - 1)`` for Poisson arrivals.

    Parameters
    ----------
    arrivals : array_like, shape (n,)
        Past arrival times in seconds, sorted. There must be at least two.

    Returns
    -------
    float
        Requests per second, at most `HIGHEST_RATE`.

    Raises
    ------
    ValueError
        If there are fewer than two arrivals.

    Examples
    --------
    >>> estimate_rate([5.0, 5.5, 6.0])
    2.0
    """
    recent = np.asarray(arrivals, dtype=float)[-WINDOW:]
    if len(recent) < 2:
        raise ValueError(f"{len(recent)} past arrivals: a rate needs at least 2")
    span = float(recent[-1] - recent[0])
    return min((len(recent) - 1) / span, HIGHEST_RATE) if span > 0 else HIGHEST_RATE


def check_size(n: int, name: str = "requests") -> int:
    """Return `n` if it is a whole number of at least 1.

    Raises
    ------
    TypeError, ValueError
        If `n` is not such a number.

    Examples
    --------
    >>> check_size(0)
    Traceback (most recent call last):
    ValueError: 0 requests: ask for at least 1
    """
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"{n!r} {name}: ask for a whole number, at least 1") from None
    if count < 1:
        raise ValueError(f"{count} {name}: ask for at least 1")
    return count


def check_positive(name: str, value: float, unit: str) -> None:
    """Raise ValueError unless `value` is a positive, finite number.

    Examples
    --------
    >>> check_positive("rate", 0.0, "requests/s")
    Traceback (most recent call last):
    ValueError: rate 0.0 requests/s: must be a positive number
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} {value} {unit}: must be a positive number")
