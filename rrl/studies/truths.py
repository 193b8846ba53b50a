"""The truth about a scenario: from many simulated episodes, or from the half that judges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.recording.judging import TOLERANCE
from rrl.studies.scenario import SLO_FACTORS, Costs, Scenario, Truth
from rrl.tuning.objective import FAILURE_S
from rrl.workloads.workload import Poisson
from rrl.workloads.workload import episodes as cut

if TYPE_CHECKING:
    from rrl.recording.replay import RecordedServer
    from rrl.simulation.simulator import SimulatedServer


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
        many episodes, at most one each. A steady load ignores it.
    """
    from rrl.recording.replay import RecordedServer
    from rrl.simulation.simulator import SimulatedServer

    steady = isinstance(problem.workload, Poisson)
    horizon = episodes if episodes and not steady else replications
    if isinstance(problem.server, RecordedServer):
        return _recorded_truth(problem, problem.server, horizon, seed)
    assert isinstance(problem.server, SimulatedServer)
    requests, rng = problem.requests, np.random.default_rng(seed)
    stretch = problem.workload.arrivals(horizon * requests, rng)
    parts = list(cut(stretch, requests))[:: -(-horizon // replications)]
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


def _recorded_truth(problem: Scenario, server: RecordedServer, horizon: int, seed: int) -> Truth:
    """Return the truth from the half that is not replayed, averaged over the recorded loads.

    The weight of a load is how often it is the nearest one.

    Raises
    ------
    ValueError
        If all passes are replayed. Then no data are left for the truth.
    """
    from rrl.recording.truth import judge_half, late_fraction

    profile, requests = server.profile, problem.requests
    if server.half is None:
        raise ValueError("all passes are replayed, so nothing is left to judge by: replay one half")
    stretch = problem.workload.arrivals(horizon * requests, np.random.default_rng(seed))
    nearest = [server.nearest_rate(part) for part in cut(stretch, requests)]
    loads, counts = np.unique(nearest, return_counts=True)
    rates, judge = [profile.rates_per_s[i] for i in loads], 1 - server.half
    truths = [judge_half(profile, rate, judge) for rate in rates]
    cost = np.average([truth.cost for truth in truths], axis=0, weights=counts)
    limits = cost.min() * np.array(SLO_FACTORS)
    fractions = [late_fraction(profile, rate, judge, limits) for rate in rates]
    late = np.average(fractions, axis=0, weights=counts)
    if len(truths) == 1:
        return Truth(truths[0].cost, fractions[0], truths[0].good, truths[0].possible)
    within = cost <= (1 + TOLERANCE) * cost.min()
    return Truth(cost, late, within, within)
