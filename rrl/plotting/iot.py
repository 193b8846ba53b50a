"""Figures of IoT devices: what they send, and what learning saves over a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from rrl.plotting.shared import MS, agent_label, agent_style, plain_log_ticks
from rrl.workloads.device_day import HOURS

Values = NDArray[np.float64]
STARTS_AT = 9  # the hour of the clock at which the day begins, so that its peak is at 15:00
NIGHT = (17.5, 18.5)  # when the firmware update comes, in hours since the start of the day


def plot_counts(times: ArrayLike, until: float, title: str, ax: Axes | None = None) -> Axes:
    """Plot the requests of each second, with their mean.

    Parameters
    ----------
    times : array_like, shape (n,)
        Arrival times in seconds.
    until : float
        Seconds that are shown.
    title : str
    ax : Axes, optional
    """
    ax = ax or plt.gca()
    counts = np.histogram(times, bins=round(until), range=(0, until))[0]
    ax.stairs(counts, np.arange(len(counts) + 1), fill=True, color="C0", alpha=0.6)
    ax.axhline(counts.mean(), color="0.25", lw=1, ls="--")
    ax.set(title=title, xlim=(0, until), ylim=(0, None))
    sns.despine(ax=ax)
    return ax


def clock_axis(ax: Axes) -> None:
    """Label an axis of hours since the start of the day with the hours of the clock."""
    ticks = np.arange(0, HOURS + 1, 6)
    ax.set(xticks=ticks, xlim=(0, HOURS), xlabel="hour of the day")
    ax.set_xticklabels([f"{(STARTS_AT + tick) % HOURS}:00" for tick in ticks])
    ax.axvspan(*NIGHT, color="0.9", zorder=0)


def plot_day(values: Mapping[str, Values], length: int, ax: Axes | None = None) -> Axes:
    """Plot the mean latency over a day: for each agent the median over the seeds.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (seeds, episodes)
        Mean latency of each episode in seconds, by agent.
    length : int
        Number of episodes of a block, of which the mean is shown.
    ax : Axes, optional
    """
    ax = ax or plt.gca()
    for name, means in values.items():
        blocks = means.shape[1] // length
        block = MS * means[:, : blocks * length].reshape(len(means), blocks, length).mean(axis=2)
        hours = HOURS * (np.arange(blocks) + 0.5) / blocks
        how = {**agent_style(name), "ms": 3, "lw": 1.2, "label": agent_label(name)}
        ax.plot(hours, np.median(block, axis=0), **how)
    ax.set(yscale="log", ylabel="mean latency (ms)")
    plain_log_ticks(ax.yaxis)
    clock_axis(ax)
    sns.despine(ax=ax)
    return ax


def plot_saved(saved: Mapping[str, Values], title: str, ax: Axes | None = None) -> Axes:
    """Plot what each agent has saved so far, with the quartiles over the seeds.

    Parameters
    ----------
    saved : mapping of str to ndarray, shape (seeds, episodes)
        Share of the default's latency of the whole day, see
        :func:`rrl.studies.day_tables.saved_so_far`.
    title : str
    ax : Axes, optional
    """
    ax = ax or plt.gca()
    for name, share in saved.items():
        low, middle, high = 100 * np.quantile(share, [0.25, 0.5, 0.75], axis=0)
        hours = HOURS * np.arange(1, share.shape[1] + 1) / share.shape[1]
        every = max(share.shape[1] // 8, 1)
        how = {**agent_style(name), "ms": 4, "lw": 1.4, "markevery": every}
        ax.plot(hours, middle, label=agent_label(name), **how)
        ax.fill_between(hours, low, high, color=how["color"], alpha=0.15, lw=0)
    ax.axhline(0, color="0.25", lw=1)
    ax.set_title(title, loc="left")
    clock_axis(ax)
    sns.despine(ax=ax)
    return ax


def common_limits(axes: Sequence[Axes], low: float, high: float) -> None:
    """Give panels the same vertical limits; what lies below them is cut off."""
    for ax in axes:
        ax.set_ylim(low, high)
