"""The figure of a run: what each episode cost, and which requests were late."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rrl.operating.job import Job
from rrl.operating.journal import Record
from rrl.operating.records import ending, learned
from rrl.operating.verdict import best_so_far
from rrl.plotting.shared import MS, plain_log_ticks, style
from rrl.tuning.constrained import Constrained
from rrl.tuning.objective import MeanLatency, Percentile

WIDE = 8.0  # if the costs differ by more than this factor, their axis is logarithmic


def plot_journal(job: Job, records: Sequence[Record]) -> Figure:
    """Plot each episode's cost, the recommendation's cost, and the fraction of late requests.

    Trials that were stopped or crashed have marks of their own at the upper edge, because they have
    no latency that could be compared.

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
    figure = Figure(figsize=(6.4, 4.4 if job.slo else 3.2), layout="constrained")
    axes = figure.subplots(2 if job.slo else 1, 1, sharex=True, squeeze=False)[:, 0]
    costs = scale * np.array([record["cost"] for record in tuned])
    ended = np.array([ending(record) for record in tuned])
    _draw_costs(axes[0], number, costs, ended)
    axes[0].step(number, scale * best_so_far(tuned), color="C1", where="post", label="best so far")
    if job.slo and job.objective == job.slo.statistic:
        target = MS * job.slo.target_s
        axes[0].axhline(target, ls="--", lw=1, color="0.25", label=f"SLO {job.slo}")
    if isinstance(job.objective, Constrained):
        axes[0].axhline(1, ls="--", lw=1, color="0.25", label="above it the SLO is broken")
    unit = " (ms)" if is_latency else ""
    axes[0].set(ylabel=f"{job.objective}{' latency' if is_latency else ''}{unit}")
    whole = costs[ended == ""]
    if len(whole) and whole.max() > WIDE * whole.min() > 0:
        axes[0].set_yscale("log")
        plain_log_ticks(axes[0].yaxis)
    if job.slo:
        late = 100 * np.array([record["late"] for record in tuned])
        axes[1].bar(number, late, width=0.8, color="C2")
        axes[1].set(ylabel="late requests (%)", ylim=(0, max(5.0, 1.1 * late.max())))
    axes[-1].set(xlabel="episode", xlim=(0.4, len(tuned) + 0.6))
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=5, columnspacing=1.0, handletextpad=0.4)
    return figure


def _draw_costs(ax: Axes, number: np.ndarray, costs: np.ndarray, ended: np.ndarray) -> None:
    """Mark each episode by how it ended, in colours and shapes that all can tell apart."""
    whole = ended == ""
    ax.plot(number[whole], costs[whole], "o", ms=4, color="C0", label="an episode")
    for kind, label, marker, colour in (
        ("aborted", "a stopped trial", "v", "C3"),
        ("crashed", "a crashed trial", "X", "0.1"),
    ):
        if (of_kind := ended == kind).any():
            edge = np.full(of_kind.sum(), 0.98)
            ax.plot(
                number[of_kind], edge, marker, ms=6, color=colour, label=label, clip_on=False,
                transform=ax.get_xaxis_transform(),
            )  # fmt: skip
