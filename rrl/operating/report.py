"""What a run says: its plan, its progress, what to deploy, and what that gains and cost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.sequential import FEWEST
from rrl.operating.verdict import FAILED
from rrl.serving.settings import flags
from rrl.support.errors import DeployError, UnstableError, UsageError
from rrl.support.files import write_atomically
from rrl.tuning.guard import LATE, LEAST, USUAL_EPISODES, GuardedStep, Part
from rrl.tuning.objective import Objective, Percentile, SLOViolations, charged_latency
from rrl.tuning.presets import in_words
from rrl.tuning.slo import Constrained

RESULT, PAGE = "result.json", "report.html"
BATCHING = "batching.txt"
"""The batching file of the configuration to deploy."""


NO_TRIAL = (
    f"only the default will serve, because a trial begins with a budget of {LEAST} or more: give a "
    "larger --budget, or more --episodes or --requests"
)

StartLine = Callable[[Configuration, Path], str]
"""What makes the line for a shell that starts a configuration, with a file for its batching."""

# --- numbers --------------------------------------------------------------------------------------


def amount(objective: Objective, cost: float, *, named: bool = False) -> str:
    """Format a cost for people to read, with its unit; `named`, and with what it is."""
    if isinstance(objective, Constrained):
        return objective.words(cost)
    if isinstance(objective, SLOViolations):
        return f"{100 * cost:.3g} % over {in_ms(objective.target_s)}"
    name = f"{objective} " if named else ""
    return f"{name}{1e3 * cost:.1f} ms"


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


def in_ms(seconds: float) -> str:
    """Format a limit of latency for people to read.

    Examples
    --------
    >>> in_ms(2.0), in_ms(0.01119)
    ('2000 ms', '11.2 ms')
    """
    return f"{round(1e3 * seconds, 1):g} ms"


# --- before a run, and during it ------------------------------------------------------------------


def load_words(job: Job) -> str:
    """Say how many episodes a job may have, and how long they last at the mean rate.

    A rate that is far too low shows that the times of a trace are no seconds.
    """
    count = job.episodes + 2 * job.rounds
    words = f"at most {count} episodes of {job.requests} requests"
    if (rate := job.workload.rate) <= 0:  # clients send them, and have sent none yet
        return f"{words} of the clients"
    at = f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"  # a large one without an exponent
    return f"{words}: {duration(count * job.requests / rate)} of load at {at} requests/s"


def plan_lines(job: Job) -> list[str]:
    """Say what a job may do to a service, for `--dry-run`."""
    tried = len(job.space) - (dict(job.default) in job.space)
    lines = ["dry run: nothing was started or changed"]
    lines.append(f"default, which serves first: {in_words(job.default)}")
    if job.fixed:
        lines.append(f"with every configuration: {in_words(job.fixed)}")
    lines.append(f"may be tried: {tried} configurations of")
    lines += [f"  {knob.name}: {', '.join(map(str, knob.values))}" for knob in job.space.knobs]
    # What the rule of the evidence says of such a space, its noise and so many episodes comes here.
    lines.append(
        f"how long: {load_words(job)}, each after at most one change of the configuration: "
        f"{job.episodes} to tune, and in {job.rounds} rounds the default and the recommended one"
    )
    lines.append(
        f"a change starts a server: at most {1 + job.episodes + 2 * job.rounds} starts, in which "
        "nothing is measured"
    )
    late = f"over {in_ms(job.slo.target_s)}" if job.slo else (
        f"over {LATE:g} times the default's p99, by its first {USUAL_EPISODES} episodes"
    )  # fmt: skip
    lines.append(
        f"late ({late}) or failed: trials add at most {job.budget} requests to those of the "
        "default alone (95 % sure)"
    )
    return lines if job.budget >= LEAST else [*lines, NO_TRIAL]


def progress(job: Job, steps: Sequence[GuardedStep], left: str) -> str:
    """Say after an episode what ran, its result, the best so far, and in words the time left.

    The cost of the best is the mean of its whole episodes: what a stopped or crashed trial is
    charged is no measurement.
    """
    last = steps[-1]
    known = [
        step.cost for step in steps
        if step.configuration == last.recommended and not step.part.ended
    ]  # fmt: skip
    best = f": {amount(job.objective, float(np.mean(known)), named=True)}" if known else ""
    return (
        f"episode {len(steps)}/{job.episodes}: {in_words(last.configuration)}: "
        f"{_outcome(job, last)} | "
        f"best so far {in_words(last.recommended)}{best} | {left} left"
    )


def _outcome(job: Job, step: GuardedStep) -> str:
    """Say how an episode went."""
    if ended := ended_words(step.part):
        return ended
    episode = step.episode
    late = f", {100 * SLOViolations(job.slo.target_s)(episode):.0f} % late" if job.slo else ""
    failed = f", {int(episode.failed.sum())} failed" if episode.failed.any() else ""
    mean_s, p99_s = charged_latency(episode).mean(), Percentile(99)(episode)
    return f"mean {1e3 * mean_s:.1f} ms, p99 {1e3 * p99_s:.1f} ms{late}{failed}"


def ended_words(part: Part) -> str:
    """Say how a trial crashed or was stopped, if it did not end as planned.

    The requests of other clients count, too, so there may be more than an episode has.

    Examples
    --------
    >>> ended_words(Part({"threads": 2}, requests=9, bad=5, ended="aborted", why="worse"))
    'stopped after 9 requests: 5 late or failed'
    """
    if part.ended == "crashed":
        return f"crashed ({part.why})"
    if part.ended == "server":
        return f"the server failed, not the configuration ({part.why})"
    no_more = ", and the budget allows no more" * (part.why == "budget")
    words = f"stopped after {part.requests} requests: {part.bad} late or failed{no_more}"
    return words if part.ended else ""


# --- how to start a server ------------------------------------------------------------------------


def deployment(deploy: Configuration, folder: Path, start_line: StartLine | None) -> dict[str, Any]:
    """Return how a server is started with a configuration, with the batching file in a folder.

    The dictionary has ``flags``, ``batching`` (the content of the file `BATCHING`) and, if there is
    a `start_line`, ``start``: a line for a shell. It is empty if `tensorflow_model_server` has not
    all of the knobs, or cannot have their values.
    """
    try:
        line, batching = flags(deploy, folder / BATCHING)
    except UsageError:
        return {}
    found = {"flags": line, "batching": batching}
    return found | ({"start": start_line(deploy, folder / BATCHING)} if start_line else {})


def write(result: Mapping[str, Any], folder: Path) -> None:
    """Write the result, and the batching file if there is one."""
    if result.get("batching"):
        write_atomically(folder / BATCHING, result["batching"])
    write_atomically(folder / RESULT, json.dumps(result, indent=2) + "\n")


# --- the report -----------------------------------------------------------------------------------


def verdict_lines(job: Job, result: dict[str, Any]) -> list[str]:
    """Say what is recommended, what that gains, and what the run did to the requests."""
    own = " (the default)" if result["verdict"] == "the default" else ""
    lines = [f"recommended: {in_words(result['recommended'])}{own}", _gain(job, result)]
    for name in ("default",) if own else ("default", "recommended"):
        if slo := (result["slo"] or {}).get(name):
            high = "unknown" if slo["high_s"] is None else f"{1e3 * slo['high_s']:.1f}"
            lines.append(
                f"  SLO {slo['slo']}: {slo['word']} by the {name} configuration "
                f"({1e3 * slo['value_s']:.1f} ms, 95 % interval {1e3 * slo['low_s']:.1f} to {high})"
            )
    if result["verdict"] == "no difference shown":
        lines.append(
            f"  the gain is not certain: keep the default, or run longer: {result['ends']}, and a "
            f"verdict needs {FEWEST} rounds or more"
        )
    if memory := result["memory_bytes"]:
        used = {name: f"{value / 2**20:.0f} MiB" for name, value in memory.items()}
        lines.append(f"  memory of the server: {used['recommended']}, {used['default']} by default")
    lines += _harm_lines(job, result)
    return [*lines, f"  {result['busy']}"] if result["busy"] else lines


def report(result: dict[str, Any], folder: Path) -> str:
    """Return the report that people read: the verdict, and how to start the server so."""
    lines = list(result["words"])
    if "flags" in result:
        whose = "" if result["deploy"] == result["recommended"] else " of the default"
        lines.append(f"flags{whose}: {shlex.join(result['flags']) or '(none)'}")
        lines += [f"  batching.txt: {line}" for line in result["batching"].splitlines()]
    if "start" in result:
        lines.append(f"start it with: {result['start']}")
    lines.append(f"files: {folder}/: {PAGE} for a browser, journal.jsonl and {RESULT}")
    return "\n".join(lines)


def _gain(job: Job, result: dict[str, Any]) -> str:
    """Say what the two cost, and how one compares with the other."""
    rounds, ratio, cost = result["rounds"], result["ratio"], result["cost"]
    if cost is None:
        return f"  no round is whole, so the costs are unknown; {result['verdict']}"
    ours, theirs = (
        amount(job.objective, cost[name], named=name == "recommended")
        for name in ("recommended", "default")
    )
    measured = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    lost = f"; {result['lost']} more lost" if result["lost"] else ""
    gain = f"  {ours} against {theirs} by default ({measured}{lost})"
    if ratio:
        interval = "too few rounds for an interval"
        if ratio["low"] is not None and ratio["high"] is not None:
            interval = f"95 % interval {ratio['low']:.2f} to {ratio['high']:.2f}"
        gain += f"; ratio within a round: median {ratio['median']:.2f} ({interval})"
    return f"{gain}; {result['verdict']}"


def _harm_lines(job: Job, result: dict[str, Any]) -> list[str]:
    """Say what trials and the default did to the requests, and which trials ended early."""
    harm = result["harm"]
    if harm["late_s"] is None:
        return []
    whose = "" if job.slo else ", by the first episodes of the default"
    lines = [
        f"  late (over {in_ms(harm['late_s'])}{whose}) or failed: {harm['trial_bad']} of "
        f"{harm['trial_requests']} requests in trials (budget {harm['budget']}), "
        f"{harm['default_bad']} of {harm['default_requests']} with the default"
    ]
    ended = [Part(**part) for part in harm["ended"]]
    return lines + [f"  {in_words(part.configuration)} {ended_words(part)}" for part in ended]


def check_result(result: dict[str, Any]) -> None:
    """Raise UnstableError if the SLO is missed, or the recommendation did worse.

    Raises
    ------
    DeployError
        If the recommendation could not serve in the comparison.
    """
    if result["verdict"] == FAILED:
        raise DeployError(
            f"{in_words(result['recommended'])} could not serve in the comparison: keep the default"
        )
    both = result["slo"]
    if both and (slo := both[both["by"]])["word"] == "missed":
        remedy, ours = "lower the load, add cores, or tune more knobs", both["recommended"]
        if result["verdict"] == "no difference shown" and (ours or {}).get("word") != "missed":
            remedy = f"run longer, as the recommended one may meet it: {result['ends']}"
        raise UnstableError(
            f"SLO {slo['slo']} missed: {1e3 * slo['value_s']:.1f} ms with the {both['by']} "
            f"configuration at {result['load_per_s']:.0f}/s; {remedy}"
        )
    if result["verdict"] in ("worse", "stopped"):
        raise UnstableError(
            "the recommendation did worse than the default: keep the default, or use more "
            "--episodes"
        )
