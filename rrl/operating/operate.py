"""Tune a service as its operator does: with an objective, a journal, a verdict and flags to set.

:func:`operate` lets an agent tune. Then it compares the recommended configuration with the default
in alternating episodes. Every episode is in the journal before the next one begins. Therefore the
same call continues where the last call was stopped (:mod:`rrl.operating.resume`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.journal import Journal
from rrl.operating.records import (
    Record,
    compared,
    episode_record,
    learned,
    round_record,
    settled,
)
from rrl.operating.resume import Opened, open_journal, remember
from rrl.operating.verdict import amount, decided, duration, progress
from rrl.tuning.comparison import draw_rounds
from rrl.tuning.episode import Episode, Server, measure_valid
from rrl.tuning.guard import Guard, Keeps
from rrl.tuning.guarded import Trial, check_answered, guarded_steps, measured
from rrl.tuning.loop import draw_run, learning_steps
from rrl.tuning.objective import suited
from rrl.workloads.workload import Times

Contestants = Callable[[Configuration], AbstractContextManager[Mapping[str, Server]]]
"""Takes a recommendation and opens the servers "default" and "recommended" of the comparison."""

SETTLED = "no trial is worth its price any more: the tuning ends early"


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


def operate(
    job: Job,
    server: Server,
    contestants: Contestants,
    folder: str | os.PathLike[str] | Opened,
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
    folder : path or Opened
        The folder of the journal, or what :func:`open_journal` gave.
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

    journals = nullcontext(folder) if isinstance(folder, Opened) else open_journal(job, folder)
    with journals as opened:
        journal = opened.journal
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
        _learn(job, server, opened, tick, every, guard)
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


def _learn(
    job: Job,
    server: Server,
    opened: Opened,
    tick: Callable[[str, str], None],
    every: int,
    guard: Guard | None,
) -> None:
    journal, agent = opened
    if agent is None:
        return
    known = learned(journal.records)
    load, parts, rng = draw_run(job.workload, job.episodes, job.requests, job.rng(1))
    if known:
        load, rng.bit_generator.state = known[-1]["next_load_per_s"], known[-1]["rng"]
    left = islice(parts, len(known), None)
    what = suited(server, job.objective), agent, load, left, rng, job.cost
    run = learning_steps(*what) if guard is None else guarded_steps(*what, guard)
    began = time.monotonic()
    for done, step in enumerate(run, 1):
        number = len(known) + done
        journal.append(episode_record(job, number - 1, step, rng, guard))
        if number % every == 0 or number == job.episodes:
            left_s = (job.episodes - number) * (time.monotonic() - began) / done
            tick(*progress(job, journal.records, duration(left_s)))
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
    ready = {name: suited(server, job.objective) for name, server in servers.items()}
    pairs = {"recommended": (ready["recommended"], recommended)}
    if recommended != dict(job.default):
        pairs = {"default": (ready["default"], job.default), **pairs}
    drawn = draw_rounds(list(pairs), job.workload, job.rounds, job.requests, job.rng(2))
    done = len(compared(journal.records))
    for number, (arrivals, seed, order) in enumerate(islice(drawn, done, None), done):
        episodes, trials = _round(pairs, arrivals, seed, order, guard)
        journal.append(round_record(job, number, episodes, trials, guard))
        if guard is not None:
            remember(guard, journal.records[-1:])
        costs = journal.records[-1]["cost"]
        words = ", ".join(f"{name} {amount(job, cost)}" for name, cost in costs.items())
        line = f"round {number + 1}/{job.rounds}: {words}"
        tick(line, line)
        if guard is not None and not guard.admits(recommended):
            show("the recommendation did too badly to serve any longer: the comparison ends")
            return
        if decided(job, journal.records):
            show("the answer is clear: no more rounds are needed")
            return


def _round(
    pairs: Mapping[str, tuple[Server, Configuration]],
    arrivals: Times,
    seed: int,
    order: list[str],
    guard: Guard | None,
) -> tuple[dict[str, Episode], list[Trial]]:
    """Measure the contestants in an order; return their episodes, and the trials of a guard."""
    episodes, trials = {}, []
    for name in order:
        rng = np.random.default_rng(seed)
        if guard is None:
            episodes[name], _ = measure_valid(*pairs[name], arrivals, rng)
            check_answered(episodes[name])
        else:
            trials.append(measured(guard, *pairs[name], arrivals, rng))
            episodes[name] = trials[-1].episode
    return {name: episodes[name] for name in pairs}, trials
