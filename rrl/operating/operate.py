"""Tune a service as its operator does: with an objective, a journal, a verdict and flags to set.

:func:`operate` lets an agent tune. Then it compares the recommended configuration with the default
in alternating episodes. Every episode is in the journal before the next one begins. So the same
call continues where the last one was stopped: the same loop runs again, and its server plays the
answers of the journal (:mod:`rrl.operating.tape`) before it asks a real one. What the run draws
itself, it draws again. Only the generator of the server stands in the journal, because the server
alone knows how much it draws.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.journal import OTHER_VERSION, Journal, Record
from rrl.operating.log import LOG
from rrl.operating.records import (
    compared,
    episode_record,
    in_ms,
    learned,
    line_of,
    round_record,
    settled,
)
from rrl.operating.report import (
    add_commands,
    amount,
    check_result,
    duration,
    load_words,
    progress,
    report,
    write,
)
from rrl.operating.tape import TapedServer
from rrl.operating.verdict import decided, summarise
from rrl.recording.other_work import OtherWork
from rrl.support.errors import DataError, ServerError, UsageError, interrupt_by_signals
from rrl.support.provenance import version
from rrl.tuning.comparison import draw_rounds
from rrl.tuning.defaults import guess_cores, nearest
from rrl.tuning.episode import Server, measure_valid
from rrl.tuning.guard import USUAL_EPISODES, Guard
from rrl.tuning.guarded import check_answered, guarded_steps, measured
from rrl.tuning.loop import Step, draw_run, learning_steps
from rrl.tuning.presets import THREADS
from rrl.workloads.workload import Times


@runtime_checkable
class Keeps(Protocol):
    """Protocol of a live service: one configuration stays at its port when a run ends."""

    def keep(self, configuration: Configuration) -> None:
        """Name the configuration that answers in place of a bad trial, and after the run."""
        ...


ROOM_BYTES = 2**20  # less is a full disk: an episode may not fit
SETTLED = "no trial is worth its price any more: the tuning ends early"


@contextmanager
def open_run(job: Job, folder: str | os.PathLike[str]) -> Iterator[Run]:
    """Open the journal of a job and play it to a new run, before any server is touched.

    Raises
    ------
    UsageError, DataError
        If the job cannot continue it.
    """
    with Journal(folder, job.settings(), version(f"agent {job.agent}")) as journal:
        for name, most in (("episode", job.episodes), ("round", job.rounds)):
            numbers = [record.get(name) for record in journal.records]
            known = 1 + max((n for n in numbers if isinstance(n, int)), default=-1)
            if known > most:
                raise UsageError(
                    f"{journal.path} has {known} {name}s: give --{name}s {known} or more, "
                    "or choose another folder"
                )
        run = Run(job, journal, make_guard(job))
        run.play()
        yield run


def make_agent(job: Job) -> Agent:
    """Make a job's agent by its name; `rrl-gp` begins at or near the default.

    Automatic threads that are not on the grid are a thread per core.
    """
    from rrl.rivals.agents import maker

    settings: dict[str, Any] = {} if job.warm is None else {"warm": job.warm}
    if job.agent == "rrl-gp":
        automatic = [k.name for k in job.space.knobs if k.name in THREADS and 0 not in k.values]
        cores = {name: guess_cores(job.space) for name in automatic if not job.default[name]}
        settings["start"] = nearest(job.space, {**job.default, **cores})
    return maker(job.agent, **settings)(job.space, job.rng(0))


def make_guard(job: Job) -> Guard | None:
    """Make a job's guard; None if it has no budget of bad requests."""
    if job.budget is None:
        return None
    return Guard(job.space, job.default, job.budget, job.slo.target_s if job.slo else None)


def operate(job: Job, server: Server, folder: str | os.PathLike[str]) -> list[Record]:
    """Tune, then compare with the default; continue from the journal in `folder`.

    See :func:`open_run` and :meth:`Run.finish`.
    """
    with open_run(job, folder) as run:
        return run.finish(server)


class Run:
    """A run with its journal, its agent and its guard; :func:`open_run` makes it.

    Attributes
    ----------
    records : list of dict
        What follows from the measurements so far, see :mod:`rrl.operating.records`.
    guard : Guard, optional
    """

    def __init__(self, job: Job, journal: Journal, guard: Guard | None) -> None:
        self.job, self.journal, self.guard = job, journal, guard
        self.records: list[Record] = []
        self._agent = make_agent(job)
        self._taped = TapedServer(job.space)
        self._load, self._drawn, self._rng = self._draw()
        self._steps: Iterator[Step] | None = None
        self._rounds: Iterator[tuple[Times, int, list[str]]] = iter(())
        self._others: OtherWork | None = None

    @property
    def recommended(self) -> Configuration:
        """What the agent recommends after its last episode."""
        return learned(self.records)[-1]["recommended"]

    @property
    def best_known(self) -> Configuration:
        """The recommendation so far if it did well under the guard, and otherwise the default."""
        default = dict(self.job.default)
        return self.guard.sound(self.recommended) if self.guard and self.records else default

    @property
    def second(self) -> Configuration:
        """The configuration that is compared with the default.

        It is the recommendation if the guard admits it before the first round, and otherwise the
        default itself.
        """
        if rounds := compared(self.records):
            return dict(rounds[0]["recommended"]["answered"].configuration)
        admitted = self.guard is None or self.guard.admits(self.recommended)
        return self.recommended if admitted else dict(self.job.default)

    # --- one episode, one round -------------------------------------------------------------------

    def _draw(self) -> tuple[float, Iterator[Times], np.random.Generator]:
        return draw_run(self.job.workload, self.job.episodes, self.job.requests, self.job.rng(1))

    def _next_episode(self, due: Times) -> Record:
        """Run an episode whose requests are planned at `due` (s)."""
        self._due = due
        if self._steps is None:
            parts = (self._due for _ in repeat(None))
            what = self._taped, self._agent, self._load, parts, self._rng, self.job.objective
            guard = self.guard
            self._steps = learning_steps(*what) if guard is None else guarded_steps(*what, guard)
        record = episode_record(self.job, next(self._steps), self.guard)
        planned = {} if self.job.redrawn else {"due_s": due.tolist()}
        return self._with_answers(record) | planned | {"rng": self._rng.bit_generator.state}

    def _next_round(self) -> Record:
        """Measure the default and the second configuration."""
        job, number = self.job, len(compared(self.records))
        pairs = {"default": job.default, "recommended": self.second}
        if number == 0:
            drawn = job.workload, job.rounds, job.requests, job.rng(2)
            self._rounds = draw_rounds(list(pairs), *drawn)
        arrivals, seed, order = next(self._rounds)
        episodes, trials = {}, []
        for name in order:
            what = self._taped, pairs[name], arrivals, np.random.default_rng(seed)
            if self.guard is None:
                episodes[name], _ = measure_valid(*what)
                check_answered(episodes[name])
            else:
                trials.append(measured(self.guard, *what))
                episodes[name] = trials[-1].episode
        by_name = {name: episodes[name] for name in pairs}
        return self._with_answers(round_record(job, number, by_name, trials, self.guard))

    def _with_answers(self, record: Record) -> Record:
        """Return a record with what a run needs to come to it again."""
        if self.guard is not None:
            record |= {"budget": self.guard.budget, "late_s": self.guard.late_s}
        return record | {"answers": self._taped.take()}

    # --- the journal ------------------------------------------------------------------------------

    def play(self) -> None:
        """Run the loop again with the answers of the journal.

        Raises
        ------
        DataError
            If the journal does not come out again: it was changed, or it is of another version.
        """
        for number, stored in enumerate(self.journal.records, 2):
            try:
                self.records.append(self._again(stored))
            except Exception as error:  # of a file that anybody may have written
                raise DataError(
                    f"{self.journal.path}, line {number}: it is no measurement of this run, or of "
                    f"another version ({error}); restore the file, or {OTHER_VERSION}"
                ) from error
        if self.guard is not None:
            self.guard.budget = self.job.budget or 0

    def _again(self, stored: Record) -> Record:
        """Return what follows from a line of the journal; ValueError if it is another line."""
        self._taped.play(stored["answers"], stored.get("rng"))
        if self.guard is not None:
            self.guard.budget = stored["budget"]
        if "episode" in stored:
            if self._steps is None:
                self._load = stored["load_per_s"]
            due = next(self._drawn)
            record = self._next_episode(np.array(stored.get("due_s", due), dtype=float))
        else:
            record = self._next_round()
        if 0 <= stored.get("other_work", -1) <= 1:
            record["other_work"] = stored["other_work"]
        if line_of(record) != stored:
            raise ValueError("something else follows from its answers")
        return record

    def _note(self, measure: Callable[[], Record]) -> Record:
        """Measure, and keep the record; its line is on disk when this returns."""
        if self._others is not None:
            self._others.start()
        record = measure()
        if self._others is not None:
            record["other_work"] = self._others.look()
        self.journal.append(line_of(record))
        self.records.append(record)
        return record

    # --- the whole --------------------------------------------------------------------------------

    def finish(self, server: Server, others: OtherWork | None = None) -> list[Record]:
        """Run what the journal does not have yet: the rest of the tuning and of the comparison.

        Parameters
        ----------
        server : Server
        others : OtherWork, optional
            What else the machine does. The journal notes it with each episode.

        Returns
        -------
        list of dict
            The records of the run: one per episode, then one per round.

        Raises
        ------
        ServerError
            If a server fails permanently.
        """
        self._others, self._taped.server = others, server
        if self.records:
            done = len(learned(self.records)), len(compared(self.records))
            path = self.journal.path
            LOG.info(f"continuing after {done[0]} episodes and {done[1]} rounds in {path}")
        self._learn()
        self._compare()
        return self.records

    def _learn(self) -> None:
        """Let the agent tune until its episodes are used up, or no trial is worth its price."""
        job, guard = self.job, self.guard
        began, late_s = time.monotonic(), guard and guard.late_s
        first = len(learned(self.records))
        if not job.redrawn:  # only now the rate of clients is known
            load, self._drawn, _ = self._draw()
            self._load = load if self._steps is None else self._load
        for number in range(first + 1, job.episodes + 1):
            if settled(job, self.records):
                LOG.info(SETTLED)
                break
            self._note(partial(self._next_episode, next(self._drawn)))
            left_s = (job.episodes - number) * (time.monotonic() - began) / (number - first)
            LOG.info(progress(job, self.records, duration(left_s)))
            if guard and guard.late_s is not None and guard.late_s != late_s:
                late_s = guard.late_s
                LOG.info(
                    f"late means over {in_ms(late_s)}: twice the p99 of {USUAL_EPISODES} "
                    "episodes of the default (--slo sets it)"
                )

    def _why_no_round(self) -> str | None:
        """Return why the comparison is complete; None if it needs another round."""
        job, guard, rounds = self.job, self.guard, compared(self.records)
        if len(rounds) >= job.rounds:
            return f"all {job.rounds} rounds are measured"
        if decided(job, self.records):
            return "the answer is clear: no more rounds are needed"
        if rounds and job.slo is None and self.second == dict(job.default):
            return "the default is recommended, and no SLO is to be judged"
        if rounds and guard is not None and not guard.admits(self.second):
            if guard.charge(self.second) is None:
                return "the budget of late or failed requests is used up (--budget)"
            return "the recommendation did too badly to serve any longer"
        return None

    def _compare(self) -> None:
        """Measure the default and the second configuration in rounds, until that is enough."""
        measured = False
        while (why := self._why_no_round()) is None:
            record, measured = self._note(self._next_round), True
            costs = record["cost"].items()
            words = [f"{n} {record[n].get('stopped') or amount(self.job, c)}" for n, c in costs]
            LOG.info(f"round {record['round'] + 1}/{self.job.rounds}: {', '.join(words)}")
        if measured:
            LOG.info(f"the comparison ends: {why}")


# --- a command ------------------------------------------------------------------------------------


def run(
    opened: Run,
    server: Server,
    folder: Path,
    options: Namespace,
    command: Sequence[str] = (),
) -> int:
    """Finish a run, print a report, write the result and the figure, and return the exit code.

    A server that can keep a configuration keeps the default until the end, and then the one to
    deploy. If the run is interrupted or fails, the default stays, or the best known configuration
    if the operator wants that. If the server measures now, `command` starts such
    a server, without the flags of a configuration.
    """
    from rrl.operating.figure import plot_journal
    from rrl.plotting.shared import save

    interrupt_by_signals()
    job = opened.job
    others = OtherWork(getattr(server, "processes", tuple)) if command else None
    try:
        if command:
            LOG.info(f"{load_words(job)}, plus the server starts")
        records = opened.finish(server, others)
    except BaseException as found:
        error = found
        if isinstance(error, KeyboardInterrupt):
            error = KeyboardInterrupt(
                f"interrupted; all finished episodes are in {folder}: the same command continues"
            )
        elif isinstance(error, ServerError):  # what it says of a full disk is of no help
            error = no_room(folder) or error
        if isinstance(server, Keeps):
            if options.keep_best:
                server.keep(opened.best_known)
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
