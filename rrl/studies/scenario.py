"""Problems for agents whose answer is known: a server, a load, and every configuration's cost.

The truth of a simulated server is the mean over many episodes, that of a recorded profile the mean
over its repeats. No agent sees it; :mod:`rrl.studies.race` scores by it.
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
from rrl.tuning.episode import Episode, Server, Status, check_arrivals
from rrl.tuning.objective import FAILURE_S, charged_latency
from rrl.tuning.presets import paper_cpu
from rrl.workloads.workload import Poisson, Workload
from rrl.workloads.workload import episodes as cut

if TYPE_CHECKING:
    from rrl.simulation.simulator import SimulatedServer

Costs = NDArray[np.float64]
PathLike = str | os.PathLike[str]

SURFACES = ("wide", "narrow", "pool")
"""Synthetic tables of mean costs on the paper's grid."""

SLO_FACTOR = 2.0
"""The latency objective of a scenario, in units of the optimum's mean latency."""

SLO_FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
"""The same for sweeps over the objective."""


@dataclass(frozen=True, eq=False)
class Scenario:
    """A server under a load, and the truth about it.

    Parameters
    ----------
    name : str
    server : Server
        With the attribute `space`.
    workload : Workload
    cost : ndarray, shape (configurations,)
        True mean cost of an episode, in seconds for a latency.
    violations : ndarray, shape (configurations,)
        True share of requests that take longer than `SLO_FACTOR` times the optimum's mean; NaN
        where that is not known.
    requests : int
        Of an episode; a recorded one has as many as were recorded.
    """

    name: str
    server: Server
    workload: Workload
    cost: Costs
    violations: Costs
    requests: int = 100

    @property
    def space(self) -> ConfigSpace:
        """What can be chosen."""
        return self.server.space

    @property
    def optimum(self) -> float:
        """The smallest true cost."""
        return float(self.cost.min())

    def knowing(self, truth: Truth) -> Scenario:
        """The same scenario with its truth."""
        return replace(self, cost=truth.cost, violations=truth.violations)


class Truth(NamedTuple):
    """What is true of each configuration: mean latency (s), and the share that is too late.

    `cost` has shape (configurations,); `late` has a row for each of `SLO_FACTORS`, the latency
    objective in units of the optimum's mean latency.
    """

    cost: Costs
    late: Costs

    @property
    def violations(self) -> Costs:
        """The row of `SLO_FACTOR`."""
        return self.late[SLO_FACTORS.index(SLO_FACTOR)]


def open_scenario(
    testbed: str, load: float | Workload | None = None, data: PathLike = "data"
) -> Scenario:
    """Make a scenario: all that an agent needs, in no time; its truth too, if it is a surface.

    Parameters
    ----------
    testbed : str
        One of `SURFACES`, a simulated testbed (see :func:`rrl.testbed`), or the name of a profile
        in `data`.
    load : float or Workload, optional
        Poisson arrivals per second, or any workload. A recorded load is replayed as it is; under
        a workload that changes, each episode meets the recorded load that is nearest. A surface
        has none. It may also be a rate that follows the testbed's name: ``"gpu 500"``.
    data : path
        Folder of the profiles and the surfaces.

    Raises
    ------
    DataError
        If `testbed` is none of these, or that load was not recorded.
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
        server = RecordedServer(Path(data) / testbed, float(load) if steady else None)
        requests = int(server.profile.description["plan"]["requests"])
    workload = Poisson(float(load)) if steady else load
    name = f"{testbed} {load:g}/s" if steady else f"{testbed} {type(load).__name__.lower()}"
    unknown = np.full(len(server.space), np.nan)
    return Scenario(name, server, workload, unknown, unknown, requests)


def find_truth(
    problem: Scenario,
    *,
    replications: int = 300,
    seed: int = 0,
    episodes: int | None = None,
) -> Truth:
    """Find out what each configuration really costs, in episodes that start empty.

    Parameters
    ----------
    problem : Scenario
        On a simulated server or a recorded profile; its costs are not read.
    replications : int
        Episodes of every configuration that a simulated truth averages, with common random
        numbers. A recorded truth averages the recorded repeats, as the replay draws them.
    seed : int
        Of those.
    episodes : int, optional
        Horizon of a workload that changes: its replications lie evenly over so many episodes, and
        there are no more than those. A load that stays has none.
    """
    from rrl.recording.replay import RecordedServer

    steady = isinstance(problem.workload, Poisson)
    horizon = episodes if episodes and not steady else replications
    if isinstance(problem.server, RecordedServer):
        return _recorded_truth(problem, horizon, seed)
    requests, rng = problem.requests, np.random.default_rng(seed)
    stretch = problem.workload.arrivals(horizon * requests, rng)
    parts = list(cut(stretch, requests))[:: max(horizon // replications, 1)]
    start = rng.bit_generator.state  # both passes draw the same
    cost = np.zeros(len(problem.space))
    for block, latency in _charged(problem.server, parts, rng):
        cost[block] += latency.mean(axis=1) / len(parts)
    rng.bit_generator.state = start
    late = np.zeros((len(SLO_FACTORS), len(cost)))
    for block, latency in _charged(problem.server, parts, rng):
        for row, factor in zip(late, SLO_FACTORS, strict=True):
            row[block] += (latency > factor * cost.min()).mean(axis=1) / len(parts)
    return Truth(cost, late)


def _charged(
    server: SimulatedServer, parts: Sequence[Costs], rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], Costs]]:
    """Configurations and their latencies (s) in each episode, a rejected request at `FAILURE_S`."""
    for arrivals in parts:
        for block, latency, rejected in server.grid(arrivals, rng):
            latency[rejected] = np.maximum(latency[rejected], FAILURE_S)
            yield block, latency


def _recorded_truth(problem: Scenario, horizon: int, seed: int) -> Truth:
    """Mean over the recorded repeats, and over the loads by how often each is the nearest."""
    profile, space, requests = problem.server.profile, problem.space, problem.requests
    stretch = problem.workload.arrivals(horizon * requests, np.random.default_rng(seed))
    nearest = [problem.server.nearest_rate(part) for part in cut(stretch, requests)]
    share = np.bincount(nearest, minlength=len(profile.rates_per_s)) / len(nearest)
    grid = profile.grid  # what the server replays
    rate = np.searchsorted(profile.rates_per_s, grid["rate_per_s"])
    index = space.indices(grid)
    blank = np.zeros(requests)
    latency = np.array(
        [
            charged_latency(Episode({}, blank, profile.latencies(row), profile.statuses(row)))
            for row in grid.index.tolist()
        ]
    )

    def average(values: Costs) -> Costs:
        total = np.zeros(len(space))
        for i in np.flatnonzero(share):
            here = rate == i
            sums = np.bincount(index[here], values[here], len(space))
            total += share[i] * sums / np.bincount(index[here], minlength=len(space))
        return total

    cost = average(latency.mean(axis=1))
    limits = cost.min() * np.array(SLO_FACTORS)
    return Truth(cost, np.array([average((latency > s).mean(axis=1)) for s in limits]))


@lru_cache(maxsize=32)
def with_truth(name: str, data: PathLike = "data") -> Scenario:
    """Make a scenario by its name, a rate included, and find its truth; it is found once.

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
    """Make a scenario of a testbed under a Poisson load, truth and all.

    Examples
    --------
    >>> scenario = simulated("cpu2", 115.0, replications=20)
    >>> scenario.cost.shape, 0 < scenario.optimum < 0.1
    ((96,), True)
    """
    problem = open_scenario(name, rate_per_s)
    return problem.knowing(find_truth(problem, replications=replications))


@lru_cache(maxsize=32)
def recorded(folder: PathLike, rate_per_s: float) -> Scenario:
    """Make a scenario of one load of a recorded profile, truth and all.

    Raises
    ------
    DataError
        If the profile is not whole, or that load was not recorded.

    Examples
    --------
    >>> recorded("data/keyword-threads", 900.0).cost.shape
    (16,)
    """
    problem = open_scenario(Path(folder).name, rate_per_s, Path(folder).parent)
    return problem.knowing(find_truth(problem))


class SurfaceServer:
    """Mean costs with independent normal noise, an episode at a time: the usual abstraction.

    Parameters
    ----------
    space : ConfigSpace
    cost : array_like, shape (configurations,)
        Mean cost of each configuration.
    noise : float
        Coefficient of variation of an episode.
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
    """Make a scenario of a table of mean costs, see `SurfaceServer`.

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
