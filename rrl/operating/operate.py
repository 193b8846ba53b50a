"""Tune a service as its operator does: with an objective, a journal, a verdict and flags to set.

:func:`operate` lets an agent tune. Then it compares the recommended configuration with the default
in alternating episodes. Every episode is in the journal before the next one begins. Therefore the
same call continues where the last call was stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np

from rrl.core.agent import Agent, rng_state
from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.journal import SNAPSHOT_EVERY, Journal, Record
from rrl.operating.verdict import amount, duration, progress
from rrl.tuning.episode import Episode, Server
from rrl.tuning.loop import Step, rounds, steps
from rrl.tuning.objective import Percentile, charged_latency

Contestants = Callable[[Configuration], AbstractContextManager[Mapping[str, Server]]]
"""Takes a recommendation and opens the servers "default" and "recommended" of the comparison."""


def make_agent(job: Job) -> Agent:
    """Make a job's agent by its name; `rrl` begins at or near what serves now."""
    from rrl.rivals.agents import maker
    from rrl.tuning.defaults import nearest

    begins = job.agent == "rrl" and job.serves is not None
    settings = {"start": nearest(job.space, job.serves)} if begins else {}
    return maker(job.agent, **settings)(job.space, job.rng(0))


def operate(
    job: Job,
    server: Server,
    contestants: Contestants,
    folder: str | os.PathLike[str],
    show: Callable[[str], None] = lambda line: None,
    every: int = 1,
) -> list[Record]:
    """Tune, then compare with the default; continue from the journal in `folder`.

    Parameters
    ----------
    job : Job
    server : Server
        The server to tune.
    contestants : callable
        This function opens the servers of the comparison.
    folder : path
        The folder of the journal.
    show : callable, optional
        This function receives one line of text per episode, for people to read.
    every : int, optional
        A line is shown after every `every` episodes.

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
    with Journal(folder, job.settings()) as journal:
        if journal.recovered:
            show("the last line of the journal was cut off; that episode is measured again")
        if journal.records:
            show(f"continuing after {len(journal.records)} episodes and rounds in {journal.path}")
        _learn(job, server, journal, show, every)
        recommended = journal.records[job.episodes - 1]["recommended"]
        if len(journal.records) < job.episodes + job.rounds:
            with contestants(recommended) as servers:
                _compare(job, servers, recommended, journal, show)
        return journal.records


def _learn(
    job: Job, server: Server, journal: Journal, show: Callable[[str], None], every: int
) -> None:
    done = len(journal.records)
    if done >= job.episodes:
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
        server_state=journal.records[-1]["rng"] if done else None,
    ):
        journal.append(_episode_record(job, step))
        number = len(journal.records)
        if number % SNAPSHOT_EVERY == 0:
            journal.save(agent)
        if number % every == 0 or number == job.episodes:
            left = (job.episodes - number) * (time.monotonic() - began) / (number - done)
            show(f"{progress(job, journal.records)} | {duration(left)} left")


def _compare(
    job: Job,
    servers: Mapping[str, Server],
    recommended: Configuration,
    journal: Journal,
    show: Callable[[str], None],
) -> None:
    pairs = {"recommended": (servers["recommended"], recommended)}
    if recommended != dict(job.default):
        pairs = {"default": (servers["default"], job.default), **pairs}
    done = len(journal.records) - job.episodes
    for step in rounds(
        pairs,
        job.workload,
        job.rounds,
        job.rng(2),
        requests=job.requests,
        start=done,
        state=journal.records[-1]["state"] if done else None,
    ):
        costs = {name: job.objective(episode) for name, episode in step.episodes.items()}
        kept = {name: _kept(episode) for name, episode in step.episodes.items()}
        journal.append({"round": step.number, "cost": costs, **kept, "state": step.state})
        words = ", ".join(f"{name} {amount(job, cost)}" for name, cost in costs.items())
        show(f"round {step.number + 1}/{job.rounds}: {words}")


def _episode_record(job: Job, step: Step) -> Record:
    charged = charged_latency(step.episode)
    record: Record = {
        "episode": step.number,
        "load_per_s": step.load,
        "configuration": step.configuration,
        "cost": step.cost,
        "recommended": step.recommended,
        "mean_s": float(charged.mean()),
        "p99_s": Percentile(99)(step.episode),
        "failed": int((~step.episode.ok).sum()),
        "invalid": step.invalid,
    }
    if job.slo:
        record["late"] = job.slo.late(step.episode)
    if "switch_s" in step.episode.info:
        record["switch_s"] = round(step.switch_s, 3)
    return record | _kept(step.episode) | {"rng": rng_state(step.rng)}


def _kept(episode: Episode) -> Record:
    """Return an episode's requests, with latencies in whole microseconds."""
    kept: Record = {"latency_us": np.rint(1e6 * episode.latency).astype(int).tolist()}
    return kept if episode.ok.all() else kept | {"status": episode.status.tolist()}
