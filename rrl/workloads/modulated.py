"""Poisson arrivals whose rate changes with time: bursts, a daily cycle, a flash crowd."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.workloads.workload import Times, check_positive, check_size

_CHUNK = 1_000_000  # most candidates that thinning draws at once, so that memory grows with n only


@dataclass(frozen=True)
class Bursts:
    """Bursty arrivals: a Markov-modulated Poisson process (MMPP).

    The rate stays at ``rates[i]`` for an exponential time with mean ``sojourns[i]``. Then the
    process jumps to one of the other states, which are all equally likely.

    Parameters
    ----------
    rates : tuple of float
        Requests per second in each of two or more states. A rate of 0 makes a silent state.
    sojourns : tuple of float
        Mean time in each state, in seconds.

    Raises
    ------
    ValueError
        If a rate is negative or NaN, all rates are 0, or a sojourn is not positive.

    References
    ----------
    Fischer, Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", 1993.

    Examples
    --------
    >>> Bursts(rates=(5.0, 100.0), sojourns=(9.0, 1.0)).rate
    14.5
    """

    rates: tuple[float, ...]
    sojourns: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.sojourns) or len(self.rates) < 2:
            raise ValueError(
                f"{len(self.rates)} rates and {len(self.sojourns)} sojourns: bursts need two or "
                "more states, each with one of both"
            )
        for rate in self.rates:
            if not (math.isfinite(rate) and rate >= 0):
                raise ValueError(f"rate {rate} requests/s: a state's rate must be at least 0")
        for sojourn in self.sojourns:
            check_positive("sojourn", sojourn, "s")
        check_positive("mean rate", self.rate, "requests/s")

    @property
    def rate(self) -> float:
        """Long-run mean requests per second.

        All jumps are equally likely, so each state's fraction of the time is proportional to its
        sojourn.
        """
        return float(np.dot(self.rates, self.sojourns) / np.sum(self.sojourns))

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        work = np.cumsum(rng.exponential(1.0, check_size(n)))  # the rate's integral up to each
        sojourns, rates = np.array(self.sojourns), np.array(self.rates)
        chunk = int(1.2 * work[-1] / (self.rate * sojourns.mean())) + 16
        state = int(rng.choice(len(rates), p=sojourns / sojourns.sum()))
        time, passed = [np.zeros(1)], [np.zeros(1)]
        while passed[-1][-1] <= work[-1]:
            jumps = rng.integers(1, len(rates), chunk)
            states = (state + np.concatenate(([0], np.cumsum(jumps)))) % len(rates)
            state, stay = int(states[-1]), rng.exponential(sojourns[states[:-1]])
            time.append(time[-1][-1] + np.cumsum(stay))
            passed.append(passed[-1][-1] + np.cumsum(stay * rates[states[:-1]]))
        return np.interp(work, np.concatenate(passed), np.concatenate(time))


@dataclass(frozen=True)
class Diurnal:
    """A daily cycle: Poisson arrivals at ``rate * (1 + amplitude * sin(2 pi t / period))``.

    Parameters
    ----------
    rate : float
        Mean requests per second.
    amplitude : float
        Largest deviation from the mean rate, as a fraction of the mean rate, from 0 to 1.
    period : float
        Length of one cycle in seconds. The default is one day.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> day = Diurnal(rate=10.0, amplitude=0.8)
    >>> day.rate_at([21_600.0, 64_800.0]).round(3).tolist()
    [18.0, 2.0]
    """

    rate: float
    amplitude: float = 0.5
    period: float = 86_400.0

    def __post_init__(self) -> None:
        check_positive("rate", self.rate, "requests/s")
        check_positive("period", self.period, "s")
        if not 0 <= self.amplitude <= 1:
            raise ValueError(
                f"amplitude {self.amplitude}: must lie in 0 to 1, a fraction of the mean"
            )

    def rate_at(self, time: ArrayLike) -> NDArray[np.float64]:
        """Requests per second at `time` (s)."""
        turn = 2 * np.pi * np.asarray(time) / self.period
        return self.rate * (1 + self.amplitude * np.sin(turn))

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        return _thin(self, self.rate * (1 + self.amplitude), n, rng)


@dataclass(frozen=True)
class FlashCrowd:
    """A base rate with one crowd per period: a linear rise, a plateau and a linear fall.

    Parameters
    ----------
    base, peak : float
        Requests per second outside the crowd and on its plateau.
    start : float
        Seconds from the start of a period until the rise begins.
    rise, hold, fall : float
        Lengths of the rise, the plateau and the fall in seconds.
    period : float
        Seconds after which the pattern repeats. The mean rate is that of one period.

    Raises
    ------
    ValueError
        If a rate or a length is not positive, `start` is negative, the peak is below the base or
        the crowd does not fit in its period.

    Examples
    --------
    >>> crowd = FlashCrowd(base=10.0, peak=100.0, start=60.0, rise=5.0, hold=10.0, fall=15.0)
    >>> crowd.rate_at([0.0, 62.5, 70.0]).tolist(), crowd.rate
    ([10.0, 55.0, 100.0], 13.0)
    """

    base: float
    peak: float
    start: float
    rise: float = 5.0
    hold: float = 30.0
    fall: float = 30.0
    period: float = 600.0

    def __post_init__(self) -> None:
        for name in ("base", "peak"):
            check_positive(name, getattr(self, name), "requests/s")
        for name in ("rise", "hold", "fall", "period"):
            check_positive(name, getattr(self, name), "s")
        end = self.start + self.rise + self.hold + self.fall
        if not (self.start >= 0 and end <= self.period):
            raise ValueError(f"crowd from {self.start} to {end} s must fit in 0 to {self.period} s")
        if self.peak < self.base:
            raise ValueError(f"peak {self.peak} requests/s is below the base rate {self.base}")

    @property
    def rate(self) -> float:
        """Mean requests per second over one period."""
        extra = (self.peak - self.base) * (self.hold + (self.rise + self.fall) / 2)
        return self.base + extra / self.period

    def rate_at(self, time: ArrayLike) -> NDArray[np.float64]:
        """Requests per second at `time` (s)."""
        knots = np.cumsum((self.start, self.rise, self.hold, self.fall))
        rates = (self.base, self.peak, self.peak, self.base)
        return np.interp(np.asarray(time) % self.period, knots, rates)

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,)."""
        return _thin(self, self.peak, n, rng)


def _thin(load: Diurnal | FlashCrowd, peak: float, n: int, rng: np.random.Generator) -> Times:
    """Keep each point of a Poisson process of rate `peak` with probability rate_at(t) / peak.

    The points that remain are a Poisson process of rate `rate_at` (Lewis and Shedler 1979).
    """
    chunks, found, last = [], 0, 0.0
    while found < check_size(n):
        size = min(int(1.1 * (n - found) * peak / load.rate) + 16, _CHUNK)
        times = last + np.cumsum(rng.exponential(1 / peak, size))
        kept = times[rng.random(size) * peak < load.rate_at(times)]
        chunks.append(kept)
        found, last = found + len(kept), times[-1]
    return np.concatenate(chunks)[:n]
