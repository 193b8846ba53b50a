"""Figures of the experiments: standings, duels, changing loads and service-level objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from rrl.plotting.shared import MS, agent_style, legend_below, plain_log_ticks
from rrl.studies.load_change import WITHIN
from rrl.studies.outcomes import DUELS, by_block
from rrl.studies.race import counts_episodes

if TYPE_CHECKING:
    import pandas as pd

LABELS = {
    "stays_within_5": "episodes until within 5 % to the end",
    "first_within_5": "first episode within 5 %",
    "deployed": "deployed cost / best",
    "mean_cost": "mean cost over the best",
    "cumulative_regret": "cumulative regret",
    "violations": "late requests while learning (fraction)",
}


def plot_standings(table: pd.DataFrame, measure: str, ax: Axes | None = None) -> Axes:
    """Plot one measure of all agents on one problem: medians with their 95 % intervals."""
    ax = ax or plt.gca()
    rows = table.iloc[::-1]
    y = np.arange(len(rows))
    centre = rows[measure].to_numpy()
    low, high = (rows[f"{measure}_{end}"].to_numpy() for end in ("low", "high"))
    for i, agent in enumerate(rows["agent"]):
        error = [[centre[i] - low[i]], [high[i] - centre[i]]]
        ax.errorbar(centre[i], i, xerr=error, capsize=2, **agent_style(agent, ls="", ms=4))
    ax.set(
        yticks=y,
        yticklabels=list(rows["agent"]),
        xlabel=LABELS[measure],
        xscale="log",
    )
    ax.grid(axis="y", lw=0.4)
    if counts_episodes(measure):
        horizon = rows["episodes"].iloc[0]
        ax.axvline(horizon, color="0.3", ls=":", lw=1)
        ax.annotate("never", (horizon, 1), xycoords=("data", "axes fraction"), fontsize="x-small",
                    ha="center", va="bottom")  # fmt: skip
    plain_log_ticks(ax.xaxis)
    sns.despine(ax=ax)
    return ax


def plot_everywhere(
    reached: pd.DataFrame, costs: pd.DataFrame, axes: Sequence[Axes] | NDArray[Any]
) -> None:
    """Plot in how many scenarios each agent reaches the goal, and its cost over the lowest.

    Agents are sorted by their median cost, from the cheapest on top.

    Parameters
    ----------
    reached, costs : DataFrame
        One row per agent and one column per scenario, as
        :func:`rrl.studies.outcomes.board` returns them. An infinite number of episodes in
        `reached` means never.
    axes : sequence of Axes
        Two panels, side by side.
    """
    ratio = costs / costs.min()
    order = list(ratio.median(axis=1).sort_values().index)
    counts = np.isfinite(reached.loc[order]).sum(axis=1)
    y = np.arange(len(order))
    axes[0].barh(y, counts, color="0.55", height=0.6)
    possible = int(np.isfinite(reached).any().sum())
    axes[0].axvline(possible, color="0.25", ls=":", lw=1)
    axes[0].annotate("any agent", (possible, 1), xycoords=("data", "axes fraction"),
                     fontsize="x-small", ha="center", va="bottom")  # fmt: skip
    axes[0].set(xlim=(0, reached.shape[1]), xlabel=f"scenarios solved, of {reached.shape[1]}")
    axes[0].set_yticks(y, order)
    _ratios_by_row(ratio, order, axes[1])
    axes[1].plot([], [], "o", ms=3, color="0.6", mew=0, label="a scenario")
    axes[1].plot([], [], "|", ms=9, mew=1.5, color="black", label="median")
    axes[1].legend(fontsize="small", loc="upper right")
    axes[1].set(xlabel="mean cost / that of the cheapest agent")
    for ax in axes:
        ax.set_ylim(len(order) - 0.5, -0.5)
        sns.despine(ax=ax)


def _ratios_by_row(ratio: pd.DataFrame, order: Sequence[str], ax: Axes) -> None:
    """Plot the ratios of each agent in a row of its own, with a tick at their median."""
    for y, agent in enumerate(order):
        values = ratio.loc[agent].dropna()
        how = agent_style(agent, ls="", ms=3.5, mew=0, alpha=0.6)
        ax.plot(values, np.full(len(values), y), **how)
        ax.plot(values.median(), y, "|", ms=9, mew=1.5, color="black")
    ax.set_xscale("log")
    ax.grid(axis="y", lw=0.4)
    plain_log_ticks(ax.xaxis)


def plot_ratios(rows: pd.DataFrame, by: str, ax: Axes | None = None) -> Axes:
    """Plot the ratios of each agent, a marker per problem: full if won or lost, hollow if tied.

    Parameters
    ----------
    rows : DataFrame
        One row per agent and problem, of one measure: `ratio`, `verdict`, and the agent's name.
    by : str
        Name of the column with the agents. They are the rows of the figure, in their order.
    """
    ax = ax or plt.gca()
    agents = list(dict.fromkeys(rows[by]))
    for y, agent in enumerate(agents):
        own = rows[rows[by] == agent]
        tied = (own["verdict"] == "tied").to_numpy()
        how = agent_style(agent, ls="", ms=4.5, mew=0.8)
        for part, face in ((~tied, {}), (tied, {"mfc": "white", "zorder": 1.9})):
            ax.plot(own["ratio"][part], np.full(part.sum(), y), **(how | face))
    ax.axvline(1, color="0.3", lw=0.8, zorder=0)
    ax.set_yticks(range(len(agents)), agents)
    ax.set_ylim(len(agents) - 0.5, -0.5)
    ax.grid(axis="y", lw=0.4)
    ax.set_xscale("log")
    plain_log_ticks(ax.xaxis)
    sns.despine(ax=ax)
    return ax


def plot_duels(duels: pd.DataFrame, ours: str) -> Figure:
    """Plot the ratio of each rival's measures to ours, a panel per measure.

    Rivals are sorted by their mean cost, from the lowest on top. A marker is a problem.

    Parameters
    ----------
    duels : DataFrame
        See :func:`rrl.studies.outcomes.duels`.
    ours : str
        Name of the agent that the rivals are compared with.
    """
    costs = duels[duels["measure"] == "mean_cost"].groupby("rival")["ratio"]
    order = costs.apply(lambda ratios: np.log(ratios).mean()).sort_values().index
    place = {rival: number for number, rival in enumerate(order)}
    rows = duels.sort_values("rival", key=lambda names: names.map(place), kind="stable")
    fig, axes = plt.subplots(
        1, len(DUELS), figsize=(11, 1.5 + 0.24 * len(order)), layout="constrained", sharey=True
    )
    for ax, measure in zip(axes, DUELS, strict=True):
        plot_ratios(rows[rows["measure"] == measure], "rival", ax)
        ax.set_title(LABELS[measure], fontsize="small")
    fig.supxlabel(
        f"rival / {ours}: right of 1 {ours} is better, left of 1 the rival; hollow: not certain",
        fontsize="medium",
    )
    return fig


def plot_speedups(
    races: pd.DataFrame, target: float, horizon: float, ax: Axes | None = None
) -> Axes:
    """Plot each rival's episodes divided by ours at every load, with 95 % intervals.

    A marker is hollow if neither arrives in the median run. Its factor is about 1, but it says
    nothing about speed.

    Parameters
    ----------
    races : DataFrame
        These are rows of :func:`rrl.studies.outcomes.duels` for one measure.
    target : float
        This is the paper's factor. It is drawn as a line.
    horizon : float
        This is the number of episodes of a run. A longer time means never.
    """
    ax = ax or plt.gca()
    problems, rivals = list(races["problem"].unique())[::-1], list(races["rival"].unique())
    for i, rival in enumerate(rivals):
        rows = races[races["rival"] == rival].set_index("problem").reindex(problems)
        y = np.arange(len(rows)) + 0.25 * (i - (len(rivals) - 1) / 2)
        centre = rows["ratio"].to_numpy()
        error = np.array([centre - rows["low"].to_numpy(), rows["high"].to_numpy() - centre])
        never = (rows[["ours", "theirs"]] > horizon).all(axis=1).to_numpy()
        for part, how in ((~never, {"label": rival}), (never, {"mfc": "white", "zorder": 1.9})):
            how = agent_style(rival, ls="", ms=4, **how)
            ax.errorbar(centre[part], y[part], xerr=error[:, part], capsize=2, **how)
    if (races[["ours", "theirs"]] > horizon).all(axis=1).any():
        label = "hollow: neither arrives"
        ax.errorbar([], [], fmt="o", ms=4, color="0.3", mfc="white", label=label)
    ax.axvline(target, color="0.25", ls="--", lw=1, zorder=0)
    ax.axvline(1, color="0.6", lw=0.8, zorder=0)
    ax.annotate(f"paper: {target:g}", (target, 1), xycoords=("data", "axes fraction"),
                fontsize="small", ha="center", va="bottom")  # fmt: skip
    ax.set(yticks=range(len(problems)), yticklabels=problems, xscale="log")
    plain_log_ticks(ax.xaxis)
    sns.despine(ax=ax)
    return ax


def plot_phases(
    costs: Mapping[str, NDArray[np.float64]],
    starts: Sequence[int],
    references: Mapping[str, NDArray[np.float64]],
    length: int = 50,
    ax: Axes | None = None,
) -> Axes:
    """Plot the served mean latency per episode of a changing load: quartiles of the seeds.

    Parameters
    ----------
    costs : mapping of str to ndarray, shape (seeds, episodes)
        These are the costs of each agent, in seconds.
    starts : sequence of int
        These are the first episodes of the phases.
    references : mapping of str to ndarray, shape (phases,)
        These are costs in seconds. They are drawn as steps.
    length : int, optional
        Each plotted point averages this many episodes.
    """
    ax = ax or plt.gca()
    for name, values in costs.items():
        last, (low, middle, high) = by_block(MS * values, length)
        how = agent_style(name, lw=1.5, ms=4, markevery=0.12, label=name)
        ax.plot(last, middle, **how)
        ax.fill_between(last, low, high, color=how["color"], alpha=0.2, lw=0)
    end = next(iter(costs.values())).shape[1]
    for name, steps in references.items():
        ax.stairs(MS * steps, (*starts, end), baseline=None, color="0.2", lw=1, ls=":", label=name)
    for start in starts[1:]:
        ax.axvline(start, color="0.8", lw=0.8, zorder=0)
    ax.set(xlabel="episode", ylabel="mean latency (ms)", yscale="log", xlim=(0, end))
    plain_log_ticks(ax.yaxis)
    ax.legend(fontsize="small", ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    sns.despine(ax=ax)
    return ax


def plot_changes(
    curves: Mapping[str, Mapping[str, Mapping[str, NDArray[np.float64]]]], ncols: int = 4
) -> Figure:
    """Plot the deployed cost divided by the optimum's under a new load: fresh, and after a change.

    Each change has two panels, one above the other with the same axes: on top agents that meet the
    load first, and below those that come from another load.

    Parameters
    ----------
    curves : mapping of str to mapping of str to mapping of str to ndarray, shape (seeds, episodes)
        The keys are the change, the agent, and ``change`` or ``fresh``. Medians over the seeds are
        drawn.
    ncols : int, optional
        The number of changes in a row of the figure.
    """
    rows = -(-len(curves) // ncols)
    fig, axes = plt.subplots(
        2 * rows, ncols, figsize=(12, 4.6 * rows), layout="constrained", sharex=True, squeeze=False
    )
    for number, (name, agents) in enumerate(curves.items()):
        row, column = divmod(number, ncols)
        pair = axes[2 * row : 2 * row + 2, column]
        pair[1].sharey(pair[0])
        for ax, kind in zip(pair, ("fresh", "change"), strict=True):
            _plot_change(agents, kind, ax)
        pair[0].set_title(name, fontsize="medium")
    for number in range(len(curves), rows * ncols):  # there is no change left for these panels
        row, column = divmod(number, ncols)
        for ax in axes[2 * row : 2 * row + 2, column]:
            ax.set_visible(False)
    for first, second in zip(axes[::2, 0], axes[1::2, 0], strict=True):
        first.set_ylabel("fresh:\ndeployed cost / best")
        second.set_ylabel("after the change:\ndeployed cost / best")
    for ax in axes[-1]:
        ax.set_xlabel("episode under the new load")
    legend_below(fig, axes[0, 0], 6)
    return fig


def _plot_change(
    curves: Mapping[str, Mapping[str, NDArray[np.float64]]], kind: str, ax: Axes
) -> None:
    """Plot the medians of one kind, of each agent."""
    for agent, ratios in curves.items():
        middle = np.median(ratios[kind], axis=0)
        how = agent_style(agent, lw=1.3, ms=4, markevery=0.15, label=agent)
        ax.plot(np.arange(1, len(middle) + 1), middle, **how)
    ax.axhline(1 + WITHIN, color="0.3", lw=0.8, label=f"{100 * WITHIN:g} % above the best")
    ax.set(xscale="log", yscale="log")
    plain_log_ticks(ax.xaxis)
    ax.yaxis.set_major_locator(FixedLocator((1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_ylim(bottom=0.99)
    sns.despine(ax=ax)


def plot_served(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the ratio of served latency to the reference's per load and agent: 95 % intervals."""
    ax = ax or plt.gca()
    problems, agents = list(table["problem"].unique()), list(table["agent"].unique())
    for i, agent in enumerate(agents):
        rows = table[table["agent"] == agent].set_index("problem")
        known = [k for k, problem in enumerate(problems) if problem in rows.index]
        rows = rows.loc[[problems[k] for k in known]]
        x = np.array(known) + 0.12 * (i - (len(agents) - 1) / 2)
        centre = rows["ratio"].to_numpy()
        error = (centre - rows["ratio_low"].to_numpy(), rows["ratio_high"].to_numpy() - centre)
        how = agent_style(agent, ls="", ms=4, label=agent)
        ax.errorbar(x, centre, yerr=error, capsize=2, **how)
    ax.axhline(1, color="0.3", lw=0.8, ls=":")
    ax.set_xticks(
        range(len(problems)), [p.replace(" ", "\n").replace("-", "\n", 1) for p in problems]
    )
    ax.set(ylabel="served latency / TF Serving's default", yscale="log")
    plain_log_ticks(ax.yaxis)
    ax.legend(fontsize="small", ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    sns.despine(ax=ax)
    return ax


def plot_slo(table: pd.DataFrame, ours: str, ax: Axes | None = None) -> Axes:
    """Plot the fraction of late requests against the objective: default, heuristic, ours and best.

    Parameters
    ----------
    table : DataFrame
        Rows of :func:`rrl.studies.savings.reductions` for one problem.
    ours : str
        The agent of the table.
    ax : Axes, optional
    """
    ax = ax or plt.gca()
    late = table[table["metric"].str.startswith("late")]
    factor = late["metric"].str.extract(r"at ([\d.]+)x")[0].astype(float)
    default = (late["reference"] == "default").to_numpy()
    curves = {
        "tf-serving-default": (default, "reference_value"),
        "heuristic": (~default, "reference_value"),
        ours: (default, "value"),
    }
    for name, (rows, column) in curves.items():
        how = agent_style(name, ms=4, label=name)
        ax.plot(factor[rows], 100 * late[column][rows], **how)
    best = 100 * late["best_value"][default]
    ax.plot(factor[default], best, "+", color="black", label="best mean latency")
    ax.set(xlabel="objective / smallest mean latency", ylabel="late requests (%)", xscale="log")
    ax.set_xticks(sorted(factor.unique()), [f"{f:g}" for f in sorted(factor.unique())])
    ax.minorticks_off()
    sns.despine(ax=ax)
    return ax
