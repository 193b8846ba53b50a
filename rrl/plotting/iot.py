"""Figures of IoT devices: what they send, and what learning saves over a day."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from rrl.plotting.shared import agent_style
from rrl.workloads.device_day import HOURS

Values = NDArray[np.float64]
STARTS_AT = 9  # the hour of the clock at which the day begins, so that its peak is at 15:00
NIGHT = (17.5, 18.5)  # when the firmware update comes, in hours since the start of the day


def clock_axis(ax: Axes) -> None:
    """Label an axis of hours since the start of the day by the clock, and shade the update."""
    ticks = np.arange(0, HOURS + 1, 6)
    ax.set(xticks=ticks, xlim=(0, HOURS), xlabel="hour of the day")
    ax.set_xticklabels([f"{(STARTS_AT + tick) % HOURS}:00" for tick in ticks])
    ax.axvspan(*NIGHT, color="0.9", zorder=0)


def plot_saved(saved: Mapping[str, Values], hour: Values, title: str, ax: Axes) -> Axes:
    """Plot what each agent has saved so far, with the quartiles over the seeds.

    Parameters
    ----------
    saved : mapping of str to ndarray, shape (seeds, episodes)
        Fraction of the default's latency of the whole day, see
        :func:`rrl.studies.days.saved_so_far`. What lies below -100 % is cut off.
    hour : ndarray, shape (seeds, episodes)
        The hour of the day at which each episode ended.
    title : str
    ax : Axes
    """
    hours = np.median(hour, axis=0)
    for name, fraction in saved.items():
        low, middle, high = 100 * np.quantile(fraction, [0.25, 0.5, 0.75], axis=0)
        every = max(fraction.shape[1] // 8, 1)
        how = {**agent_style(name), "ms": 4, "lw": 1.4, "markevery": every}
        ax.plot(hours, middle, label=name, **how)
        ax.fill_between(hours, low, high, color=how["color"], alpha=0.15, lw=0)
    ax.axhline(0, color="0.25", lw=1)
    ax.set_title(title, loc="left")
    ax.set_ylim(bottom=max(ax.get_ylim()[0], -100))
    clock_axis(ax)
    return ax
