"""Figures of single runs: a learning agent, and configurations compared in paired episodes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rrl.plotting.shared import MARKERS, MS, plain_log_ticks
from rrl.support.intervals import bootstrap_interval
from rrl.tuning.experiments import Run


def plot_tuning(
    run: Run, references: Mapping[str, float] | None = None, ax: Axes | None = None
) -> Axes:
    """Plot the cost of each episode, with reference costs (s) as horizontal lines."""
    ax = ax or plt.gca()
    costs = MS * np.array(run.costs)
    ax.plot(np.arange(1, len(run) + 1), costs, "o", ms=3.5, label="an episode")
    for (name, cost), line in zip((references or {}).items(), ("--", ":", "-."), strict=False):
        ax.axhline(MS * cost, ls=line, color="0.25", lw=1, label=f"{name}: {MS * cost:.1f} ms")
    ax.legend(loc="upper right")
    ax.set(xlabel="episode", ylabel="mean latency (ms)", yscale="log")
    plain_log_ticks(ax.yaxis)
    sns.despine(ax=ax)
    return ax


def plot_comparison(
    costs: Mapping[str, Mapping[str, NDArray[np.float64]]], ax: Axes | None = None
) -> Axes:
    """Plot contestants' costs (s) in paired episodes per load: points, medians and intervals."""
    ax = ax or plt.gca()
    rng = np.random.default_rng(0)  # only for the bootstrap and the jitter of the points
    loads, names = list(costs), list(next(iter(costs.values())))
    for i, name in enumerate(names):
        offset = 0.3 * (i - (len(names) - 1) / 2)
        color = f"C{i}"
        for x, load in enumerate(loads):
            values = MS * costs[load][name]
            at = x + offset
            ax.plot(at + rng.uniform(-0.06, 0.06, len(values)), values, ".", color=color, alpha=0.4)
            centre, low, high = bootstrap_interval(values, rng)
            ax.errorbar(
                at,
                centre,
                [[centre - low], [high - centre]],
                fmt=MARKERS[i],
                color=color,
                mec="black",
                ecolor="black",
                capsize=3,
                label=name if x == 0 else None,
            )
    ax.set(yscale="log", ylabel="mean latency (ms)", xticks=range(len(loads)), xticklabels=loads)
    ax.margins(x=0.2)
    plain_log_ticks(ax.yaxis)
    ax.legend()
    sns.despine(ax=ax)
    return ax
