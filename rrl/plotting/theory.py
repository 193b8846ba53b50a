"""Figures of the theory notebooks; :mod:`rrl.plotting.shared` sets their style and saves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from rrl.plotting.shared import marker, plain_log_ticks, plot_intervals
from rrl.support.intervals import bootstrap_interval
from rrl.theory.bound_checks import Check
from rrl.theory.qlearning import Learning

Floats = NDArray[np.float64]
if TYPE_CHECKING:
    import pandas as pd

LINES = ("--", ":", "-.", (0, (1, 3)))


def shade(i: float, count: int) -> tuple[float, ...]:
    """Return colour i of an ordered set, from dark to light; the colours also differ in grey."""
    return mpl.colormaps["viridis"](0.8 * i / max(count - 1, 1))


def median_intervals(samples: Floats) -> Floats:
    """Return the median over the runs (axis 1) with its bootstrap interval: shape (m, 3)."""
    rng = np.random.default_rng(0)  # only for the bootstrap
    return np.array([bootstrap_interval(row, rng) for row in samples])


def plot_bound(
    x: ArrayLike, observed: ArrayLike, bounds: Mapping[str, ArrayLike], ax: Axes
) -> Axes:
    """Plot observations as markers and bounds as lines."""
    ax.plot(x, observed, "o-", color="C0", ms=4, label="observed")
    for i, (bound, values) in enumerate(bounds.items()):
        line = np.broadcast_to(np.asarray(values, dtype=float), np.shape(x))
        if not np.isnan(line).all():
            ax.plot(x, line, ls=LINES[i % len(LINES)], color=f"C{i + 1}", label=bound)
    ax.legend(fontsize="small")
    return ax


def plot_losses(losses: Mapping[str, pd.DataFrame]) -> Figure:
    """Plot errors (upper row) and losses (lower row) with their bounds, one column per problem.

    A loss of zero has no place on a logarithmic axis. It is an open triangle on the lower edge.

    Parameters
    ----------
    losses : mapping of str to DataFrame
        Each table has one row per radius, with the columns of
        :func:`rrl.theory.comparisons.bias_and_loss`.
    """
    theorems = ["theorem 2", "theorem 3", "theorem 4"]
    fig, axes = plt.subplots(
        2, len(losses), figsize=(11, 5), sharex=True, squeeze=False, layout="constrained"
    )
    for (top, bottom), (name, table) in zip(axes.T, losses.items(), strict=True):
        lost = table["loss"] > 1e-9
        plot_bound(table.index, table["error"], {"theorem 2": table["error bound"]}, top)
        plot_bound(table.index, table["loss"].where(lost), table[theorems], bottom)
        none, edge = table.index[~lost], bottom.get_xaxis_transform()
        bottom.plot(none, np.full(len(none), 0.03), "v", mfc="none", color="C0", transform=edge)
        top.set(title=name, yscale="log")
        bottom.set(yscale="log", xlabel="radius (steps)")
        for ax in (top, bottom):
            ax.get_legend().remove()
    axes[0, 0].set_ylabel("largest error of the table")
    axes[1, 0].set_ylabel("loss of the greedy policy")
    lines = {line.get_label(): line for ax in axes.flat for line in ax.get_lines()}
    none = Line2D([], [], marker="v", mfc="none", color="C0", ls="", label="no loss")
    keys = [*(lines[name] for name in ("observed", *theorems) if name in lines), none]
    fig.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize="small")
    return fig


def plot_learning(run: Learning, bound: Floats, ax: Axes) -> Axes:
    """Plot the error of a run per step, and its bound at the ends of covers (dashed stairs).

    `bound` is for the error after 0, 1, 2, ... covers. About 10 of the ends have a marker.
    """
    shown = run.covers[:: max(1, len(run.covers) // 10)]
    ax.plot(run.errors, color="C0", lw=1, label="error")
    ax.plot(shown, run.errors[shown], "o", color="C0", ms=4, label="error at the end of a cover")
    ends = np.r_[0, run.covers]
    ax.step(ends, bound[: len(ends)], ls="--", where="post", color="C1", lw=1.4, label="bound")
    ax.set(yscale="log")
    return ax


def plot_learning_runs(
    problems: Mapping[str, Mapping[str, tuple[Learning, Floats]]],
) -> Figure:
    """Plot runs with their bounds in small multiples: a row per problem, a column per region.

    The inner mappings have each run with its bound, see
    :func:`rrl.theory.comparisons.learn_beside_bound`.
    """
    columns = max(len(runs) for runs in problems.values())
    fig, axes = plt.subplots(
        len(problems), columns, figsize=(9, 4.6), sharex="row", sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, (problem, runs) in zip(axes, problems.items(), strict=True):
        for ax, (name, (run, bound)) in zip(row, runs.items(), strict=True):
            plot_learning(run, bound, ax).set(title=name, xlabel="step")
        row[0].set_ylabel(f"{problem}: largest error")
    keys = axes[0, 0].get_lines()
    fig.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize="small")
    return fig


def plot_tightness(checks: Sequence[Check], ax: Axes) -> Axes:
    """Plot the ratios of observed values to bounds in random instances.

    The figure shows the 5th to 95th percentile, the median and the maximum.
    """
    shown = [check for check in checks if check.bound.any()]
    for y, check in enumerate(shown):
        valid = np.isfinite(check.bound) & (check.bound > 0)
        ratio = check.observed[valid] / check.bound[valid]
        low, middle, high = np.quantile(ratio, (0.05, 0.5, 0.95))
        label = None if y else "5th to 95th percentile"
        ax.plot(
            [low, high], [y, y], color="C0", lw=4, alpha=0.5, solid_capstyle="butt", label=label
        )
        ax.plot(middle, y, "o", color="C0", ms=5, label=None if y else "median")
        ax.plot(ratio.max(), y, "|", color="black", ms=10, label=None if y else "largest")
    ax.axvline(1, color="0.6", ls=":", lw=1, zorder=0)
    ax.set(yticks=range(len(shown)), yticklabels=[check.name for check in shown])
    ax.set(xlabel="observed / bound (1: the bound is attained)", xlim=(0, 1.05))
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, fontsize="small")
    ax.invert_yaxis()
    return ax


def plot_speedup(
    k: ArrayLike,
    speedups: Mapping[str, Floats],
    slopes: Mapping[str, tuple[float, float, float]],
    ax: Axes,
) -> Axes:
    """Plot the speed-up over learning without regions (shape (m, runs)) against K.

    The theory's line is a speed-up of K.
    """
    k = np.asarray(k, dtype=float)
    for i, (name, samples) in enumerate(speedups.items()):
        slope = "slope {:.2f} [{:.2f}, {:.2f}]".format(*slopes[name])
        how: dict[str, Any] = {
            "fmt": marker(i) + "-",
            "ms": 4,
            "capsize": 2,
            "label": f"{name}: {slope}",
        }
        plot_intervals(ax, k, *median_intervals(samples).T, **how)
    ax.plot(k, k, color="0.3", ls="--", label="theory: K (slope 1)")
    ax.set(xlabel="cells in the smallest region, K", ylabel="speed-up over radius 0")
    ax.set(xscale="log", yscale="log")
    ax.legend(fontsize="small")
    return ax


def plot_decay(
    t: ArrayLike,
    radii: Mapping[str, ArrayLike],
    rates: Mapping[str, float],
    ax: Axes,
) -> Axes:
    """Plot the best radius against the number of measurements, with the theory's power law.

    The power law passes through the middle of the points. Radii are in units of the grid's side.
    `rates` has the exponent for each name.
    """
    t = np.asarray(t, dtype=float)
    for i, (name, values) in enumerate(radii.items()):
        values = np.asarray(values, dtype=float)
        ax.plot(t, values, marker(i) + "-", color=f"C{i}", ms=4, lw=1, label=name)
        if name in rates:
            middle = np.exp(np.log(values).mean() - rates[name] * np.log(t).mean())
            ax.plot(t, middle * t ** rates[name], ls="--", color=f"C{i}", lw=1)
    ax.set(xlabel="measurements, t", ylabel="best radius / side of the grid")
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        plain_log_ticks(axis)
    ax.legend(fontsize="small")
    return ax
