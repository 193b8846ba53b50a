"""Figures of the simulator's chapter: comparison with theory and with measurements."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rrl.plotting.shared import MS, marker, plain_log_ticks, plot_intervals


def plot_theory(table: pd.DataFrame, ax: Axes) -> Axes:
    """Plot the simulated mean divided by the theoretical mean, with 99 % intervals, per system.

    Parameters
    ----------
    table : DataFrame
        :func:`rrl.simulation.textbook.against_theory` returns this table.
    """
    systems = list(dict.fromkeys(table["system"]))
    loads = sorted(table["load"].unique())
    for i, load in enumerate(loads):
        rows = table[table["load"] == load].set_index("system").loc[systems]
        y = np.arange(len(systems)) + 0.22 * (i - (len(loads) - 1) / 2)
        ends = [(rows["measured"] + s * rows["half_width"]) / rows["theory"] for s in (0, -1, 1)]
        name = f"utilisation {load:g}"
        plot_intervals(ax, y, *ends, in_rows=True, fmt=marker(i), ms=4, capsize=2, label=name)
    ax.axvline(1, color="0.3", lw=1)
    ax.set(
        yticks=range(len(systems)), yticklabels=systems, xlabel="simulated mean / theoretical mean"
    )
    ax.invert_yaxis()
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, 1.14), ncols=len(loads))
    return ax


def plot_held_out(cells: pd.DataFrame, ax: Axes) -> Axes:
    """Plot predicted against measured mean latency of held-out cells; unstable ones are hollow.

    Parameters
    ----------
    cells : DataFrame
        It has the columns `rate_per_s`, `measured_s`, `predicted_s` and `stable`.
        :func:`rrl.simulation.calibration.hold_out` returns such a table.
    """
    low = MS * 0.9 * cells[["measured_s", "predicted_s"]].min(axis=None)
    high = MS * 1.1 * cells[["measured_s", "predicted_s"]].max(axis=None)
    line = np.array([low, high])
    ax.fill_between(line, line / 1.15, line * 1.15, color="0.9", lw=0, label="within 15 %")
    ax.plot(line, line, color="0.3", lw=1)
    for i, (rate, rows) in enumerate(cells.groupby("rate_per_s")):
        for stable, own in rows.groupby("stable"):
            ax.plot(
                MS * own["measured_s"],
                MS * own["predicted_s"],
                marker(i),
                ms=4,
                color=f"C{i}",
                mfc=f"C{i}" if stable else "none",
                label=f"{rate:g} requests/s" if stable else None,
            )
    ax.plot([], [], "o", ms=4, color="0.3", mfc="none", label="hollow: not stable")
    ax.set(xscale="log", yscale="log", xlim=line, ylim=line)
    ax.set(
        xlabel="measured mean latency (ms)", ylabel="predicted mean latency (ms)", aspect="equal"
    )
    for axis in (ax.xaxis, ax.yaxis):
        plain_log_ticks(axis)
    ax.legend()
    return ax
