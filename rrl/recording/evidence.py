"""What the finals of a profile say: which configuration is best, and what usual settings cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.recording.plan import HALVES
from rrl.recording.profile import Profile
from rrl.recording.truth import HalfTruth, centre_interval, judge_half, rows_of_half
from rrl.tuning.defaults import heuristic_candidates, serving_default

if TYPE_CHECKING:
    import pandas as pd


def usual_settings(profile: Profile) -> pd.DataFrame:
    """Compare settings that need no tuning with the best, by the finals of each half.

    The settings are the default, the best one that the batching guide suggests, and the best one of
    the adaptive scheduler. The other half decides which one is the best of its group.

    Returns
    -------
    DataFrame
        `half` is the half that judges. `ratio` is the mean latency of the `setting` divided by that
        of the best, with the 95 % limits `low` and `high`. They are NaN if the setting was not in
        the finals.
    """
    import pandas as pd

    space = profile.space
    groups = {
        "default": [space.index(serving_default(space))],
        "guide": [space.index(c) for c in heuristic_candidates(space)],
    }
    lines = []
    for rate in profile.rates_per_s:
        for half in HALVES:
            truth, other = judge_half(profile, rate, half), judge_half(profile, rate, 1 - half)
            chosen = {name: g[int(np.argmin(other.cost[g]))] for name, g in groups.items()}
            found = {n: (truth.ratio[i], truth.low[i], truth.high[i]) for n, i in chosen.items()}
            if len(profile.adaptive):
                found["adaptive"] = _adaptive(profile, rate, half, truth)
            lines += [(rate, half, name, *limits) for name, limits in found.items()]
    return pd.DataFrame(lines, columns=["rate_per_s", "half", "setting", "ratio", "low", "high"])


def _adaptive(
    profile: Profile, rate: float, half: int, truth: HalfTruth
) -> tuple[float, float, float]:
    """Compare the adaptive scheduler's best setting by the other half with the best of this one."""
    rows = profile.adaptive[np.isclose(profile.adaptive["rate_per_s"], rate)]
    grid = rows[(rows["pass"] < profile.grid_passes) & (rows["pass"] % 2 != half)]
    chosen = grid.groupby(profile.knobs)["mean_s"].mean().idxmin()
    own = rows[(rows["pass"] >= profile.grid_passes) & (rows["pass"] % 2 == half)]
    own = own[(own[profile.knobs] == list(chosen)).all(axis=1)]
    if np.isnan(truth.ratio).all() or own.empty:
        return np.nan, np.nan, np.nan
    final = rows_of_half(profile, rate, half)
    final = final[final["pass"] >= profile.grid_passes]
    best = final[profile.space.indices(final) == int(np.nanargmin(truth.ratio))]
    episode = ["pass", "repeat"]
    ratios = np.log(own.set_index(episode)["mean_s"] / best.set_index(episode)["mean_s"])
    centre, low, high = np.exp(centre_interval(ratios.dropna().to_numpy()))
    return float(centre), float(low), float(high)


def by_finals(profile: Profile, rate_per_s: float) -> dict[str, Any] | None:
    """Return the best by the finals of a load, and how sure that is.

    The verdicts are those of the recording's description. Without them, the result is None.

    Returns
    -------
    dict or None
        ``best`` is a configuration, ``tied`` and ``undecided`` count its rivals, and ``regret`` is
        the fraction by which the best can be slower than any of them, at most. It comes from the
        lower limits of the ratios, and is infinite if one of them is not known.

    Examples
    --------
    >>> from rrl import read_profile
    >>> by_finals(read_profile("data/mobilenet_v2-threads"), 165.0)["best"]
    {'inter_op': 2, 'intra_op': 1, 'batch_threads': 0}
    """
    finalists = profile.finalists(rate_per_s)
    if not finalists:
        return None
    words = [finalist["verdict"] for finalist in finalists]
    winner = finalists[words.index("best")]
    lowest = min(finalist.get("low", 0.0) for finalist in finalists)
    return {
        "best": {knob: winner[knob] for knob in profile.knobs},
        "tied": words.count("tied"),
        "undecided": words.count("undecided"),
        "regret": 1 / lowest - 1 if lowest else np.inf,
    }
