"""Figures of single runs: a learning agent, and configurations compared in paired episodes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rrl.plotting.shared import MS, agent_style, plain_log_ticks, plot_intervals
from rrl.support.intervals import bootstrap_interval
from rrl.tuning.loop import Run


def plot_tuning(run: Run, agent: str, references: Mapping[str, float], ax: Axes) -> Axes:
    """Plot the cost of each episode, with what each agent deploys as a horizontal line.

    Parameters
    ----------
    run : Run
    agent : str
        The name of the agent that learned.
    references : mapping of str to float
        The cost (s) of what an agent deploys, by the agent's name.
    ax : Axes
    """
    costs = MS * np.array(run.costs)
    how = agent_style(agent, ls="", ms=3.5, label="an episode")
    ax.plot(np.arange(1, len(run) + 1), costs, **how)
    for name, cost in references.items():
        how = agent_style(name, marker="", lw=1.5, label=f"{name}: {MS * cost:.1f} ms")
        ax.axhline(MS * cost, **how)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize="small")  # off the data
    ax.set(xlabel="episode", ylabel="mean latency (ms)", yscale="log")
    plain_log_ticks(ax.yaxis)
    return ax


def plot_comparison(costs: Mapping[str, Mapping[str, NDArray[np.float64]]], ax: Axes) -> Axes:
    """Plot agents' costs (s) in paired episodes per load: points, medians and intervals.

    Parameters
    ----------
    costs : mapping of str to mapping of str to ndarray
        For each load, the costs of each agent by its name.
    ax : Axes
    """
    rng = np.random.default_rng(0)  # only for the bootstrap and the jitter of the points
    loads, names = list(costs), list(next(iter(costs.values())))
    for i, name in enumerate(names):
        offset = 0.3 * (i - (len(names) - 1) / 2)
        how = agent_style(name, ls="")
        for x, load in enumerate(loads):
            values = MS * costs[load][name]
            at = x + offset
            ax.plot(at + rng.uniform(-0.06, 0.06, len(values)), values, ".", color=how["color"],
                    alpha=0.4)  # fmt: skip
            how |= {"mec": "black", "ecolor": "black", "capsize": 3}
            plot_intervals(
                ax, at, *bootstrap_interval(values, rng), label=None if x else name, **how
            )
    ax.set(yscale="log", ylabel="mean latency (ms)", xticks=range(len(loads)), xticklabels=loads)
    ax.margins(x=0.2)
    plain_log_ticks(ax.yaxis)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize="small")
    return ax


def plot_bands(curves: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Plot the median over the runs per episode, with quartiles as a band, one panel per agent.

    The later panels repeat the median of the first one as a dashed line.

    Parameters
    ----------
    curves : mapping of str to ndarray, shape (runs, episodes)
        Values of each agent, by its name.

    Examples
    --------
    >>> fig = plot_bands({"a": np.ones((3, 5)), "b": np.ones((3, 5))})
    >>> [ax.get_title() for ax in fig.axes]
    ['a', 'b']
    """
    fig, axes = plt.subplots(
        1, len(curves), figsize=(3 * len(curves), 2.8), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    (first, compared), *_ = curves.items()
    for ax, (name, values) in zip(axes[0], curves.items(), strict=True):
        runs, length = values.shape
        episodes = np.arange(1, length + 1)
        sns.lineplot(
            x=np.tile(episodes, runs), y=values.ravel(), color=agent_style(name)["color"], ax=ax,
            estimator="median", errorbar=("pi", 50),
        )  # fmt: skip
        if name != first:
            how = agent_style(first, marker="", ls="--", lw=1)
            ax.plot(episodes, np.median(compared, axis=0), **how)
        ax.set(xlabel="episode", title=name)
    return fig
