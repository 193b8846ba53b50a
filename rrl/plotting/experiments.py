"""Figures of the experiments: what clients pay over the episodes, by agent, and on tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrl.core.space import Floats
from rrl.plotting.shared import (
    agent_style,
    legend_below,
    plain_log_ticks,
    plot_intervals,
    style,
)

ROW_LINE = 0.11  # inches between two agents of a table, so that their markers do not touch
LEAST = 0.1  # per cent: a smaller excess is drawn there, because the axis is logarithmic


def plot_excess(curves: Mapping[str, Floats], ax: Axes) -> Axes:
    """Plot the mean excess of the first episodes, for each number of episodes: a line per agent.

    Parameters
    ----------
    curves : mapping of str to ndarray, shape (episodes,)
        The excess of each agent, as a fraction.
    """
    for name, values in curves.items():
        episodes = np.arange(1, len(values) + 1)
        how = agent_style(name, lw=1.3, ms=4, markevery=0.15, label=name)
        ax.plot(episodes, np.maximum(100 * values, LEAST), **how)
    ax.set(xlabel="episodes", xscale="log", yscale="log")
    plain_log_ticks(ax.yaxis)
    plain_log_ticks(ax.xaxis)
    return ax


def plot_agents(table: pd.DataFrame, reference: str, axes: Sequence[Axes]) -> None:
    """Plot the excess of each agent over that of a reference, and the share of its stuck runs.

    Parameters
    ----------
    table : DataFrame
        See :func:`rrl.studies.outcomes.beside`. The first agent is on top.
    reference : str
        The agent by whose excess those of the others are divided.
    axes : sequence of Axes
        Two panels, side by side.
    """
    for y, (agent, row) in enumerate(table.iterrows()):
        how = agent_style(str(agent), ls="", ms=5, lw=1.2)
        plot_intervals(axes[0], y, row["ratio"], row["low"], row["high"], in_rows=True, **how)
        axes[1].barh(y, 100 * row["stuck"], color=how["color"], alpha=0.6, height=0.6)
    axes[0].axvline(1, color="0.3", lw=0.8, zorder=0)
    axes[0].set(xscale="log", xlabel=f"excess / that of {reference} (left is better)")
    axes[0].set_yticks(range(len(table)), list(table.index))
    plain_log_ticks(axes[0].xaxis)
    axes[1].set(xlim=(0, 100), xlabel="stuck: runs that end over 25 % above the best (%)")
    for ax in axes:
        ax.set_ylim(len(table) - 0.5, -0.5)
        ax.grid(axis="y", lw=0.4)


def plot_table_races(table: pd.DataFrame, agents: Sequence[str]) -> Figure:
    """Plot the excess of each agent on each table: means with their 95 % intervals.

    Parameters
    ----------
    table : DataFrame
        See :func:`rrl.studies.outcomes.what_clients_pay`. The first table is on top.
    agents : sequence of str
        Within a row they lie in this order, from top to bottom.
    """
    style()
    tables = list(table["table"].unique())
    row = ROW_LINE * (len(agents) + 1)  # inches
    figure = Figure(figsize=(6.4, 1.1 + row * len(tables)), layout="constrained")
    ax = figure.subplots()
    for number in range(0, len(tables), 2):
        ax.axhspan(number - 0.5, number + 0.5, color="0.95", lw=0, zorder=0)
    for i, agent in enumerate(agents):
        cells = table[table["agent"] == agent].set_index("table").reindex(tables)
        y = np.arange(len(tables)) + (i - (len(agents) - 1) / 2) * ROW_LINE / row
        names = "excess", "excess_low", "excess_high"
        values = (np.maximum(100 * cells[name].to_numpy(), LEAST) for name in names)
        how = agent_style(agent, ls="", ms=5, lw=1, label=agent)
        plot_intervals(ax, y, *values, in_rows=True, **how)
    ax.set(xlabel="paid above the best (%): mean and 95 % interval", xscale="log")
    ax.set_yticks(range(len(tables)), tables, parse_math=False)  # a name may have dollar signs
    ax.set_ylim(len(tables) - 0.5, -0.5)
    plain_log_ticks(ax.xaxis)
    legend_below(figure, ax, 4)
    return figure
