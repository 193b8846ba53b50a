"""Figures of the notebook on adaptive regions; :mod:`rrl.plotting.shared` has the style."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rrl.core.region import theoretical_radius
from rrl.plotting.shared import agent_style, plain_log_ticks, plot_intervals

STYLES = {"schedule": "rrl", "selected": "rrl-adaptive", "oracle": "oracle"}
"""The agent whose style each way to choose the radius has."""


def plot_ratios(table: pd.DataFrame, ax: Axes) -> Axes:
    """Plot by horizon what is paid above the best, over what the best fixed radius pays.

    Parameters
    ----------
    table : DataFrame
        The columns are radius (a name of `STYLES`), horizon (episodes), ratio, low and high.
    """
    ax.axhline(1, color="0.6", lw=1, label="best fixed radius")
    for i, (name, rows) in enumerate(table.groupby("radius", sort=False)):
        at = rows["horizon"] * 1.04 ** (i - 1)  # so that intervals do not overlap
        numbers = (rows[column] for column in ("ratio", "low", "high"))
        plot_intervals(ax, at, *numbers, label=name, **agent_style(STYLES[str(name)], capsize=2))
    horizons = table["horizon"].unique()
    ax.set(xscale="log", yscale="log", xlabel="episodes")
    ax.set_ylabel("paid above the best,\nover the best fixed radius")
    ax.set_xticks(horizons, [f"{horizon}" for horizon in horizons])
    ax.set_xticks([], minor=True)
    plain_log_ticks(ax.yaxis)
    return ax


def plot_radius(blocks: pd.DataFrame, dimensions: int, episodes: int, ax: Axes) -> Axes:
    """Plot the radius over the runs: its median, its quartiles, and what theory recommends.

    Parameters
    ----------
    blocks : DataFrame
        A row has the `seed` of a run, and the first `episode` and the `radius` (steps) of one of
        its blocks. All runs have the same first radius.
    dimensions : int
        The number of knobs.
    episodes : int
        The end of the axis.
    """
    t = np.unique(np.geomspace(5, episodes, 120).astype(int))
    radii = blocks.pivot(index="episode", columns="seed", values="radius").ffill()
    radii = radii.reindex(t, method="ffill")
    low, middle, high = np.quantile(radii, [0.25, 0.5, 0.75], axis=1)
    how = agent_style("rrl-adaptive", marker="", ls="-")
    ax.fill_between(t, low, high, color=how["color"], alpha=0.3, linewidth=0)
    ax.plot(t, middle, label="selected, median and middle half", **how)
    start = blocks["radius"].iloc[0]
    ax.plot(t, theoretical_radius(start, t, dimensions), ":", color="0.1", label="schedule: theory")
    ax.set(xscale="log", xlabel="episode", ylabel="radius (steps)", ylim=(0, None))
    return ax
