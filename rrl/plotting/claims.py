"""Figures of the claims: performance profiles, and numbers beside their thresholds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rrl.core.space import Floats
from rrl.plotting.shared import agent_style
from rrl.support.aggregates import stratified_draws


def plot_profiles(
    costs: Mapping[str, Floats], limits: Floats, rng: np.random.Generator, ax: Axes
) -> Axes:
    """Plot the fraction of runs at or below each limit, per agent, with 95 % bands.

    Parameters
    ----------
    costs : mapping of str to ndarray, shape (problems, seeds)
        What does not happen in a run is above the last limit.
    limits : ndarray, shape (limits,)
    rng : numpy.random.Generator
        It draws the runs again within each problem.
    """

    def profile(sample: Floats) -> Floats:  # each problem has an equal weight
        return np.stack([(sample <= limit).mean(axis=(-2, -1)) for limit in limits], axis=-1)

    for agent, values in costs.items():
        draws = stratified_draws(profile, [values], rng, resamples=200)
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        fraction = profile(values)
        how = agent_style(agent, ms=4, markevery=0.15, label=agent)
        ax.plot(limits, 100 * fraction, drawstyle="steps-post", **how)
        ax.fill_between(
            limits, 100 * low, 100 * high, color=how["color"], alpha=0.12, lw=0, step="post"
        )
    ax.set(xlim=(limits[0], limits[-1]), ylim=(0, 100))
    return ax


def plot_by_problem(table: pd.DataFrame, threshold: float, nothing: float, ax: Axes) -> Axes:
    """Plot a number on each problem and of each agent, with the claim's threshold as a line.

    Parameters
    ----------
    table : DataFrame
        The columns are `problem`, `agent` and `value`. If it has `ceiling`, a tick shows what is
        possible at most. If it has `counted`, rows for which it is false lie on a grey ground with
        hollow markers.
    threshold, nothing : float
        The threshold of the claim, and the value at which there is no difference.
    """
    problems, agents = list(dict.fromkeys(table["problem"]))[::-1], table["agent"].unique()
    for i, agent in enumerate(agents):
        rows = table[table["agent"] == agent]
        y = np.array([problems.index(name) for name in rows["problem"]], dtype=float)
        y += 0.6 * (i - (len(agents) - 1) / 2) / len(agents)
        value = rows["value"].to_numpy()
        how = agent_style(agent, ls="", ms=4, label=agent)
        ax.plot(value, y, **how)
        if "counted" in rows:
            out = ~rows["counted"].to_numpy(dtype=bool)
            ax.plot(value[out], y[out], **how | {"mfc": "white", "label": "_", "zorder": 3})
        if "ceiling" in rows:
            ax.plot(rows["ceiling"], y, "|", ms=9, color=how["color"])
    if "ceiling" in table:
        ax.plot([], [], "|", ms=9, color="0.3", label="what an oracle reaches")
    counted = set(table["problem"][table["counted"]]) if "counted" in table else set(problems)
    for place in (place for place, name in enumerate(problems) if name not in counted):
        ax.axhspan(place - 0.5, place + 0.5, color="0.92", lw=0, zorder=0)
        ground = {"fc": "0.92", "ec": "none", "pad": 2}
        ax.annotate("not counted", (0.02, place), xycoords=("axes fraction", "data"),
                    fontsize="small", va="center", bbox=ground)  # fmt: skip
    ax.axvline(nothing, color="0.6", lw=0.8, zorder=0)
    if threshold != nothing:
        ax.axvline(threshold, color="0.25", ls="--", lw=1, zorder=0)
        ax.annotate(f"paper: {threshold:g}", (threshold, 1), ha="center", va="bottom",
                    xycoords=("data", "axes fraction"), fontsize="small")  # fmt: skip
    ax.set(yticks=range(len(problems)), yticklabels=problems, ylim=(-0.7, len(problems) - 0.3))
    ax.grid(axis="y", lw=0.4)
    return ax
