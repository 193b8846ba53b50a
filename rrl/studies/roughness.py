"""How alike neighbours are, and how noisy an episode is: the two axes of the map of regions.

A *neighbour* is one step away, see :meth:`rrl.core.space.ConfigSpace.steps`. Only configurations
below twice the best cost count, because an agent spends its time there.

Both numbers come from two halves of the measurements of a grid, which share no episode. The noise
of the halves is independent, so it cancels out of the product of their differences: the roughness
is that of the true costs, however noisy an episode is. Without noise, the same costs serve as both
halves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.recording.profile import Profile
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import rows_of_half
from rrl.simulation.simulator import SimulatedServer
from rrl.studies.scenario import Scenario
from rrl.workloads.workload import cut_into_episodes

TWICE = 2.0
"""Configurations below this multiple of the best cost count."""
NOISE_EPISODES = 40  # per configuration, for the noise of a simulated place


class Half(NamedTuple):
    """The mean cost of each configuration in one half, and the number of its episodes.

    Both have shape (configurations,). A configuration that was not measured has NaN and 0.
    """

    means: Floats
    episodes: Floats


def one_step_pairs(space: ConfigSpace) -> Ints:
    """Return the pairs of configurations that are one step apart, shape (pairs, 2).

    Examples
    --------
    >>> from rrl import Knob
    >>> one_step_pairs(ConfigSpace([Knob("threads", (1, 2, 4))])).tolist()
    [[0, 1], [1, 2]]
    """
    found = [(i, np.flatnonzero(space.steps(i) == 1)) for i in range(len(space))]
    return np.array([(i, j) for i, near in found for j in near[near > i].tolist()]).reshape(-1, 2)


def low_costs(cost: ArrayLike) -> NDArray[np.bool_]:
    """Return which configurations are below twice the best."""
    cost = np.asarray(cost, dtype=float)
    return cost < TWICE * np.nanmin(cost)


def smooth_costs(first: ArrayLike, second: ArrayLike, pairs: Ints) -> Floats:
    """Return the geometric mean of each configuration with its neighbours, over both halves.

    In noisy halves it tells which configurations have low costs. Their own means cannot: the lowest
    of many noisy means is low by luck, and a choice by both halves couples their noise.

    Examples
    --------
    >>> smooth_costs([1.0, 4.0, 16.0], [1.0, 4.0, 16.0], np.array([[0, 1], [1, 2]])).round(1)
    array([2., 4., 8.])
    """
    logs = (np.log(first) + np.log(second)) / 2
    sums, counts = np.nan_to_num(logs), (~np.isnan(logs)).astype(float)
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    near = [np.bincount(ends[:, 0], values[ends[:, 1]], len(logs)) for values in (sums, counts)]
    with np.errstate(invalid="ignore"):  # where nothing was measured
        return np.exp((sums + near[0]) / (counts + near[1]))


def roughness(
    first: ArrayLike, second: ArrayLike, pairs: Ints, smooth: ArrayLike | None = None
) -> float:
    """Return by what fraction the costs of neighbours differ.

    The value is exp(s) - 1, where s is the root of the mean, over the pairs with low costs, of the
    product of the two halves' differences of log costs. A negative mean counts as 0.

    Parameters
    ----------
    first, second : array_like, shape (configurations,)
        Mean costs by the two halves.
    pairs : ndarray of int, shape (pairs, 2)
        See :func:`one_step_pairs`.
    smooth : array_like, shape (configurations,), optional
        What tells which costs are low: by default the first half, for costs without noise.

    Returns
    -------
    float
        NaN if no two neighbours have low costs.

    Examples
    --------
    >>> costs, pairs = np.array([1.0, 1.1, 1.21, 9.0]), np.array([[0, 1], [1, 2], [2, 3]])
    >>> round(roughness(costs, costs, pairs), 3)
    0.1
    """
    kept = pairs[low_costs(first if smooth is None else smooth)[pairs].all(axis=1)]
    steps = [np.diff(np.log(half)[kept], axis=1) for half in map(np.asarray, (first, second))]
    products = (steps[0] * steps[1])[~np.isnan(steps[0] + steps[1])]
    return math.expm1(math.sqrt(max(float(products.mean()), 0.0))) if len(products) else math.nan


def episode_noise(first: Half, second: Half, smooth: ArrayLike) -> float:
    """Return the sd of the logarithm of one episode's cost, from the halves' disagreement.

    One half may be slower than the other as a whole: their mean difference does not count. For
    `smooth`, see :func:`roughness`.

    Returns
    -------
    float
        NaN if both halves measured fewer than two configurations with low costs.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = (Half(np.exp(rng.normal(0, 0.1, 500)), np.full(500, 1.0)) for _ in range(2))
    >>> round(episode_noise(a, b, np.ones(500)), 2)
    0.1
    """
    low = low_costs(smooth) & (np.minimum(first.episodes, second.episodes) > 0)
    if low.sum() < 2:
        return math.nan
    differences = np.log(first.means[low] / second.means[low])
    expected = 1 / first.episodes[low] + 1 / second.episodes[low]
    free = (low.sum() - 1) / low.sum()  # one degree of freedom is the mean difference
    squares = float(((differences - differences.mean()) ** 2).sum())
    return math.sqrt(squares / (free * float(expected.sum())))


def half_of_profile(profile: Profile, rate_per_s: float, half: int) -> Half:
    """Return what one half of a profile says about each configuration, in seconds.

    Only passes over the grid count: the finals measured a few configurations only.
    """
    rows, size = rows_of_half(profile, rate_per_s, half), len(profile.space)
    rows = rows[rows["pass"] < profile.grid_passes]
    index = profile.space.indices(rows)
    counts = np.bincount(index, minlength=size).astype(float)
    sums = np.bincount(index, rows["mean_s"].to_numpy(dtype=float), size)
    return Half(np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0), counts)


def _simulated_noise(scenario: Scenario) -> float:
    """Return the sd of the logarithm of one episode's cost on a simulated server.

    It is the root of the mean variance over the configurations with low true costs. Each of the
    episodes has arrivals of its own.
    """
    server, rng = scenario.server, np.random.default_rng(0)
    assert isinstance(server, SimulatedServer)
    low = np.flatnonzero(low_costs(scenario.cost))
    stretch = scenario.workload.arrivals(NOISE_EPISODES * scenario.requests, rng)
    logs = np.empty((NOISE_EPISODES, len(low)))
    for row, arrivals in zip(logs, cut_into_episodes(stretch, scenario.requests), strict=True):
        latency, _ = server.grid(arrivals, rng, low)
        row[:] = np.log(latency.mean(axis=1))
    return float(np.sqrt(logs.var(axis=0, ddof=1).mean()))


def axes(place: Scenario) -> tuple[float, float]:
    """Return the roughness and the noise of a place: of a recorded load, or of a simulated one."""
    pairs, server = one_step_pairs(place.space), place.server
    if not isinstance(server, RecordedServer):
        return roughness(place.cost, place.cost, pairs), _simulated_noise(place)
    rate = place.workload.rate
    first, second = (half_of_profile(server.profile, rate, half) for half in (0, 1))
    smooth = smooth_costs(first.means, second.means, pairs)
    rough = roughness(first.means, second.means, pairs, smooth)
    return rough, episode_noise(first, second, smooth)
