"""The figure of a tuning run: latency of each episode, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from rrl.operating.records import Record, learned
from rrl.operating.verdict import best_so_far
from rrl.plotting.shared import MS, style
from rrl.tuning.objective import MeanLatency, Percentile

if TYPE_CHECKING:
    from rrl.operating.job import Job


def plot_journal(job: Job, records: Sequence[Record]) -> Figure:
    """Plot each episode's cost, the recommendation's cost, and the share of late requests.

    Parameters
    ----------
    job : Job
    records : sequence of dict
        Records of the journal. Only those of the tuning are drawn.
    """
    style()
    tuned = learned(records)
    number = np.arange(1, len(tuned) + 1)
    is_latency = isinstance(job.objective, MeanLatency | Percentile) and job.unit == "s"
    scale = MS if is_latency else 1.0
    figure = Figure(figsize=(6.4, 4.2 if job.slo else 3.0), layout="constrained")
    axes = figure.subplots(2 if job.slo else 1, 1, sharex=True, squeeze=False)[:, 0]
    costs = scale * np.array([record["cost"] for record in tuned])
    axes[0].plot(number, costs, "o", ms=3.5, color="C0", label="an episode")
    axes[0].step(
        number, scale * best_so_far(tuned), "-", color="C1", where="post", label="best so far"
    )
    if job.slo and job.objective == job.slo.statistic:
        axes[0].axhline(MS * job.slo.target_s, ls="--", lw=1, color="0.25", label=str(job.slo))
    unit = " (ms)" if is_latency else ""
    axes[0].set(ylabel=f"{job.objective}{' latency' if is_latency else ''}{unit}")
    if np.all(costs > 0):
        axes[0].set_yscale("log")
        axes[0].yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
        axes[0].yaxis.set_major_formatter("{x:g}")
        axes[0].yaxis.set_minor_formatter("{x:g}")
    axes[0].legend(loc="upper right")
    if job.slo:
        late = 100 * np.array([record["late"] for record in tuned])
        axes[1].bar(number, late, width=0.8, color="C2")
        axes[1].set(ylabel="late requests (%)", ylim=(0, max(5.0, 1.1 * late.max())))
    axes[-1].set(xlabel="episode")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure
