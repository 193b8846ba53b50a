"""A day of IoT devices, compressed into an hour, that agents serve while they learn.

A :class:`Day` says in literals what to run, and :func:`run_days` runs it from its seeds. The
arrivals are those of :func:`rrl.workloads.devices.device_day`.

On a simulated testbed the queue is carried over from episode to episode, and there may be a
neighbour (:mod:`rrl.simulation.shared_machine`). A recorded profile answers each episode by the
recorded load nearest to the episode's own. Its episodes began with an empty queue, so there a queue
cannot be carried over, and there is no neighbour.

All agents serve the same arrivals, seed by seed. So :func:`served_days` compares each run with the
default's run of the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import judge_half
from rrl.rivals import agents
from rrl.simulation.optimum import optimum
from rrl.simulation.shared_machine import ALONE, Neighbour, SharedServer
from rrl.simulation.simulator import SimulatedServer
from rrl.simulation.testbeds import TESTBEDS
from rrl.studies.outcomes import interval
from rrl.studies.problems import PathLike, open_scenario
from rrl.studies.scenario import Scenario
from rrl.support.errors import UsageError
from rrl.tuning.episode import Server
from rrl.tuning.loop import Agent, tune
from rrl.workloads.devices import HOURS, device_day

Arrays = dict[str, NDArray[Any]]
"""The arrays of a stored result by name."""

DEFAULT = "tf-serving-default"
"""The name of the agent that every other one is compared with."""
KNOWING = "knowing"
"""The name of the agent that knows the best configuration of each load level beforehand."""
LEVELS = np.geomspace(0.4, 1.7, 7)
"""Load levels that the knowing agent distinguishes on a testbed, as fractions of the mean rate."""


class Day(NamedTuple):
    """One agent that serves a day, as literals.

    Parameters
    ----------
    testbed : str
        A simulated testbed or a recorded profile, see :func:`rrl.studies.problems.open_scenario`.
    rate : float
        Mean requests per second.
    agent : str
        A key of ``rrl.AGENTS``, or `KNOWING`.
    seeds : int
        There are this many runs.
    requests : int
        Requests per episode.
    late_s : float
        A request that takes longer, or fails, is late. In seconds.
    neighbour : tuple of float, optional
        The arguments of :class:`rrl.simulation.shared_machine.Neighbour`. Empty: there is none.
    length_s : float, optional
        Length of the compressed day in seconds.
    first_seed : int, optional
        The runs have this seed and those that follow.
    """

    testbed: str
    rate: float
    agent: str
    seeds: int
    requests: int
    late_s: float
    neighbour: tuple[float, ...] = ()
    length_s: float = 3600.0
    first_seed: int = 0

    @property
    def problem(self) -> Day:
        """The same day without an agent and seeds; agents are compared on the same problem."""
        return self._replace(agent="", seeds=0, first_seed=0)

    @property
    def episodes(self) -> int:
        """Number of episodes that are served. One more is watched before them."""
        return int(self.rate * self.length_s / self.requests) - 1

    def check(self) -> None:
        """Reject a day that cannot be run.

        Raises
        ------
        UsageError
            If its agent or its numbers are invalid.
        """
        try:
            if self.agent != KNOWING:
                agents.home(self.agent)
            Neighbour(*self.neighbour or (0.0, 1.0, 1.0))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self}: {error}") from None
        if self.seeds < 1 or self.first_seed < 0 or self.episodes < 1:
            raise UsageError(f"{self}: it needs a seed and two episodes at least")
        if self.neighbour and self.testbed not in TESTBEDS:
            raise UsageError(f"{self}: a recorded profile cannot have a neighbour")


class Knowing:
    """An agent that learns nothing: it knows the best configuration of each load level.

    Parameters
    ----------
    rates : array_like, shape (levels,)
        Load levels in requests per second.
    best : sequence of configuration
        One for each level.

    Examples
    --------
    >>> Knowing([10.0, 20.0], [{"threads": 1}, {"threads": 4}]).ask(17.0)
    {'threads': 4}
    """

    def __init__(self, rates: ArrayLike, best: Sequence[Configuration]) -> None:
        self.rates, self.known = np.asarray(rates, dtype=float), list(best)

    def best(self, load: float) -> Configuration:
        """Return the best configuration of the nearest level on a log scale."""
        return self.known[int(np.argmin(np.abs(np.log(self.rates / load))))]

    ask = best

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn nothing."""


def day_scenario(day: Day, data: PathLike) -> Scenario:
    """Return the scenario of a day, without a truth."""
    opened = open_scenario(day.testbed, device_day(day.rate, day.length_s), data)
    return replace(opened, requests=day.requests)


@lru_cache(maxsize=16)
def level_costs(problem: Day, data: str) -> tuple[Floats, Floats]:
    """Return load levels (requests/s) and the true mean latency (s) of each configuration there.

    A profile has its recorded loads, and the truth is the half that is not replayed. A testbed has
    `LEVELS`, and the truth is the mean of 20 episodes of Poisson arrivals from an empty queue. They
    have at least 1000 requests, so that a queue that grows is seen. With a neighbour, it is the
    mean of both states of the machine, weighted by their time. What is carried over is not part of
    this truth, so a better agent than the knowing one is possible.

    Returns
    -------
    rates : ndarray, shape (levels,)
    costs : ndarray, shape (levels, configurations)
    """
    server = day_scenario(problem, data).server
    if isinstance(server, RecordedServer):
        profile, judge = server.profile, 1 - (server.half or 0)
        truths = [judge_half(profile, rate, judge).cost for rate in profile.rates_per_s]
        return np.array(profile.rates_per_s), np.array(truths)
    assert isinstance(server, SimulatedServer)

    def costs(slow: float) -> Floats:
        rng, found = np.random.default_rng(0), []
        for rate in (slow * rates).tolist():
            best = optimum(server, rate, requests=requests, replications=20, rng=rng)
            found.append(slow * best.costs)
        return np.array(found)

    rates, requests = problem.rate * LEVELS, max(problem.requests, 1000)
    if not problem.neighbour:
        return rates, costs(1.0)
    other = Neighbour(*problem.neighbour)
    slow = 1 / (1 - other.fraction)
    return rates, other.working * costs(slow) + (1 - other.working) * costs(1.0)


def run_days(day: Day, data: str) -> Arrays:
    """Let an agent serve the day from its seeds; for one seed, every agent gets the same arrivals.

    Returns
    -------
    dict of str to ndarray, shape (seeds, episodes)
        ``chosen`` is the index of the configuration that served. ``mean_s`` is the mean latency
        of the episode in seconds, in single precision. ``late`` is its number of late requests.
        ``hour`` is the time of its last arrival since the first episode began, in hours of the day
        (0 to 24, or a little more), in single precision. Episodes have equally many requests, so at
        night they last longer.
    """
    chosen = np.empty((day.seeds, day.episodes), dtype=np.int32)
    late, mean_s = np.empty_like(chosen), np.empty(chosen.shape, dtype=np.float32)
    hour, scenario = np.empty_like(mean_s), day_scenario(day, data)
    for row, seed in enumerate(range(day.first_seed, day.first_seed + day.seeds)):
        server = _server(day, scenario.server, seed)
        agent = _agent(day, server.space, seed, data)
        rng = np.random.default_rng([seed, 1])
        run = tune(server, agent, scenario.workload, day.episodes, rng, requests=scenario.requests)
        chosen[row] = [server.space.index(c) for c in run.configurations]
        episodes = [step.episode for step in run]
        mean_s[row] = [episode.latency.mean() for episode in episodes]
        late[row] = [episode.bad(day.late_s) for episode in episodes]
        hour[row] = HOURS * np.cumsum([one.arrivals[-1] for one in episodes]) / day.length_s
    return {"chosen": chosen, "mean_s": mean_s, "late": late, "hour": hour}


def _server(day: Day, machine: Server, seed: int) -> Server:
    if not isinstance(machine, SimulatedServer):
        return machine
    if not day.neighbour:
        return SharedServer(machine, ALONE)
    rng = np.random.default_rng([seed, 2])
    return SharedServer(machine, Neighbour(*day.neighbour).progress(2 * day.length_s, rng))


def _agent(day: Day, space: ConfigSpace, seed: int, data: str) -> Agent:
    if day.agent != KNOWING:
        return agents.maker(day.agent)(space, np.random.default_rng([seed, 0]))
    rates, costs = level_costs(day.problem, data)
    return Knowing(rates, [space[int(best)] for best in costs.argmin(axis=1)])


# --- tables ---------------------------------------------------------------------------------------


def problem_label(day: Day) -> str:
    """Return a short name of the problem of a day.

    Examples
    --------
    >>> problem_label(Day("cpu2", 60.0, "rrl-gp", 30, 540, 0.05, neighbour=(0.35, 150.0, 300.0)))
    'cpu2 60/s, neighbour'
    """
    return f"{day.testbed} {day.rate:g}/s{', neighbour' if day.neighbour else ''}"


def served_days(found: Mapping[Day, Arrays], rng: np.random.Generator) -> pd.DataFrame:
    """Return what each agent served over the day, its learning included.

    Parameters
    ----------
    found : mapping of Day to arrays
        What :meth:`rrl.Sweep.run` returns for days. Each problem has the default.
    rng : numpy.random.Generator
        For the bootstrap.

    Returns
    -------
    DataFrame
        One row per problem and agent. `latency_s` is the mean latency in seconds, and `ratio` is
        its ratio to the default's. `late` is the fraction of late requests, and `late_more` is the
        difference to the default's fraction. Each is the median over the seeds with the limits of
        its 95 % interval. `worse` is the fraction of the seeds in which the ratio is above 1.
    """
    rows = []
    for day, arrays in found.items():
        mean, late = _totals(day, arrays)
        base_mean, base_late = _totals(day, found[day._replace(agent=DEFAULT)])
        row = {"problem": problem_label(day), "agent": day.agent, "seeds": day.seeds}
        row |= interval("latency_s", mean, rng) | interval("ratio", mean / base_mean, rng)
        row |= interval("late", late, rng) | interval("late_more", late - base_late, rng)
        rows.append(row | {"worse": float(np.mean(mean > base_mean))})
    return pd.DataFrame(rows)


def _totals(day: Day, arrays: Arrays) -> tuple[Floats, Floats]:
    """Return each run's mean latency (s) and fraction of late requests, both of shape (seeds,)."""
    mean = np.asarray(arrays["mean_s"], dtype=float).mean(axis=1)
    return mean, arrays["late"].mean(axis=1) / day.requests
