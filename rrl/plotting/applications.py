"""Figures of the applications: other goals than the mean latency, a live server, IoT devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rrl.core.space import Floats
from rrl.plotting.shared import MS, agent_style, marker, plain_log_ticks, plot_intervals
from rrl.workloads.devices import HOURS

STARTS_AT = 9  # the hour of the clock at which the day begins, so that its peak is at 15:00
NIGHT = (17.5, 18.5)  # when the firmware update comes, in hours since the start of the day


# --- Other goals ---------------------------------------------------------------------------------


def plot_by_goal(rows: pd.DataFrame, measure: str, goals: Sequence[str], ax: Axes) -> Axes:
    """Plot a measure of each agent for each goal: medians, with lines for their intervals.

    Agents are the rows, and colours show the goals. So they are not the colours of agents.

    Parameters
    ----------
    rows : DataFrame
        Medians by agent and goal (:func:`rrl.studies.outcomes.medians`) for one problem. Rows with
        the goal ``none`` are drawn in black.
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
    cpus: Floats, p99_s: Floats, on_front: NDArray[np.bool_], target_s: float, ax: Axes
) -> Axes:
    """Plot the p99 of each configuration against its CPUs, and the Pareto front as steps.

    Parameters
    ----------
    cpus, p99_s : ndarray, shape (n,)
        The number of CPUs and the p99 in seconds.
    on_front : ndarray of bool, shape (n,)
    target_s : float
        The promised p99 in seconds, a dotted line.
    ax : Axes
    """
    x, y = cpus, MS * p99_s.astype(float)
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


# --- A live server -------------------------------------------------------------------------------


def plot_live_ratios(
    ratios: Mapping[str, tuple[float, float, float]], each: pd.DataFrame, ax: Axes
) -> Axes:
    """Plot each contestant's ratio to the default, with its interval; below 1 is better.

    Small points are the ratios of the single runs: `each` has a column per contestant.
    """
    for y, (name, values) in enumerate(ratios.items()):
        ax.plot(each[name], np.full(len(each), y - 0.3), ".", color="0.4", ms=3)
        plot_intervals(ax, y, *values, in_rows=True, **agent_style(name), capsize=3)
    ax.axvline(1, color="0.5", lw=1, ls="--")
    names = list(ratios)
    ax.set(yticks=range(len(names)), yticklabels=names, xscale="log")
    plain_log_ticks(ax.xaxis)
    ax.set_ylim(len(names) - 0.5, -0.5)
    return ax


# --- Devices -------------------------------------------------------------------------------------


def plot_saved(saved: Mapping[str, Floats], hour: Floats, ax: Axes) -> Axes:
    """Plot what each agent has saved so far, by the clock, with the quartiles over the seeds.

    The firmware update of the night is shaded.

    Parameters
    ----------
    saved : mapping of str to ndarray, shape (seeds, episodes)
        The latency that was saved by the end of each episode, as a fraction of the default's in the
        whole day. Values below -100 % are cut off.
    hour : ndarray, shape (seeds, episodes)
        The hour of the day at which each episode ended.
    ax : Axes
    """
    hours = np.median(hour, axis=0)
    for name, fraction in saved.items():
        low, middle, high = 100 * np.quantile(fraction, [0.25, 0.5, 0.75], axis=0)
        every = max(fraction.shape[1] // 8, 1)
        how = {**agent_style(name), "ms": 4, "lw": 1.4, "markevery": every}
        ax.plot(hours, middle, label=name, **how)
        ax.fill_between(hours, low, high, color=how["color"], alpha=0.15, lw=0)
    ax.axhline(0, color="0.25", lw=1)
    ax.set_ylim(bottom=max(ax.get_ylim()[0], -100))
    ticks = np.arange(0, HOURS + 1, 6)
    ax.set(xticks=ticks, xlim=(0, HOURS), xlabel="hour of the day")
    ax.set_xticklabels([f"{(STARTS_AT + tick) % HOURS}:00" for tick in ticks])
    ax.axvspan(*NIGHT, color="0.9", zorder=0)
    return ax
