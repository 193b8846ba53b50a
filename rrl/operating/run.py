"""Run the job of `rrl tune` or `rrl replay`, then report the result and write it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rrl.operating.job import Job
from rrl.operating.log import LOG
from rrl.operating.operate import Contestants, Run
from rrl.operating.options import NO_LIMIT
from rrl.operating.records import in_ms
from rrl.operating.verdict import duration, summarise
from rrl.recording.other_work import OtherWork
from rrl.support.errors import ServerError, interrupt_by_signals
from rrl.tuning.episode import Server
from rrl.tuning.guard import LATE, USUAL_EPISODES, Keeps
from rrl.tuning.presets import in_words

_CHOSEN = "0: TensorFlow chooses the number"
ZERO = {"inter_op": _CHOSEN, "intra_op": _CHOSEN, "batch_threads": "0: no batching"}
"""What the value 0 of a number of threads means."""

ROOM_BYTES = 2**20  # less is a full disk: an episode may not fit


def run(
    opened: Run,
    server: Server,
    contestants: Contestants,
    folder: Path,
    options: Namespace,
    command: Sequence[str] = (),
) -> int:
    """Finish a run, print a report, write the result and the figure, and return the exit code.

    A server that can keep a configuration is told at the end to keep the one to deploy; if the run
    is interrupted or fails, that is the default. If the server measures now, `command` starts such
    a server, without the flags of a configuration.
    """
    from rrl.operating.report import add_commands, check_result, plot_journal, report, write
    from rrl.plotting.shared import save

    interrupt_by_signals()
    job = opened.job
    others = OtherWork(getattr(server, "processes", tuple)) if command else None
    try:
        if command:
            LOG.info(f"{load_words(job)}, plus the server starts")
        records = opened.finish(server, contestants, others)
    except BaseException as found:
        error = found
        if isinstance(error, KeyboardInterrupt):
            error = KeyboardInterrupt(
                f"interrupted; all finished episodes are in {folder}: the same command continues"
            )
        elif isinstance(error, ServerError):  # what it says of a full disk is of no help
            error = no_room(folder) or error
        if isinstance(server, Keeps):
            if not options.keep_best:
                server.keep(job.default)
            if isinstance(error, Exception):  # it is said now, because the return takes long
                LOG.warning(str(error))
        raise error from None
    result = summarise(job, records)
    if isinstance(server, Keeps):
        server.keep(result["deploy"])
    add_commands(job, result, folder.absolute() if command else folder, command)
    try:  # first, because a full disk must not hide the result
        print(json.dumps(result) if options.json else report(job, result, folder), flush=True)
    finally:
        write(result, folder)
        save(plot_journal(job, records), "tuning", folder)
    check_result(result)
    return 0


def no_room(folder: Path) -> OSError | None:
    """Return an error if there is no room for a run's files, or for those of a server.

    Examples
    --------
    >>> no_room(Path.cwd())
    """
    for place in (folder, Path(tempfile.gettempdir())):
        while not place.exists():
            place = place.parent
        if shutil.disk_usage(place).free < ROOM_BYTES:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
    return None


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
