"""Figures of a recorded profile: the effect of each knob, the finals, and usual settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.plotting.cells import on_grid, plot_cells, value_order
from rrl.plotting.shared import (
    KNOB_LABELS,
    MS,
    marker,
    plain_log_ticks,
    plot_intervals,
    value_label,
)
from rrl.recording.profile import Profile

FINALS = (0.9, 2.0)  # ends of the axis of the finals


def plot_knob(profile: Profile, knob: str, at: Configuration, ax: Axes) -> Axes:
    """Plot the mean latency against one knob, one line per load; other knobs stay at `at`.

    Bars are standard errors over the episodes.
    """
    summary = profile.summary()
    for name in profile.knobs:
        if name != knob:
            summary = summary[summary[name] == at[name]]
    own = profile.space.knobs[profile.knobs.index(knob)]
    values = [own.values[index] for index in value_order(own)]
    for i, (rate, rows) in enumerate(summary.groupby("rate_per_s")):
        rows = rows.set_index(knob).reindex(values)
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
    return ax


def plot_surface(profile: Profile, rate_per_s: float, knobs: tuple[str, str], ax: Axes) -> Axes:
    """Draw a heat map of the mean latency (ms) over two knobs, with the best cell in a ring.

    A cell shows the lowest mean latency over the other knobs; it is hatched if nothing was
    measured. The best one has its number. The colours are the same at all loads.
    """
    space = ConfigSpace([profile.space.knobs[profile.knobs.index(name)] for name in knobs])
    summary = profile.summary()
    at_rate = summary[np.isclose(summary["rate_per_s"], rate_per_s)]
    lowest = at_rate.groupby(list(knobs), as_index=False)["mean_s"].min()
    values = np.full(len(space), np.nan)
    values[space.indices(lowest)] = MS * lowest["mean_s"]
    best = int(np.nanargmin(values))
    scale = (MS * summary["mean_s"].min(), MS * summary["mean_s"].max())
    plot_cells(space, values, ax, text="", clim=scale, ring=best)
    ((y, x),) = np.argwhere(on_grid(space, np.arange(len(space))) == best)
    ax.annotate(f"{values[best]:.0f}", (x, y), xytext=(0, -12.0), textcoords="offset points",
                ha="center", va="center", color="black")  # fmt: skip
    ax.set_title(f"{rate_per_s:g} requests/s")
    return ax


def plot_finals(finalists: Sequence[Mapping[str, Any]], knobs: Sequence[str], ax: Axes) -> Axes:
    """Plot the finalists of one load: the cost of each, divided by the best's, and its verdict.

    Bars show the limits that decided the verdicts, see :data:`rrl.recording.truth.CONFIDENCE`. An
    arrow at an end of the axis, `FINALS`, says that a bar goes on.
    """
    ranked = sorted(finalists, key=lambda f: (f["verdict"] != "best", f["ratio"]))
    markers = {"best": "*", "tied": "o", "separated": "x", "undecided": "s"}
    for y, finalist in enumerate(ranked):
        verdict, ratio = finalist["verdict"], finalist["ratio"]
        low, high = finalist.get("low", ratio), finalist.get("high", ratio)
        how: dict[str, Any] = {
            "ms": 9 if verdict == "best" else 6,
            "color": f"C{list(markers).index(verdict)}",
        }
        plot_intervals(
            ax, y, ratio, low, high, in_rows=True, fmt=markers[verdict], label=verdict, **how
        )
        if low < FINALS[0]:
            ax.plot(FINALS[0], y, "<", clip_on=False, **how)
        if high > FINALS[1]:
            ax.plot(FINALS[1], y, ">", clip_on=False, **how)
    names = [" / ".join(value_label(k, f[k]) for k in knobs) for f in ranked]
    ax.axvline(1, color="0.5", lw=1, ls="--", zorder=0)
    ax.set(yticks=range(len(ranked)), yticklabels=names)
    ax.set(xlabel="mean latency / that of the best", xscale="log", xlim=FINALS)
    plain_log_ticks(ax.xaxis)
    ax.set_xticks([1, 1.2, 1.5, 2])
    ax.invert_yaxis()
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    ax.legend(unique.values(), unique.keys())
    return ax


def plot_usual(settings: pd.DataFrame, ax: Axes) -> Axes:
    """Plot what settings that need no tuning cost at one load, relative to the best.

    Parameters
    ----------
    settings : DataFrame
        The rows of one load, as :func:`rrl.recording.evidence.usual_settings` returns them. Bars
        are the 95 % limits. A setting that was in no finals has no point.
    ax : Axes
    """
    names = list(dict.fromkeys(settings["setting"]))
    for half, rows in settings.groupby("half"):
        y = [names.index(name) + 0.24 * half - 0.12 for name in rows["setting"]]
        plot_intervals(
            ax, y, rows["ratio"], rows["low"], rows["high"], in_rows=True, capsize=2,
            label=f"half {half} judges", fmt=marker(half), color=f"C{half}",
        )  # fmt: skip
    ax.axvline(1, color="0.5", lw=1, ls="--")
    ax.set(xlabel="mean latency / that of the best", xscale="log")
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    plain_log_ticks(ax.xaxis)
    return ax
