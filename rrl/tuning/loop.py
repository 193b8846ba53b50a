"""The two loops that everything hangs on, a step at a time, so that a run can be kept and resumed.

:func:`steps` lets an agent learn on a server, :func:`rounds` measures configurations side by side.
Both draw all arrivals before they begin and say with each step what else the next ones depend on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.agent import Agent, restore_rng, rng_state
from rrl.core.knob import Configuration
from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode, Server
from rrl.tuning.objective import MeanLatency, Objective
from rrl.workloads.workload import Workload, estimate_rate
from rrl.workloads.workload import episodes as cut

MOST = 1e6  # requests/s that an agent is shown; arrivals of one moment would be infinitely many
MAX_INVALID = 5  # in a row; then the machine is too busy to measure anything


@dataclass(frozen=True, eq=False)
class Step:
    """One episode of a tuning run.

    Parameters
    ----------
    number : int
        From 0.
    load : float
        What the agent was shown: estimated requests per second.
    configuration : configuration
        What served.
    cost : float
        What the agent was told; seconds for a latency.
    recommended : configuration
        What the agent would deploy after it.
    episode : Episode
    invalid : int
        Measurements that were dropped before this one.
    switch_s : float
        Seconds that the change to this configuration took, 0 if there was none.
    rng : numpy.random.Generator
        The server's own, as it is after the step.
    """

    number: int
    load: float
    configuration: Configuration
    cost: float
    recommended: Configuration
    episode: Episode
    invalid: int
    switch_s: float
    rng: np.random.Generator


def steps(
    server: Server,
    agent: Agent,
    workload: Workload,
    episodes: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    objective: Objective | None = None,
    switch_cost: float = 0.0,
    start: int = 0,
    server_state: Mapping[str, Any] | None = None,
) -> Iterator[Step]:
    """Let `agent` learn on `server`; yields each episode once the agent has been told.

    The agent is shown the rate of the arrivals *before* an episode, never the true one. Arrivals
    and the server's own noise come from two streams, so agents given equal generators meet the
    same arrivals whatever they choose (common random numbers).

    Parameters
    ----------
    server, agent, workload, episodes, rng, requests, objective
        See :func:`rrl.tune`.
    switch_cost : float, optional
        What each second that a change of configuration took adds to the cost of the episode after
        it, in the objective's unit. Agents learn what a configuration costs, not what the way to
        it costs, so the effect is limited: among six configurations that cost the same, a charge
        as high as their cost takes RRL's switches in 60 episodes from 51 to 36; where costs rise
        by 10 % from level to level, it changes next to nothing (38 and 36).
    start : int, optional
        Episodes that are done already; `agent` must know them.
    server_state : mapping, optional
        State of the server's generator after those (:func:`rrl.core.agent.rng_state`).

    Raises
    ------
    ValueError
        If `episodes` is below 1, or `switch_cost` is not a finite number of 0 or more.
    ServerError
        If the server fails for good, or no valid episode can be had.

    Examples
    --------
    >>> from rrl import RRL, Poisson, TableServer
    >>> server = TableServer({"threads": [1, 2], "cost": [0.5, 0.25]}, ["threads"])
    >>> agent = RRL(server.space, np.random.default_rng(1))
    >>> run = steps(server, agent, Poisson(9.0), 9, np.random.default_rng(2))
    >>> [(step.number, step.configuration, step.cost) for step in run][-1]
    (8, {'threads': 2}, 0.25)
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    if not 0 <= switch_cost < np.inf:
        raise ValueError(f"switch_cost must be a finite number, 0 or more, got {switch_cost!r}")
    objective = objective or MeanLatency()
    arrivals_rng, server_rng = rng.spawn(2)
    if server_state is not None:
        restore_rng(server_rng, dict(server_state))
    stretch = workload.arrivals((episodes + 1) * requests, arrivals_rng)  # time goes on
    parts = islice(cut(stretch, requests), start, None)
    past = next(parts)  # watched only, to know the load
    for number, arrivals in enumerate(parts, start):
        load = min(estimate_rate(past), MOST)
        past = arrivals
        configuration = agent.ask(load)
        episode, invalid, switch_s = measure_valid(server, configuration, arrivals, server_rng)
        cost = objective(episode) + switch_cost * switch_s
        agent.tell(configuration, cost)
        yield Step(
            number,
            load,
            dict(configuration),
            cost,
            dict(agent.best(load)),
            episode,
            invalid,
            switch_s,
            server_rng,
        )


@dataclass(frozen=True, eq=False)
class Round:
    """One round of a comparison.

    Parameters
    ----------
    number : int
        From 0.
    episodes : dict of str to Episode
        By contestant; all with the same arrivals.
    state : dict
        What the later rounds depend on; fit for JSON.
    """

    number: int
    episodes: dict[str, Episode]
    state: dict[str, Any]


def rounds(
    servers: Mapping[str, tuple[Server, Configuration]],
    workload: Workload,
    count: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    start: int = 0,
    state: Mapping[str, Any] | None = None,
) -> Iterator[Round]:
    """Measure configurations in alternating episodes with the same arrivals and the same draws.

    Parameters
    ----------
    servers, workload, rng, requests
        See :func:`rrl.compare`.
    count : int
        Episodes of each contestant; within a round the order is random.
    start : int, optional
        Rounds that are done already.
    state : mapping, optional
        Of the last of those.

    Raises
    ------
    ServerError
        If a server fails for good, or no valid episode can be had.
    """
    arrivals_rng, server_rng, order_rng = rng.spawn(3)
    if state is not None:
        restore_rng(server_rng, state["server"])
        restore_rng(order_rng, state["order"])
    names = list(servers)
    stretch = workload.arrivals(count * requests, arrivals_rng)
    for number, arrivals in enumerate(islice(cut(stretch, requests), start, None), start):
        episodes = {}
        draws = int(server_rng.integers(2**63))  # all meet the same work, or the same repeat
        for name in order_rng.permutation(names).tolist():
            server, configuration = servers[name]
            own = np.random.default_rng(draws)
            episodes[name], _, _ = measure_valid(server, configuration, arrivals, own)
        states = {"server": rng_state(server_rng), "order": rng_state(order_rng)}
        yield Round(number, {name: episodes[name] for name in names}, states)


def measure_valid(
    server: Server,
    configuration: Configuration,
    arrivals: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Episode, int, float]:
    """A valid episode, how many were not, and the seconds that the switch took."""
    switch_s = 0.0
    for invalid in range(MAX_INVALID):
        episode = server.measure(configuration, arrivals, rng)
        switch_s += float(episode.info.get("switch_s", 0.0))
        if episode.valid:
            return episode, invalid, switch_s
    raise ServerError(
        f"{MAX_INVALID} invalid episodes in a row: the load generator itself was late; "
        "free the machine, or lower the rate"
    )
