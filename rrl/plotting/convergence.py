"""Figures of the convergence of the running system: errors, speed against loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rrl.plotting.shared import marker, plain_log_ticks
from rrl.support.intervals import bootstrap_interval
from rrl.theory.convergence import Curves

Floats = NDArray[np.float64]
SHADES = mpl.colormaps["viridis"]
WIDEST = 6  # steps; a radius has the same shade in all panels, up to this one


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
            ax.plot(episodes, middle, color=SHADES(0.0), lw=1.4)
            ax.fill_between(episodes, low, high, color=SHADES(0.0), alpha=0.08, lw=0)
            marked = np.array([int(end) for end in ends[radius] if end <= len(middle)], dtype=int)
            ax.plot(marked, middle[marked - 1], "o", color=SHADES(0.0), ms=5)
            ax.axhline(fixed_points[radius][row], color="C1", ls="--", lw=1.2)
            ax.set(xscale="log", yscale="log")
            ax.set(xlabel="episode" if row else "", title="" if row else f"radius {radius}")
    axes[0, 0].set_ylabel("median error / truth")
    axes[1, 0].set_ylabel("largest error (s)")
    keys = [axes[0, 0].lines[len(runs)], axes[0, 0].lines[len(runs) + 1]]
    keys += [axes[0, 0].lines[-1], axes[0, 0].lines[0]]
    names = ["this radius", "mean end of a cover", "its fixed point", "all radii"]
    fig.legend(keys, names, loc="outside lower center", ncols=len(keys), fontsize="small")
    return fig


def plot_pareto(times: Floats, losses: Floats, radii: Sequence[float], ax: Axes) -> Axes:
    """Plot loss against time, one labelled point per radius; the lower left is better in both.

    Times and losses (as fractions) of the runs have the shape (m, runs). Lines are intervals of the
    medians. Below 1 % the loss has a linear scale, because it may be 0.
    """
    x, y = _median_intervals(times), 100 * _median_intervals(losses)
    for i, radius in enumerate(radii):
        color = SHADES(0.8 * radius / WIDEST)
        ax.plot(x[i, 1:], [y[i, 0]] * 2, color=color, lw=1, alpha=0.6)
        ax.plot([x[i, 0]] * 2, y[i, 1:], color=color, lw=1, alpha=0.6)
        ax.plot(x[i, 0], y[i, 0], marker(i), color=color, ms=7)
    for where, names in _together(radii, x[:, 0], y[:, 0]).items():
        side = (-5, "right") if len(names) > 1 else (5, "left")  # long labels go to the empty side
        ax.annotate(
            ", ".join(names), where, (side[0], 5), textcoords="offset points", weight="bold",
            ha=side[1],
        )  # fmt: skip
    ax.set(ylabel="loss (% above the optimum)", xscale="log")
    ax.margins(x=0.15)  # room for the labels
    ax.set_yscale("symlog", linthresh=1)
    ax.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    plain_log_ticks(ax.xaxis)
    return ax


def _median_intervals(samples: Floats) -> Floats:
    """Return the median over the runs (axis 1) with its bootstrap interval: shape (m, 3)."""
    rng = np.random.default_rng(0)  # only for the bootstrap
    return np.array([bootstrap_interval(row, rng) for row in samples])


def _together(radii: Sequence[float], x: Floats, y: Floats) -> dict[tuple[float, float], list[str]]:
    """Return the labels of radii by point; radii whose labels would overlap share a point."""
    found: dict[tuple[float, float], list[str]] = {}
    for radius, here in zip(radii, zip(x.tolist(), y.tolist(), strict=True), strict=True):
        near = [p for p in found if (np.abs(np.log1p(p) - np.log1p(here)) < (0.2, 0.3)).all()]
        found.setdefault(near[0] if near else here, []).append(f"{radius:g}")
    return found
