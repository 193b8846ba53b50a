"""Run the job of `rrl tune` or `rrl replay`, then report the result and write it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.support.errors import ServerError, interrupt_by_signals

if TYPE_CHECKING:
    from rrl.operating.job import Job
    from rrl.operating.operate import Contestants, Run
    from rrl.operating.records import Record
    from rrl.operating.screen import Screen
    from rrl.tuning.episode import Server


_CHOSEN = "0: TensorFlow chooses the number"
ZERO = {"inter_op": _CHOSEN, "intra_op": _CHOSEN, "batch_threads": "0: no batching"}
"""What the value 0 of a number of threads means."""

ROOM_BYTES = 2**20  # less is a full disk: an episode may not fit


def run(
    job: Job,
    server: Server,
    contestants: Contestants,
    folder: Path,
    options: Namespace,
    screen: Screen,
    opened: Run | None = None,
    command: Sequence[str] = (),
) -> int:
    """Tune, print a report, write the result and the figure, and return the exit code.

    A server that can keep a configuration is told at the end to keep the one to deploy; if the run
    is interrupted or fails, that is the default. A run that measures now is `opened` already, and
    `command` starts such a server, without the flags of a configuration.
    """
    from rrl.operating.operate import operate
    from rrl.operating.report import add_commands, check_result, plot_journal, report, write
    from rrl.operating.verdict import summarise
    from rrl.plotting.shared import save
    from rrl.tuning.guard import Keeps

    interrupt_by_signals()
    try:
        if opened is None:
            every = max(1, job.episodes // 20)
            tick = screen.progress
            records = operate(job, server, contestants, folder, screen, every, tick=tick)
        else:
            with _returning(job, server, folder, options):
                records = _measure(job, server, contestants, screen, opened)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; all finished episodes are in {folder}: the same command continues"
        ) from None
    finally:
        screen.close()
    result = summarise(job, records)
    if isinstance(server, Keeps):
        server.keep(result["deploy"])
    if opened is not None:
        folder = folder.absolute()
    add_commands(job, result, folder, command)
    try:  # first, because a full disk must not hide the result
        print(json.dumps(result) if options.json else report(job, result, folder), flush=True)
    finally:
        write(result, folder)
        save(plot_journal(job, records), "tuning", folder)
    check_result(result)
    return 0


def _measure(
    job: Job, server: Server, contestants: Contestants, screen: Screen, opened: Run
) -> list[Record]:
    """Tune a server, and note what else the machine does meanwhile."""
    from rrl.operating.operate import operate
    from rrl.operating.other_work import OtherWork
    from rrl.support.machine import describe_machine

    machine = {k: v for k, v in describe_machine().items() if k != "load_average"}
    count = job.episodes + 2 * job.rounds
    screen(
        f"{'at most ' * job.may_settle}{count} episodes of {job.requests} requests: "
        f"{load_words(job)}, plus the server starts"
    )
    return operate(
        job, server, contestants, opened, screen, tick=screen.progress, machine=machine,
        others=OtherWork(getattr(server, "processes", tuple)),
    )  # fmt: skip


def load_words(job: Job) -> str:
    """Say how long the requests of a job last, at the mean rate of its arrivals."""
    from rrl.operating.verdict import duration

    requests = (job.episodes + 2 * job.rounds) * job.requests
    if (rate := job.workload.rate) <= 0:  # clients send them, and have sent none yet
        return f"{requests} requests of the clients"
    return f"{duration(requests / rate)} of load"


@contextmanager
def _returning(job: Job, server: Server, folder: Path, options: Namespace) -> Iterator[None]:
    """Let the default return if the block fails.

    With clients, the reason is said before, because the return takes long.

    What a server says of a full disk is of no help, so the disk is looked at first.
    """
    from rrl.operating.targets import reason_of, say
    from rrl.tuning.guard import Keeps

    try:
        try:
            yield
        except ServerError:
            check_room(folder)
            raise
    except BaseException as error:
        if isinstance(server, Keeps) and not options.keep_best:
            server.keep(job.default)
        if options.port and isinstance(error, Exception):
            say(reason_of(error))
        raise


def check_room(folder: Path) -> None:
    """Raise OSError if there is no room for a run's files, or for those of a server.

    Examples
    --------
    >>> check_room(Path.cwd())
    """
    for place in (folder, Path(tempfile.gettempdir())):
        while not place.exists():
            place = place.parent
        if shutil.disk_usage(place).free < ROOM_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))


def plan_lines(job: Job, note: str, refuses: Callable[[Any], bool]) -> list[str]:
    """Say what a job may do to a service, for `--dry-run`."""
    from rrl.operating.options import NO_LIMIT
    from rrl.operating.records import in_ms
    from rrl.tuning.guard import LATE, USUAL_EPISODES
    from rrl.tuning.presets import in_words

    tried = [one for one in job.space if one != dict(job.default) and not refuses(one)]
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
        f"how often: {'at most ' * job.may_settle}{job.episodes} episodes of {job.requests} "
        f"requests, each with one of them or the default; then at most {job.rounds} rounds, each "
        "with the default and the recommended one"
    )
    lines.append(
        f"how long: at most {load_words(job)}, and the time of at most "
        f"{job.episodes + 2 * job.rounds} changes of the configuration"
    )
    late = job.slo.target_s if job.slo else job.late_s
    limit = in_ms(late) if late else f"{LATE:g} times the default's p99"
    how = "" if late else f", by its first {USUAL_EPISODES} episodes"
    if job.budget is None or job.budget >= NO_LIMIT:
        lines.append(f"late (over {limit}{how}) or failed: no limit in all; bad trials are stopped")
    else:
        lines.append(
            f"late (over {limit}{how}) or failed: at most {job.budget} requests in trials, besides "
            "as many as the default would have had among the same requests (95 % sure)"
        )
    return [*lines, note] if note else lines
