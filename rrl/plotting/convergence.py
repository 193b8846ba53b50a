"""Figures of similarity and convergence: estimates by distance, and the error of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rrl.plotting.shared import marker, plot_intervals
from rrl.support.intervals import bootstrap_interval
from rrl.theory.convergence import Curves

FARTHEST = 6.0  # steps; no region of the notebook is wider
DARKEST = mpl.colormaps["viridis"](0.0)


def plot_variogram(
    curves: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    ax: Axes,
    radius: float,
) -> Axes:
    """Plot variograms of log costs up to `FARTHEST`, one line per scenario.

    Parameters
    ----------
    curves : mapping of str to (distance, fraction)
        The distances are whole steps, and the fractions are those of the variance of the log costs.
    ax : Axes
    radius : float
        Of the region, in steps. It is drawn as a dashed line.
    """
    for number, (name, (distance, fraction)) in enumerate(curves.items()):
        near = distance <= FARTHEST
        ax.plot(distance[near], fraction[near], marker=marker(number), ms=4, label=name)
    ax.axhline(1, color="0.3", lw=0.8)
    ax.axvline(radius, color="0.6", lw=0.8, ls="--", label=f"radius {radius:g}")
    ax.set(xlabel="distance (steps)", ylabel="variogram / variance", ylim=(0, None))
    return ax


def plot_errors(errors: pd.DataFrame, ax: Axes, rng: np.random.Generator) -> Axes:
    """Plot the median error over the distance, with 95 % intervals, one line per estimator.

    The intervals assume independent predictions. So their widths are lower bounds.

    Parameters
    ----------
    errors : DataFrame
        :func:`rrl.studies.similarity_error.region_errors` returns this table.
    ax : Axes
    rng : numpy.random.Generator
        The bootstrap of the intervals uses it.
    """
    names = list(dict.fromkeys(errors["estimator"]))
    for number, name in enumerate(names):
        groups = errors[errors["estimator"] == name].groupby("distance")["error"]
        rows = [
            (distance, *bootstrap_interval(group.to_numpy(), rng, resamples=200))
            for distance, group in groups
        ]
        distance, centre, low, high = np.array(rows).T
        shift = 0.06 * (number - (len(names) - 1) / 2)
        percent = [100 * np.expm1(bound) for bound in (centre, low, high)]
        how = {"marker": marker(number), "ms": 4, "capsize": 2, "label": name}
        plot_intervals(ax, distance + shift, *percent, **how)
    ax.set(xlabel="distance (steps)", ylabel="median error of the latency (%)")
    ax.set_ylim(bottom=0)
    ax.set_xticks(sorted(errors["distance"].unique()))
    return ax


def plot_table_errors(
    runs: Mapping[int, Curves],
    fixed_points: Mapping[int, tuple[float, float]],
    ends: Mapping[int, Sequence[float]],
    shown: Sequence[int],
) -> Figure:
    """Plot the error of the table per episode in small multiples, one column per radius.

    The upper row has the typical relative error, the lower row the largest error in seconds. Each
    panel shows one radius, with quartiles as a band, and the medians of all others in grey.

    Parameters
    ----------
    runs : mapping of int to Curves
        These are the runs of each radius.
    fixed_points : mapping of int to (float, float)
        These are the typical and the largest error of each radius' fixed point (dashed lines).
    ends : mapping of int to sequence of float
        These are the episodes of each radius that have a marker, the ends of covers.
    shown : sequence of int
        These radii have a column.
    """
    fig, axes = plt.subplots(
        2, len(shown), figsize=(10, 4.6), sharex=True, sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, (axis, what) in enumerate(zip(axes, ("typical", "worst"), strict=True)):
        middles = {radius: np.median(getattr(run, what), axis=0) for radius, run in runs.items()}
        for ax, radius in zip(axis, shown, strict=True):
            for middle in middles.values():
                ax.plot(np.arange(1, len(middle) + 1), middle, color="0.85", lw=0.8)
            low, middle, high = np.quantile(getattr(runs[radius], what), (0.25, 0.5, 0.75), axis=0)
            episodes = np.arange(1, len(middle) + 1)
            ax.plot(episodes, middle, color=DARKEST, lw=1.4)
            ax.fill_between(episodes, low, high, color=DARKEST, alpha=0.08, lw=0)
            marked = np.array([int(end) for end in ends[radius] if end <= len(middle)], dtype=int)
            ax.plot(marked, middle[marked - 1], "o", color=DARKEST, ms=5)
            ax.axhline(fixed_points[radius][row], color="C1", ls="--", lw=1.2)
            ax.set(xscale="log", yscale="log")
            ax.set(xlabel="episode" if row else "", title="" if row else f"radius {radius}")
    axes[0, 0].set_ylabel("median error / truth")
    axes[1, 0].set_ylabel("largest error (s)")
    others, *keys = axes[0, 0].lines[len(runs) - 1 :]
    keys.append(others)
    names = ["this radius", "mean end of a cover", "its fixed point", "all radii"]
    fig.legend(keys, names, loc="outside lower center", ncols=len(keys), fontsize="small")
    return fig
