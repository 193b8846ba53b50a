"""Figures of goals other than the mean latency: the fraction of late requests, and the CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from rrl.plotting.shared import MS, marker, plain_log_ticks

if TYPE_CHECKING:
    import pandas as pd


def plot_by_goal(rows: pd.DataFrame, measure: str, goals: Sequence[str], ax: Axes) -> Axes:
    """Plot a measure of each agent for each goal: medians, with lines for their intervals.

    Agents are the rows, and colours show the goals. So they are not the colours of agents.

    Parameters
    ----------
    rows : DataFrame
        Rows of :func:`rrl.studies.goals.deployed_by_goal` for one problem. Rows with the goal
        ``none`` are drawn in black.
    measure : str
        A column with ``..._low`` and ``..._high`` beside it.
    goals : sequence of str
        The goals to show, in their order.
    ax : Axes
    """
    agents = list(dict.fromkeys(rows["agent"]))
    shades = mpl.colormaps["viridis"](np.linspace(0, 1, len(goals) + 2)[1:-1])
    for number, goal in enumerate(["none", *goals]):
        shown = rows[rows["goal"] == goal]
        offset = 0.0 if goal == "none" else 0.16 * (number - 1 - (len(goals) - 1) / 2)
        y = [agents.index(agent) + offset for agent in shown["agent"]]
        colour = "black" if goal == "none" else shades[number - 1]
        label = "not tuned" if goal == "none" else goal
        ax.hlines(y, shown[f"{measure}_low"], shown[f"{measure}_high"], color=colour, lw=1.2)
        ax.plot(shown[measure], y, marker(number), ms=4, color=colour, label=label)
    ax.set_yticks(range(len(agents)), list(agents))
    ax.set_ylim(len(agents) - 0.5, -0.5)
    return ax


def plot_cpus(
    cpus: ArrayLike,
    p99_s: ArrayLike,
    on_front: NDArray[np.bool_],
    target_s: float,
    ax: Axes,
) -> Axes:
    """Plot the p99 of each configuration against its CPUs, and the Pareto front as steps.

    Parameters
    ----------
    cpus, p99_s : array_like, shape (n,)
        The number of CPUs and the p99 in seconds.
    on_front : ndarray of bool, shape (n,)
    target_s : float
        The promised p99 in seconds, a dotted line.
    ax : Axes
    """
    x, y = np.asarray(cpus, dtype=float), MS * np.asarray(p99_s, dtype=float)
    ax.plot(x, y, "o", ms=2.5, color="0.75", mew=0, label="a configuration")
    order = np.flatnonzero(on_front)[np.argsort(x[on_front])]
    ax.step(x[order], y[order], "-", where="post", color="black", lw=1.2, label="Pareto front")
    ax.plot(x[order], y[order], "s", ms=3.5, color="black")
    ax.axhline(MS * target_s, ls=":", lw=1, color="0.25", label="loose target")
    ax.set(xlabel="CPUs", ylabel="p99 (ms)", yscale="log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_log_ticks(ax.yaxis)
    ax.legend(fontsize="small", loc="lower left")  # where the front leaves room
    return ax
