"""Scenarios: a server, a load, and the true cost of every configuration.

A problem is the name of a scenario (:data:`rrl.studies.settings.Problem`). The truth of a simulated
server is the mean over many episodes. Agents replay one half of a recorded profile, and the other
half is the truth (:mod:`rrl.recording.truth`), by which :mod:`rrl.studies.race` scores the agents.

No agent sees the truth, with one exception. An agent that minimises late requests, or keeps a
target, is given a limit in seconds, and this limit is a multiple of one true number: the p99 of the
best configuration. It does not say which configuration that is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rrl.core.space import ConfigSpace, Floats
from rrl.recording.replay import NoisyReplay, RecordedServer
from rrl.recording.truth import judge_half, replay_best
from rrl.simulation.optimum import charged
from rrl.simulation.simulator import SimulatedServer
from rrl.tuning.defaults import serving_default
from rrl.tuning.episode import Server
from rrl.workloads.workload import Poisson, Workload, cut_into_episodes


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
    requests : int, optional
        Each episode has this many requests. A recorded episode has the recorded number.
    """

    name: str
    server: Server
    workload: Workload
    cost: Floats
    requests: int = 100

    @property
    def space(self) -> ConfigSpace:
        """The configurations that an agent can choose."""
        return self.server.space

    @property
    def default(self) -> int:
        """The index of the server's default configuration."""
        return self.space.index(serving_default(self.space))

    @property
    def optimum(self) -> float:
        """The smallest true cost."""
        return float(self.cost.min())

    @property
    def known(self) -> bool:
        """Whether the truth is known."""
        return not np.isnan(self.cost).any()

    def knowing(self, cost: Floats) -> Scenario:
        """Return the same scenario with its true costs."""
        return replace(self, cost=cost)

    @property
    def replay_best(self) -> int | None:
        """The index of the best configuration in a replay of a load that stays; None elsewhere."""
        server = self.server
        if not isinstance(server, RecordedServer) or not isinstance(self.workload, Poisson):
            return None
        if isinstance(server, NoisyReplay):
            return server.best(self.workload.rate)
        assert server.half is not None
        return replay_best(server.profile, self.workload.rate, server.half)

    @property
    def ceiling(self) -> float:
        """The true cost of the best configuration in the replayed data, divided by the optimum.

        An agent cannot know more than the half that it replays. The value is 1 where `replay_best`
        is None.
        """
        best = self.replay_best
        return 1.0 if best is None else float(self.cost[best]) / self.optimum


def find_truth(
    problem: Scenario,
    *,
    replications: int = 300,
    episodes: int | None = None,
) -> Floats:
    """Find the true cost of each configuration, in episodes that start with empty queues.

    Parameters
    ----------
    problem : Scenario
        It has a simulated server or a recorded profile. Its costs are not read.
    replications : int
        A simulated truth is the mean over this many episodes per configuration, with common random
        numbers. A recorded truth comes from the half that is not replayed.
    episodes : int, optional
        This is the horizon of a workload that changes. The replications are spread evenly over this
        many episodes, at most one each. A steady load ignores it.
    """
    steady = isinstance(problem.workload, Poisson)
    horizon = episodes if episodes and not steady else replications
    if isinstance(problem.server, RecordedServer):
        return _recorded_truth(problem, problem.server, horizon)
    assert isinstance(problem.server, SimulatedServer)
    requests, rng = problem.requests, np.random.default_rng(0)
    stretch = problem.workload.arrivals(horizon * requests, rng)
    parts = list(cut_into_episodes(stretch, requests))[:: -(-horizon // replications)]
    cost = np.zeros(len(problem.space))
    for latency in charged(problem.server, parts, rng):
        cost += latency.mean(axis=1) / len(parts)
    return cost


def _recorded_truth(problem: Scenario, server: RecordedServer, horizon: int) -> Floats:
    """Return the truth from the half that is not replayed, averaged over the recorded loads.

    The weight of a load is how often it is the nearest one.

    Raises
    ------
    ValueError
        If all passes are replayed. Then no data are left for the truth.
    """
    profile, requests = server.profile, problem.requests
    if server.half is None:
        raise ValueError("all passes are replayed, so nothing is left to judge by: replay one half")
    stretch = problem.workload.arrivals(horizon * requests, np.random.default_rng(0))
    nearest = [server.nearest_rate(part) for part in cut_into_episodes(stretch, requests)]
    loads, counts = np.unique(nearest, return_counts=True)
    costs = [judge_half(profile, profile.rates_per_s[i], 1 - server.half).cost for i in loads]
    return np.average(costs, axis=0, weights=counts / counts.sum())
