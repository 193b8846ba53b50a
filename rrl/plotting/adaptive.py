"""Figures of the notebook on adaptive regions; :mod:`rrl.plotting.shared` has the style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rrl.core.region import recommended_radius
from rrl.plotting.shared import agent_style, plain_log_ticks, plot_intervals, radius_style


def plot_horizons(table: pd.DataFrame, adaptive: str, ax: Axes) -> Axes:
    """Plot each agent's mean cost up to each horizon, with intervals; highlight the adaptive one.

    Parameters
    ----------
    table : DataFrame
        The columns are agent, horizon (episodes), centre, low and high. The agents with a fixed
        radius are named ``radius 0``, ``radius 1`` and so on.
    adaptive : str
        This is the name of the adaptive agent in the table.
    """
    names = [name for name in table["agent"].unique() if name != adaptive]
    for i, name in enumerate([*names, adaptive]):
        rows = table[table["agent"] == name]
        shift = 1.03 ** (i - len(names) / 2)  # so that markers do not overlap
        if name == adaptive:
            how = agent_style("rrl-adaptive", lw=2)
        else:
            how = radius_style(float(name.removeprefix("radius ")), lw=1, ms=5)
        above = [rows[column] - 1 for column in ("centre", "low", "high")]
        plot_intervals(ax, rows["horizon"] * shift, *above, label=name, **how)
    ax.set(xscale="log", yscale="log", xlabel="episodes")
    ax.set_ylabel("mean cost / optimum \N{MINUS SIGN} 1")
    ax.set_xticks(table["horizon"].unique(), [f"{h}" for h in table["horizon"].unique()])
    ax.set_xticks([], minor=True)
    plain_log_ticks(ax.yaxis)
    return ax


def plot_radius(
    histories: Sequence[Sequence[tuple[int, float]]],
    dimensions: int,
    best_fixed: Mapping[int, float],
    episodes: int,
    ax: Axes,
) -> Axes:
    """Plot the radius over a run: quartiles of the runs, the theory, and the best fixed radii.

    Parameters
    ----------
    histories : sequence of list of (int, float)
        Each run has a list with the first episode and the radius (steps) of each block. All runs
        have the same first radius.
    dimensions : int
        This is the number of knobs.
    best_fixed : mapping of int to float
        For each horizon (episodes), this is the fixed radius with the lowest cost.
    episodes : int
        The axis ends at this episode.
    """
    t = np.unique(np.geomspace(5, episodes, 120).astype(int))
    steps = [(np.array([e for e, _ in h]), np.array([r for _, r in h])) for h in histories]
    radii = np.array([r[np.searchsorted(e, t, side="right") - 1] for e, r in steps])
    low, middle, high = np.quantile(radii, [0.25, 0.5, 0.75], axis=0)
    how = agent_style("rrl-adaptive", marker="", ls="-")
    ax.fill_between(t, low, high, color=how["color"], alpha=0.3, linewidth=0)
    ax.plot(t, middle, label="adaptive, median and middle half", **how)
    start = histories[0][0][1]
    ax.plot(t, recommended_radius(start, t, dimensions), ":", color="0.1", label="prior: theory")
    ax.plot(
        list(best_fixed),
        list(best_fixed.values()),
        "D",
        color="0.1",
        label="best fixed in hindsight",
    )
    ax.set(xscale="log", xlabel="episode", ylabel="radius (steps)", ylim=(0, None))
    return ax
