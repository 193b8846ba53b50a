"""Queues with known results from textbooks, to check the simulated queue.

Every row of :func:`against_theory` is a run of the same kernel with other settings, and has its own
99 % confidence interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rrl.core.space import Floats
from rrl.simulation.queueing import simulate_queue

if TYPE_CHECKING:
    import pandas as pd

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


class System(NamedTuple):
    """A queue with a known mean; the mean service time is one second.

    Parameters
    ----------
    work : callable
        It draws the service times in seconds.
    theory : callable
        The known mean as a function of the utilisation: seconds in the system, or the probability
        of a rejection if the queue has a capacity.
    settings : mapping
        Settings of :func:`rrl.simulation.queueing.simulate_queue`.
    servers : int
    """

    work: Callable[[int, np.random.Generator], Floats]
    theory: Callable[[float], float]
    settings: Mapping[str, Any] = MappingProxyType({})
    servers: int = 1


def _exponential(n: int, rng: np.random.Generator) -> Floats:
    return rng.exponential(1.0, n)


def _lognormal(n: int, rng: np.random.Generator) -> Floats:
    sigma2 = math.log1p(SCV)
    return rng.lognormal(-sigma2 / 2, math.sqrt(sigma2), n)


SYSTEMS = {
    "M/M/1": System(_exponential, lambda rho: 1 / (1 - rho)),
    "M/M/4 (Erlang C)": System(
        _exponential,
        lambda rho: 1 + erlang_c(SERVERS, rho * SERVERS) / (SERVERS * (1 - rho)),
        {"threads": SERVERS, "speed": np.ones(SERVERS)},
        SERVERS,
    ),
    "M/D/1": System(lambda n, rng: np.ones(n), lambda rho: 1 + rho / (2 * (1 - rho))),
    "M/G/1 (Pollaczek-Khinchine)": System(
        _lognormal, lambda rho: 1 + rho * (1 + SCV) / (2 * (1 - rho))
    ),
    "M/G/1-PS (insensitive)": System(
        _lognormal,
        lambda rho: 1 / (1 - rho),
        {"threads": SHARERS, "speed": 1 / np.arange(1, SHARERS + 1)},
    ),
    "M/M/1/5 (loss)": System(
        _exponential,
        lambda rho: (1 - rho) * rho**ROOM / (1 - rho ** (ROOM + 1)),
        {"capacity": ROOM - 1},
    ),
}
"""The queues by their names in Kendall's notation."""


def against_theory(requests: int = 1_000_000, *, rng: np.random.Generator) -> pd.DataFrame:
    """Simulate every system at each utilisation of `LOADS`, and list it beside the theory.

    Returns
    -------
    DataFrame
        The columns are `system`, `load`, `measured`, `half_width` (half the width of the 99 %
        interval, by batch means) and `theory`.

    References
    ----------
    Kleinrock, *Queueing Systems* I (1975), chapters 3 to 5, and for processor sharing *Queueing
    Systems* II (1976), chapter 4; Law, *Simulation Modeling and
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
    for (name, system), load in product(SYSTEMS.items(), LOADS):
        arrivals = np.cumsum(rng.exponential(1 / (load * system.servers), requests))
        work = system.work(requests, rng)
        departure, rejected = simulate_queue(arrivals, work, **system.settings)
        lost = "capacity" in system.settings
        samples = rejected.astype(float) if lost else departure - arrivals
        means = samples[requests - kept :].reshape(BATCHES, -1).mean(axis=1)
        half = stdtrit(BATCHES - 1, 0.995) * means.std(ddof=1) / math.sqrt(BATCHES)
        rows.append((name, load, means.mean(), half, system.theory(load)))
    return pd.DataFrame(rows, columns=["system", "load", "measured", "half_width", "theory"])
