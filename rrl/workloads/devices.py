"""What IoT devices send: cameras, firmware updates, uplink delays, and several classes at once.

Periodic sensors are :class:`rrl.workloads.workload.Fleet`: its phases are not synchronised, and
its reports have jitter. The classes of this module take other workloads, so that a fleet
is put together from them: :class:`Superposed` of a ``Fleet``, of ``Cameras`` and of
``Reconnects``, all :class:`Delayed` by a cellular uplink. :func:`device_day` is such a fleet.

Each default has a source in the docstring of its class. Those without one are called assumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rrl.workloads.modulated import Diurnal
from rrl.workloads.workload import Fleet, Times, Workload, check_positive, check_size

HOURS = 24  # of a day
DURATION_S = 13.0  # mean of an event that cameras see
INTERVAL_S = 1.0  # between two frames of one event
SIGMA = 0.6  # sd of the logarithm of an uplink's delay
LONGEST_S = 10.0  # longest delay of an uplink

_LAST = -math.expm1(-INTERVAL_S / DURATION_S)  # probability that a frame is its event's last one


@dataclass(frozen=True)
class Cameras:
    """Cameras that send frames only while something moves: a cluster process.

    An event starts at each arrival of `starts`, and its camera sends a frame at once. The camera
    goes on with a frame every `INTERVAL_S` seconds while the event lasts. Durations are exponential
    with the mean `DURATION_S`. So the number of frames of an event is geometric, and the frames of
    many events overlap. No event is going on at time 0.

    Parameters
    ----------
    starts : Workload
        When events start, on all cameras together.

    Attributes
    ----------
    frames : float
        Mean number of frames of an event, at least 1.

    References
    ----------
    The cluster process: Cox and Isham, "Point Processes", 1980 (Bartlett-Lewis).
    Cameras that send only frames of events, which last for seconds: Canel et al., "Scaling Video
    Analytics on Constrained Edge Nodes", SysML 2019, arXiv:1905.13536. Assumed: the mean of 13 s,
    and one frame per second.

    Examples
    --------
    >>> from rrl import Poisson
    >>> cameras = Cameras(Poisson(4.0))
    >>> round(cameras.frames, 2), round(cameras.rate, 1)
    (13.51, 54.0)
    """

    starts: Workload
    frames: ClassVar[float] = 1 / _LAST

    @property
    def rate(self) -> float:
        """Long-run mean requests per second."""
        return self.starts.rate * self.frames

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        check_size(n)
        of_starts, of_sizes = rng.integers(2**63, size=2)

        def draw(events: int) -> tuple[Times, float]:
            starts = self.starts.arrivals(events, np.random.default_rng(of_starts))
            sizes = np.random.default_rng(of_sizes).geometric(_LAST, events)
            number = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            return np.repeat(starts, sizes) + INTERVAL_S * number, float(starts[-1])

        return _first(n, math.ceil(n / self.frames + self.starts.rate * DURATION_S), draw)


@dataclass(frozen=True)
class Reconnects:
    """Devices that all come back at once after an update, spread over a back-off window.

    The update is distributed at ``first``, ``first + every``, and so on. Each time every device
    sends one request, after a delay of `window` times a beta variable.

    Parameters
    ----------
    devices : int
        Number of devices.
    every : float
        Seconds between two updates.
    window : float
        Length of the back-off window in seconds, at most `every`.
    alpha, beta : float
        Shape of the beta distribution. With 1 and 1, the delays are uniform over the window.
    first : float
        Time of the first update in seconds.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    3GPP TR 37.868, "Study on RAN improvements for machine-type communications", release 11, 2011:
    up to 30,000 devices, either uniform over 60 s (traffic model 1) or beta (3, 4) over 10 s
    (traffic model 2, which is the default here).

    Examples
    --------
    >>> update = Reconnects(devices=1000, every=3600.0, first=60.0)
    >>> times = update.arrivals(1000, np.random.default_rng(0))
    >>> bool(times[0] > 60) and bool(times[-1] < 70), round(update.rate, 3)
    (True, 0.278)
    """

    devices: int
    every: float
    window: float = 10.0
    alpha: float = 3.0
    beta: float = 4.0
    first: float = 0.0

    def __post_init__(self) -> None:
        check_size(self.devices, "devices")
        check_positive("every", self.every, "s")
        check_positive("alpha", self.alpha, "(a shape)")
        check_positive("beta", self.beta, "(a shape)")
        if not 0 < self.window <= self.every:
            raise ValueError(
                f"window {self.window} s: must be above 0 and at most every = {self.every} s"
            )
        if not (math.isfinite(self.first) and self.first >= 0):
            raise ValueError(f"first {self.first} s: must be at least 0")

    @property
    def rate(self) -> float:
        """Long-run mean requests per second."""
        return self.devices / self.every

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        updates = math.ceil(check_size(n) / self.devices)
        delays = self.window * rng.beta(self.alpha, self.beta, (updates, self.devices))
        starts = self.first + self.every * np.arange(updates, dtype=float)
        return (starts[:, None] + np.sort(delays, axis=1)).reshape(-1)[:n]


@dataclass(frozen=True)
class Delayed:
    """A workload behind an uplink: each request is delayed, so requests overtake each other.

    Delays are lognormal and independent, and a longer one than `LONGEST_S` is cut to it. The
    workload gives the sending times. No request is on its way at time 0. Independent delays leave
    a Poisson workload a Poisson workload (the displacement theorem), but they spread a burst that
    is shorter than they are.

    Parameters
    ----------
    workload : Workload
        When the devices send.
    median : float
        Median delay in seconds, at most `LONGEST_S`.

    References
    ----------
    The median is the latency of an NB-IoT network that Ugwuanyi et al. measured, "Survey of IoT
    for Developing Countries", Electronics 10(18) 2224, 2021. The longest delay is the limit of
    3GPP TR 38.913 for infrequent small packets. Assumed: the lognormal form, and its `SIGMA`.

    Examples
    --------
    >>> from rrl import Poisson
    >>> late = Delayed(Poisson(10.0), median=0.84)
    >>> late.rate, len(late.arrivals(50, np.random.default_rng(0)))
    (10.0, 50)
    """

    workload: Workload
    median: float = 0.837

    def __post_init__(self) -> None:
        check_positive("median", self.median, "s")
        if self.median > LONGEST_S:
            raise ValueError(f"median {self.median} s: must be at most {LONGEST_S:g} s")

    @property
    def rate(self) -> float:
        """Long-run mean requests per second."""
        return self.workload.rate

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        check_size(n)
        of_workload, of_delays = rng.integers(2**63, size=2)

        def draw(requests: int) -> tuple[Times, float]:
            sent = self.workload.arrivals(requests, np.random.default_rng(of_workload))
            normal = np.random.default_rng(of_delays).standard_normal(requests)
            delay = np.minimum(self.median * np.exp(SIGMA * normal), LONGEST_S)
            return sent + delay, float(sent[-1])

        return _first(n, n + math.ceil(2 * self.rate * self.median), draw)


@dataclass(frozen=True)
class Superposed:
    """Several workloads at once, such as the classes of devices of a fleet.

    If the arrivals of a workload end too soon, it draws more of them from the same seed. Poisson
    arrivals, fleets and traces then go on where they ended. Workloads with a changing rate
    (:mod:`rrl.workloads.modulated`) draw others instead, so that a dense beginning is less likely
    than it should be.

    Parameters
    ----------
    workloads : tuple of Workload
        One or more independent workloads.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> from rrl import Fleet, Poisson
    >>> Superposed((Fleet(devices=600, period=60.0), Poisson(2.5))).rate
    12.5
    """

    workloads: tuple[Workload, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "workloads", tuple(self.workloads))
        if not self.workloads:
            raise ValueError("no workloads: superpose at least one")

    @property
    def rate(self) -> float:
        """Long-run mean requests per second."""
        return float(sum(one.rate for one in self.workloads))

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        check_size(n)
        seeds = rng.integers(2**63, size=len(self.workloads))
        sizes = [math.ceil(n * one.rate / self.rate) + 16 for one in self.workloads]

        def beginning(i: int) -> Times:
            return self.workloads[i].arrivals(sizes[i], np.random.default_rng(seeds[i]))

        times = [beginning(i) for i in range(len(sizes))]
        while True:
            ends = [own[-1] for own in times]  # each is known up to its own last arrival only
            merged = np.sort(np.concatenate(times))
            if np.searchsorted(merged, min(ends), side="right") >= n:
                return merged[:n]
            short = int(np.argmin(ends))
            sizes[short] *= 2
            times[short] = beginning(short)


def device_day(rate: float, length_s: float) -> Delayed:
    """Return the arrivals of a day of sensors, cameras and one firmware update.

    Sensors send two fifths of the requests, each once per minute, at the same rate all day. Cameras
    send most of the others. Their events follow a sine: the highest rate is at a quarter of the
    day, the lowest at three quarters. There a firmware update makes devices come back within one of
    the 24 hours, with the delays of traffic model 2 of 3GPP TR 37.868 on that hour. They are 2 % of
    the requests of the day. All of it comes over a cellular uplink. The fractions are assumed.

    The day may be compressed, for example into an hour. Only the load curve is compressed then. The
    devices' own times, such as the period of a sensor and the duration of an event, and the rates
    stay as they are. So an agent that serves an hour gets a twenty-fourth of the episodes of a real
    day, and learning is harder here than there.

    Parameters
    ----------
    rate : float
        Mean requests per second.
    length_s : float
        Length of the compressed day in seconds.

    Examples
    --------
    >>> day = device_day(100.0, 3600.0)
    >>> round(day.rate), [type(one).__name__ for one in day.workload.workloads]
    (100, ['Fleet', 'Cameras', 'Reconnects'])
    """
    hour = length_s / HOURS
    return Delayed(
        Superposed(
            (
                Fleet(max(round(0.4 * rate * 60), 1), period=60.0, jitter=0.5),
                Cameras(Diurnal(0.58 * rate / Cameras.frames, amplitude=0.9, period=length_s)),
                Reconnects(
                    max(round(0.02 * rate * length_s), 1),
                    every=length_s,
                    window=hour,
                    first=0.75 * length_s - hour / 2,
                ),
            )
        )
    )


def _first(n: int, guess: int, draw: Callable[[int], tuple[Times, float]]) -> Times:
    """Return the first `n` times of a process of which each draw gives a beginning.

    ``draw(size)`` returns times in any order, and the time up to which they are complete. A draw
    that is too short is repeated in a larger size, from the same seed, see :class:`Superposed`.
    """
    size = guess + 16
    while True:
        times, complete = draw(size)
        times = np.sort(times[times <= complete])
        if len(times) >= n:
            return times[:n]
        size += size // 2
