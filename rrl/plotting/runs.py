"""Figures of single runs: a learning agent, and configurations compared in paired episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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


def plot_bands(curves: Mapping[str, NDArray[np.float64]], colors: Sequence[str]) -> Figure:
    """Plot the median over the runs per episode, with quartiles as a band, one panel per agent.

    The later panels repeat the median of the first one as a dashed line.

    Parameters
    ----------
    curves : mapping of str to ndarray, shape (runs, episodes)
        Values of each agent, by its label.
    colors : sequence of str
        Color of each agent, in the same order.

    Raises
    ------
    ValueError
        If there are more or fewer colors than agents, or no agents.

    Examples
    --------
    >>> fig = plot_bands({"a": np.ones((3, 5)), "b": np.ones((3, 5))}, ["C0", "C1"])
    >>> [ax.get_title() for ax in fig.axes]
    ['a', 'b']
    """
    fig, axes = plt.subplots(
        1, len(curves), figsize=(3 * len(curves), 2.8), sharey=True, layout="constrained"
    )
    compared, *_ = (np.median(values, axis=0) for values in curves.values())
    for ax, (name, values), color in zip(axes, curves.items(), colors, strict=True):
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        episodes = np.arange(1, len(middle) + 1)
        ax.fill_between(episodes, low, high, color=color, alpha=0.25, lw=0)
        ax.plot(episodes, middle, color=color, lw=1.4)
        if ax is not axes[0]:
            ax.plot(episodes, compared, "--", color=colors[0], lw=1)
        ax.set(xlabel="episode", title=name)
    sns.despine(fig=fig)
    return fig
