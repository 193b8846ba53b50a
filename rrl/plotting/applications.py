"""Figures of the applications: other goals than the mean latency, a live server, IoT devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from rrl.plotting.shared import MS, agent_style, marker, plain_log_ticks, plot_intervals
from rrl.workloads.device_day import HOURS

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]
STARTS_AT = 9  # the hour of the clock at which the day begins, so that its peak is at 15:00
NIGHT = (17.5, 18.5)  # when the firmware update comes, in hours since the start of the day


# --- Other goals ---------------------------------------------------------------------------------


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


# --- A live server -------------------------------------------------------------------------------


def plot_load_phases(
    values: pd.DataFrame,
    starts: Sequence[int],
    rates_per_s: Sequence[float],
    label: str,
    axes: Sequence[Axes],
) -> None:
    """Plot a measure over the episodes of a run, one panel per contestant, with the load's phases.

    Parameters
    ----------
    values : DataFrame
        It has one row per episode and one column per contestant. The first column is in each panel
        as a grey line. Each of the others has a panel.
    starts : sequence of int
        These are the first episodes of the phases.
    rates_per_s : sequence of float
        These are the loads of the phases, in requests per second.
    label : str
        This is the measure with its unit.
    axes : sequence of Axes
        There is one for each column but the first.
    """
    reference, *names = values.columns
    for ax, name in zip(axes, names, strict=True):
        for column, width in ((reference, 1.0), (name, 1.5)):
            how = {**agent_style(column), "ms": 3, "lw": width, "label": column}
            ax.plot(values.index, values[column], **how)
        _shade_phases(ax, [*starts, len(values)], rates_per_s)
        ax.set_title(name, pad=16)
        ax.set(xlabel="episode", xlim=(-0.5, len(values) - 0.5))
    axes[0].set_ylabel(label)


def _shade_phases(ax: Axes, edges: Sequence[int], rates_per_s: Sequence[float]) -> None:
    """Shade every second phase, and write the rates above the panel."""
    for i, rate in enumerate(rates_per_s):
        if i % 2:
            ax.axvspan(edges[i] - 0.5, edges[i + 1] - 0.5, color="0.93", zorder=0)
        middle = (edges[i] + edges[i + 1] - 1) / 2
        ax.annotate(
            f"{rate:.0f}/s", (middle, 1.0), xycoords=ax.get_xaxis_transform(), fontsize="x-small",
            ha="center", va="bottom",
        )  # fmt: skip


def plot_live_ratios(
    ratios: Mapping[str, tuple[float, float, float]],
    label: str,
    ax: Axes,
    each: pd.DataFrame | None = None,
) -> Axes:
    """Plot each contestant's ratio to the default, with its interval; below 1 is better.

    Small points are the ratios of the single runs: `each` has a column per contestant.
    """
    for y, (name, values) in enumerate(ratios.items()):
        if each is not None:
            ax.plot(each[name], np.full(len(each), y - 0.3), ".", color="0.4", ms=3)
        plot_intervals(ax, y, *values, in_rows=True, **agent_style(name), capsize=3)
    ax.axvline(1, color="0.5", lw=1, ls="--")
    names = list(ratios)
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel=label, xscale="log")
    plain_log_ticks(ax.xaxis)
    ax.set_ylim(len(names) - 0.5, -0.5)
    return ax


def per_episode(table: pd.DataFrame, slo_s: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables of mean latency (ms) and fraction of requests above `slo_s` (seconds).

    Each table has one row per episode and one column per contestant.
    """
    late = [float((latency > slo_s).mean()) for latency in table["latency_s"]]
    with_late = table.assign(late=late, mean_ms=MS * table["mean_s"])
    by_episode = with_late.pivot(index="episode", columns="contestant", values=["mean_ms", "late"])
    return by_episode["mean_ms"], by_episode["late"]


# --- Devices -------------------------------------------------------------------------------------


def clock_axis(ax: Axes) -> None:
    """Label an axis of hours since the start of the day by the clock, and shade the update."""
    ticks = np.arange(0, HOURS + 1, 6)
    ax.set(xticks=ticks, xlim=(0, HOURS), xlabel="hour of the day")
    ax.set_xticklabels([f"{(STARTS_AT + tick) % HOURS}:00" for tick in ticks])
    ax.axvspan(*NIGHT, color="0.9", zorder=0)


def plot_saved(saved: Mapping[str, Values], hour: Values, title: str, ax: Axes) -> Axes:
    """Plot what each agent has saved so far, with the quartiles over the seeds.

    Parameters
    ----------
    saved : mapping of str to ndarray, shape (seeds, episodes)
        Fraction of the default's latency of the whole day, see
        :func:`rrl.studies.days.saved_so_far`. What lies below -100 % is cut off.
    hour : ndarray, shape (seeds, episodes)
        The hour of the day at which each episode ended.
    title : str
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
    ax.set_title(title, loc="left")
    ax.set_ylim(bottom=max(ax.get_ylim()[0], -100))
    clock_axis(ax)
    return ax
