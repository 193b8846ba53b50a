"""The report of a run, as text, files and a figure: what to deploy, what it gains and cost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rrl.operating.job import Job
from rrl.operating.options import NO_LIMIT, UNLIMITED
from rrl.operating.records import Record, ending, in_ms, learned
from rrl.operating.verdict import amount, best_so_far, interval_words
from rrl.plotting.shared import MS, plain_log_ticks, style
from rrl.serving.process_knobs import environment_of, prefix
from rrl.serving.settings import flags
from rrl.support.errors import UnstableError, UsageError
from rrl.support.files import write_atomically
from rrl.tuning.constrained import Constrained
from rrl.tuning.objective import MeanLatency, Percentile
from rrl.tuning.presets import in_words

BATCHING = "batching.txt"
"""The batching file of the configuration to deploy."""

WIDE = 8.0  # if the costs differ by more than this factor, their axis is logarithmic


# --- how to start a server ------------------------------------------------------------------------


def add_commands(
    job: Job, result: dict[str, Any], folder: Path, command: Sequence[str] = ()
) -> None:
    """Add to a result how a server is started with the configuration to deploy.

    These are ``flags``, ``batching`` (the content of the file `BATCHING`), ``environment`` and, if
    a server was measured, ``start``: a line for a shell. Nothing is added if
    `tensorflow_model_server` has not all of the knobs, or cannot have their values.

    Parameters
    ----------
    job : Job
    result : dict
        The result of :func:`rrl.operating.verdict.summarise`.
    folder : pathlib.Path
        The folder of the batching file.
    command : sequence of str
        The command that starts such a server, without the flags of a configuration. It is empty
        after a replay.
    """
    deploy = {**job.fixed, **result["deploy"]}
    try:
        result["flags"], result["batching"] = flags(deploy, folder / BATCHING)
    except UsageError:  # a table may have other knobs and values, such as text
        return
    result["environment"] = environment_of(deploy)
    if command:
        result["start"] = shlex.join([*prefix(deploy), *command, *result["flags"]])


def write(result: Mapping[str, Any], folder: Path) -> None:
    """Write `result.json`, and the batching file if there is one."""
    if result.get("batching"):
        write_atomically(folder / BATCHING, result["batching"])
    write_atomically(folder / "result.json", json.dumps(result, indent=2) + "\n")


# --- the text -------------------------------------------------------------------------------------


def report(job: Job, result: dict[str, Any], folder: Path) -> str:
    """Return the report that people read."""
    own = " (the default)" if result["verdict"] == "the default" else ""
    lines = [f"recommended: {in_words(result['recommended'])}{own}", _gain(job, result)]
    if slo := result["slo"]:
        high = "unknown" if slo["high_s"] is None else f"{1e3 * slo['high_s']:.1f}"
        lines.append(
            f"  SLO {slo['slo']}: {slo['word']} ({1e3 * slo['value_s']:.1f} ms, 95 % interval "
            f"{1e3 * slo['low_s']:.1f} to {high}); {100 * slo['late_while_tuning']:.1f} % of the "
            "requests were late while tuning"
        )
    if result["verdict"] == "no difference shown":
        lines.append("  the gain is not certain: keep the default, or use more --rounds")
    if memory := result["memory_bytes"]:
        used = {name: f"{value / 2**20:.0f} MiB" for name, value in memory.items()}
        lines.append(f"  memory of the server: {used['recommended']}, {used['default']} by default")
    lines += _harm_lines(job, result)
    if result["busy"]:
        lines.append(f"  {result['busy']}")
    if "flags" in result:
        whose = "" if result["deploy"] == result["recommended"] else " of the default"
        lines.append(f"flags{whose}: {shlex.join(result['flags']) or '(none)'}")
        lines += [f"  batching.txt: {line}" for line in result["batching"].splitlines()]
    if "start" in result:
        lines.append(f"start it with: {result['start']}")
    lines.append(f"files: {folder}/: journal.jsonl, result.json, tuning.png and .pdf")
    return "\n".join(lines)


def _gain(job: Job, result: dict[str, Any]) -> str:
    """Say what the two cost, and how one compares with the other."""
    rounds, ratio = result["compared"], result["ratio"]

    def cost(name: str) -> str:
        stopped, value = result["stopped"][name], result["cost"][name]
        if value is None:
            return "stopped in each round"
        also = f" where it was not stopped ({stopped} of {rounds} rounds)" if stopped else ""
        return f"{amount(job, value)}{also}"

    measured = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    table = result["objective"] == "mean" and not job.unit  # of costs in any unit
    gain = (
        f"  {'cost' if table else result['objective']} {cost('recommended')} against "
        f"{cost('default')} by default ({measured})"
    )
    if ratio and not result["stopped"]["recommended"]:
        gain += f"; ratio within a round: median {ratio['median']:.2f} ({interval_words(ratio)})"
    return f"{gain}; {result['verdict']}"


def _harm_lines(job: Job, result: dict[str, Any]) -> list[str]:
    """Say what tuning did to the requests, and which trials ended early."""
    harm = result["harm"]
    if harm["late_s"] is None:
        return []
    trials, default = (f"{bad} of {n}" for n, bad in (harm["trials"], harm["default"]))
    budget = UNLIMITED if result["budget"] == NO_LIMIT else result["budget"]
    whose = "" if job.slo else ", by the first episodes of the default"
    lines = [
        f"  late (over {in_ms(harm['late_s'])}{whose}) or failed: {trials} requests in "
        f"trials (budget {budget}), {default} with the default"
    ]
    lines += [f"  {in_words(one['configuration'])} {one['why']}" for one in harm["ended"]]
    return lines


def check_result(result: dict[str, Any]) -> None:
    """Raise UnstableError if the SLO is missed or the recommendation is worse."""
    slo = result["slo"]
    if slo and slo["word"] == "missed":
        raise UnstableError(
            f"SLO {slo['slo']} missed: {1e3 * slo['value_s']:.1f} ms with the best found at "
            f"{result['load_per_s']:.0f}/s; lower the load, add cores, or tune more knobs"
        )
    if result["verdict"] == "worse":
        raise UnstableError(
            "the recommendation is worse than the default: keep the default, or use more --episodes"
        )


# --- the figure -----------------------------------------------------------------------------------


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
