"""What a profile shows: how well its halves agree, and what good and usual settings cost.

``python -m rrl.recording.evidence data/NAME`` prints these tables. It also writes `summary.csv`
beside the episodes. This file has one row per configuration, load and half, so that others can use
the profile as a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.recording.finals import HALVES
from rrl.recording.judging import centre_interval
from rrl.recording.profile import REJECTED, Profile, read_profile
from rrl.recording.truth import (
    CONFIDENCE,
    HalfTruth,
    judge_half,
    late_fraction,
    replay_best,
    rows_of_half,
)
from rrl.support.errors import Parser, command
from rrl.support.files import write_atomically
from rrl.tuning.defaults import heuristic_candidates, serving_default

if TYPE_CHECKING:
    import pandas as pd

SUMMARY = "summary.csv"
LATE = 2.0  # a late request takes more than this many times the best mean latency of its load


def halves(profile: Profile, rate_per_s: float) -> list[HalfTruth]:
    """Judge all configurations at a load by each half of the profile."""
    return [judge_half(profile, rate_per_s, half) for half in HALVES]


def summary(profile: Profile) -> pd.DataFrame:
    """Return the measurements with one row per configuration, load and half.

    Returns
    -------
    DataFrame
        The columns are the knobs, `rate_per_s`, `half`, `episodes`, `mean_s`, `sem_s`, `limit_s`,
        `late_fraction`, `ratio`, `low` and `high`. `episodes` is the number of episodes of the
        passes and the finals. `mean_s` is the mean over them, and `sem_s` is its standard error.
        `late_fraction` is the fraction of requests that take longer than `limit_s` seconds. `ratio`
        is the cost relative to the best of the finals, with the 95 % limits `low` and `high`. These
        three are empty if the configuration was not in the finals.
    """
    import pandas as pd

    parts = []
    for rate in profile.rates_per_s:
        for half, truth in enumerate(halves(profile, rate)):
            limit_s = LATE * float(np.nanmin(truth.cost))
            rows = rows_of_half(profile, rate, half)
            groups = rows.groupby(profile.space.indices(rows))["mean_s"]
            part = pd.DataFrame(list(profile.space))
            part = part.assign(rate_per_s=rate, half=half)
            part = part.join(groups.agg(episodes="size", mean_s="mean", sem_s="sem"))
            part["limit_s"] = limit_s
            part["late_fraction"] = late_fraction(profile, rate, half, np.array([limit_s]))[0]
            part = part.assign(ratio=truth.ratio, low=truth.low, high=truth.high)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def agreement(profile: Profile) -> pd.DataFrame:
    """Return how well the two halves agree, with one row per load.

    Returns
    -------
    DataFrame
        `episodes` and `finalists` are numbers. `good_0` and `good_1` are the numbers of
        configurations that are within 5 % of the best by the upper limits of a half's finals;
        `good_both` counts those that are good by both halves. `undecided_0` and `undecided_1` count
        the finalists for which this is not known. The best is the one with the lowest typical cost
        in the finals, so it is good by definition. `best_over_0` and `best_over_1` are the largest
        upper limit of its cost over that of another finalist. `rank_correlation` is Spearman's
        correlation of the halves' costs, over all configurations or (`rank_correlation_finalists`)
        over the finalists. `ceiling_0` and `ceiling_1` are for the best configuration of a half's
        own passes. They are its cost by the *other* half, divided by the best cost there. No replay
        of the half can show a better choice. `judged_0` and `judged_1` tell whether this
        configuration is good by the other half. Only then can agents that replay the half be
        judged.
    """
    import pandas as pd
    from scipy.stats import spearmanr

    lines = []
    for rate in profile.rates_per_s:
        both = halves(profile, rate)
        met = ~np.isnan(both[0].ratio) & ~np.isnan(both[1].ratio)
        line: dict[str, Any] = {
            "rate_per_s": rate,
            "episodes": int(np.isclose(profile.table["rate_per_s"], rate).sum()),
            "finalists": int(met.sum()),
            "good_both": int((both[0].good & both[1].good).sum()),
            "rank_correlation": float(spearmanr(both[0].cost, both[1].cost).statistic),
        }
        if met.sum() > 2:
            among = spearmanr(both[0].ratio[met], both[1].ratio[met])
            line["rank_correlation_finalists"] = float(among.statistic)
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
    limits = np.exp(centre_interval(ratios, CONFIDENCE))
    return _line(rate, half, "adaptive", configuration, limits.tolist())


def rejected(profile: Profile, folder: Path) -> pd.DataFrame:
    """Return how many episodes the recorder's rule rejected, with one row per configuration.

    Returns
    -------
    DataFrame
        The knobs, the numbers of kept and rejected episodes, and the rejected fraction.
    """
    import pandas as pd

    path = folder / REJECTED
    kept = pd.concat([profile.table, profile.adaptive]).groupby(profile.knobs).size()
    if not path.exists():
        return kept.rename("kept").reset_index().assign(rejected=0, fraction=0.0)
    out = pd.read_csv(path, usecols=profile.knobs).groupby(profile.knobs).size()
    table = pd.DataFrame({"kept": kept, "rejected": out}).fillna(0).astype(int).reset_index()
    return table.assign(fraction=table["rejected"] / (table["kept"] + table["rejected"]))


def scatter(profile: Profile, folder: Path) -> pd.DataFrame:
    """Return the scatter of repeated episodes with and without the rule, with one row per load.

    Returns
    -------
    DataFrame
        `with_rule` is over the episodes that count, and `without` is over all episodes. Both are
        standard deviations of the logarithm of an episode's mean latency around the mean of its
        configuration. The median of each pass is subtracted first. `episodes` and `rejected` are
        numbers of episodes.
    """
    import pandas as pd

    path = folder / REJECTED
    out = pd.read_csv(path, dtype={"statuses": str}) if path.exists() else profile.grid[:0]
    out = out[out["pass"] < profile.grid_passes]
    lines = []
    for rate in profile.rates_per_s:
        inside, outside = (t[np.isclose(t["rate_per_s"], rate)] for t in (profile.grid, out))
        lines.append(
            {
                "rate_per_s": rate,
                "episodes": len(inside),
                "rejected": len(outside),
                "with_rule": log_scatter(inside, profile.knobs),
                "without": log_scatter(pd.concat([inside, outside]), profile.knobs),
            }
        )
    return pd.DataFrame(lines)


def log_scatter(rows: pd.DataFrame, knobs: list[str]) -> float:
    """Return the scatter of repeated episodes of a configuration; all `rows` have one load.

    It is the standard deviation of the logarithm of an episode's mean latency around the mean of
    its configuration, after the median of each pass is subtracted. Only configurations with repeats
    count, also for the median, since a pass may measure only the good ones again. It is NaN without
    repeats.
    """
    rows = rows[rows.groupby(knobs)["mean_s"].transform("size") > 1]
    logs = np.log(rows["mean_s"])
    logs = logs - logs.groupby([rows["pass"], rows["repeat"]]).transform("median")
    own = logs - logs.groupby([rows[knob] for knob in knobs]).transform("mean")
    repeats = logs.groupby([rows[knob] for knob in knobs]).transform("size")
    return float(np.sqrt((own**2).sum() / (1 - 1 / repeats).sum())) if len(rows) else np.nan


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables of a profile, and write its summary."""
    parser = Parser(prog="python -m rrl.recording.evidence", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="a profile, such as data/mobilenet_v2-joint")
    folder = parser.parse_args(argv).folder
    profile = read_profile(folder)
    out = rejected(profile, folder)
    for title, table in (
        ("agreement of the halves", agreement(profile).set_index("rate_per_s").T),
        ("usual settings relative to the best", usual_settings(profile)),
        ("scatter of repeats (standard deviation of the logarithm)", scatter(profile, folder)),
        ("most often rejected", out.nlargest(10, "fraction")),
    ):
        print(f"\n{title}\n{table.to_string(float_format='{:.3f}'.format)}")
    text = summary(profile).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomically(folder / SUMMARY, text)


if __name__ == "__main__":
    raise SystemExit(main())
