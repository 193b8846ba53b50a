"""What a run says: its plan, its progress, what to deploy, and what that gains and cost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rrl.operating.job import Job
from rrl.operating.journal import Record
from rrl.operating.options import NO_LIMIT, UNLIMITED
from rrl.operating.records import ending, in_ms, learned
from rrl.operating.verdict import best_so_far
from rrl.serving.process_knobs import environment_of, prefix
from rrl.serving.settings import flags
from rrl.support.errors import UnstableError, UsageError
from rrl.support.files import write_atomically
from rrl.tuning.constrained import Constrained
from rrl.tuning.guard import LATE, USUAL_EPISODES
from rrl.tuning.objective import MeanLatency, Percentile
from rrl.tuning.presets import in_words

BATCHING = "batching.txt"
"""The batching file of the configuration to deploy."""

_CHOSEN = "0: TensorFlow chooses the number"
ZERO = {"inter_op": _CHOSEN, "intra_op": _CHOSEN, "batch_threads": "0: no batching"}
"""What the value 0 of a number of threads means."""


# --- numbers --------------------------------------------------------------------------------------


def amount(job: Job, cost: float) -> str:
    """Format a cost for people to read, with its unit."""
    if isinstance(job.objective, Constrained):
        return job.objective.words(cost)
    seconds = isinstance(job.objective, MeanLatency | Percentile) and job.unit == "s"
    return f"{1e3 * cost:.1f} ms" if seconds else f"{cost:.4g}"


def duration(seconds: float) -> str:
    """Format a time in seconds for people to read.

    Examples
    --------
    >>> duration(12.3), duration(720), duration(9000)
    ('12 s', '12 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def interval_words(ends: Mapping[str, float | None]) -> str:
    """Format the ends of an interval for people to read.

    Examples
    --------
    >>> interval_words({"low": 0.711, "high": 0.9}), interval_words({"low": None, "high": None})
    ('95 % interval 0.71 to 0.90', 'too few rounds for an interval')
    """
    if ends["low"] is None or ends["high"] is None:
        return "too few rounds for an interval"
    return f"95 % interval {ends['low']:.2f} to {ends['high']:.2f}"


# --- before a run, and during it ------------------------------------------------------------------


def load_words(job: Job) -> str:
    """Say how many episodes a job has, and how long their requests last at the mean rate."""
    count = job.episodes + 2 * job.rounds
    words = f"{'at most ' * job.may_settle}{count} episodes of {job.requests} requests"
    if (rate := job.workload.rate) <= 0:  # clients send them, and have sent none yet
        return f"{words} of the clients"
    return f"{words}: {duration(count * job.requests / rate)} of load"


def plan_lines(job: Job, note: str) -> list[str]:
    """Say what a job may do to a service, for `--dry-run`."""
    tried = [one for one in job.space if one != dict(job.default)]
    lines = ["dry run: nothing was started or changed"]
    lines.append(f"default, which serves first: {in_words(job.default)}")
    if job.fixed:
        lines.append(f"with every configuration: {in_words(job.fixed)}")
    lines.append(f"may be tried: {len(tried)} configurations of")
    lines += [
        f"  {knob.name.partition(':')[2] or knob.name}: {', '.join(map(str, knob.values))}"
        + (f" ({ZERO[knob.name]})" if 0 in knob.values and knob.name in ZERO else "")
        for knob in job.space.knobs
    ]
    lines.append(
        f"how long: {load_words(job)}, each after at most one change of the configuration: "
        f"{job.episodes} to tune, and in {job.rounds} rounds the default and the recommended one"
    )
    late = f"over {in_ms(job.slo.target_s)}" if job.slo else (
        f"over {LATE:g} times the default's p99, by its first {USUAL_EPISODES} episodes"
    )  # fmt: skip
    allowed = (
        f"at most {job.budget} requests in trials, besides as many as the default would have had "
        "among the same requests (95 % sure)"
    )
    if job.budget is None or job.budget >= NO_LIMIT:
        allowed = "no limit in all; bad trials are stopped"
    lines.append(f"late ({late}) or failed: {allowed}")
    return [*lines, note] if note else lines


def progress(job: Job, records: Sequence[Record], left: str) -> str:
    """Say after an episode what ran, its result, the best so far, and in words the time left."""
    records = learned(records)
    last = records[-1]
    late = f", {100 * last['late']:.0f} % late" if "late" in last else ""
    failed = f", {last['failed']} failed" if last["failed"] else ""
    if ending(last) == "crashed":
        how = f"crashed ({last['guard']['parts'][0]['why']})"
    elif "stopped" in last:
        how = last["stopped"]
    elif job.unit == "s" and "mean_s" in last:
        how = f"mean {1e3 * last['mean_s']:.1f} ms, p99 {1e3 * last['p99_s']:.1f} ms{late}{failed}"
    else:
        how = f"{amount(job, last['cost'])}{late}{failed}"
    best = best_so_far(records)[-1]
    known = "" if np.isnan(best) else f": {job.objective} {amount(job, best)}"
    return (
        f"episode {len(records)}/{job.episodes}: {in_words(last['configuration'])}: {how} | "
        f"best so far {in_words(last['recommended'])}{known} | {left} left"
    )


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


# --- the report -----------------------------------------------------------------------------------


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
