"""The main loop: an agent asks, a server measures an episode, and the agent is told its cost.

:func:`steps` draws the arrivals of a run and starts the loop, :func:`learning_steps`. What is drawn
stands apart, because the runs of `rrl tune` use it, too: see :func:`draw_run` for a tuning and
:func:`draw_rounds` for a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.tuning.episode import Episode, Server
from rrl.tuning.measuring import measure_valid
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


def steps(
    server: Server,
    agent: Agent,
    workload: Workload,
    episodes: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    objective: Objective | None = None,
) -> Iterator[Step]:
    """Let `agent` learn on `server`; yield each episode after the agent is told its cost.

    Parameters
    ----------
    server, agent, workload, episodes, rng, requests, objective
        See :func:`rrl.tune`.

    Raises
    ------
    ValueError
        If `episodes` is below 1.
    ServerError
        If the server fails permanently, or too many episodes in a row are invalid.

    Examples
    --------
    >>> from rrl import RRL, Poisson, TableServer
    >>> server = TableServer({"threads": [1, 2], "cost": [0.5, 0.25]}, ["threads"])
    >>> agent = RRL(server.space, np.random.default_rng(1))
    >>> run = steps(server, agent, Poisson(9.0), 9, np.random.default_rng(2))
    >>> [(step.number, step.configuration, step.cost) for step in run][-1]
    (8, {'threads': 2}, 0.25)
    """
    load, parts, server_rng = draw_run(workload, episodes, requests, rng)
    return learning_steps(server, agent, load, parts, server_rng, objective or MeanLatency())


def learning_steps(
    server: Server,
    agent: Agent,
    load: float,
    parts: Iterable[Times],
    rng: np.random.Generator,
    objective: Callable[[Episode], float],
) -> Iterator[Step]:
    """Let `agent` learn from one episode for each of the `parts`, which are arrivals in seconds.

    The agent sees the rate of the arrivals *before* an episode, never the true rate. The first
    `load` is given.
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


def draw_rounds(
    names: list[str], workload: Workload, rounds: int, requests: int, rng: np.random.Generator
) -> Iterator[tuple[Times, int, list[str]]]:
    """Draw the rounds of a comparison, in each of which all contestants get the same arrivals.

    Yields
    ------
    arrivals : ndarray
        Arrivals in seconds.
    seed : int
        Seed of a generator for each server, so that all get the same work or the same repeat.
    order : list of str
        The names in the order of their turns.
    """
    arrivals_rng, server_rng, order_rng = rng.spawn(3)
    for arrivals in cut(workload.arrivals(rounds * requests, arrivals_rng), requests):
        yield arrivals, int(server_rng.integers(2**63)), order_rng.permutation(names).tolist()
