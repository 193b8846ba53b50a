"""Tune a service as its operator does: an objective, a journal, a verdict, the flags to set.

:func:`operate` lets an agent tune, then measures what it recommends against the default in
alternating episodes. Every episode is in the journal before the next one begins, so the same call
goes on from wherever the last one was stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from rrl.core.agent import Agent, rng_state
from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.operating.journal import SNAPSHOT_EVERY, Journal, Record
from rrl.operating.verdict import amount, duration, progress
from rrl.support.errors import UsageError
from rrl.tuning.episode import Episode, Server
from rrl.tuning.loop import Step, rounds, steps
from rrl.tuning.objective import Objective, Percentile, charged_latency
from rrl.tuning.slo import SLO
from rrl.workloads.trace import Trace
from rrl.workloads.workload import Workload

Contestants = Callable[[Configuration], AbstractContextManager[Mapping[str, Server]]]
"""Opens the servers of the comparison, "default" and "recommended", for a recommendation."""


@dataclass(frozen=True, eq=False)
class Job:
    """What a run is to do; all of it is in the journal's first line.

    Parameters
    ----------
    what : str
        What is tuned, in one line.
    space : ConfigSpace
    default : configuration
        What the recommendation is measured against.
    serves : configuration, optional
        What serves now, if that is known: the default agent begins with it.
    workload : Workload
    objective : Objective
        What the agent is told to make small.
    slo : SLO, optional
        What the recommendation is held to.
    agent : str
        A name in `rrl.rivals.agents.AGENTS`.
    episodes, requests : int
        Of the tuning, and of an episode.
    rounds : int
        Paired episodes of the comparison.
    seed : int
        Of all randomness: the agent's, the arrivals', the server's, the intervals'.
    switch_cost : float
        See :func:`rrl.tuning.loop.steps`.
    fixed : configuration
        Settings of the server that hold for every configuration, the default too.
    unit : str
        Of a latency: seconds, or "" where a table's costs are in a unit of their own.

    Raises
    ------
    UsageError
        If a number is out of range, or the agent's name is unknown.
    """

    what: str
    space: ConfigSpace
    default: Configuration
    workload: Workload
    objective: Objective
    slo: SLO | None = None
    agent: str = "default"
    episodes: int = 60
    requests: int = 100
    rounds: int = 15
    seed: int = 0
    switch_cost: float = 0.0
    fixed: Configuration = field(default_factory=dict)
    unit: str = "s"
    serves: Configuration | None = None

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1), ("requests", 2), ("rounds", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if set(self.default) != set(self.space.names):
            raise UsageError(
                f"the default has the knobs {', '.join(self.default)}; give a level for each of: "
                f"{', '.join(self.space.names)}"
            )
        from rrl.rivals.agents import AGENTS

        if self.agent not in AGENTS:
            raise UsageError(f"unknown agent {self.agent!r}; known: {', '.join(AGENTS)}")
        if self.seed >= 2**63:
            raise UsageError(f"seed {self.seed} is too large: use one below 2**63")

    def rng(self, stream: int) -> np.random.Generator:
        """One of the streams of the seed."""
        return np.random.default_rng([self.seed, stream])

    def settings(self) -> dict[str, Any]:
        """What decides the run's course, fit for JSON."""
        load = self.workload
        if isinstance(load, Trace):
            arrivals = f"trace of {len(load.times)} requests, crc32 {crc32(load.times.tobytes()):x}"
        else:
            arrivals = repr(load)
        own = ("what", "agent", "episodes", "requests", "rounds", "seed", "switch_cost")
        return {name: getattr(self, name) for name in own} | {
            "space": self.space.fingerprint,
            "default": dict(self.default),
            "fixed": dict(self.fixed),
            "arrivals": arrivals,
            "objective": str(self.objective),
            "slo": self.slo and str(self.slo),
        }


def make_agent(job: Job) -> Agent:
    """Make a job's agent by its name; the default agent begins with what serves, or near it."""
    from rrl.rivals.agents import maker
    from rrl.tuning.defaults import nearest

    begins = job.agent == "default" and job.serves is not None
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
    """Tune, then compare with the default; goes on with what the journal in `folder` holds.

    Parameters
    ----------
    job : Job
    server : Server
        The one to tune.
    contestants : callable
        Opens the servers of the comparison.
    folder : path
        Of the journal.
    show : callable, optional
        Gets a line for people, an episode each.
    every : int, optional
        Show only each so manieth episode.

    Returns
    -------
    list of dict
        The journal's records: an episode each, then a round each.

    Raises
    ------
    UsageError, DataError
        If the journal cannot be continued.
    ServerError
        If a server fails for good.
    """
    with Journal(folder, job.settings()) as journal:
        if journal.recovered:
            show("the last line of the journal was cut off; that episode is measured again")
        if journal.records:
            show(f"going on after {len(journal.records)} episodes and rounds in {journal.path}")
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
    """An episode's requests, to the microsecond."""
    kept: Record = {"latency_us": np.rint(1e6 * episode.latency).astype(int).tolist()}
    return kept if episode.ok.all() else kept | {"status": episode.status.tolist()}
