"""A day of IoT devices, compressed into an hour, that agents serve while they learn.

A :class:`Day` says in literals what to run, and :func:`run_days` runs it from some seeds. The
arrivals are those of :func:`rrl.workloads.device_day.device_day`.

On a simulated testbed the queue is carried over from episode to episode, and there may be a
neighbour (:mod:`rrl.studies.shared_machine`). A recorded profile answers each episode by the
recorded load nearest to the episode's own. Its episodes began with an empty queue, so there a queue
cannot be carried over, and there is no neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import judge_half
from rrl.rivals import agents
from rrl.simulation.optimum import optimum
from rrl.simulation.simulator import SimulatedServer
from rrl.simulation.testbeds import TESTBEDS
from rrl.studies.problems import half_of
from rrl.studies.shared_machine import ALONE, Neighbour, SharedServer
from rrl.support.errors import UsageError
from rrl.support.machine import one_thread
from rrl.tuning.episode import Server
from rrl.tuning.loop import steps
from rrl.workloads.device_day import HOURS, device_day

KNOWING = "knowing"
"""The name of the agent that knows the best configuration of each load level beforehand."""
LEVELS = np.geomspace(0.4, 1.7, 7)
"""Load levels that the knowing agent distinguishes on a testbed, as fractions of the mean rate."""


class Day(NamedTuple):
    """One agent that serves a day, as literals.

    Parameters
    ----------
    testbed : str
        A simulated testbed or a recorded profile. Agents replay the first half of a profile, or the
        second one if ``/1`` follows its name.
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
        The arguments of :class:`rrl.studies.shared_machine.Neighbour`. Empty: there is none.
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

    def ask(self, load: float) -> Configuration:
        """Return the best configuration of the nearest level on a log scale."""
        return self.best(load)

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn nothing."""

    def best(self, load: float) -> Configuration:
        """Return the best configuration of the nearest level on a log scale."""
        return self.known[int(np.argmin(np.abs(np.log(self.rates / load))))]


@lru_cache(maxsize=16)
def level_costs(problem: Day, data: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
    server = _machine(problem.testbed, data)
    if isinstance(server, RecordedServer):
        profile, judge = server.profile, 1 - (server.half or 0)
        truths = [judge_half(profile, rate, judge).cost for rate in profile.rates_per_s]
        return np.array(profile.rates_per_s), np.array(truths)

    def costs(slow: float) -> NDArray[np.float64]:
        find = partial(
            optimum, server, requests=max(problem.requests, 1000), replications=20,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        return np.array([slow * find(float(slow * rate)).costs for rate in rates])

    rates = problem.rate * LEVELS
    if not problem.neighbour:
        return rates, costs(1.0)
    other = Neighbour(*problem.neighbour)
    slow = 1 / (1 - other.fraction)
    return rates, other.working * costs(slow) + (1 - other.working) * costs(1.0)


def run_days(day: Day, seeds: Sequence[int], data: str) -> dict[str, NDArray[Any]]:
    """Let an agent serve the day from some seeds; for one seed, every agent gets the same arrivals.

    Returns
    -------
    dict of str to ndarray, shape (seeds, episodes)
        ``chosen`` is the number of the configuration that served. ``mean_s`` is the mean latency
        of the episode in seconds, in single precision. ``late`` is its number of late requests.
        ``hour`` is the time of its last arrival since the first episode began, in hours of the day
        (0 to 24, or a little more), in single precision. Episodes have equally many requests, so at
        night they last longer.
    """
    chosen = np.empty((len(seeds), day.episodes), dtype=np.int32)
    late, mean_s = np.empty_like(chosen), np.empty(chosen.shape, dtype=np.float32)
    hour = np.empty_like(mean_s)
    with one_thread():
        for row, seed in enumerate(seeds):
            server = _server(day, seed, data)
            agent = _agent(day, server.space, seed, data)
            run = steps(
                server,
                agent,
                device_day(day.rate, day.length_s),
                day.episodes,
                np.random.default_rng([seed, 1]),
                requests=day.requests,
            )
            elapsed_s = 0.0
            for step in run:
                elapsed_s += float(step.episode.arrivals[-1])
                hour[row, step.number] = HOURS * elapsed_s / day.length_s
                chosen[row, step.number] = server.space.index(step.configuration)
                mean_s[row, step.number] = step.episode.latency.mean()
                late[row, step.number] = step.episode.bad(day.late_s)
    return {"chosen": chosen, "mean_s": mean_s, "late": late, "hour": hour}


def check_day(day: Day) -> None:
    """Reject a day that cannot be run.

    Raises
    ------
    UsageError
        If its agent or its numbers are invalid.
    """
    try:
        if day.agent != KNOWING:
            agents.home(day.agent)
        Neighbour(*day.neighbour or (0.0, 1.0, 1.0))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{day}: {error}") from None
    if day.seeds < 1 or day.first_seed < 0 or day.episodes < 1:
        raise UsageError(f"{day}: it needs a seed and two episodes at least")
    if day.neighbour and day.testbed not in TESTBEDS:
        raise UsageError(f"{day}: a recorded profile cannot have a neighbour")


def day_name(day: Day) -> str:
    """Return the name of a day's file, without its ending; the number of seeds does not count.

    Examples
    --------
    >>> day_name(Day("cpu2", 75.0, "rrl-gp", 30, 750, 0.1, neighbour=(0.5, 150.0, 300.0)))
    'cpu2/day-75-0.5-150-300/rrl-gp-3600-750-0.1'
    """
    load = "-".join(f"{number:g}" for number in (day.rate, *day.neighbour))
    rest = "-".join(f"{number:g}" for number in (day.length_s, day.requests, day.late_s))
    seeds = f"-from-{day.first_seed}" if day.first_seed else ""
    testbed = day.testbed.replace("/", "-half-")
    return f"{testbed}/day-{load}/{day.agent}-{rest}{seeds}"


@lru_cache(maxsize=8)
def _machine(testbed: str, data: str) -> SimulatedServer | RecordedServer:
    if testbed in TESTBEDS:
        return TESTBEDS[testbed]()
    name, half = half_of(testbed)
    return RecordedServer(Path(data) / name, half=half)


def _server(day: Day, seed: int, data: str) -> Server:
    machine = _machine(day.testbed, data)
    if isinstance(machine, RecordedServer):
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
