"""Tune a service as its operator does: learn, compare with the default, decide and report.

:func:`carry_out` is the list of these phases, and a :class:`TuningRun` has what they measure. Every
episode is in the journal before the next one begins. So the same command continues where the last
one was stopped: the same loop runs again, and its server plays the answers of the journal before it
asks a real one. What the run draws itself, it draws again: each episode has a generator of its own,
whatever a server has drawn before.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.journal import Journal, Record, TapedServer, open_journal
from rrl.operating.log import LOG
from rrl.operating.page import write_page
from rrl.operating.report import (
    NO_TRIAL,
    StartLine,
    amount,
    check_result,
    deployment,
    duration,
    ended_words,
    in_ms,
    progress,
    report,
    verdict_lines,
    write,
)
from rrl.operating.verdict import NAMES, Round, costs_of, judge_costs, summarise
from rrl.rivals.agents import RECOMMENDED, maker
from rrl.support.errors import DataError, ServerError, UsageError, check_interrupt, explain
from rrl.support.machine import busy_line
from rrl.tuning.defaults import nearest
from rrl.tuning.episode import Server
from rrl.tuning.guard import LEAST, USUAL_EPISODES, Guard, GuardedStep, guarded_step
from rrl.tuning.loop import Agent, draw_rounds, draw_run
from rrl.workloads.trace import Trace
from rrl.workloads.workload import Poisson, Times

ROOM_BYTES = 2**20  # less is a full disk: an episode may not fit
SETTLED = "no trial is worth its price any more: the tuning ends early"


def carry_out(run: TuningRun, server: Server, start_line: StartLine | None = None) -> None:
    """Learn, compare, decide and report.

    If the server measures now, a `start_line` says how to start such a server, and the page of the
    run is written anew after each episode.
    """
    folder = run.journal.path.parent
    try:
        run.begin(server, watched=start_line is not None)
        run.learn()
        run.compare()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; all finished episodes are in {folder}: the same command continues"
        ) from None
    except ServerError:
        check_room(folder)  # what a server says of a full disk is of no help
        raise
    result = run.result()
    run.deploy = result["deploy"]
    deploy = {**run.job.fixed, **result["deploy"]}
    result |= deployment(deploy, folder.absolute() if start_line else folder, start_line)
    result["words"] = verdict_lines(run.job, result)
    try:  # first, because a full disk must not hide the result
        print(report(result, folder), flush=True)
    finally:
        write(result, folder)
    write_page(folder)
    check_result(result)


def check_room(folder: Path) -> None:
    """Raise OSError if there is no room for a run's files, or for those of a server."""
    for place in (folder, Path(tempfile.gettempdir())):
        if shutil.disk_usage(place).free < ROOM_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))


@contextmanager
def open_run(job: Job, folder: str | os.PathLike[str], command: str = "") -> Iterator[TuningRun]:
    """Open the journal of a job and play it to a new run, before any server is touched.

    A new journal has the command that begins the run.

    Raises
    ------
    UsageError, DataError
        If the job cannot continue it.
    """
    with open_journal(folder, job.settings(), command) as journal:
        for name, most in (("episode", job.episodes), ("round", job.rounds)):
            numbers = [record.get(name) for record in journal.records]
            known = 1 + max((n for n in numbers if isinstance(n, int)), default=-1)
            if known > most:
                raise UsageError(
                    f"{journal.path} has {known} {name}s: give --{name}s {known} or more, "
                    "or choose another folder"
                )
        run = TuningRun(job, journal)
        run.play()
        yield run


def make_agent(job: Job) -> Agent:
    """Make a job's agent by its name, which begins at or near the default."""
    return maker(job.agent, start=nearest(job.space, job.default))(job.space, job.rng(0))


def settled(job: Job, steps: Sequence[GuardedStep]) -> bool:
    """Return whether the agent has kept its best during all episodes of the job's patience.

    An episode in which the guard ended or refused a trial does not count.
    """
    steady = job.agent == RECOMMENDED and isinstance(job.workload, Poisson)
    if not (steady and 0 < job.patience <= len(steps)):
        return False
    last = steps[-job.patience :]
    best = last[-1].recommended
    return all(step.configuration == step.recommended == step.asked == best for step in last)


class TuningRun:
    """A run with its journal, its agent and its guard; :func:`open_run` makes it.

    Attributes
    ----------
    guard : Guard
    steps : list of GuardedStep
        The episodes of the tuning so far.
    rounds : list of Round
        The rounds of the comparison since the last episode of the tuning. Earlier ones compared an
        earlier recommendation.
    deploy : configuration or None
        The configuration to deploy; None until the run is finished.
    """

    def __init__(self, job: Job, journal: Journal) -> None:
        self.job, self.journal = job, journal
        late_s = job.slo.target_s if job.slo else None
        self.guard = Guard(job.default, job.budget, late_s)
        self.steps: list[GuardedStep] = []
        self.rounds: list[Round] = []
        self.deploy: Configuration | None = None
        self._agent = make_agent(job)
        self._server: Server | None = None
        self._watched = False
        self._turns: Iterator[tuple[Times, int, list[str]]] = iter(())

    def stays(self, keep_best: bool) -> Configuration:
        """Return the configuration that stays in a service when the run ends.

        It is the one to deploy. If the run ends early, it is the default, or with `keep_best` the
        recommendation so far if it did well under the guard.
        """
        if self.deploy is None and keep_best and self.steps:
            return self.guard.sound(self.steps[-1].recommended)
        return self.deploy or self.job.default

    @property
    def _second(self) -> Configuration:
        """The configuration that the rounds compare with the default.

        It is the recommendation if the guard admitted this before the first round, and otherwise
        the default itself.
        """
        if self.rounds:
            return self.rounds[0]["recommended"].part.configuration
        best = self.steps[-1].recommended
        return best if self.guard.admits(best) else self.job.default

    def result(self) -> dict[str, Any]:
        """Return the result of a finished run, see :func:`rrl.operating.verdict.summarise`.

        ``ends`` says why there are no more rounds, and ``busy`` how often others used the machine.
        """
        found = summarise(self.job, self.steps, self.rounds, self.guard)
        answers = [answer for record in self.journal.records for answer in record["answers"]]
        busy = busy_line(answer.get("info", {}) for answer in answers)
        return found | {"ends": self._why_no_round(), "busy": busy}

    # --- the phases -------------------------------------------------------------------------------

    def play(self) -> None:
        """Run the loop again with the answers of the journal.

        Raises
        ------
        DataError
            If the journal does not come out again: it was changed, or it is of another version.
        """
        for number, stored in enumerate(self.journal.records, 2):
            try:
                self._advance("episode" in stored, stored)
            except Exception as error:  # of a file that anybody may have written
                raise DataError(
                    f"{self.journal.path}, line {number}: it is no measurement of this run, or of "
                    f"another version of rrl ({error}); restore the file, continue the run with "
                    "that version, or choose another folder by --out"
                ) from error
        self.guard.budget = self.job.budget
        self.guard.serves = self.guard.default  # whatever served when the run was stopped

    def begin(self, server: Server, *, watched: bool = False) -> None:
        """Ask this server from now on; if somebody watches, draw a page after each episode."""
        self._server, self._watched = server, watched
        if self.steps:
            done = f"{len(self.steps)} episodes and {len(self.rounds)} rounds"
            LOG.info(f"continuing after {done} in {self.journal.path}")
        elif self.job.budget < LEAST:
            LOG.info(NO_TRIAL)

    def learn(self) -> None:
        """Let the agent tune until its episodes are used up, or no trial is worth its price."""
        job, guard = self.job, self.guard
        began, first = time.monotonic(), len(self.steps)
        while (done := len(self.steps)) < job.episodes:
            if settled(job, self.steps):
                LOG.info(SETTLED)
                break
            before = guard.late_s
            self._advance(learning=True)
            left_s = (job.episodes - done - 1) * (time.monotonic() - began) / (done + 1 - first)
            LOG.info(progress(job, self.steps, duration(left_s)))
            if guard.late_s is not None and guard.late_s != before:
                LOG.info(
                    f"late means over {in_ms(guard.late_s)}: twice the p99 of {USUAL_EPISODES} "
                    "episodes of the default (--slo sets it)"
                )

    def compare(self) -> None:
        """Measure the default and the second configuration in rounds, until that is enough."""
        while (why := self._why_no_round()) is None:
            self._advance(learning=False)
            words = [
                f"{name} {ended_words(one.part) or amount(self.job.objective, one.cost)}"
                for name, one in self.rounds[-1].items()
            ]
            LOG.info(f"round {len(self.rounds)}/{self.job.rounds}: {', '.join(words)}")
        LOG.info(f"the comparison ends: {why}")

    def _why_no_round(self) -> str | None:
        """Return why the comparison is complete; None if it needs another round.

        With an SLO, all rounds are needed: if they ended as soon as they seem to decide whether it
        is met, the answer would be wrong too often.
        """
        job, guard, rounds, second = self.job, self.guard, self.rounds, self._second
        if len(rounds) >= job.rounds:
            return f"all {job.rounds} rounds are measured (--rounds)"
        if not rounds:
            return None
        if job.slo is None:
            if judge_costs(costs_of(rounds))["verdict"] in ("better", "worse"):
                return "the answer is clear: no more rounds are needed"
            if second == dict(job.default):
                return "the default is recommended, and no SLO is to be judged"
        whole = not rounds[-1]["recommended"].part.ended
        more = whole or self.journal.records[-1]["budget"] < job.budget
        if more and guard.admits(second):
            return None
        if guard.charge(second) is None:
            return "the budget of late or failed requests is used up (--budget)"
        return "the recommendation did too badly to serve any longer"

    # --- one episode, one round -------------------------------------------------------------------

    def _advance(self, learning: bool, stored: Record | None = None) -> None:
        """Run an episode or a round: again if it is stored, or else its line is on disk afterwards.

        A line has the answers of the server, and the numbers that a run cannot draw or compute
        again; and what follows from them, so that another result is noticed.
        """
        old = stored or {}
        taped = TapedServer(self.job.space, self._server, old.get("answers", []))
        self.guard.budget = old["budget"] if old else self.job.budget
        check_interrupt()
        line = self._episode(taped, old) if learning else self._round(taped)
        line |= {"budget": self.guard.budget, "late_s": self.guard.late_s}
        line |= {"answers": taped.answers}
        if stored is None:
            self.journal.append(line)
            self._draw()
        elif line != stored:
            raise ValueError("something else follows from its answers")

    def _draw(self) -> None:
        """Draw the page of the run so far; a live service must not suffer if that fails."""
        if self._watched:
            try:
                write_page(self.journal.path.parent)
            except Exception as error:
                LOG.warning(f"the page of the run so far is missing: {explain(error)[0]}")

    @cached_property
    def _drawn(self) -> tuple[float, Iterator[Times]]:
        """The first load (requests/s), and when the requests of each episode are planned (s).

        The rate of clients is known only when they send requests, so it is asked for late.
        """
        job = self.job
        return draw_run(job.workload, job.episodes, job.requests, job.rng(1))[:2]

    def _episode(self, server: Server, old: Record) -> Record:
        """Let the agent learn from an episode; return its line without the answers."""
        job, number = self.job, len(self.steps)
        load = self.steps[-1].next_load if number else old.get("load_per_s") or self._drawn[0]
        if isinstance(job.workload, Poisson | Trace):
            due = next(self._drawn[1])
        else:  # clients send when they like; a server that sees them needs only the number
            due = np.arange(job.requests) / load
        what = server, self._agent, load, due, job.rng(3, number), job.objective
        step = guarded_step(*what, self.guard)
        self.steps.append(step)
        self.rounds = []
        return {
            "episode": number,
            "load_per_s": step.load,
            "configuration": step.configuration,
            "cost": None if math.isnan(step.cost) else step.cost,
            "ended": step.part.ended,
            "recommended": step.recommended,
        }

    def _round(self, server: Server) -> Record:
        """Measure the default and the second configuration; return their line."""
        job, guard, number = self.job, self.guard, len(self.rounds)
        pairs = {"default": job.default, "recommended": self._second}
        if number == 0:
            drawn = job.workload, job.rounds, job.requests, job.rng(2)
            self._turns = draw_rounds(list(NAMES), *drawn)
        arrivals, seed, order = next(self._turns)
        done = {}
        for name in order:
            rng = np.random.default_rng(seed)
            done[name] = guard.measure(server, pairs[name], arrivals, rng, job.objective)
        self.rounds.append({name: done[name] for name in pairs})
        (costs,) = costs_of(self.rounds[-1:])
        return {"round": number, "recommended": pairs["recommended"], "costs": costs}
