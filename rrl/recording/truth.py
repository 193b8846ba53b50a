"""What one half of a profile says: who is good at a load, and what everything costs there.

Agents replay one half of a profile and are judged by the other, so nobody is judged by the episodes
that they learned from. The best of a load have met again in the finals of each half
(:mod:`rrl.recording.finals`), and who is good is decided there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.recording.judging import TOLERANCE, judge
from rrl.tuning.episode import Episode
from rrl.tuning.objective import charged_latency

if TYPE_CHECKING:
    import pandas as pd

    from rrl.recording.profile import Profile

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

CONFIDENCE = 0.975  # of each limit of a ratio, so that the two together keep to 95 %


class HalfTruth(NamedTuple):
    """What a half of a profile says of each configuration at one load.

    Parameters
    ----------
    cost : ndarray, shape (configurations,)
        Mean latency in seconds. That of a finalist is its ratio to the best of the finals, on the
        scale of the half's own passes; that of any other is its mean over those passes.
    ratio, low, high : ndarray, shape (configurations,)
        Ratio to the best of the finals with its 95 % limits; NaN for who was no finalist.
    good : ndarray of bool, shape (configurations,)
        Whether the ratio is surely at most 1.05.
    possible : ndarray of bool, shape (configurations,)
        Whether it may be: the good ones and the undecided.
    """

    cost: Floats
    ratio: Floats
    low: Floats
    high: Floats
    good: Flags
    possible: Flags


def rows_of_half(profile: Profile, rate_per_s: float, half: int) -> pd.DataFrame:
    """The valid episodes of a half at a load, those of its passes and those of its finals."""
    table = profile.table
    chosen = np.isclose(table["rate_per_s"], rate_per_s) & (table["pass"] % 2 == half)
    return table[chosen & (table["valid"] == 1)]


def judge_half(profile: Profile, rate_per_s: float, half: int) -> HalfTruth:
    """Say what a half of a profile tells about a load.

    Parameters
    ----------
    profile : Profile
    rate_per_s : float
    half : {0, 1}
        Passes 0, 2, ... or 1, 3, ..., those of the finals included.

    Returns
    -------
    HalfTruth
        Nobody is good, and everybody may be, if the half had no finals.
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
    _, verdicts = judge(means, confidence=CONFIDENCE)
    ratio[finalists] = [verdict.ratio for verdict in verdicts]
    low[finalists] = [verdict.low for verdict in verdicts]
    high[finalists] = [verdict.high for verdict in verdicts]
    scale = np.exp(np.nanmedian(np.log(grid[finalists]) - np.log(ratio[finalists])))
    grid[finalists] = scale * ratio[finalists]
    with np.errstate(invalid="ignore"):  # who was no finalist is neither
        good, possible = high <= 1 + TOLERANCE, low <= 1 + TOLERANCE
    return HalfTruth(grid, ratio, low, high, good, possible)


def late_share(profile: Profile, rate_per_s: float, half: int, limits_s: Floats) -> Floats:
    """Share of requests that take longer than each limit (s), shape (limits, configurations)."""
    rows, n = rows_of_half(profile, rate_per_s, half), len(profile.space)
    index = profile.space.indices(rows)
    latency = np.array([charged_latency(_episode(profile, row)) for row in rows.index])
    return np.array([_means(index, (latency > limit).mean(axis=1), n) for limit in limits_s])


def replay_best(profile: Profile, rate_per_s: float, half: int) -> int:
    """Number of the configuration that is best in the passes of a half.

    A perfect reader of a replay of this half deploys it: no agent can know better.
    """
    rows = rows_of_half(profile, rate_per_s, half)
    rows = rows[rows["pass"] < profile.grid_passes]
    means = _means(profile.space.indices(rows), rows["mean_s"].to_numpy(), len(profile.space))
    return int(np.nanargmin(means))


def _episode(profile: Profile, row: int) -> Episode:
    latency = profile.latencies(row)
    return Episode({}, np.zeros(len(latency)), latency, profile.statuses(row))


def _means(index: NDArray[np.int64], values: Floats, n: int) -> Floats:
    """Mean of the values of each index, shape (n,); NaN where there is none."""
    counts = np.bincount(index, minlength=n).astype(float)
    counts[counts == 0] = np.nan
    return np.bincount(index, values, n) / counts


def _rounds(
    rows: pd.DataFrame, index: NDArray[np.int64], cost: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """Who took part in the finals, and their means (s), shape (episodes, finalists)."""
    finalists, column = np.unique(index, return_inverse=True)
    episodes, line = np.unique(rows[["pass", "repeat"]].to_numpy(), axis=0, return_inverse=True)
    means = np.full((len(episodes), len(finalists)), np.nan)
    means[line.ravel(), column] = cost
    return finalists, means
