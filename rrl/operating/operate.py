"""Tune a service as its operator does: with an objective, a journal, a verdict and flags to set.

:func:`operate` lets an agent tune. Then it compares the recommended configuration with the default
in alternating episodes. Every episode is in the journal before the next one begins. Therefore the
same call continues where the last call was stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.journal import SNAPSHOT_EVERY, Journal
from rrl.operating.records import (
    Record,
    compared,
    episode_record,
    learned,
    remember,
    round_record,
    settled,
)
from rrl.operating.verdict import amount, decided, duration, progress
from rrl.support.errors import UsageError
from rrl.tuning.capacity import searching
from rrl.tuning.episode import Server
from rrl.tuning.guard import Guard, Keeps
from rrl.tuning.guarded import check_answered
from rrl.tuning.loop import rounds, steps

Contestants = Callable[[Configuration], AbstractContextManager[Mapping[str, Server]]]
"""Takes a recommendation and opens the servers "default" and "recommended" of the comparison."""

SETTLED = "no trial is worth its price any more: the tuning ends early"


def make_agent(job: Job) -> Agent:
    """Make a job's agent by its name; `rrl` begins at or near what serves now."""
    from rrl.rivals.agents import maker
    from rrl.tuning.defaults import nearest

    begins = job.agent == "rrl" and job.serves is not None
    settings: dict[str, Any] = {"start": nearest(job.space, job.serves)} if begins else {}
    settings |= {} if job.warm is None else {"warm": job.warm.start}
    return maker(job.agent, **settings)(job.space, job.rng(0))


def make_guard(job: Job, refuses: Callable[[Configuration], bool] | None = None) -> Guard | None:
    """Make a job's guard; None if it has no budget of bad requests.

    `refuses` says whether a configuration would refuse requests that are served today.
    """
    if job.budget is None:
        return None
    late_s = job.slo.target_s if job.slo else None
    return Guard(
        job.space, job.default, job.budget, late_s, job.factor, refuses=refuses,
        refused_cost=job.failure_cost,
    )  # fmt: skip


@contextmanager
def open_journal(job: Job, folder: str | os.PathLike[str]) -> Iterator[Journal]:
    """Open the journal of a job, before any server is touched.

    Raises
    ------
    UsageError, DataError
        If the job cannot continue it.
    """
    with Journal(folder, job.settings()) as journal:
        known = learned(journal.records)
        if len(known) > job.episodes:
            raise UsageError(
                f"{journal.path} has {len(known)} episodes: give --episodes {len(known)} or more, "
                "or choose another folder"
            )
        if known and not _has_learned(job, known):
            journal.agent(lambda: make_agent(job))  # another version of it may choose otherwise
        yield journal


def operate(
    job: Job,
    server: Server,
    contestants: Contestants,
    folder: str | os.PathLike[str] | Journal,
    show: Callable[[str], None] = lambda line: None,
    every: int = 1,
    *,
    tick: Callable[[str, str], None] | None = None,
    machine: Mapping[str, Any] | None = None,
    refuses: Callable[[Configuration], bool] | None = None,
) -> list[Record]:
    """Tune, then compare with the default; continue from the journal in `folder`.

    Parameters
    ----------
    job : Job
    server : Server
        The server to tune.
    contestants : callable
        This function opens the servers of the comparison.
    folder : path or Journal
        The folder of the journal, or the journal that :func:`open_journal` has opened.
    show : callable, optional
        This function receives lines of text for people to read.
    every : int, optional
        The progress is shown after every `every` episodes.
    tick : callable, optional
        This function receives the progress, as a short text and as a line, and the next call may
        replace it. By default, `show` receives the line.
    machine : mapping, optional
        The machine that measures. The journal notes it, and each change.
    refuses : callable, optional
        See :func:`make_guard`.

    Returns
    -------
    list of dict
        The journal's records: one per episode, then one per round.

    Raises
    ------
    UsageError, DataError
        If the journal cannot be continued.
    ServerError
        If a server fails permanently.
    """
    if tick is None:

        def tick(short: str, line: str) -> None:
            show(line)

    opened = nullcontext(folder) if isinstance(folder, Journal) else open_journal(job, folder)
    with opened as journal:
        if journal.recovered:
            show("the last line of the journal was cut off; that episode is measured again")
        done = len(learned(journal.records)), len(compared(journal.records))
        if journal.records:
            show(f"continuing after {done[0]} episodes and {done[1]} rounds in {journal.path}")
        for line in job.warm.lines if job.warm else ():
            show(line)
        if machine is not None:
            _note_machine(journal, machine, show)
        guard = make_guard(job, refuses)
        if guard is not None:
            remember(guard, journal.records)
        _learn(job, server, journal, tick, every, guard)
        if guard is not None and isinstance(server, Keeps):
            server.keep(guard.sound(learned(journal.records)[-1]["recommended"]))
        recommended = _to_compare(job, journal.records, guard)
        if recommended is not None:
            with contestants(recommended) as servers:
                _compare(job, servers, recommended, journal, show, tick, guard)
        return journal.records


def _to_compare(job: Job, records: list[Record], guard: Guard | None) -> Configuration | None:
    """Return what another round measures beside the default; None if no round is needed.

    It is the recommendation. If nothing is left of the guard's budget, the default is measured
    alone.
    """
    known, recommended = compared(records), learned(records)[-1]["recommended"]
    if len(known) >= job.rounds or decided(job, records):
        return None
    if known and "default" not in known[0]["cost"]:
        return dict(job.default)
    if guard is None or guard.admits(recommended):
        return recommended
    return None if known else dict(job.default)


def _note_machine(
    journal: Journal, machine: Mapping[str, Any], show: Callable[[str], None]
) -> None:
    """Note the machine in the journal if it is not the one that measured last."""
    known = [record["machine"] for record in journal.records if "machine" in record]
    if not known or known[-1] != machine:
        if known:
            show("this is another machine, or another version of it: the result will say so")
        journal.append({"machine": dict(machine)})


def _has_learned(job: Job, known: list[Record]) -> bool:
    return len(known) >= job.episodes or settled(job, known)


def _learn(
    job: Job,
    server: Server,
    journal: Journal,
    tick: Callable[[str, str], None],
    every: int,
    guard: Guard | None,
) -> None:
    known = learned(journal.records)
    done = len(known)
    if _has_learned(job, known):
        return
    agent = journal.agent(lambda: make_agent(job))
    began = time.monotonic()
    for step in steps(
        server,
        agent,
        job.workload,
        job.episodes,
        job.rng(1),
        requests=job.requests,
        objective=job.objective,
        switch_cost=job.switch_cost,
        start=done,
        server_state=known[-1]["rng"] if done else None,
        guard=guard,
    ):
        journal.append(episode_record(job, step, guard and guard.late_s))
        number = step.number + 1
        if number % SNAPSHOT_EVERY == 0:
            journal.save(agent)
        if number % every == 0 or number == job.episodes:
            left = (job.episodes - number) * (time.monotonic() - began) / (number - done)
            tick(*progress(job, journal.records, duration(left)))
        if settled(job, journal.records):
            tick(SETTLED, SETTLED)
            return


def _compare(
    job: Job,
    servers: Mapping[str, Server],
    recommended: Configuration,
    journal: Journal,
    show: Callable[[str], None],
    tick: Callable[[str, str], None],
    guard: Guard | None,
) -> None:
    suited = {name: searching(server, job.objective) for name, server in servers.items()}
    pairs = {"recommended": (suited["recommended"], recommended)}
    if recommended != dict(job.default):
        pairs = {"default": (suited["default"], job.default), **pairs}
    known = compared(journal.records)
    for step in rounds(
        pairs,
        job.workload,
        job.rounds,
        job.rng(2),
        requests=job.requests,
        start=len(known),
        state=known[-1]["state"] if known else None,
        guard=guard,
    ):
        if guard is None:
            for episode in step.episodes.values():
                check_answered(episode)
        journal.append(round_record(job, step, guard and guard.late_s))
        if guard is not None:
            remember(guard, journal.records[-1:])
        costs = journal.records[-1]["cost"]
        words = ", ".join(f"{name} {amount(job, cost)}" for name, cost in costs.items())
        line = f"round {step.number + 1}/{job.rounds}: {words}"
        tick(line, line)
        if guard is not None and not guard.admits(recommended):
            show("the recommendation did too badly to serve any longer: the comparison ends")
            return
        if decided(job, journal.records):
            show("the answer is clear: no more rounds are needed")
            return
