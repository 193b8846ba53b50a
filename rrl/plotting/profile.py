"""Figures of a recorded profile: the effect of each knob, the noise of episodes, the finals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from rrl.core.knob import Configuration
from rrl.plotting.cells import RING, readable
from rrl.plotting.shared import KNOB_LABELS, MS, in_order, marker, plain_log_ticks, value_label

if TYPE_CHECKING:
    import pandas as pd

    from rrl.recording.profile import Profile


def plot_knob(profile: Profile, knob: str, at: Configuration, ax: Axes | None = None) -> Axes:
    """Plot the mean latency against one knob, one line per load; other knobs stay at `at`."""
    ax = ax or plt.gca()
    summary = profile.summary()
    for name in profile.knobs:
        if name != knob:
            summary = summary[summary[name] == at[name]]
    values = in_order(knob, summary[knob].unique())
    for i, (rate, rows) in enumerate(summary.groupby("rate_per_s")):
        rows = rows.set_index(knob).loc[values]
        ax.errorbar(
            range(len(values)),
            MS * rows["mean_s"],
            MS * rows["sem_s"].fillna(0),
            marker=marker(i),
            ls=("-", "--", ":")[i % 3],
            capsize=2,
            label=f"{rate:g} requests/s",
        )
    ax.set(
        xticks=range(len(values)),
        xticklabels=[value_label(knob, value) for value in values],
        xlabel=KNOB_LABELS.get(knob, knob),
        ylabel="mean latency (ms)",
        yscale="log",
    )
    plain_log_ticks(ax.yaxis)
    sns.despine(ax=ax)
    return ax


def plot_surface(
    profile: Profile,
    rate_per_s: float,
    knobs: tuple[str, str],
    ax: Axes | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a heat map of the mean latency over two knobs, with a ring at the best cell.

    A cell shows the lowest mean latency over the other knobs; it is grey if nothing was measured.
    `limits` (s) fixes the colour scale, so that panels can be compared.
    """
    ax = ax or plt.gca()
    summary = profile.summary()
    at_rate = summary[np.isclose(summary["rate_per_s"], rate_per_s)]
    table = MS * at_rate.groupby(list(knobs))["mean_s"].min().unstack()
    table = table.loc[in_order(knobs[0], table.index), in_order(knobs[1], table.columns)]
    low, high = (MS * limit for limit in limits) if limits else (None, None)
    sns.heatmap(
        table,
        ax=ax,
        norm=mpl.colors.LogNorm(low, high),
        cmap="cividis_r",
        annot=True,
        fmt=".0f",
        cbar=False,
        annot_kws={"size": "small"},
    )
    readable(ax, table)
    row, column = np.unravel_index(np.nanargmin(table.to_numpy()), table.shape)
    ax.plot(column + 0.5, row + 0.5, **RING)
    ax.set(
        title=f"{rate_per_s:g} requests/s",
        xlabel=KNOB_LABELS.get(knobs[1], knobs[1]),
        ylabel=KNOB_LABELS.get(knobs[0], knobs[0]),
        xticklabels=[value_label(knobs[1], value) for value in table.columns],
        yticklabels=[value_label(knobs[0], value) for value in table.index],
    )
    return ax


def plot_noise(profile: Profile, ax: Axes | None = None) -> Axes:
    """Plot the distribution of episode means divided by the mean of configuration and load."""
    ax = ax or plt.gca()
    table = profile.grid
    cells = table.groupby([*profile.knobs, "rate_per_s"])["mean_s"]
    ratio = table["mean_s"] / cells.transform("mean")
    for i, (rate, values) in enumerate(ratio.groupby(table["rate_per_s"])):
        values = np.sort(values.to_numpy())
        fraction = (np.arange(len(values)) + 0.5) / len(values)
        line = ("-", "--", ":")[i % 3]
        ax.plot(values, fraction, ls=line, lw=1.8, label=f"{rate:g} requests/s")
    ax.set(xlabel="an episode / mean of its configuration", ylabel="fraction of episodes")
    ax.legend()
    sns.despine(ax=ax)
    return ax


def plot_finals(
    finalists: Sequence[Mapping[str, Any]], knobs: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Plot the finalists of one load: the cost of each, divided by the best's, and its verdict.

    Bars show the limits that decided the verdicts, see :data:`rrl.recording.truth.CONFIDENCE`.
    """
    ax = ax or plt.gca()
    ranked = sorted(finalists, key=lambda f: (f["verdict"] != "best", f["ratio"]))
    markers = {"best": "*", "tied": "o", "separated": "x", "undecided": "s"}
    for y, finalist in enumerate(ranked):
        verdict, ratio = finalist["verdict"], finalist["ratio"]
        reach = [[ratio - finalist.get("low", ratio)], [finalist.get("high", ratio) - ratio]]
        ax.errorbar(
            ratio,
            y,
            xerr=reach,
            fmt=markers[verdict],
            ms=9 if verdict == "best" else 6,
            color=f"C{list(markers).index(verdict)}",
            label=verdict,
        )
    names = [" / ".join(value_label(k, f[k]) for k in knobs) for f in ranked]
    ax.axvline(1, color="0.5", lw=1, ls="--", zorder=0)
    ax.set(yticks=range(len(ranked)), yticklabels=names)
    ax.set(xlabel="mean latency / that of the best", xscale="log")
    plain_log_ticks(ax.xaxis)
    ax.invert_yaxis()
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    ax.legend(unique.values(), unique.keys())
    sns.despine(ax=ax)
    return ax


def plot_usual(settings: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot what settings that need no tuning cost at one load, relative to the best.

    Parameters
    ----------
    settings : DataFrame
        The rows of one load, as :func:`rrl.recording.evidence.usual_settings` returns them. Bars
        are the 95 % limits. A setting that was in no finals has no point.
    ax : Axes, optional
    """
    ax = ax or plt.gca()
    names = list(dict.fromkeys(settings["setting"]))
    for half, rows in settings.groupby("half"):
        y = [names.index(name) + 0.24 * half - 0.12 for name in rows["setting"]]
        reach = [rows["ratio"] - rows["low"], rows["high"] - rows["ratio"]]
        ax.errorbar(
            rows["ratio"], y, xerr=reach, label=f"half {half} judges", fmt=marker(half),
            color=f"C{half}", capsize=2,
        )  # fmt: skip
    ax.axvline(1, color="0.5", lw=1, ls="--")
    ax.set(xlabel="mean latency / that of the best", xscale="log")
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    plain_log_ticks(ax.xaxis)
    sns.despine(ax=ax)
    return ax
