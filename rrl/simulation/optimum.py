"""All configurations of a simulated server serve the same requests, and the best one is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration
from rrl.core.space import Floats
from rrl.simulation.simulator import SimulatedServer
from rrl.tuning.objective import FAILURE_S
from rrl.workloads.workload import Poisson

CONFIDENCE = 0.99
"""Confidence level of the interval of the lowest cost, and of the list of ties as a whole."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best configuration of a simulated server, and how certain this result is.

    Parameters
    ----------
    configuration : mapping
        The configuration with the smallest mean cost, by knob name.
    cost : float
        Its mean cost in seconds.
    half_width : float
        Half the width of the 99 % interval of `cost`, in seconds. The smallest of many means is
        partly small by luck, for which the interval does not allow.
    ties : ndarray of int
        Numbers of all configurations that cannot be distinguished from the best one. The true
        optimum is one of them with a confidence of 99 % (Bonferroni).
    excess : float
        Upper bound on how much less the true optimum can cost than `configuration`, in seconds,
        with the same confidence.
    costs : ndarray, shape (configurations,)
        Mean cost of each configuration in seconds.
    """

    configuration: Configuration
    cost: float
    half_width: float
    ties: NDArray[np.int64]
    excess: float
    costs: Floats


def charged(
    server: SimulatedServer, by_episode: Iterable[Floats], rng: np.random.Generator
) -> Iterator[Floats]:
    """Yield the latencies (s) of all configurations, shape (configurations, n), for each episode.

    A rejected request counts at least `FAILURE_S`.
    """
    for arrivals in by_episode:
        latency, rejected = server.grid(arrivals, rng)
        latency[rejected] = np.maximum(latency[rejected], FAILURE_S)
        yield latency


def optimum(
    server: SimulatedServer,
    rate_per_s: float,
    *,
    requests: int = 100,
    replications: int = 100,
    rng: np.random.Generator,
) -> Optimum:
    """Find the configuration with the smallest mean latency by measuring all configurations.

    Each replication is an episode that all configurations serve with the same arrivals and the same
    work (common random numbers). So the differences of their costs are more precise than the costs.
    A rejected request counts as in :class:`rrl.tuning.objective.MeanLatency`.

    Parameters
    ----------
    server : SimulatedServer
        The server to search.
    rate_per_s : float
        Rate of the Poisson arrivals, in requests per second.
    requests : int
        Requests per episode. Each episode starts with an empty queue, as an agent sees it.
    replications : int
        Number of episodes of each configuration, at least 2.
    rng : numpy.random.Generator
        Generator of all random numbers.

    Raises
    ------
    ValueError
        If there are fewer than two replications.

    Examples
    --------
    >>> from rrl import testbed
    >>> best = optimum(testbed("cpu2"), 100.0, replications=50, rng=np.random.default_rng(0))
    >>> best.configuration["intra_op"], best.half_width < 0.1 * best.cost
    (1, True)
    """
    from scipy.special import stdtrit  # Student's t quantile, without scipy.stats

    if replications < 2:
        raise ValueError(f"{replications} replications: use at least 2")
    workload = Poisson(rate_per_s)
    # A generator: an episode's arrivals are drawn after the work of the one before.
    by_episode = (workload.arrivals(requests, rng) for _ in range(replications))
    costs = np.array([latency.mean(axis=1) for latency in charged(server, by_episode, rng)])
    r, g = costs.shape
    mean = costs.mean(axis=0)
    best = int(np.argmin(mean))
    excess = costs - costs[:, best : best + 1]  # paired differences from the best one
    error = excess.std(axis=0, ddof=1) / np.sqrt(r)
    reach = stdtrit(r - 1, 1 - (1 - CONFIDENCE) / max(g - 1, 1)) * error
    mean_excess = excess.mean(axis=0)
    half_width = stdtrit(r - 1, (1 + CONFIDENCE) / 2) * costs[:, best].std(ddof=1) / np.sqrt(r)
    return Optimum(
        configuration=server.space[best],
        cost=float(mean[best]),
        half_width=float(half_width),
        ties=np.flatnonzero(mean_excess <= reach),
        excess=float(np.max(reach - mean_excess).clip(min=0)),
        costs=mean,
    )
