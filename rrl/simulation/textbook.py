"""Queues with known results from textbooks, to check the simulated queue.

Every row of :func:`against_theory` is a run of the same kernel with other settings, and has its own
99 % confidence interval. The mean service time is one second in all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.simulation.queueing import Passage, simulate_queue

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
BATCHES = 25  # for the method of batch means: long batches are nearly independent
WARM_UP = 0.05  # fraction of the requests that is left out, because the queue starts empty
SCV = 2.0  # squared coefficient of variation of the lognormal service times
ROOM = 5  # largest number of requests in the loss queue, waiting or in service
SERVERS = 4
LOADS = (0.3, 0.7, 0.95)  # utilisations
SHARERS = 2000  # more requests never share: at a load of 0.95 the probability is below 1e-44


def erlang_c(servers: int, load: float) -> float:
    """Return the probability that a request waits in M/M/c.

    `load` is the arrival rate divided by the service rate of one server.

    Examples
    --------
    >>> round(erlang_c(1, 0.7), 3), round(erlang_c(4, 2.8), 3)
    (0.7, 0.429)
    """
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) / (1 - load / servers)
    return last / (sum(terms) + last)


def lognormal_work(n: int, rng: np.random.Generator) -> Floats:
    """Draw service times with mean 1 s and squared coefficient of variation ``SCV``, shape (n,)."""
    sigma2 = math.log1p(SCV)
    return rng.lognormal(-sigma2 / 2, math.sqrt(sigma2), n)


def exponential_work(n: int, rng: np.random.Generator) -> Floats:
    """Draw exponential service times with mean 1 s, shape (n,)."""
    return rng.exponential(1.0, n)


def constant_work(n: int, rng: np.random.Generator) -> Floats:
    """Return service times of exactly 1 s, shape (n,)."""
    return np.ones(n)


@dataclass(frozen=True)
class System:
    """A queue with a known mean.

    Parameters
    ----------
    name : str
        The name of the queue in Kendall's notation.
    work : callable
        It draws the service times in seconds.
    theory : callable
        The known mean as a function of the utilisation: seconds in the system, or a probability.
    settings : mapping
        Settings of :func:`rrl.simulation.queueing.simulate_queue`.
    lost : bool
        Whether the fraction of rejected requests is compared instead of the time in the system.
    """

    name: str
    work: Callable[[int, np.random.Generator], Floats]
    theory: Callable[[float], float]
    settings: dict[str, Any] = field(default_factory=dict)
    lost: bool = False

    def samples(self, passage: Passage, arrivals: Floats) -> Floats:
        """Return the numbers to average, one per request."""
        return passage.rejected.astype(float) if self.lost else passage.departure - arrivals


SYSTEMS = (
    System("M/M/1", exponential_work, lambda rho: 1 / (1 - rho)),
    System(
        "M/M/4 (Erlang C)",
        exponential_work,
        lambda rho: 1 + erlang_c(SERVERS, rho * SERVERS) / (SERVERS * (1 - rho)),
        {"threads": SERVERS, "speed": np.ones(SERVERS)},
    ),
    System("M/D/1", constant_work, lambda rho: 1 + rho / (2 * (1 - rho))),
    System(
        "M/G/1 (Pollaczek-Khinchine)",
        lognormal_work,
        lambda rho: 1 + rho * (1 + SCV) / (2 * (1 - rho)),
    ),
    System(
        "M/G/1-PS (insensitive)",
        lognormal_work,
        lambda rho: 1 / (1 - rho),
        {"threads": SHARERS, "speed": 1 / np.arange(1, SHARERS + 1)},
    ),
    System(
        "M/M/1/5 (loss)",
        exponential_work,
        lambda rho: (1 - rho) * rho**ROOM / (1 - rho ** (ROOM + 1)),
        {"capacity": ROOM - 1},
        lost=True,
    ),
)


def against_theory(requests: int = 1_000_000, *, rng: np.random.Generator) -> pd.DataFrame:
    """Simulate every system at each utilisation of `LOADS`, and list it beside the theory.

    Returns
    -------
    DataFrame
        The columns are `system`, `load`, `measured`, `half_width` (half the width of the 99 %
        interval, by batch means) and `theory`.

    References
    ----------
    Kleinrock, *Queueing Systems* I (1975), chapters 3 to 5; Law, *Simulation Modeling and
    Analysis*, 5th ed. (2014), section 9.5.3 (batch means).

    Examples
    --------
    >>> table = against_theory(100_000, rng=np.random.default_rng(0))
    >>> bool((abs(table["measured"] - table["theory"]) <= table["half_width"]).all())
    True
    """
    import pandas as pd
    from scipy.special import stdtrit

    warm = int(WARM_UP * requests)
    kept = (requests - warm) // BATCHES * BATCHES
    rows = []
    for system in SYSTEMS:
        for load in LOADS:
            rate = load * (SERVERS if system.name.startswith("M/M/4") else 1)
            arrivals = np.cumsum(rng.exponential(1 / rate, requests))
            passage = simulate_queue(arrivals, system.work(requests, rng), **system.settings)
            samples = system.samples(passage, arrivals)[requests - kept :]
            means = samples.reshape(BATCHES, -1).mean(axis=1)
            half = stdtrit(BATCHES - 1, 0.995) * means.std(ddof=1) / math.sqrt(BATCHES)
            rows.append((system.name, load, means.mean(), half, system.theory(load)))
    return pd.DataFrame(rows, columns=["system", "load", "measured", "half_width", "theory"])
