"""Whole runs: an agent tunes a server, and configurations are compared.

:func:`tune` lets an agent learn on a server; :func:`compare` then measures a few configurations
side by side, so that a claim of "better" rests on paired episodes and not on luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.agent import Agent
from rrl.episode import Server
from rrl.loop import rounds as alternate
from rrl.loop import steps
from rrl.objective import MeanLatency, Objective
from rrl.space import Configuration
from rrl.workload import Workload

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Run:
    """What a tuning run went through, an entry an episode.

    Parameters
    ----------
    configurations : list of configuration
        What served.
    costs : list of float
        What the agent was told; seconds for a latency.
    loads : list of float
        What the agent was shown: estimated requests per second.
    recommended : list of configuration
        What the agent would have deployed after the episode.
    invalid : int
        Episodes that were dropped and measured again.
    """

    configurations: list[Configuration] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    recommended: list[Configuration] = field(default_factory=list)
    invalid: int = 0

    def __len__(self) -> int:
        return len(self.costs)

    @property
    def best(self) -> Configuration:
        """The configuration to deploy at the end."""
        return self.recommended[-1]

    def table(self) -> pd.DataFrame:
        """The run as a table: one row an episode; knobs, `load_per_s`, `cost`."""
        import pandas as pd

        table = pd.DataFrame(self.configurations)
        return table.assign(load_per_s=self.loads, cost=self.costs)


def tune(
    server: Server,
    agent: Agent,
    workload: Workload,
    episodes: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    objective: Objective | None = None,
    progress: bool = False,
) -> Run:
    """Let `agent` learn on `server` for a number of episodes.

    The agent is shown the rate of the arrivals *before* an episode, never the true one. Arrivals
    and the server's own noise come from two streams, so agents given equal generators meet the
    same arrivals whatever they choose (common random numbers).

    Parameters
    ----------
    server : Server
    agent : Agent
    workload : Workload
    episodes : int
        At least 1.
    rng : numpy.random.Generator
        For the arrivals and the server; the agent has its own.
    requests : int, optional
        Requests an episode; the paper's 100 by default.
    objective : Objective, optional
        Mean latency by default.
    progress : bool, optional
        Show a progress bar on stderr.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If `episodes` is below 1.
    ServerError
        If the server fails for good, or no valid episode can be had.

    Examples
    --------
    >>> from rrl import RRL, Poisson, TableServer
    >>> table = {"threads": [1, 2, 3, 4], "latency": [0.4, 0.2, 0.1, 0.3]}
    >>> server = TableServer(table, ["threads"], cost="latency")
    >>> agent = RRL(server.space, np.random.default_rng(1))
    >>> run = tune(server, agent, Poisson(rate=10.0), 40, np.random.default_rng(2))
    >>> run.best, len(run)
    ({'threads': 3}, 40)
    """
    from tqdm import tqdm

    run = Run()
    every = steps(server, agent, workload, episodes, rng, requests=requests, objective=objective)
    bar = tqdm(every, "tuning", episodes, unit="episode", disable=not progress)
    for step in bar:
        run.invalid += step.invalid
        run.configurations.append(dict(step.configuration))
        run.costs.append(step.cost)
        run.loads.append(step.load)
        run.recommended.append(dict(step.recommended))
    return run


def compare(
    servers: Mapping[str, tuple[Server, Configuration]],
    workload: Workload,
    rounds: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    objective: Objective | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Measure configurations in alternating episodes with the same arrivals.

    Parameters
    ----------
    servers : mapping of str to (Server, configuration)
        Contestants by name. Give live contestants a server each, so that none is restarted.
    workload : Workload
    rounds : int
        Episodes of each contestant; within a round the order is random.
    rng : numpy.random.Generator
    requests : int, optional
        Requests an episode.
    objective : Objective, optional
        Mean latency by default.

    Returns
    -------
    dict of str to ndarray, shape (rounds,)
        Costs by name; equal places belong to the same round.
    """
    objective = objective or MeanLatency()
    costs = {name: np.empty(rounds) for name in servers}
    for step in alternate(servers, workload, rounds, rng, requests=requests):
        for name, episode in step.episodes.items():
            costs[name][step.number] = objective(episode)
    return costs


def bootstrap_interval(
    values: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    statistic: Any = np.median,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """A statistic of a sample with its percentile bootstrap interval.

    Parameters
    ----------
    values : ndarray, shape (n,)
    rng : numpy.random.Generator
    statistic : callable, optional
        Takes `axis`; the median by default.
    level : float, optional
        Of the interval.
    resamples : int, optional
        How many times the sample is drawn anew.

    Returns
    -------
    centre, low, high : float

    References
    ----------
    Efron & Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13.

    Examples
    --------
    >>> bootstrap_interval(np.arange(101.0), np.random.default_rng(0))
    (50.0, 41.0, 59.0)
    """
    values = np.asarray(values, dtype=float)
    drawn = statistic(rng.choice(values, (resamples, len(values))), axis=1)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(statistic(values, axis=0)), float(low), float(high)


def ratio_interval(
    ours: Sequence[float], theirs: Sequence[float], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Median of the paired ratios ours / theirs, with a 95 % bootstrap interval.

    Examples
    --------
    >>> ratio_interval([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], np.random.default_rng(0))
    (0.5, 0.5, 0.5)
    """
    return bootstrap_interval(np.asarray(ours) / np.asarray(theirs), rng)


def mean_ratio_interval(
    ours: ArrayLike, theirs: ArrayLike, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Ratio of the means of paired costs, with a 95 % bootstrap interval over the pairs.

    What users felt over a whole run; :func:`ratio_interval` is about a typical episode.

    Examples
    --------
    >>> mean_ratio_interval([1.0, 3.0], [4.0, 12.0], np.random.default_rng(0))
    (0.25, 0.25, 0.25)
    """
    ours, theirs = np.asarray(ours), np.asarray(theirs)

    def ratio(rows: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        drawn = rows.astype(int)
        return ours[drawn].mean(axis=axis) / theirs[drawn].mean(axis=axis)

    return bootstrap_interval(np.arange(float(len(ours))), rng, statistic=ratio)
