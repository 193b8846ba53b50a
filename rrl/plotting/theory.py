"""Figures of the theory notebooks; :mod:`rrl.plotting.shared` sets their style and saves them."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rrl.core.space import Floats
from rrl.plotting.shared import legend_below, marker, plain_log_ticks
from rrl.theory.qlearning import Learning

LINES = ("--", ":", "-.")


def plot_bound(x: ArrayLike, observed: ArrayLike, bounds: pd.DataFrame, ax: Axes) -> Axes:
    """Plot observations as markers and bounds as lines, one per column with numbers."""
    ax.plot(x, observed, "o-", color="C0", ms=4, label="observed")
    for i, (bound, values) in enumerate(bounds.dropna(axis=1, how="all").items()):
        ax.plot(x, values, ls=LINES[i], color=f"C{i + 1}", label=bound)
    return ax


def plot_losses(losses: Mapping[str, pd.DataFrame]) -> Figure:
    """Plot errors (upper row) and losses (lower row) with their bounds, one column per problem.

    A loss of zero has no place on a logarithmic axis. It is an open triangle on the lower edge.

    Parameters
    ----------
    losses : mapping of str to DataFrame
        Each table has one row per radius: the "error" of the exact fixed point, its "error bound",
        its "loss", and the bounds on the loss, "theorem 2", "theorem 3" and "theorem 4".
    """
    fig, axes = plt.subplots(
        2, len(losses), figsize=(11, 5), sharex=True, squeeze=False, layout="constrained"
    )
    for (top, bottom), (name, table) in zip(axes.T, losses.items(), strict=True):
        lost = table["loss"] > 1e-9
        plot_bound(table.index, table["error"], table[["error bound"]], top)
        theorems = table[["theorem 2", "theorem 3", "theorem 4"]]
        plot_bound(table.index, table["loss"].where(lost), theorems, bottom)
        none, edge = table.index[~lost], bottom.get_xaxis_transform()
        how = {"mfc": "none", "color": "C0", "transform": edge, "label": "no loss"}
        bottom.plot(none, np.full(len(none), 0.03), "v", **how)
        top.set(title=name, yscale="log")
        bottom.set(yscale="log", xlabel="radius (steps)")
    axes[0, 0].set_ylabel("largest error of the table")
    axes[1, 0].set_ylabel("loss of the greedy policy")
    legend_below(fig, axes[1, -1], 5)  # all bounds hold on the last problem
    return fig


def plot_learning_runs(
    problems: Mapping[str, Mapping[str, tuple[Learning, Floats]]],
) -> Figure:
    """Plot runs with their bounds in small multiples: a row per problem, a column per region.

    A panel shows the error of a run per step, and its bound at the ends of covers (dashed stairs).
    About 10 of the ends have a marker. The inner mappings have each run with its bound after 0, 1,
    2, ... covers, see :func:`rrl.theory.bounds.error_after`.
    """
    columns = max(len(runs) for runs in problems.values())
    fig, axes = plt.subplots(
        len(problems), columns, figsize=(9, 4.6), sharex="row", sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, (problem, runs) in zip(axes, problems.items(), strict=True):
        for ax, (name, (run, bound)) in zip(row, runs.items(), strict=True):
            shown = run.covers[:: max(1, len(run.covers) // 10)]
            ax.plot(run.errors, color="C0", lw=1, label="error")
            how = {"color": "C0", "ms": 4, "label": "error at the end of a cover"}
            ax.plot(shown, run.errors[shown], "o", **how)
            ends = np.r_[0, run.covers]
            how = {"color": "C1", "ls": "--", "lw": 1.4, "label": "bound"}
            ax.step(ends, bound[: len(ends)], where="post", **how)
            ax.set(title=name, xlabel="step", yscale="log")
        row[0].set_ylabel(f"{problem}: largest error")
    legend_below(fig, axes[0, 0], 3)
    return fig


def plot_decay(
    t: NDArray[np.int64], radii: Mapping[str, Floats], rates: Mapping[str, float], ax: Axes
) -> Axes:
    """Plot the best radius against the number of measurements, with the theory's power law.

    The power law passes through the middle of the points. Radii are in units of the grid's side.
    `rates` has the exponent for each name.
    """
    for i, (name, values) in enumerate(radii.items()):
        ax.plot(t, values, marker(i) + "-", color=f"C{i}", ms=4, lw=1, label=name)
        middle = np.exp(np.log(values).mean() - rates[name] * np.log(t).mean())
        ax.plot(t, middle * t ** rates[name], ls="--", color=f"C{i}", lw=1)
    ax.set(xlabel="measurements, t", ylabel="best radius / side of the grid")
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        plain_log_ticks(axis)
    ax.legend(fontsize="small")
    return ax
