"""Cost against latency: what a run measured with each number of CPUs, and what is worth having."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rrl.operating.records import Record, compared, ending, learned
from rrl.operating.verdict import kept_episode, words
from rrl.plotting.shared import MS, plain_log_ticks, style
from rrl.tuning.constrained import HighestRate
from rrl.tuning.objective import Percentile
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import SLO

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.operating.job import Job
    from rrl.tuning.episode import Episode

WIDE = 8.0  # if the latencies differ by more than this factor, their axis is logarithmic


def by_cpus(job: Job, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the best measured configuration with each number of CPUs, in a form for JSON.

    The latency is the SLO's statistic, or the p99, of all requests of a configuration. The best one
    was found among several, so its latency is slightly too low. A trial that was stopped or crashed
    excludes its configuration.

    Parameters
    ----------
    job : Job
    records : sequence of dict
        Records of the journal.

    Returns
    -------
    list of dict
        One row per number of CPUs, in their order. ``latency_s`` has the latency, and ``low_s`` and
        ``high_s`` the ends of its 95 % interval. ``slo`` is the word of :meth:`SLO.judge`, or None.
        ``worthwhile`` is true if no configuration with fewer CPUs is as fast: these rows are the
        Pareto front. The list is empty if the CPUs are no knob, or if episodes are capacity
        searches, because then their loads differ.
    """
    if CPUS not in job.space.names or isinstance(job.objective, HighestRate):
        return []
    slo = job.slo or SLO(Percentile(99), math.inf)
    best: dict[float, dict[str, Any]] = {}
    for configuration, episodes in _measured(job, records):
        judged = slo.judge(episodes)
        cpus = configuration[CPUS]
        if cpus not in best or judged["value_s"] < best[cpus]["latency_s"]:
            best[cpus] = {
                CPUS: cpus,
                "configuration": configuration,
                "episodes": len(episodes),
                "latency_s": judged["value_s"],
                "low_s": judged["low_s"],
                "high_s": judged["high_s"],
                "slo": judged["word"] if job.slo else None,
            }
    rows = [best[cpus] for cpus in sorted(best)]
    lowest = math.inf
    for row in rows:
        row["worthwhile"] = row["latency_s"] < lowest
        lowest = min(lowest, row["latency_s"])
    return rows


def _measured(job: Job, records: Sequence[Record]) -> list[tuple[Configuration, list[Episode]]]:
    """Return the measured configurations with their episodes, without those that were stopped."""
    tuned = learned(records)
    parts = [(record["configuration"], record) for record in tuned]
    sides = {"recommended": tuned[-1]["recommended"], "default": dict(job.default)}
    for record in compared(records):
        parts += [(sides[name], record[name]) for name in record["cost"]]
    stopped = [record["configuration"] for record in tuned if ending(record)]
    found: dict[tuple[Any, ...], tuple[Configuration, list[Episode]]] = {}
    for configuration, kept in parts:
        if configuration not in stopped:
            key = tuple(sorted(configuration.items()))
            found.setdefault(key, (configuration, []))[1].append(kept_episode(kept))
    return list(found.values())


def table_lines(job: Job, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table for people to read; an asterisk marks the Pareto front."""
    if not rows:
        return []
    statistic = job.slo.statistic if job.slo else Percentile(99)
    unit, scale = ("ms", MS) if job.unit == "s" else ("", 1.0)
    head = f"cost against latency (the fastest measured; * no fewer CPUs are as fast; {statistic}):"
    lines = [head]
    for row in rows:
        mark = "*" if row["worthwhile"] else " "
        high = "unknown" if row["high_s"] is None else f"{scale * row['high_s']:.1f}"
        word = f", SLO {row['slo']}" if row["slo"] else ""
        rest = {name: value for name, value in row["configuration"].items() if name != CPUS}
        cpus = f"{row[CPUS]} CPU" + ("s" if row[CPUS] != 1 else "")
        episodes = f"{row['episodes']} episode" + ("s" if row["episodes"] != 1 else "")
        lines.append(
            f" {mark} {cpus}: {scale * row['latency_s']:.1f} {unit}".rstrip()
            + f" ({scale * row['low_s']:.1f} to {high}, {episodes}){word}"
            + (f": {words(rest)}" if rest else "")
        )
    return lines


def plot_by_cpus(job: Job, records: Sequence[Record], rows: Sequence[dict[str, Any]]) -> Figure:
    """Plot the latency of each measured configuration against its CPUs, and the Pareto front."""
    style()
    statistic = job.slo.statistic if job.slo else Percentile(99)
    slo = job.slo or SLO(statistic, math.inf)
    scale = MS if job.unit == "s" else 1.0
    points = [
        (configuration[CPUS], slo.judge(episodes)["value_s"])
        for configuration, episodes in _measured(job, records)
    ]
    cpus, latency = np.array(points).T
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    ax = figure.subplots()
    ax.plot(cpus, scale * latency, "o", ms=4, color="0.6", label="a configuration")
    front = [row for row in rows if row["worthwhile"]]
    x, y = [row[CPUS] for row in front], [scale * row["latency_s"] for row in front]
    ax.step([*x, cpus.max()], [*y, y[-1]], "-", where="post", color="C1", label="Pareto front")
    ax.plot(x, y, "s", ms=6, color="C1")
    if job.slo:
        target = scale * job.slo.target_s
        ax.axhline(target, ls="--", lw=1, color="0.25", label=f"SLO {job.slo}")
    if latency.max() > WIDE * latency.min() > 0:
        ax.set_yscale("log")
        plain_log_ticks(ax.yaxis)
    ax.set(xlabel="CPUs", ylabel=f"{statistic} latency (ms)" if job.unit == "s" else "cost")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend()
    return figure
