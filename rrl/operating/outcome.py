"""Run the job of `rrl tune` or `rrl replay`, then write and report the result."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.support.errors import UnstableError, interrupt_by_signals

if TYPE_CHECKING:
    from rrl.operating.job import Job
    from rrl.operating.operate import Contestants
    from rrl.tuning.episode import Server


def run(
    job: Job,
    server: Server,
    contestants: Contestants,
    folder: Path,
    options: Namespace,
    live: bool = True,
) -> int:
    """Tune, write the result and the figure, print a report, and return the exit code."""
    from rrl.operating.figure import plot_journal
    from rrl.operating.operate import operate
    from rrl.operating.verdict import duration, summarise
    from rrl.plotting.shared import save

    def show(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr, flush=True)

    interrupt_by_signals()
    if live:
        count = job.episodes + 2 * job.rounds
        seconds = count * job.requests / job.workload.rate
        show(
            f"{count} episodes of {job.requests} requests: "
            f"{duration(seconds)} of load, plus the server starts"
        )
    try:
        every = 1 if live else max(1, job.episodes // 20)
        records = operate(job, server, contestants, folder, show, every)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; all finished episodes are in {folder}: the same command continues"
        ) from None
    result = summarise(job, records)
    try:
        _write(job, result, folder, live)
    finally:  # a full disk does not hide the result
        print(json.dumps(result) if options.json else _report(job, result, folder), flush=True)
    save(plot_journal(job, records), "tuning", folder)
    _judge(result)
    return 0


def _write(job: Job, result: dict[str, Any], folder: Path, live: bool) -> None:
    """Write `result.json`, and `batching.txt` if there is batching."""
    from rrl.operating.verdict import serving_flags
    from rrl.support.files import write_atomically
    from rrl.support.machine import describe_machine

    own = serving_flags({**job.fixed, **result["recommended"]}, folder)
    if own is not None:
        result["flags"], result["batching"] = own
        if own[1]:
            write_atomically(folder / "batching.txt", own[1])
    if live:
        result["machine"] = describe_machine()
    write_atomically(folder / "result.json", json.dumps(result, indent=2) + "\n")


def _report(job: Job, result: dict[str, Any], folder: Path) -> str:
    """Return the report that people read."""
    from rrl.operating.verdict import amount, words

    cost = {name: amount(job, value) for name, value in result["cost"].items()}
    lines = [f"recommended: {words(result['recommended'])}"]
    gain = f"  {result['objective']} {cost['recommended']}"
    if "default" in cost and (ratio := result["ratio"]):
        gain += (
            f" against {cost['default']} by default: {ratio['median']:.2f} of it (95 % interval "
            f"{ratio['low']:.2f} to {ratio['high']:.2f}, {job.rounds} paired episodes)"
        )
    lines.append(f"{gain}; {result['verdict']}")
    if slo := result["slo"]:
        high = "unknown" if slo["high_s"] is None else f"{1e3 * slo['high_s']:.1f}"
        lines.append(
            f"  SLO {slo['slo']}: {slo['word']} ({1e3 * slo['value_s']:.1f} ms, 95 % interval "
            f"{1e3 * slo['low_s']:.1f} to {high}); {100 * slo['late_while_tuning']:.1f} % of the "
            "requests were late while tuning"
        )
    if result["verdict"] == "no difference shown":
        lines.append("  the gain is not certain: keep the default, or use more --rounds")
    if "flags" in result:
        lines.append(f"flags: {shlex.join(result['flags']) or '(none)'}")
        lines += [f"  batching.txt: {line}" for line in result["batching"].splitlines()]
    lines.append(f"files: {folder}/: journal.jsonl, result.json, tuning.png and .pdf")
    return "\n".join(lines)


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
