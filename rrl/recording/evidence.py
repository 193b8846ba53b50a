"""What a profile shows: how its halves agree, what its finals say, and what usual settings cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.recording.finals import HALVES
from rrl.recording.profile import Profile
from rrl.recording.truth import (
    CONFIDENCE,
    TOLERANCE,
    HalfTruth,
    centre_interval,
    judge_half,
    replay_best,
    rows_of_half,
)
from rrl.tuning.defaults import heuristic_candidates, serving_default

if TYPE_CHECKING:
    import pandas as pd


def agreement(profile: Profile) -> pd.DataFrame:
    """Return how well the two halves agree, with one row per load.

    Returns
    -------
    DataFrame
        `good_0` and `good_1` are the numbers of configurations that are within 5 % of the best by
        the upper limits of a half's finals. `undecided_0` and `undecided_1` count the finalists for
        which this is not known. The best is the one with the lowest typical cost in the finals, so
        it is good by definition. `best_over_0` and `best_over_1` are the largest upper limit of its
        cost over that of another finalist. `rank_correlation` is Spearman's correlation of the
        halves' costs. `ceiling_0` and `ceiling_1` are for the best configuration of a half's own
        passes. They are its cost by the *other* half, divided by the best cost there. No replay of
        the half can show a better choice. `judged_0` and `judged_1` tell whether this configuration
        is good by the other half. Only then can agents that replay the half be judged.
    """
    import pandas as pd
    from scipy.stats import spearmanr

    lines = []
    for rate in profile.rates_per_s:
        both = [judge_half(profile, rate, half) for half in HALVES]
        met = ~np.isnan(both[0].ratio) & ~np.isnan(both[1].ratio)
        correlation = float(spearmanr(both[0].cost, both[1].cost).statistic)
        line: dict[str, Any] = {"rate_per_s": rate, "rank_correlation": correlation}
        for half, truth in enumerate(both):
            judge, deployed = both[1 - half], replay_best(profile, rate, half)
            line[f"good_{half}"] = int(truth.good.sum())
            line[f"undecided_{half}"] = int((truth.possible & ~truth.good & met).sum())
            line[f"best_over_{half}"] = _best_over(truth)
            line[f"ceiling_{half}"] = float(judge.cost[deployed] / np.nanmin(judge.cost))
            line[f"judged_{half}"] = bool(judge.good[deployed])
        lines.append(line)
    return pd.DataFrame(lines)


def _best_over(truth: HalfTruth) -> float:
    """Return how much the best may cost over another finalist, by the limits of the ratios."""
    lows = truth.low[np.isfinite(truth.low) & (truth.low > 0)]
    return float(1 / lows.min()) if len(lows) else np.nan


def usual_settings(profile: Profile) -> pd.DataFrame:
    """Compare settings that need no tuning with the best, by the finals of each half.

    The settings are the default, the best one that the batching guide suggests, and the best one of
    the adaptive scheduler. The other half decides which one is the best of its group.

    Returns
    -------
    DataFrame
        `half` is the half that judges. `knobs` describes the `setting` in words. `ratio` is its
        mean latency divided by that of the best, with the 95 % limits `low` and `high`. They are
        NaN if the setting was not in the finals.
    """
    import pandas as pd

    space = profile.space
    default = [space.index(serving_default(space))]
    guide = [space.index(c) for c in heuristic_candidates(space)]
    lines = []
    for rate in profile.rates_per_s:
        for half in HALVES:
            truth, other = judge_half(profile, rate, half), judge_half(profile, rate, 1 - half)
            for name, group in (("default", default), ("guide", guide)):
                chosen = group[int(np.argmin(other.cost[group]))]
                limits = (truth.ratio[chosen], truth.low[chosen], truth.high[chosen])
                lines.append(_line(rate, half, name, space[chosen], limits))
            if len(profile.adaptive):
                lines.append(_adaptive(profile, rate, half, truth))
    return pd.DataFrame(lines)


def _line(
    rate: float, half: int, name: str, configuration: Configuration, limits: Sequence[float]
) -> dict[str, Any]:
    words = ", ".join(f"{knob} {value}" for knob, value in configuration.items())
    values = dict(zip(("ratio", "low", "high"), map(float, limits), strict=True))
    return {"rate_per_s": rate, "half": half, "setting": name, "knobs": words, **values}


def _adaptive(profile: Profile, rate: float, half: int, truth: HalfTruth) -> dict[str, Any]:
    """Compare the adaptive scheduler's best setting by the other half with the best of this one."""
    rows = profile.adaptive[np.isclose(profile.adaptive["rate_per_s"], rate)]
    grid = rows[(rows["pass"] < profile.grid_passes) & (rows["pass"] % 2 != half)]
    knobs = profile.knobs
    chosen = grid.groupby(knobs)["mean_s"].mean().idxmin()
    own = rows[(rows["pass"] >= profile.grid_passes) & (rows["pass"] % 2 == half)]
    own = own[(own[knobs] == list(chosen)).all(axis=1)].set_index(["pass", "repeat"])["mean_s"]
    configuration = dict(zip(knobs, chosen, strict=True))
    if np.isnan(truth.ratio).all() or own.empty:
        return _line(rate, half, "adaptive", configuration, [np.nan] * 3)
    final = rows_of_half(profile, rate, half)
    final = final[final["pass"] >= profile.grid_passes]
    best = final[profile.space.indices(final) == int(np.nanargmin(truth.ratio))]
    ratios = np.log(own / best.set_index(["pass", "repeat"])["mean_s"]).dropna().to_numpy()
    limits = np.exp(centre_interval(ratios))
    return _line(rate, half, "adaptive", configuration, limits.tolist())


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
    from scipy.special import ndtri

    listed = profile.finalists(rate_per_s)
    names = [tuple(f[knob] for knob in profile.knobs) for f in listed]
    best = names[[f["verdict"] for f in listed].index("best")]
    later = profile.table[profile.table["pass"] >= profile.grid_passes]
    rows = later[(later["rate_per_s"] == rate_per_s) & (later["valid"] == 1)]
    logs = np.log(rows.pivot_table("mean_s", ["pass", "repeat"], list(profile.knobs)))
    ratios = logs[[name for name in names if name != best]].sub(logs[best], axis=0)
    scatter = float(ratios.std().median())
    errors = float(ndtri(CONFIDENCE))
    return {"scatter": scatter, "episodes": (errors * scatter / TOLERANCE) ** 2}


def by_finals(profile: Profile, rate_per_s: float) -> dict[str, Any] | None:
    """Return the best by the finals of a load, and how sure that is; None without finals.

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
