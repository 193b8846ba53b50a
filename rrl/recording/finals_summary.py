"""What the finals of a profile say about its grid: luck, ties, and the episodes that they take."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from rrl.recording.profile import Profile
from rrl.recording.truth import CONFIDENCE, TOLERANCE


def luck(profile: Profile, rate_per_s: float) -> dict[str, Any]:
    """Judge the smallest mean of the grid by the finals, and the best of the finals by the grid.

    Parameters
    ----------
    profile : Profile
        It has finals at this load.
    rate_per_s : float

    Returns
    -------
    dict
        ``smallest`` and ``best`` are numbers of configurations: the smallest mean on the grid, and
        the best of the finals. ``verdict`` and ``ratio`` are what the finals say about the
        smallest. ``ratio_on_grid`` is the mean of the best on the grid, divided by the smallest.

    Examples
    --------
    >>> from rrl import read_profile
    >>> found = luck(read_profile("data/mobilenet_v2-threads"), 165.0)
    >>> found["smallest"], found["verdict"], found["best"]
    (24, 'best', 24)
    """
    grid, listed = profile.surface(rate_per_s), profile.finalists(rate_per_s)
    numbers = [profile.space.index({k: f[k] for k in profile.knobs}) for f in listed]
    smallest = int(np.nanargmin(grid))
    best = numbers[[f["verdict"] for f in listed].index("best")]
    judged = listed[numbers.index(smallest)]
    return {
        "smallest": smallest,
        "verdict": judged["verdict"],
        "ratio": judged["ratio"],
        "best": best,
        "ratio_on_grid": float(grid[best] / grid[smallest]),
    }


def paired_scatter(profile: Profile, rate_per_s: float) -> dict[str, float]:
    """Return how much paired ratios of finalists scatter, and how many episodes a tie takes.

    Let s be the median, over the rivals of the best, of the standard deviation of the log ratio in
    one round, z the number of standard errors at the confidence level of the finals, and t the
    tolerance. A perfect tie then takes about (z s / t)^2 episodes of each.

    Parameters
    ----------
    profile : Profile
        It has finals at this load.
    rate_per_s : float

    Returns
    -------
    dict
        ``scatter`` is s, and ``episodes`` is the number of episodes for a tie.

    Examples
    --------
    >>> from rrl import read_profile
    >>> round(paired_scatter(read_profile("data/mobilenet_v2-threads"), 165.0)["episodes"])
    127
    """
    listed = profile.finalists(rate_per_s)
    names = [tuple(f[knob] for knob in profile.knobs) for f in listed]
    best = names[[f["verdict"] for f in listed].index("best")]
    later = profile.table[profile.table["pass"] >= profile.grid_passes]
    rows = later[(later["rate_per_s"] == rate_per_s) & (later["valid"] == 1)]
    logs = np.log(rows.pivot_table("mean_s", ["pass", "repeat"], list(profile.knobs)))
    ratios = logs[[name for name in names if name != best]].sub(logs[best], axis=0)
    scatter = float(ratios.std().median())
    errors = float(norm.ppf(CONFIDENCE))
    return {"scatter": scatter, "episodes": (errors * scatter / TOLERANCE) ** 2}


def by_finals(profile: Profile, rate_per_s: float) -> dict[str, Any] | None:
    """Return the best by the finals of a load, and how sure that is; None without finals.

    Returns
    -------
    dict or None
        ``best`` is a configuration, ``tied`` and ``undecided`` count its rivals, and ``regret`` is
        the fraction by which the best can be slower than any of them, at most.

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
    return {
        "best": {knob: winner[knob] for knob in profile.knobs},
        "tied": words.count("tied"),
        "undecided": words.count("undecided"),
        "regret": profile.regret_limit(rate_per_s),
    }
