"""The main loop: an agent asks, a server measures an episode, and the agent is told its cost.

:func:`tune` runs the whole loop and returns its history: it draws the arrivals of a run
(:func:`draw_run`), and :func:`learning_steps` yields one episode at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.tuning.episode import Episode, Server, measure_valid
from rrl.tuning.objective import MeanLatency, Objective
from rrl.workloads.workload import Times, Workload, estimate_rate
from rrl.workloads.workload import episodes as cut

MOST = 1e6  # highest load (requests/s) shown to an agent; simultaneous arrivals give infinity


@dataclass(frozen=True, eq=False)
class Step:
    """One episode of a tuning run.

    Parameters
    ----------
    number : int
        Number of the episode, from 0.
    load : float
        The load that the agent was shown: estimated requests per second.
    configuration : configuration
        The configuration that served.
    cost : float
        The cost that the agent was told, in the objective's unit (seconds for a latency).
    recommended : configuration
        The configuration that the agent would deploy after this episode.
    episode : Episode
    invalid : int
        Number of measurements that were dropped before this one.
    next_load : float
        The load that the agent is shown next.
    """

    number: int
    load: float
    configuration: Configuration
    cost: float
    recommended: Configuration
    episode: Episode
    invalid: int
    next_load: float


def learning_steps(
    server: Server,
    agent: Agent,
    load: float,
    parts: Iterable[Times],
    rng: np.random.Generator,
    objective: Objective,
) -> Iterator[Step]:
    """Let `agent` learn on `server`; yield each episode after the agent is told its cost.

    The agent sees the rate of the arrivals *before* an episode, never the true rate.

    Parameters
    ----------
    server, agent, objective
        See :func:`tune`.
    load, parts, rng
        What :func:`draw_run` returns: the first load, the arrivals of each episode, and the
        generator for the server.

    Examples
    --------
    >>> from rrl import RRL, Poisson, TableServer
    >>> server = TableServer({"threads": [1, 2], "cost": [0.5, 0.25]}, ["threads"])
    >>> agent = RRL(server.space, np.random.default_rng(1))
    >>> drawn = draw_run(Poisson(9.0), 9, 100, np.random.default_rng(2))
    >>> run = learning_steps(server, agent, *drawn, MeanLatency())
    >>> [(step.number, step.configuration, step.cost) for step in run][-1]
    (8, {'threads': 2}, 0.25)
    """
    for number, arrivals in enumerate(parts):
        configuration = agent.ask(load)
        episode, dropped = measure_valid(server, configuration, arrivals, rng)
        cost = objective(episode)
        agent.tell(configuration, cost)
        chosen, recommended = dict(configuration), dict(agent.best(load))
        next_load = shown_load(episode.arrivals)  # clients who send themselves decide it only now
        yield Step(number, load, chosen, cost, recommended, episode, len(dropped), next_load)
        load = next_load


def shown_load(arrivals: Times) -> float:
    """Return the load in requests per second that an agent is shown after these arrivals (s)."""
    return min(estimate_rate(arrivals), MOST)


def draw_run(
    workload: Workload, episodes: int, requests: int, rng: np.random.Generator
) -> tuple[float, Iterator[Times], np.random.Generator]:
    """Draw the arrivals of a run.

    The arrivals and the server's own noise come from two random streams. So agents with equal
    generators get the same arrivals, whatever they choose (common random numbers).

    Returns
    -------
    load : float
        The load that the agent is shown first, in requests per second. It is estimated from
        requests before the first episode, which are not served.
    parts : iterator of ndarray
        Arrivals of each episode in seconds.
    rng : numpy.random.Generator
        Generator for the server.

    Raises
    ------
    ValueError
        If `episodes` is below 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    arrivals_rng, server_rng = rng.spawn(2)
    parts = cut(workload.arrivals((episodes + 1) * requests, arrivals_rng), requests)
    return shown_load(next(parts)), parts, server_rng


class Run(list[Step]):
    """The history of a tuning run: its episodes in their order."""

    def __repr__(self) -> str:
        return f"Run({len(self)} episodes)"

    @property
    def configurations(self) -> list[Configuration]:
        """The configurations that served."""
        return [step.configuration for step in self]

    @property
    def costs(self) -> list[float]:
        """The costs that the agent was told, in the objective's unit (seconds for a latency)."""
        return [step.cost for step in self]

    @property
    def recommended(self) -> list[Configuration]:
        """The configurations that the agent would have deployed after each episode."""
        return [step.recommended for step in self]

    @property
    def best(self) -> Configuration:
        """The configuration to deploy at the end."""
        return self[-1].recommended


def tune(
    server: Server,
    agent: Agent,
    workload: Workload,
    episodes: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    objective: Objective | None = None,
) -> Run:
    """Let `agent` learn on `server` for a number of episodes.

    The agent sees the rate of the arrivals *before* an episode, never the true rate. The arrivals
    and the server's own noise come from two random streams. So agents with equal generators get the
    same arrivals, whatever they choose (common random numbers).

    Parameters
    ----------
    server : Server
    agent : Agent
    workload : Workload
    episodes : int
        Number of episodes, at least 1.
    rng : numpy.random.Generator
        Generator for the arrivals and the server. The agent has its own.
    requests : int, optional
        Requests per episode. The default is the paper's 100.
    objective : Objective, optional
        The cost of an episode. The default is the mean latency in seconds.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If `episodes` is below 1.
    ServerError
        If the server fails permanently, or too many episodes in a row are invalid.

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
    drawn = draw_run(workload, episodes, requests, rng)
    return Run(learning_steps(server, agent, *drawn, objective or MeanLatency()))
