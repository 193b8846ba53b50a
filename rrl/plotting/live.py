"""Figures of the closed loop on a live server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from rrl.plotting.shared import MS, agent_style, plain_log_ticks, plot_intervals

if TYPE_CHECKING:
    import pandas as pd


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


def plot_ratios(
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
