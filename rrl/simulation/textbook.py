"""Queues whose answer is in the textbook, to hold the simulated one against.

Every row of :func:`against_theory` is a run of the one kernel under other settings, with its own
99 % confidence interval. Service takes one second on average in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.simulation.queueing import Passage, simulate_queue

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
BATCHES = 25  # of the method of batch means: each long enough to be nearly independent
WARM_UP = 0.05  # share of the requests that are left out: the queue starts empty
SCV = 2.0  # squared coefficient of variation of the lognormal service times
ROOM = 5  # requests in the system of the loss queue
SERVERS = 4
SHARERS = 2000  # more never share: at a load of 0.95 the chance is below 1e-44


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request waits in M/M/c; `load` is the arrival over the service rate.

    Examples
    --------
    >>> round(erlang_c(1, 0.7), 3), round(erlang_c(4, 2.8), 3)
    (0.7, 0.429)
    """
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) / (1 - load / servers)
    return last / (sum(terms) + last)


def lognormal_work(n: int, rng: np.random.Generator) -> Floats:
    """Service times of mean 1 and squared coefficient of variation ``SCV``, shape (n,)."""
    sigma2 = math.log1p(SCV)
    return rng.lognormal(-sigma2 / 2, math.sqrt(sigma2), n)


def exponential_work(n: int, rng: np.random.Generator) -> Floats:
    """Exponential service times of mean 1, shape (n,)."""
    return rng.exponential(1.0, n)


def constant_work(n: int, rng: np.random.Generator) -> Floats:
    """Service times of exactly 1, shape (n,)."""
    return np.ones(n)


@dataclass(frozen=True)
class System:
    """A queue with a known mean.

    Parameters
    ----------
    name : str
        Kendall's notation.
    work : callable
        Draws the service times.
    theory : callable
        The known mean as a function of the utilisation: seconds in the system, or a probability.
    settings : mapping
        Of :func:`rrl.simulation.queueing.simulate_queue`.
    lost : bool
        Whether the share of requests turned away is compared, and not the time in the system.
    """

    name: str
    work: Callable[[int, np.random.Generator], Floats]
    theory: Callable[[float], float]
    settings: dict[str, Any] = field(default_factory=dict)
    lost: bool = False

    def samples(self, passage: Passage, arrivals: Floats) -> Floats:
        """What is averaged, a number a request."""
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


def against_theory(
    loads: Sequence[float] = (0.3, 0.7, 0.95),
    requests: int = 1_000_000,
    *,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Simulate every system at every utilisation, beside what theory says.

    Returns
    -------
    DataFrame
        Columns `system`, `load`, `measured`, `half_width` (of the 99 % interval, by batch means)
        and `theory`.

    References
    ----------
    Kleinrock, *Queueing Systems* I (1975), chapters 3 to 5; Law, *Simulation Modeling and
    Analysis*, 5th ed. (2014), section 9.5.3 (batch means).

    Examples
    --------
    >>> table = against_theory((0.5,), 50_000, rng=np.random.default_rng(0))
    >>> bool((abs(table["measured"] - table["theory"]) <= table["half_width"]).all())
    True
    """
    import pandas as pd
    from scipy.special import stdtrit

    warm = int(WARM_UP * requests)
    kept = (requests - warm) // BATCHES * BATCHES
    rows = []
    for system in SYSTEMS:
        for load in loads:
            rate = load * (SERVERS if system.name.startswith("M/M/4") else 1)
            arrivals = np.cumsum(rng.exponential(1 / rate, requests))
            passage = simulate_queue(arrivals, system.work(requests, rng), **system.settings)
            samples = system.samples(passage, arrivals)[requests - kept :]
            means = samples.reshape(BATCHES, -1).mean(axis=1)
            half = stdtrit(BATCHES - 1, 0.995) * means.std(ddof=1) / math.sqrt(BATCHES)
            rows.append((system.name, load, means.mean(), half, system.theory(load)))
    return pd.DataFrame(rows, columns=["system", "load", "measured", "half_width", "theory"])
