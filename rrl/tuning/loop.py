"""The main loop: an agent asks, a server measures an episode, and the agent is told its cost.

:func:`tune` runs the loop and returns its history. :func:`compare` measures a few configurations
side by side: episodes in turns, with the same arrivals. So a claim of "better" is based on paired
episodes and not on luck.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats
from rrl.tuning.episode import Episode, Server, measure_valid
from rrl.tuning.objective import MeanLatency, Objective
from rrl.workloads.workload import Times, Workload, cut_into_episodes, estimate_rate


class Agent(Protocol):
    """An agent sees costs and load estimates, and nothing else. It chooses configurations.

    All random choices come from the generator that the agent was made with. So a run that is
    replayed gives the same agent.
    """

    def ask(self, load: float) -> Configuration:
        """Choose the configuration of the next episode.

        `load` is in requests per second, estimated from arrivals so far. ValueError if it is not
        a positive number.
        """
        ...

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn what an episode cost under the load that was last asked for.

        ValueError, and nothing learned, if the cost is no number from 0 to 1e30, the configuration
        is not in the space, or nothing was asked before. A cost below 1e-30 counts as 0.
        """
        ...

    def best(self, load: float) -> Configuration:
        """Return the configuration to deploy under `load`. The agent does not change."""
        ...


MakeAgent = Callable[[ConfigSpace, np.random.Generator], Agent]
"""What makes an agent for a space; each run makes one of its own, with its own generator."""


@dataclass(frozen=True, eq=False)
class Step:
    """One episode of a tuning run.

    Parameters
    ----------
    load : float
        The load that the agent was shown: estimated requests per second.
    configuration : configuration
        The configuration that served.
    cost : float
        The cost that the agent was told, in the objective's unit (seconds for a latency).
    recommended : configuration
        The configuration that the agent would deploy after this episode.
    episode : Episode
    """

    load: float
    configuration: Configuration
    cost: float
    recommended: Configuration
    episode: Episode


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
        Requests per episode, at least 2. The default is the paper's 100.
    objective : Objective, optional
        The cost of an episode. The default is the mean latency in seconds.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If `episodes` or `requests` is too small, or the workload gives another number of arrivals.
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
    cost_of, run = objective or MeanLatency(), Run()
    load, by_episode, server_rng = draw_run(workload, episodes, requests, rng)
    for arrivals in by_episode:
        configuration = agent.ask(load)
        episode = measure_valid(server, configuration, arrivals, server_rng)
        cost = cost_of(episode)
        agent.tell(configuration, cost)
        run.append(Step(load, dict(configuration), cost, dict(agent.best(load)), episode))
        load = estimate_rate(episode.arrivals)  # clients may not have sent as planned
    return run


def draw_run(
    workload: Workload, episodes: int, requests: int, rng: np.random.Generator
) -> tuple[float, Iterator[Times], np.random.Generator]:
    """Draw the arrivals of a run, and the generator of its server; see :func:`tune`.

    Returns
    -------
    load : float
        The load that the agent is shown first, in requests per second. It is estimated from
        requests before the first episode, which are not served.
    by_episode : iterator of ndarray
        Arrivals of each episode in seconds.
    rng : numpy.random.Generator
        Generator for the server.

    Raises
    ------
    ValueError
        See :func:`tune`.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    arrivals_rng, server_rng = rng.spawn(2)
    by_episode = _draw_episodes(workload, episodes + 1, requests, arrivals_rng)
    return estimate_rate(next(by_episode)), by_episode, server_rng


def _draw_episodes(
    workload: Workload, episodes: int, requests: int, rng: np.random.Generator
) -> Iterator[Times]:
    """Draw the arrivals of some episodes at once, and cut them."""
    wanted = episodes * requests
    times = workload.arrivals(wanted, rng)
    if len(times) != wanted:
        raise ValueError(f"{workload} gave {len(times)} arrivals: it was asked for {wanted}")
    return cut_into_episodes(times, requests)


def compare(
    servers: Mapping[str, tuple[Server, Configuration]],
    workload: Workload,
    rounds: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
) -> dict[str, Floats]:
    """Measure configurations in alternating episodes with the same arrivals.

    Parameters
    ----------
    servers : mapping of str to (Server, configuration)
        Contestants by name. Give each live contestant its own server, so that none is restarted.
    workload : Workload
    rounds : int
        Number of episodes of each contestant. The order within a round is random.
    rng : numpy.random.Generator
    requests : int, optional
        Requests per episode.

    Returns
    -------
    dict of str to ndarray, shape (rounds,)
        Mean latencies in seconds by name, in which a failed request counts as in
        :class:`rrl.tuning.objective.MeanLatency`. Those at the same position belong to the same
        round.
    """
    costs = {name: np.empty(rounds) for name in servers}
    drawn = draw_rounds(list(servers), workload, rounds, requests, rng)
    for number, (arrivals, seed, order) in enumerate(drawn):
        for name in order:
            own = np.random.default_rng(seed)
            episode = measure_valid(*servers[name], arrivals, own)
            costs[name][number] = MeanLatency()(episode)
    return costs


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
    for arrivals in _draw_episodes(workload, rounds, requests, arrivals_rng):
        yield arrivals, int(server_rng.integers(2**63)), order_rng.permutation(names).tolist()
