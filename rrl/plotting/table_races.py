"""The figure of races on tables: what serving costs while agents learn, table by table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from rrl.plotting.shared import (
    agent_style,
    legend_below,
    plain_log_ticks,
    plot_intervals,
    style,
)

if TYPE_CHECKING:
    import pandas as pd

LINE = 0.11  # inches between two agents, so that their markers do not touch


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
    row = LINE * (len(agents) + 1)  # inches
    figure = Figure(figsize=(6.4, 1.1 + row * len(tables)), layout="constrained")
    ax = figure.subplots()
    for number in range(0, len(tables), 2):
        ax.axhspan(number - 0.5, number + 0.5, color="0.95", lw=0, zorder=0)
    for i, agent in enumerate(agents):
        cells = table[table["agent"] == agent].set_index("table").reindex(tables)
        y = np.arange(len(tables)) + (i - (len(agents) - 1) / 2) * LINE / row
        values = (cells[f"mean_cost{end}"].to_numpy() for end in ("", "_low", "_high"))
        how = agent_style(agent, ls="", ms=5, lw=1, label=agent)
        plot_intervals(ax, y, *values, in_rows=True, **how)
    ax.axvline(1, color="0.3", lw=0.8, ls=":")
    ax.set(xlabel="mean cost over the best: median and 95 % interval", xscale="log")
    ax.set_yticks(range(len(tables)), tables)
    ax.set_ylim(len(tables) - 0.5, -0.5)
    plain_log_ticks(ax.xaxis)
    legend_below(figure, ax, 4)
    return figure
