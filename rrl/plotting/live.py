"""Figures of the closed loop on a live server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rrl.plotting.shared import MS, agent_label

if TYPE_CHECKING:
    import pandas as pd

_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def plot_load_phases(
    values: pd.DataFrame,
    starts: Sequence[int],
    rates_per_s: Sequence[float],
    label: str,
    ax: Axes | None = None,
) -> Axes:
    """Plot a measure over the episodes of a run, one line per contestant, with the load's phases.

    `values` has one column per contestant and one row per episode.
    """
    ax = ax or plt.gca()
    for i, name in enumerate(values.columns):
        ax.plot(
            values.index, values[name], ls=_LINES[i % len(_LINES)], lw=1.4, label=agent_label(name)
        )
    edges = [*starts, len(values)]
    for i, rate in enumerate(rates_per_s):
        if i % 2:
            ax.axvspan(edges[i] - 0.5, edges[i + 1] - 0.5, color="0.93", zorder=0)
        middle = (edges[i] + edges[i + 1] - 1) / 2
        ax.annotate(
            f"{rate:g}/s",
            (middle, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize="small",
        )
    ax.set(xlabel="episode", ylabel=label, xlim=(-0.5, len(values) - 0.5))
    sns.despine(ax=ax)
    return ax


def plot_ratios(
    ratios: Mapping[str, tuple[float, float, float]], label: str, ax: Axes | None = None
) -> Axes:
    """Plot each contestant's ratio to the default, with its interval; below 1 is better."""
    ax = ax or plt.gca()
    for y, (centre, low, high) in enumerate(ratios.values()):
        reach: NDArray[np.float64] = np.array([[centre - low], [high - centre]])
        ax.errorbar(centre, y, xerr=reach, fmt="o", color=f"C{y + 1}", capsize=3)
    ax.axvline(1, color="0.5", lw=1, ls="--")
    names = [agent_label(name) for name in ratios]
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel=label, xscale="log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
    ax.invert_yaxis()
    sns.despine(ax=ax)
    return ax


def per_episode(table: pd.DataFrame, slo_s: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables of mean latency (ms) and share of requests above `slo_s` (seconds).

    Each table has one row per episode and one column per contestant.
    """
    late = [float((latency > slo_s).mean()) for latency in table["latency_s"]]
    with_late = table.assign(late=late, mean_ms=MS * table["mean_s"])
    by_episode = with_late.pivot(index="episode", columns="contestant", values=["mean_ms", "late"])
    return by_episode["mean_ms"], by_episode["late"]
