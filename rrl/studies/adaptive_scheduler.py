"""TensorFlow's adaptive batch scheduler as a rival: what it costs beside the best of a grid.

The scheduler adapts the number of its batch threads while it serves. It is no agent: the thread
pools and the largest batch stay as they are configured. So a fair rival is the scheduler with the
server's default pools, which needs no tuning, and the scheduler with the best of its recorded
settings, which needs somebody who knows it. A profile has it where its plan says so
(:attr:`rrl.recording.profile.Profile.adaptive`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.core.from_table import from_table
from rrl.core.space import ConfigSpace
from rrl.recording.evidence import log_scatter
from rrl.recording.finals import HALVES
from rrl.recording.judging import centre_interval
from rrl.recording.profile import Profile
from rrl.recording.truth import CONFIDENCE, judge_half, replay_best, rows_of_half
from rrl.support.errors import DataError
from rrl.tuning.defaults import serving_default

if TYPE_CHECKING:
    import pandas as pd


def adaptive_scheduler(profile: Profile) -> pd.DataFrame:
    """Compare the adaptive scheduler with the best configuration of a profile's grid.

    Each half of the profile judges by itself. The other half decides which of the scheduler's
    settings is the best, and the best of the grid if there were no finals. Two episodes are
    compared if they have the same pass and repeat, because then they have the same arrivals.

    Returns
    -------
    DataFrame
        Two rows per load and half. `choice` is "default pools": the recorded setting that is
        nearest to the server's default; or "best pools". `knobs` has the setting in words. `ratio`
        is its mean latency divided by that of the best of the grid, with the 95 % limits `low` and
        `high`; they are NaN if the half has no pair of episodes. `episodes` is the number of pairs,
        and `finals` tells whether they are of the finals. Then the limits are those of Hodges and
        Lehmann (:func:`rrl.recording.judging.centre_interval`). The passes over the grid are too
        few for that. There the limits follow from the scatter of all repeated episodes of the half,
        which is taken to be normal.

    Raises
    ------
    DataError
        If the profile has no episodes of the adaptive scheduler.
    """
    import pandas as pd

    if profile.adaptive.empty:
        raise DataError("the profile has no adaptive scheduler: record a plan that names it")
    space = from_table(profile.adaptive[profile.knobs], profile.knobs)
    default = space.index(serving_default(space, profile.space.cores))
    lines = []
    for rate in profile.rates_per_s:
        for half in HALVES:
            best = _best(profile, space, rate, 1 - half)
            for choice, setting in (("default pools", default), ("best pools", best)):
                words = ", ".join(f"{name} {level}" for name, level in space[setting].items())
                line = {"rate_per_s": rate, "half": half, "choice": choice, "knobs": words}
                lines.append(line | _over_best(profile, space, rate, half, setting))
    return pd.DataFrame(lines)


def _rows(profile: Profile, rate_per_s: float, half: int) -> pd.DataFrame:
    """Return the valid episodes of the adaptive scheduler in a half at a load."""
    rows = profile.adaptive
    chosen = np.isclose(rows["rate_per_s"], rate_per_s) & (rows["pass"] % 2 == half)
    return rows[chosen & (rows["valid"] == 1)]


def _best(profile: Profile, space: ConfigSpace, rate_per_s: float, half: int) -> int:
    """Return the scheduler's best setting in a half's passes over the grid."""
    rows = _rows(profile, rate_per_s, half)
    rows = rows[rows["pass"] < profile.grid_passes]
    if rows.empty:
        raise DataError(
            f"half {half} of the profile has no adaptive scheduler at {rate_per_s:g} requests/s: "
            "complete the recording"
        )
    return int(rows["mean_s"].groupby(space.indices(rows)).mean().idxmin())


def _over_best(
    profile: Profile, space: ConfigSpace, rate_per_s: float, half: int, setting: int
) -> dict[str, Any]:
    """Compare a setting with the best of the grid in the episodes of a half that have both."""
    truth, grid = judge_half(profile, rate_per_s, half), rows_of_half(profile, rate_per_s, half)
    unknown = np.isnan(truth.ratio).all()
    best = replay_best(profile, rate_per_s, 1 - half) if unknown else np.nanargmin(truth.ratio)
    own = _rows(profile, rate_per_s, half)
    own = own[space.indices(own) == setting].set_index(["pass", "repeat"])["mean_s"]
    other = grid[profile.space.indices(grid) == best].set_index(["pass", "repeat"])["mean_s"]
    logs = np.log(own / other).dropna()
    of_finals = logs.index.get_level_values("pass") >= profile.grid_passes
    centre, low, high = centre_interval(logs[of_finals].to_numpy(), CONFIDENCE)
    finals = math.isfinite(low)
    if not finals:
        logs = logs[~of_finals]
        centre, low, high = _interval(logs.to_numpy(), grid, profile)
    numbers = zip(("ratio", "low", "high"), np.exp([centre, low, high]).tolist(), strict=True)
    return {**dict(numbers), "episodes": len(logs), "finals": finals}


def _interval(logs: np.ndarray, grid: pd.DataFrame, profile: Profile) -> tuple[float, float, float]:
    """Return the mean of a few log ratios with limits from the scatter of all repeats."""
    from scipy.stats import norm

    if not len(logs):
        return math.nan, math.nan, math.nan
    scatter = log_scatter(grid[grid["pass"] < profile.grid_passes], profile.knobs)
    reach = float(norm.ppf(CONFIDENCE)) * scatter * math.sqrt(2 / len(logs))
    centre = float(logs.mean())
    return centre, centre - reach, centre + reach
