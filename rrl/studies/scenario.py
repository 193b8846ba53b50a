"""Problems with a known answer: a server, a load, and the true cost of every configuration.

The truth of a simulated server is the mean over many episodes. Agents replay one half of a
recorded profile, and the other half is the truth (:mod:`rrl.recording.truth`). No agent sees the
truth. :mod:`rrl.studies.race` uses it to score the agents.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.recording.judging import TOLERANCE
from rrl.tuning.episode import Episode, Server, Status, check_arrivals
from rrl.tuning.objective import FAILURE_S
from rrl.tuning.presets import paper_cpu
from rrl.workloads.workload import Poisson, Workload
from rrl.workloads.workload import episodes as cut

if TYPE_CHECKING:
    from rrl.simulation.simulator import SimulatedServer

Costs = NDArray[np.float64]
Flags = NDArray[np.bool_]
PathLike = str | os.PathLike[str]

SURFACES = ("wide", "narrow", "pool")
"""Synthetic tables of mean costs on the paper's grid."""

SLO_FACTOR = 2.0
"""The latency objective of a scenario, in units of the optimum's mean latency."""

SLO_FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
"""The latency objectives of a sweep over the objective, in the same units."""


@dataclass(frozen=True, eq=False)
class Scenario:
    """A server under a load, and the truth about it.

    Parameters
    ----------
    name : str
    server : Server
        It has the attribute `space`.
    workload : Workload
    cost : ndarray, shape (configurations,)
        This is the true mean cost of an episode, in seconds for a latency.
    violations : ndarray, shape (configurations,)
        This is the true share of requests that take longer than `SLO_FACTOR` times the optimum's
        mean latency. It is NaN if the share is not known.
    requests : int
        Each episode has this many requests. A recorded episode has the recorded number.
    good, possible : ndarray of bool, shape (configurations,), optional
        `good` marks configurations that are surely within 5 % of the optimum. `possible` marks
        those that are possibly within 5 %. They differ if the truth is recorded. By default both
        follow from the costs.
    """

    name: str
    server: Server
    workload: Workload
    cost: Costs
    violations: Costs
    requests: int = 100
    good: Flags | None = None
    possible: Flags | None = None

    def __post_init__(self) -> None:
        within = self.cost <= (1 + TOLERANCE) * np.fmin.reduce(self.cost)
        for name in ("good", "possible"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, within)

    @property
    def space(self) -> ConfigSpace:
        """The configurations that an agent can choose."""
        return self.server.space

    @property
    def optimum(self) -> float:
        """The smallest true cost."""
        return float(self.cost.min())

    def knowing(self, truth: Truth) -> Scenario:
        """Return the same scenario with its truth."""
        return replace(
            self,
            cost=truth.cost,
            violations=truth.violations,
            good=truth.good,
            possible=truth.possible,
        )

    @property
    def replay_best(self) -> int | None:
        """The number of the best configuration in the replayed data; None without a replay."""
        from rrl.recording.replay import RecordedServer
        from rrl.recording.truth import replay_best

        server = self.server
        if not isinstance(server, RecordedServer) or not isinstance(self.workload, Poisson):
            return None
        return replay_best(server.profile, self.workload.rate, server.half)

    @property
    def ceiling(self) -> float:
        """The true cost of the best configuration in the replayed data, divided by the optimum.

        An agent cannot know more than the half that it replays. The value is 1 if there is no
        replay.
        """
        best = self.replay_best
        return 1.0 if best is None else float(self.cost[best]) / self.optimum

    @property
    def judged(self) -> bool:
        """Whether the best configuration in the replayed data is good.

        Otherwise the number of episodes until a good configuration has no meaning. The value is
        true if there is no replay.
        """
        best = self.replay_best
        return best is None or bool(self.good[best])


class Truth(NamedTuple):
    """The truth about each configuration: its mean latency (s) and its share of late requests.

    `cost` has shape (configurations,). `late` has one row for each of `SLO_FACTORS`, the latency
    objectives in units of the optimum's mean latency. `good` and `possible` are those of
    :class:`Scenario`.
    """

    cost: Costs
    late: Costs
    good: Flags | None = None
    possible: Flags | None = None

    @property
    def violations(self) -> Costs:
        """The row of `late` for `SLO_FACTOR`."""
        return self.late[SLO_FACTORS.index(SLO_FACTOR)]


def open_scenario(
    testbed: str, load: float | Workload | None = None, data: PathLike = "data"
) -> Scenario:
    """Make a scenario quickly, without computing its truth; a surface has its truth already.

    Parameters
    ----------
    testbed : str
        This is one of `SURFACES`, a simulated testbed (see :func:`rrl.testbed`), or the name of a
        profile in `data`. The first half of a profile is replayed. With ``/1`` after the name, the
        second half is replayed.
    load : float or Workload, optional
        This is the rate of Poisson arrivals in requests per second, or any workload. A recorded
        load is replayed as it is. Under a workload that changes, each episode gets the nearest
        recorded load. A surface has no load. The rate may also follow the testbed's name:
        ``"gpu 500"``.
    data : path
        This is the folder of the profiles and the surfaces.

    Raises
    ------
    DataError
        If `testbed` is none of these, or the load was not recorded.
    ValueError
        If there is no load.

    Examples
    --------
    >>> open_scenario("pool").cost.shape, open_scenario("gpu 500").name
    ((1331,), 'gpu 500/s')
    """
    from rrl.recording.replay import RecordedServer
    from rrl.simulation.testbeds import TESTBEDS

    if testbed in SURFACES:
        with np.load(Path(data) / "surfaces" / "surfaces.npz") as surfaces:
            return surface(testbed, paper_cpu(), surfaces[testbed].ravel())
    if load is None:
        testbed, _, rate = testbed.rpartition(" ")
        if not testbed:
            raise ValueError(f"testbed {rate!r} needs a load: a rate, or a workload")
        load = float(rate)
    steady, requests = isinstance(load, int | float), 100
    if testbed in TESTBEDS:
        server: Server = TESTBEDS[testbed]()
    else:
        name, half = half_of(testbed)
        server = RecordedServer(Path(data) / name, float(load) if steady else None, half)
        requests = int(server.profile.description["plan"]["requests"])
    workload = Poisson(float(load)) if steady else load
    name = f"{testbed} {load:g}/s" if steady else f"{testbed} {type(load).__name__.lower()}"
    unknown = np.full(len(server.space), np.nan)
    return Scenario(name, server, workload, unknown, unknown, requests)


def half_of(testbed: str) -> tuple[str, int]:
    """Return the name of a profile and the number of the half that agents replay.

    Examples
    --------
    >>> half_of("keyword-threads"), half_of("keyword-threads/1")
    (('keyword-threads', 0), ('keyword-threads', 1))
    """
    name, _, half = testbed.partition("/")
    return name, int(half or 0)


def find_truth(
    problem: Scenario,
    *,
    replications: int = 300,
    seed: int = 0,
    episodes: int | None = None,
) -> Truth:
    """Find the true cost of each configuration, in episodes that start with empty queues.

    Parameters
    ----------
    problem : Scenario
        It has a simulated server or a recorded profile. Its costs are not read.
    replications : int
        A simulated truth is the mean over this many episodes per configuration, with common random
        numbers. A recorded truth comes from the half that is not replayed.
    seed : int
        This is the seed of the random numbers.
    episodes : int, optional
        This is the horizon of a workload that changes. The replications are spread evenly over this
        many episodes, and there are at most this many replications. A steady load ignores it.
    """
    from rrl.recording.replay import RecordedServer

    steady = isinstance(problem.workload, Poisson)
    horizon = episodes if episodes and not steady else replications
    if isinstance(problem.server, RecordedServer):
        return _recorded_truth(problem, horizon, seed)
    requests, rng = problem.requests, np.random.default_rng(seed)
    stretch = problem.workload.arrivals(horizon * requests, rng)
    parts = list(cut(stretch, requests))[:: max(horizon // replications, 1)]
    start = rng.bit_generator.state  # so both passes draw the same numbers
    cost = np.zeros(len(problem.space))
    for block, latency in _charged(problem.server, parts, rng):
        cost[block] += latency.mean(axis=1) / len(parts)
    rng.bit_generator.state = start
    late = np.zeros((len(SLO_FACTORS), len(cost)))
    for block, latency in _charged(problem.server, parts, rng):
        for row, factor in zip(late, SLO_FACTORS, strict=True):
            row[block] += (latency > factor * cost.min()).mean(axis=1) / len(parts)
    within = cost <= (1 + TOLERANCE) * cost.min()
    return Truth(cost, late, within, within)


def _charged(
    server: SimulatedServer, parts: Sequence[Costs], rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], Costs]]:
    """Yield configurations and latencies (s) per episode; rejections are at least `FAILURE_S`."""
    for arrivals in parts:
        for block, latency, rejected in server.grid(arrivals, rng):
            latency[rejected] = np.maximum(latency[rejected], FAILURE_S)
            yield block, latency


def _recorded_truth(problem: Scenario, horizon: int, seed: int) -> Truth:
    """Return the truth from the half that is not replayed, averaged over the recorded loads.

    The weight of a load is how often it is the nearest one.

    Raises
    ------
    ValueError
        If all passes are replayed. Then no data are left for the truth.
    """
    from rrl.recording.truth import judge_half, late_share

    server, profile, requests = problem.server, problem.server.profile, problem.requests
    if server.half is None:
        raise ValueError("all passes are replayed, so nothing is left to judge by: replay one half")
    stretch = problem.workload.arrivals(horizon * requests, np.random.default_rng(seed))
    nearest = [server.nearest_rate(part) for part in cut(stretch, requests)]
    loads, counts = np.unique(nearest, return_counts=True)
    rates, judge = [profile.rates_per_s[i] for i in loads], 1 - server.half
    truths = [judge_half(profile, rate, judge) for rate in rates]
    cost = np.average([truth.cost for truth in truths], axis=0, weights=counts)
    limits = cost.min() * np.array(SLO_FACTORS)
    shares = [late_share(profile, rate, judge, limits) for rate in rates]
    late = np.average(shares, axis=0, weights=counts)
    if len(truths) == 1:
        return Truth(truths[0].cost, shares[0], truths[0].good, truths[0].possible)
    within = cost <= (1 + TOLERANCE) * cost.min()
    return Truth(cost, late, within, within)


@lru_cache(maxsize=32)
def with_truth(name: str, data: PathLike = "data") -> Scenario:
    """Make a scenario by its name with the rate, and find its truth; later calls reuse it.

    Examples
    --------
    >>> with_truth("keyword-threads 900").optimum < 0.1
    True
    """
    problem = open_scenario(name, data=data)
    known = not np.isnan(problem.cost).any()
    return problem if known else problem.knowing(find_truth(problem))


@lru_cache(maxsize=32)
def simulated(name: str, rate_per_s: float, *, replications: int = 300) -> Scenario:
    """Make a scenario of a testbed under a Poisson load, with its truth.

    Examples
    --------
    >>> scenario = simulated("cpu2", 115.0, replications=20)
    >>> scenario.cost.shape, 0 < scenario.optimum < 0.1
    ((96,), True)
    """
    problem = open_scenario(name, rate_per_s)
    return problem.knowing(find_truth(problem, replications=replications))


@lru_cache(maxsize=32)
def recorded(folder: PathLike, rate_per_s: float, half: int = 0) -> Scenario:
    """Make a scenario of one load of a recorded profile, with its truth.

    Agents replay one half of the profile, and the other half is the truth.

    Raises
    ------
    DataError
        If the profile is incomplete, or the load was not recorded.

    Examples
    --------
    >>> recorded("data/keyword-threads", 900.0).cost.shape
    (16,)
    """
    testbed = f"{Path(folder).name}/{half}" if half else Path(folder).name
    problem = open_scenario(testbed, rate_per_s, Path(folder).parent)
    return problem.knowing(find_truth(problem))


class SurfaceServer:
    """The usual abstraction of a server: mean costs with independent normal noise per episode.

    Parameters
    ----------
    space : ConfigSpace
    cost : array_like, shape (configurations,)
        This is the mean cost of each configuration.
    noise : float
        This is the coefficient of variation of an episode's cost.
    """

    def __init__(self, space: ConfigSpace, cost: ArrayLike, noise: float = 0.07) -> None:
        self.space, self.cost, self.noise = space, np.asarray(cost, dtype=float).ravel(), noise

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Charge the same cost to every request of the episode."""
        arrivals = check_arrivals(arrivals)
        mean = self.cost[self.space.index(configuration)]
        cost = mean * max(1 + self.noise * rng.standard_normal(), 0.1)
        n = len(arrivals)
        info = {"server": "surface"}
        return Episode(configuration, arrivals, np.full(n, cost), np.full(n, Status.OK), info=info)


def surface(name: str, space: ConfigSpace, cost: ArrayLike, noise: float = 0.07) -> Scenario:
    """Make a scenario from a table of mean costs, see `SurfaceServer`.

    Examples
    --------
    >>> from rrl import Knob
    >>> line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])
    >>> line.optimum
    1.0
    """
    server = SurfaceServer(space, cost, noise)
    unknown = np.full(len(space), np.nan)
    return Scenario(name, server, Poisson(10.0), server.cost, unknown)
