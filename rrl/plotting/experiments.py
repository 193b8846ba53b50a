"""Figures of the experiments: duels, mean costs at all loads and on tables, a load in phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rrl.plotting.shared import (
    MS,
    agent_style,
    legend_below,
    plain_log_ticks,
    plot_intervals,
    style,
)

ROW_LINE = 0.11  # inches between two agents of a table, so that their markers do not touch
LABELS = {
    "stays_within_5": "episodes until within 5 % to the end",
    "first_within_5": "first episode within 5 %",
    "deployed": "deployed cost / best",
    "mean_cost": "mean cost over the best",
}


def plot_everywhere(
    reached: pd.DataFrame, costs: pd.DataFrame, axes: Sequence[Axes] | NDArray[Any]
) -> None:
    """Plot at how many loads each agent reaches the goal, and its cost over the lowest.

    Agents are sorted by their median cost, from the cheapest on top.

    Parameters
    ----------
    reached : DataFrame
        The median number of episodes: one row per agent and one column per load. An infinite
        number means never.
    costs : DataFrame
        The median cost: one row per agent and one column per problem.
    axes : sequence of Axes
        Two panels, side by side.
    """
    ratio = costs / costs.min()
    order = list(ratio.median(axis=1).sort_values().index)
    counts = np.isfinite(reached.loc[order]).sum(axis=1)
    y = np.arange(len(order))
    axes[0].barh(y, counts, color="0.55", height=0.6)
    possible = int(np.isfinite(reached).any().sum())
    axes[0].axvline(possible, color="0.25", ls=":", lw=1)
    axes[0].annotate("any agent", (possible, 1), xycoords=("data", "axes fraction"),
                     fontsize="x-small", ha="center", va="bottom")  # fmt: skip
    axes[0].set(xlim=(0, reached.shape[1]), xlabel=f"loads solved, of {reached.shape[1]}")
    axes[0].set_yticks(y, order)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for row, agent in enumerate(order):
        values = ratio.loc[agent].dropna()
        how = agent_style(agent, ls="", ms=3.5, mew=0, alpha=0.6)
        axes[1].plot(values, np.full(len(values), row), **how)
        axes[1].plot(values.median(), row, "|", ms=9, mew=1.5, color="black")
    axes[1].set_xscale("log")
    axes[1].grid(axis="y", lw=0.4)
    plain_log_ticks(axes[1].xaxis)
    axes[1].plot([], [], "o", ms=3, color="0.6", mew=0, label="a problem")
    axes[1].plot([], [], "|", ms=9, mew=1.5, color="black", label="median")
    axes[1].legend(fontsize="small", loc="upper right")
    axes[1].set(xlabel="mean cost / that of the cheapest agent")
    for ax in axes:
        ax.set_ylim(len(order) - 0.5, -0.5)


def plot_ratio_panels(rows: pd.DataFrame, reference: str) -> Figure:
    """Plot the ratios of agents to a reference, a panel per measure.

    A marker is a problem: hollow if the verdict there is "tied", otherwise full.

    Parameters
    ----------
    rows : DataFrame
        See :func:`rrl.studies.outcomes.duels`. The rivals are the rows of the figure, in their
        order.
    reference : str
        Name of the agent by whose measures those of the others are divided.
    """
    measures, agents = (list(dict.fromkeys(rows[name])) for name in ("measure", "rival"))
    height = 1.5 + 0.3 * len(agents)
    fig, axes = plt.subplots(
        1, len(measures), figsize=(11, height), layout="constrained", sharey=True
    )
    for ax, measure in zip(axes, measures, strict=True):
        for y, agent in enumerate(agents):
            own = rows[(rows["measure"] == measure) & (rows["rival"] == agent)]
            tied = (own["verdict"] == "tied").to_numpy()
            how = agent_style(agent, ls="", ms=4.5, mew=0.8)
            for those, face in ((~tied, {}), (tied, {"mfc": "white", "zorder": 1.9})):
                ax.plot(own["ratio"][those], np.full(those.sum(), y), **(how | face))
        ax.axvline(1, color="0.3", lw=0.8, zorder=0)
        ax.set_yticks(range(len(agents)), agents)
        ax.set_ylim(len(agents) - 0.5, -0.5)
        ax.grid(axis="y", lw=0.4)
        ax.set_xscale("log")
        plain_log_ticks(ax.xaxis)
        ax.set_title(LABELS[measure], fontsize="small")
    fig.supxlabel(
        f"agent / {reference}: left of 1 the agent is better, right of 1 {reference}; "
        "hollow: not certain",
        fontsize="medium",
    )
    return fig


def plot_phases(
    costs: Mapping[str, NDArray[np.float64]],
    starts: Sequence[int],
    best: NDArray[np.float64],
    length: int,
    ax: Axes,
) -> Axes:
    """Plot the served mean latency of a changing load: quartiles of the seeds, by block.

    Parameters
    ----------
    costs : mapping of str to ndarray, shape (seeds, episodes)
        These are the costs of each agent, in seconds.
    starts : sequence of int
        These are the first served episodes of the phases, from 0. After the first phase they are
        one less than in :class:`rrl.Phases`, because a run only watches its first episode.
    best : ndarray, shape (phases,)
        The cost of the best configuration of each phase, in seconds. It is drawn as steps.
    length : int
        A block has this many episodes. An incomplete last block is left out.
    """
    for name, values in costs.items():
        count = values.shape[1] // length
        blocks = (MS * values)[:, : count * length].reshape(len(values), count, length)
        low, middle, high = np.quantile(blocks.mean(axis=2), [0.25, 0.5, 0.75], axis=0)
        last = length * np.arange(1, count + 1)  # episodes count from 1
        how = agent_style(name, lw=1.5, ms=4, markevery=0.12, label=name)
        ax.plot(last, middle, **how)
        ax.fill_between(last, low, high, color=how["color"], alpha=0.2, lw=0)
    end = next(iter(costs.values())).shape[1]
    how = {"color": "0.2", "lw": 1, "ls": ":", "label": "best of each phase"}
    ax.stairs(MS * best, (*starts, end), baseline=None, **how)
    for start in starts[1:]:
        ax.axvline(start, color="0.8", lw=0.8, zorder=0)
    ax.set(xlabel="episode", ylabel="mean latency (ms)", yscale="log", xlim=(0, end))
    plain_log_ticks(ax.yaxis)
    ax.legend(fontsize="small", ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    return ax


def plot_table_races(table: pd.DataFrame, agents: Sequence[str]) -> Figure:
    """Plot the mean cost of each agent on each table: medians with their 95 % intervals.

    Parameters
    ----------
    table : DataFrame
        See :func:`rrl.studies.table_races.table_medians`. The first table is on top.
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
        values = (cells[f"mean_cost{end}"].to_numpy() for end in ("", "_low", "_high"))
        how = agent_style(agent, ls="", ms=5, lw=1, label=agent)
        plot_intervals(ax, y, *values, in_rows=True, **how)
    ax.axvline(1, color="0.3", lw=0.8, ls=":")
    ax.set(xlabel="mean cost over the best: median and 95 % interval", xscale="log")
    ax.set_yticks(range(len(tables)), tables, parse_math=False)  # a name may have dollar signs
    ax.set_ylim(len(tables) - 0.5, -0.5)
    plain_log_ticks(ax.xaxis)
    legend_below(figure, ax, 4)
    return figure
