"""Figures on the similarity of configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rrl.plotting.shared import marker, plot_intervals
from rrl.support.intervals import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

FARTHEST = 6.0  # steps; few pairs of configurations have a larger distance


def plot_variogram(
    curves: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    ax: Axes,
    reach: float,
) -> Axes:
    """Plot variograms of log costs up to `FARTHEST`, one line per scenario.

    Parameters
    ----------
    curves : mapping of str to (distance, fraction)
        :func:`rrl.studies.similarity_error.variogram` returns these curves.
    ax : Axes
    reach : float
        This is the radius of the region, in steps. It is drawn as a grey line.
    """
    for number, (name, (distance, fraction)) in enumerate(curves.items()):
        near = distance <= FARTHEST
        ax.plot(distance[near], fraction[near], marker=marker(number), ms=4, label=name)
    ax.axhline(1, color="0.3", lw=0.8)
    ax.axvline(reach, color="0.6", lw=0.8, ls="--")
    ax.set(xlabel="distance (steps)", ylabel="variogram / variance", ylim=(0, None))
    ax.legend(title=f"dashed: radius {reach:g}", frameon=True, framealpha=1, edgecolor="none")
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
        how: dict[str, Any] = {"marker": marker(number), "ms": 4, "capsize": 2, "label": name}
        plot_intervals(ax, distance + shift, *percent, **how)
    ax.set(xlabel="distance (steps)", ylabel="median error of the latency (%)")
    ax.set_ylim(bottom=0)
    ax.set_xticks(sorted(errors["distance"].unique()))
    return ax
