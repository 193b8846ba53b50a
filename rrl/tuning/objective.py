"""Objectives: each turns an episode into the one number that an agent minimises.

Failed and rejected requests are never left out. In a latency, each of them counts `FAILURE_S`
seconds, or the time that it took if that is longer. In a fraction of violations, each of them is
one violation. So no configuration can look fast because it rejects requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rrl.core.space import Floats
from rrl.tuning.episode import Episode
from rrl.workloads.workload import check_positive

FAILURE_S = 10.0  # seconds; far above any latency that a user would wait for

Objective = Callable[[Episode], float]
"""A function that turns an episode into a cost, finite and at least 0. A smaller cost is better."""


def charged_latency(episode: Episode, failure_s: float = FAILURE_S) -> Floats:
    """Return the latencies that count in a cost, in seconds, one for each request.

    A failed request counts `failure_s` seconds or more. If an episode was stopped because the
    budget was used up, the requests that were cancelled then say nothing about the configuration.
    They are left out, unless no request was answered.

    Examples
    --------
    >>> charged_latency(Episode({}, [0.0, 0.1], [0.02, 0.001], [0, 14]))
    array([ 0.02, 10.  ])
    """
    charged = np.where(episode.ok, episode.latency, np.maximum(episode.latency, failure_s))
    if episode.info.get("aborted") == "budget" and episode.ok.any():
        return charged[episode.ok | episode.failed]
    return charged


@dataclass(frozen=True)
class MeanLatency:
    """Mean latency of all requests, in seconds; a failed one counts `FAILURE_S` or more.

    Examples
    --------
    >>> MeanLatency()(Episode({}, [0.0, 0.1], [0.02, 0.001], [0, 14]))
    5.01
    """

    def __call__(self, episode: Episode) -> float:
        """Return the cost of an episode."""
        return float(charged_latency(episode).mean())

    def __str__(self) -> str:
        return "mean"


@dataclass(frozen=True)
class Percentile:
    """A percentile of the latency, in seconds; a failed request counts `FAILURE_S` or more.

    It is the smallest latency that at least `q` percent of the requests do not exceed.

    Parameters
    ----------
    q : float
        The percentile, above 0 and below 100. For the p99 it is 99.

    Raises
    ------
    ValueError
        If `q` is out of range.

    Examples
    --------
    >>> episode = Episode({}, range(100), np.arange(1, 101) / 1000, [0] * 100)
    >>> Percentile(90)(episode)
    0.09
    >>> Percentile(90).interval(episode), Percentile(99).interval(episode)
    ((0.084, 0.096), (0.097, inf))
    """

    q: float

    def __post_init__(self) -> None:
        if not 0 < self.q < 100:
            raise ValueError(
                f"a percentile must lie between 0 and 100, both excluded, got {self.q!r}"
            )

    def __call__(self, episode: Episode) -> float:
        """Return the cost of an episode."""
        q = self.q * (1 - 1e-12)  # 99.9 % of 1000 would be rounded to a little more than 999
        return float(np.percentile(charged_latency(episode), q, method="inverted_cdf"))

    def interval(self, episode: Episode, effect: float = 1.0) -> tuple[float, float]:
        """Return a distribution-free 95 % interval of the percentile, in seconds.

        The two ends are latencies of the episode. The number of requests below the true percentile
        is binomial for every distribution of the latency, and this gives the ranks of the ends.
        The true percentile lies beyond each end with a probability of at most 2.5 %. If the sample
        is too small for an end, the end is 0 or infinity. For example, an upper end for the p99
        needs 368 requests.

        Parameters
        ----------
        effect : float, optional
            How many requests count as one independent request, at least 1. Requests that queue
            behind each other are not independent: with an effect of 1, the interval is far too
            narrow on a busy server. See :func:`rrl.tuning.slo.design_effect`.

        References
        ----------
        Conover, *Practical Nonparametric Statistics*, 3rd edition (1999), section 3.2.
        """
        from scipy.special import bdtr

        n, miss = max(int(len(episode) / effect), 1), 0.025
        at_most = bdtr(np.arange(n), n, self.q / 100)  # P(fewer than k + 1 lie below), k < n
        low = int(np.searchsorted(at_most, miss, side="right"))  # ranks count from 1
        high = int(np.searchsorted(at_most, 1 - miss, side="left")) + 1
        ordered = np.sort(charged_latency(episode))
        # A rank is one of n equal parts of all requests. The lower end is the first request of its
        # part, and the upper end the last one; -(-a // b) is a / b, rounded up.
        down, up = (low - 1) * len(ordered) // n, -(-high * len(ordered) // n) - 1
        return (
            float(ordered[down]) if low else 0.0,
            float(ordered[up]) if high <= n else math.inf,
        )

    def __str__(self) -> str:
        return f"p{self.q:.15g}"


@dataclass(frozen=True)
class SLOViolations:
    """Fraction of requests that violate the service-level objective, from 0 to 1.

    A request violates it if its latency is above `target_s` seconds. A request that fails or is
    rejected always violates it, even if this happens quickly.

    Examples
    --------
    >>> SLOViolations(0.1)(Episode({}, range(4), [0.05, 0.1, 0.3, 0.01], [0, 0, 0, 14]))
    0.5
    """

    target_s: float

    def __post_init__(self) -> None:
        check_positive("target_s", self.target_s, "s")

    def __call__(self, episode: Episode) -> float:
        """Return the cost of an episode."""
        return float(np.mean(charged_latency(episode, math.inf) > self.target_s))

    def __str__(self) -> str:
        return f"slo:{self.target_s:.15g}"
