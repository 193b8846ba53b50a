"""Figures of the notebook on adaptive regions; :mod:`rrl.plotting.shared` has the style."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rrl.core.region import theoretical_radius
from rrl.plotting.shared import agent_style, marker, plain_log_ticks, plot_intervals


def plot_horizons(table: pd.DataFrame, ax: Axes) -> Axes:
    """Plot each agent's excess up to each horizon, with intervals; highlight the adaptive one.

    Parameters
    ----------
    table : DataFrame
        The columns are agent, horizon (episodes), centre, low and high. The agents with a fixed
        radius come in the order of their radii; a larger one is a darker green. The other is
        ``adaptive``.
    """
    names = [name for name in table["agent"].unique() if name != "adaptive"]
    shades = mpl.colormaps["Greens"](np.linspace(0.4, 1, len(names)))
    for i, name in enumerate([*names, "adaptive"]):
        rows = table[table["agent"] == name]
        shift = 1.03 ** (i - len(names) / 2)  # so that markers do not overlap
        if name == "adaptive":
            how = agent_style("rrl-adaptive", lw=2)
        else:
            how = {"color": shades[i], "marker": marker(i), "lw": 1, "ms": 5}
        excess = [100 * rows[column] for column in ("centre", "low", "high")]
        plot_intervals(ax, rows["horizon"] * shift, *excess, label=name, **how)
    ax.set(xscale="log", yscale="log", xlabel="episodes")
    ax.set_ylabel("paid above the best (%)")
    ax.set_xticks(table["horizon"].unique(), [f"{h}" for h in table["horizon"].unique()])
    ax.set_xticks([], minor=True)
    plain_log_ticks(ax.yaxis)
    return ax


def plot_radius(blocks: pd.DataFrame, dimensions: int, best_fixed: pd.Series, ax: Axes) -> Axes:
    """Plot the radius over a run: quartiles of the runs, the theory, and the best fixed radii.

    Parameters
    ----------
    blocks : DataFrame
        A row has the `seed` of a run, and the first `episode` and the `radius` (steps) of one of
        its blocks. All runs have the same first radius.
    dimensions : int
        This is the number of knobs.
    best_fixed : Series
        The fixed radius with the lowest cost, by the horizon (episodes). The last horizon is the
        end of the axis.
    """
    t = np.unique(np.geomspace(5, best_fixed.index.max(), 120).astype(int))
    radii = blocks.pivot(index="episode", columns="seed", values="radius").ffill()
    radii = radii.reindex(t, method="ffill")
    low, middle, high = np.quantile(radii, [0.25, 0.5, 0.75], axis=1)
    how = agent_style("rrl-adaptive", marker="", ls="-")
    ax.fill_between(t, low, high, color=how["color"], alpha=0.3, linewidth=0)
    ax.plot(t, middle, label="adaptive, median and middle half", **how)
    start = blocks["radius"].iloc[0]
    ax.plot(t, theoretical_radius(start, t, dimensions), ":", color="0.1", label="prior: theory")
    ax.plot(best_fixed, "D", color="0.1", label="best fixed in hindsight")
    ax.set(xscale="log", xlabel="episode", ylabel="radius (steps)", ylim=(0, None))
    return ax
