"""The truth by one half of a profile: which configurations are good at a load, and their costs.

Agents replay one half of a profile and are judged by the other half. So no agent is judged by the
episodes from which it learned. The best configurations of a load were measured again in the finals
of each half (:mod:`rrl.recording.plan`). The finals decide which ones are good: the best, and those
that are tied with it.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import Floats
from rrl.tuning.episode import Episode
from rrl.tuning.objective import charged_latency

if TYPE_CHECKING:
    import pandas as pd

    from rrl.recording.profile import Profile

Flags = NDArray[np.bool_]

TOLERANCE = 0.05
"""Whoever costs at most this fraction more than the best is good."""

CONFIDENCE = 0.975
"""Confidence level of each limit of a ratio; the two limits together have 95 %."""

SWEEPS = 20  # of the median polish


def centre_interval(values: Floats) -> tuple[float, float, float]:
    """Estimate the centre of a symmetric distribution and its limits, each of level `CONFIDENCE`.

    The estimate is that of Hodges and Lehmann: the median of all pairwise means. Its limits come
    from Wilcoxon's signed-rank statistic (normal approximation, with a continuity correction). A
    few episodes that are several times too slow change it little. They would change a mean and its
    t-interval much.

    Parameters
    ----------
    values : ndarray, shape (n,)

    Returns
    -------
    centre, low, high : float
        The limits are infinite if there are too few values.

    References
    ----------
    Hodges and Lehmann, "Estimates of location based on rank tests", Annals of Mathematical
    Statistics 34(2), 1963.

    Examples
    --------
    >>> centre_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 600.0]))
    (3.5, 1.0, 600.0)
    """
    from scipy.special import ndtri

    n = len(values)
    if not n:
        return np.nan, -np.inf, np.inf
    first, second = np.triu_indices(n)
    means = np.sort((values[first] + values[second]) / 2)
    variance = n * (n + 1) * (2 * n + 1) / 24
    cut = int(np.floor(n * (n + 1) / 4 - 0.5 - ndtri(CONFIDENCE) * np.sqrt(variance)))
    if cut < 0:
        return float(np.median(means)), -np.inf, np.inf
    return float(np.median(means)), float(means[cut]), float(means[-1 - cut])


def judge(means: Floats) -> tuple[int, Floats]:
    """Compare finalists over paired episodes.

    On a shared machine, other users may make one episode in ten several times slower. So the
    episodes are paired, and the centre of their ratios is robust.

    Parameters
    ----------
    means : ndarray, shape (episodes, finalists)
        Mean latency in seconds of each finalist in each episode; NaN if it took no part. The values
        of a row are paired: they share the arrivals and a few minutes of the machine's time.

    Returns
    -------
    best : int
        Column with the smallest typical cost. Median polish estimates this cost, because finalists
        that were left out early took part in fewer episodes. So a finalist that is nearly as good
        may have a ratio a little below 1.
    ratios : ndarray, shape (finalists, 3)
        The ratio of each finalist to the best, and the two limits of this ratio. All three are 1
        for the best.

    Examples
    --------
    >>> rounds = np.linspace(1, 2, 6)[:, None] * [1.0, 1.5, 1.01]
    >>> best, ratios = judge(rounds)
    >>> best, ratios[:, 0].round(2).tolist()
    (0, [1.0, 1.5, 1.01])
    """
    logs = np.log(means)
    best = int(np.nanargmin(_median_polish(logs)))
    differences = (logs - logs[:, [best]]).T
    ratios = np.array([np.exp(centre_interval(row[~np.isnan(row)])) for row in differences])
    ratios[best] = 1.0
    return best, ratios


def _median_polish(logs: Floats) -> Floats:
    """Return the effect of each column; rows have effects too, cells may be NaN (Tukey, 1977)."""
    columns = np.zeros(logs.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # who took no part has no median
        for _ in range(SWEEPS):
            rows = np.nanmedian(logs - columns, axis=1, keepdims=True)
            columns = np.nanmedian(logs - rows, axis=0)
    return columns


class HalfTruth(NamedTuple):
    """The truth about each configuration at one load, by one half of a profile.

    Parameters
    ----------
    cost : ndarray, shape (configurations,)
        Mean latency in seconds. For a finalist, it is the ratio to the best of the finals, scaled
        to the half's own passes. For the others, it is the mean over these passes. Many finalists
        have low means there by luck too, so the scale is a little low, and the others' costs are a
        little high beside theirs. That is the same for all agents.
    ratio, low, high : ndarray, shape (configurations,)
        Ratio to the best of the finals with its 95 % limits; NaN if it was not in the finals.
    good : ndarray of bool, shape (configurations,)
        Whether the upper limit of the ratio is at most 1.05.
    possible : ndarray of bool, shape (configurations,)
        Whether the lower limit of the ratio is at most 1.05.
    """

    cost: Floats
    ratio: Floats
    low: Floats
    high: Floats
    good: Flags
    possible: Flags


def rows_of_half(profile: Profile, rate_per_s: float, half: int) -> pd.DataFrame:
    """Return the valid episodes of a half at a load, from its passes and its finals."""
    table = profile.table
    chosen = np.isclose(table["rate_per_s"], rate_per_s) & (table["pass"] % 2 == half)
    return table[chosen & (table["valid"] == 1)]


def judge_half(profile: Profile, rate_per_s: float, half: int) -> HalfTruth:
    """Judge all configurations at a load by one half of a profile.

    Parameters
    ----------
    profile : Profile
    rate_per_s : float
    half : {0, 1}
        The passes 0, 2, ... or the passes 1, 3, ..., including those of the finals.

    Returns
    -------
    HalfTruth
        If the half had no finals, no configuration is good, and all are possible.
    """
    rows, n = rows_of_half(profile, rate_per_s, half), len(profile.space)
    index = profile.space.indices(rows)
    cost = np.array(
        [
            charged_latency(_episode(profile, row)).mean() if failed else mean
            for row, failed, mean in zip(rows.index, rows["failed"], rows["mean_s"], strict=True)
        ]
    )
    of_grid = (rows["pass"] < profile.grid_passes).to_numpy()
    grid = _means(index[of_grid], cost[of_grid], n)
    ratio, low, high = np.full((3, n), np.nan)
    if of_grid.all():
        return HalfTruth(grid, ratio, low, high, np.zeros(n, bool), np.ones(n, bool))
    finalists, means = _rounds(rows[~of_grid], index[~of_grid], cost[~of_grid])
    _, ratios = judge(means)
    ratio[finalists], low[finalists], high[finalists] = ratios.T
    scale = np.exp(np.nanmedian(np.log(grid[finalists]) - np.log(ratio[finalists])))
    grid[finalists] = scale * ratio[finalists]
    with np.errstate(invalid="ignore"):  # comparisons with NaN are false
        good, possible = high <= 1 + TOLERANCE, low <= 1 + TOLERANCE
    return HalfTruth(grid, ratio, low, high, good, possible)


def requests_of_half(profile: Profile, rate_per_s: float, half: int) -> list[Floats]:
    """Return the latencies (s) of all requests of each configuration; failed ones are charged."""
    rows = rows_of_half(profile, rate_per_s, half)
    found: list[list[Floats]] = [[] for _ in range(len(profile.space))]
    for row, index in zip(rows.index, profile.space.indices(rows), strict=True):
        found[index].append(charged_latency(_episode(profile, row)))
    return [np.concatenate(parts) if parts else np.empty(0) for parts in found]


def replay_best(profile: Profile, rate_per_s: float, half: int) -> int:
    """Return the index of the configuration that is best in the passes of a half.

    No agent that replays this half can make a better choice from its data.
    """
    rows = rows_of_half(profile, rate_per_s, half)
    rows = rows[rows["pass"] < profile.grid_passes]
    means = _means(profile.space.indices(rows), rows["mean_s"].to_numpy(), len(profile.space))
    return int(np.nanargmin(means))


def _episode(profile: Profile, row: int) -> Episode:
    latency = profile.latencies(row)
    return Episode({}, np.zeros(len(latency)), latency, profile.statuses(row))


def _means(index: NDArray[np.int64], values: Floats, n: int) -> Floats:
    """Return the mean of the values of each index, shape (n,); NaN if there are none."""
    counts = np.bincount(index, minlength=n).astype(float)
    counts[counts == 0] = np.nan
    return np.bincount(index, values, n) / counts


def _rounds(
    rows: pd.DataFrame, index: NDArray[np.int64], cost: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """Return the configurations of the finals, and their means (s), shape (episodes, finalists)."""
    table = rows.assign(configuration=index, cost=cost).pivot(
        index=["pass", "repeat"], columns="configuration", values="cost"
    )
    return table.columns.to_numpy(), table.to_numpy()
