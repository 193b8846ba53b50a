"""Run the job of `rrl tune` or `rrl replay`, then write and report the result."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.support.errors import UnstableError, interrupt_by_signals

if TYPE_CHECKING:
    from rrl.operating.job import Job
    from rrl.operating.operate import Contestants
    from rrl.operating.resume import Opened
    from rrl.operating.screen import Screen
    from rrl.operating.targets import Target
    from rrl.tuning.episode import Server


def run(
    job: Job,
    server: Server,
    contestants: Contestants,
    folder: Path,
    options: Namespace,
    screen: Screen,
    target: Target | None = None,
    opened: Opened | None = None,
) -> int:
    """Tune, write the result and the figure, print a report, and return the exit code.

    A server that can keep a configuration is told at the end to keep the one to deploy. Without a
    target, the measurements are not made now. If the journal of the folder is already open,
    `opened` has it.
    """
    from rrl.operating.by_cpus import by_cpus, plot_by_cpus
    from rrl.operating.commands import add_commands, write
    from rrl.operating.figure import plot_journal
    from rrl.operating.operate import operate
    from rrl.operating.verdict import duration, summarise
    from rrl.plotting.shared import save
    from rrl.support.machine import describe_machine
    from rrl.tuning.guard import Keeps

    interrupt_by_signals()
    machine = None
    if target:
        machine = {k: v for k, v in describe_machine().items() if k != "load_average"}
        machine |= target.noted
        count = job.episodes + 2 * job.rounds
        seconds = count * job.requests / max(job.workload.rate, 1e-3)
        screen(
            f"{'at most ' * job.may_settle}{count} episodes of {job.requests} requests: "
            f"{duration(seconds)} of load, plus the server starts"
        )
    try:
        every = 1 if target else max(1, job.episodes // 20)
        refuses = target and target.refuses
        records = operate(
            job, server, contestants, opened or folder, screen, every, tick=screen.progress,
            machine=machine, refuses=refuses,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; all finished episodes are in {folder}: the same command continues"
        ) from None
    finally:
        screen.close()
    result = summarise(job, records) | {"by_cpus": by_cpus(job, records)}
    if isinstance(server, Keeps):
        server.keep(result["deploy"])
    files = add_commands(job, result, folder.absolute() if target else folder, target)
    try:
        write(result, files, folder)
    finally:  # a full disk does not hide the result
        print(json.dumps(result) if options.json else _report(job, result, folder), flush=True)
    save(plot_journal(job, records), "tuning", folder)
    if rows := result["by_cpus"]:
        save(plot_by_cpus(job, records, rows), "cpus", folder)
    _judge(result)
    return 0


def _report(job: Job, result: dict[str, Any], folder: Path) -> str:
    """Return the report that people read."""
    from rrl.operating.by_cpus import table_lines
    from rrl.operating.verdict import words

    own = " (the default)" if result["verdict"] == "the default" else ""
    lines = [f"recommended: {words(result['recommended'])}{own}", _gain(job, result)]
    lines += _top_lines(job, result)
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
        other = f", {used['default']} by default" if "default" in used else ""
        lines.append(f"  memory of the server: {used['recommended']}{other}")
    lines += _harm_lines(job, result)
    lines += table_lines(job, result["by_cpus"])
    if "flags" in result:
        whose = "" if result["deploy"] == result["recommended"] else " of the default"
        lines.append(f"flags{whose}: {shlex.join(result['flags']) or '(none)'}")
        lines += [f"  batching.txt: {line}" for line in result["batching"].splitlines()]
    names = {line: name for name, line in result.get("start", {}).items()}  # they may be the same
    lines += [f"start the {name}: {line}" for line, name in names.items()]
    more = ", cpus.png and .pdf" if result["by_cpus"] else ""
    lines.append(f"files: {folder}/: journal.jsonl, result.json, tuning.png and .pdf{more}")
    return "\n".join(lines)


def _gain(job: Job, result: dict[str, Any]) -> str:
    from rrl.operating.verdict import amount, interval_words

    cost = {name: amount(job, value) for name, value in result["cost"].items()}
    table = result["objective"] == "mean" and not job.unit  # of costs in any unit
    gain = f"  {'cost' if table else result['objective']} {cost['recommended']}"
    if "default" in cost and (ratio := result["ratio"]):
        gain += (
            f" against {cost['default']} by default: {ratio['median']:.2f} of it "
            f"({interval_words(ratio)}, {result['compared']} paired episodes)"
        )
    return gain if "default" not in cost else f"{gain}; {result['verdict']}"


def _top_lines(job: Job, result: dict[str, Any]) -> list[str]:
    """Say that a capacity search ended at the highest of its rates."""
    from rrl.tuning.constrained import HighestRate

    if not isinstance(job.objective, HighestRate):
        return []
    least, most = job.objective.rates_per_s[0], job.objective.rates_per_s[-1]
    if min(result["cost"].values()) > 1.001 * least / most:
        return []
    return [f"  {most:g}/s kept the SLO, and higher rates may, too: name some in --objective"]


def _harm_lines(job: Job, result: dict[str, Any]) -> list[str]:
    """Say what tuning did to the requests, and which trials ended early."""
    from rrl.operating.options import NO_LIMIT, UNLIMITED
    from rrl.operating.verdict import words
    from rrl.tuning.constrained import HighestRate

    harm = result["harm"]
    if harm["late_s"] is None or isinstance(job.objective, HighestRate):  # it overloads on purpose
        return []
    trials, default = (f"{bad} of {n}" for n, bad in (harm["trials"], harm["default"]))
    budget = UNLIMITED if result["budget"] == NO_LIMIT else result["budget"]
    lines = [
        f"  late (over {1e3 * harm['late_s']:.0f} ms) or failed: {trials} requests in trials "
        f"(budget {budget}), {default} with the default"
    ]
    for trial in harm["ended"]:
        why = f": {trial['why']}" if trial["why"] else ""
        lines.append(f"  {trial['ended']}: {words(trial['configuration'])}{why}")
    if len(harm["machines"]) > 1:
        lines.append("  the machine changed during the run: see result.json")
    return lines


def _judge(result: dict[str, Any]) -> None:
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
