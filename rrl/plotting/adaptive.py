"""Figures of the notebook on adaptive regions; :mod:`rrl.plotting.shared` has the style."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from rrl.plotting.shared import agent_style, plain_log_ticks, plot_intervals

STYLES = {
    "schedule": agent_style("rrl"),
    "selected": agent_style("rrl-adaptive", lw=2),
    "oracle, by the same runs": agent_style("oracle"),
    "oracle, by the other runs": agent_style("oracle", ls=":"),
}
"""The style of each way to choose the radius."""


def plot_ratios(table: pd.DataFrame, ax: Axes) -> Axes:
    """Plot by horizon what is paid above the best, over what the best fixed radius pays.

    Parameters
    ----------
    table : DataFrame
        The columns are radius (a name of `STYLES`), horizon (episodes), ratio, low and high.
    """
    ax.axhline(1, color="0.6", lw=1, label="best fixed radius")
    for i, (name, rows) in enumerate(table.groupby("radius", sort=False)):
        at = rows["horizon"] * 1.04 ** (i - 1.5)  # so that intervals do not overlap
        numbers = (rows[column] for column in ("ratio", "low", "high"))
        plot_intervals(ax, at, *numbers, label=name, **STYLES[str(name)])
    horizons = table["horizon"].unique()
    ax.set(xscale="log", yscale="log", xlabel="episodes")
    ax.set_ylabel("paid above the best,\nover the best fixed radius")
    ax.set_xticks(horizons, [f"{horizon}" for horizon in horizons])
    ax.set_xticks([], minor=True)
    plain_log_ticks(ax.yaxis)
    return ax
