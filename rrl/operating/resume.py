"""A run that goes on: a new agent and a new guard get the measurements of the journal again.

The journal holds what the agent asked for, what it was told, and everything that was served. So the
agent and the guard reach the state in which the run was stopped, and no server is touched. What the
run draws itself, it draws again. Only the generator of the server stands in the journal, because
how much a server draws is known to the server alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rrl.core.agent import Agent
from rrl.operating.job import Job
from rrl.operating.journal import OTHER_VERSION, Journal
from rrl.operating.records import Record, learned, settled
from rrl.support.errors import DataError, UsageError
from rrl.support.versions import version
from rrl.tuning.guard import Guard, Part


class Opened(NamedTuple):
    """A journal, and the agent after its last record; None if the tuning is done."""

    journal: Journal
    agent: Agent | None


@contextmanager
def open_journal(job: Job, folder: str | os.PathLike[str]) -> Iterator[Opened]:
    """Open the journal of a job and replay it to a new agent, before any server is touched.

    Raises
    ------
    UsageError, DataError
        If the job cannot continue it.
    """
    with Journal(folder, job.settings(), version(f"agent {job.agent}")) as journal:
        known = learned(journal.records)
        if len(known) > job.episodes:
            raise UsageError(
                f"{journal.path} has {len(known)} episodes: give --episodes {len(known)} or more, "
                "or choose another folder"
            )
        if len(known) == job.episodes or (known and settled(job, known)):
            yield Opened(journal, None)
            return
        agent = make_agent(job)
        replay(journal, agent)
        yield Opened(journal, agent)


def make_agent(job: Job) -> Agent:
    """Make a job's agent by its name; `rrl-gp` begins at or near what serves now."""
    from rrl.rivals.agents import maker
    from rrl.tuning.defaults import nearest

    begins = job.agent == "rrl-gp" and job.serves is not None
    settings: dict[str, Any] = {"start": nearest(job.space, job.serves)} if begins else {}
    settings |= {} if job.warm is None else {"warm": job.warm.start}
    return maker(job.agent, **settings)(job.space, job.rng(0))


def replay(journal: Journal, agent: Agent) -> None:
    """Ask and tell a new agent what it was asked and told before.

    Raises
    ------
    DataError
        If the agent asks for something else than the journal has.
    """

    def ask(line: int, load: float, known: Any) -> None:
        asked = dict(agent.ask(load))
        if asked != known:
            raise DataError(
                f"{journal.path}, line {line}: the agent asks for {asked} where the journal has "
                f"{known}, so it is of another version: {OTHER_VERSION}"
            )

    for line, record in enumerate(journal.records, 2):
        if "configuration" not in record:
            continue
        load, done = record["load_per_s"], record.get("guard", {})
        for choice, charge in done.get("refused", ()):
            ask(line, load, choice)
            agent.tell(choice, charge)
        asked = done.get("asked", record["configuration"])
        if asked is not None:
            ask(line, load, asked)
        if done.get("told", True):
            agent.tell(record["configuration"], record["cost"])


def remember(guard: Guard, records: Sequence[Record]) -> None:
    """Bring a new guard into its state after these records."""
    for done in (record["guard"] for record in records if "guard" in record):
        for part in done["parts"]:
            guard.note(Part(**part))
        guard.late_s = done["late_s"]
