"""The two main loops, one step at a time, so that a run can be saved and resumed.

:func:`steps` lets an agent learn on a server. :func:`rounds` measures configurations side by side.
Both draw all arrivals before they begin. With each step they return everything else on which the
next steps depend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from rrl.core.agent import Agent, restore_rng, rng_state
from rrl.core.knob import Configuration
from rrl.tuning.capacity import searching
from rrl.tuning.episode import Episode, Server
from rrl.tuning.guard import Guard
from rrl.tuning.guarded import Guarded, Trial, measured, serve_guarded
from rrl.tuning.measuring import measure_valid
from rrl.tuning.objective import MeanLatency, Objective
from rrl.workloads.workload import Workload, estimate_rate
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
    switch_s : float
        Seconds that the change to this configuration took, or 0 if there was no change.
    rng : numpy.random.Generator
        The server's own generator, in its state after the step.
    guarded : Guarded, optional
        What the guard did, if there is one. Then `configuration` is the one that the agent was told
        about, or the default.
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
    guarded: Guarded | None = None


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
    guard: Guard | None = None,
) -> Iterator[Step]:
    """Let `agent` learn on `server`; yield each episode after the agent is told its cost.

    The agent sees the rate of the arrivals *before* an episode, never the true rate. The arrivals
    and the server's own noise come from two random streams. So agents with equal generators get the
    same arrivals, whatever they choose (common random numbers).

    Parameters
    ----------
    server, agent, workload, episodes, rng, requests, objective
        See :func:`rrl.tune`.
    switch_cost : float, optional
        Cost of each second that a change of configuration takes, in the objective's unit. It is
        added to the cost of the episode after the change. Agents learn the cost of a configuration,
        not the cost of changing to it, so the effect is limited. With six configurations of equal
        cost, a charge as high as this cost reduces the switches of `rrl-boltzmann` in 60 episodes
        from 51 to 34. If costs rise by 10 % from level to level, the charge changes little (33 and
        29). It does not reduce the switches of `rrl` (59 and 58, 10 and 15).
    start : int, optional
        Number of episodes that are already done. `agent` must know them.
    server_state : mapping, optional
        State of the server's generator after these episodes (:func:`rrl.core.agent.rng_state`).
    guard : Guard, optional
        It limits the harm that trials can do, see :mod:`rrl.tuning.guard`. It must know the
        episodes that are already done.

    Raises
    ------
    ValueError
        If `episodes` is below 1, or `switch_cost` is not a finite number of 0 or more.
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
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    if not 0 <= switch_cost < np.inf:
        raise ValueError(f"switch_cost must be a finite number, 0 or more, got {switch_cost!r}")
    objective = objective or MeanLatency()
    server = searching(server, objective)
    arrivals_rng, server_rng = rng.spawn(2)
    if server_state is not None:
        restore_rng(server_rng, dict(server_state))
    stretch = workload.arrivals((episodes + 1) * requests, arrivals_rng)  # time never restarts
    parts = islice(cut(stretch, requests), start, None)
    past = next(parts)  # not served: it only gives the first load
    for number, arrivals in enumerate(parts, start):
        load = min(estimate_rate(past), MOST)
        past = arrivals
        if guard is None:
            guarded, configuration = None, agent.ask(load)
            episode, dropped, switch_s = measure_valid(server, configuration, arrivals, server_rng)
            invalid = len(dropped)
            cost = objective(episode) + switch_cost * switch_s
            agent.tell(configuration, cost)
        else:
            guarded = serve_guarded(
                guard, server, agent, load, arrivals, server_rng, objective, switch_cost
            )
            configuration, cost, episode = guarded.configuration, guarded.cost, guarded.episode
            invalid, switch_s = guarded.invalid, guarded.switch_s
        if len(episode) == len(arrivals):
            past = episode.arrivals  # if clients send the requests, their times are known only now
        yield Step(
            number,
            load,
            dict(configuration),
            cost,
            dict(agent.best(load)) if guarded is None else guarded.recommended,
            episode,
            invalid,
            switch_s,
            server_rng,
            guarded,
        )


@dataclass(frozen=True, eq=False)
class Round:
    """One round of a comparison.

    Parameters
    ----------
    number : int
        Number of the round, from 0.
    episodes : dict of str to Episode
        Episodes by contestant, all with the same arrivals.
    state : dict
        The state on which the later rounds depend. It can be saved as JSON.
    trials : list of Trial
        What the guard must take note of, if there is one.
    """

    number: int
    episodes: dict[str, Episode]
    state: dict[str, Any]
    trials: list[Trial]


def rounds(
    servers: Mapping[str, tuple[Server, Configuration]],
    workload: Workload,
    count: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    start: int = 0,
    state: Mapping[str, Any] | None = None,
    guard: Guard | None = None,
) -> Iterator[Round]:
    """Measure configurations in alternating episodes with the same arrivals and random draws.

    Parameters
    ----------
    servers, workload, rng, requests
        See :func:`rrl.compare`.
    count : int
        Number of episodes of each contestant. The order within a round is random.
    start : int, optional
        Number of rounds that are already done.
    state : mapping, optional
        The state after the last of these rounds.
    guard : Guard, optional
        It watches all but the default. The caller lets it take note of each round.

    Raises
    ------
    ServerError
        If a server fails permanently, or too many episodes in a row are invalid.
    """
    arrivals_rng, server_rng, order_rng = rng.spawn(3)
    if state is not None:
        restore_rng(server_rng, state["server"])
        restore_rng(order_rng, state["order"])
    names = list(servers)
    stretch = workload.arrivals(count * requests, arrivals_rng)
    for number, arrivals in enumerate(islice(cut(stretch, requests), start, None), start):
        episodes, trials = {}, []
        draws = int(server_rng.integers(2**63))  # so all get the same work, or the same repeat
        for name in order_rng.permutation(names).tolist():
            server, configuration = servers[name]
            own = np.random.default_rng(draws)
            if guard is None:
                episodes[name], _, _ = measure_valid(server, configuration, arrivals, own)
            else:
                trials.append(measured(guard, server, configuration, arrivals, own))
                episodes[name] = trials[-1].episode
        states = {"server": rng_state(server_rng), "order": rng_state(order_rng)}
        yield Round(number, {name: episodes[name] for name in names}, states, trials)
