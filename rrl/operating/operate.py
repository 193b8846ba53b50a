"""Tune a service as its operator does: with an objective, a journal, a verdict and flags to set.

:func:`operate` lets an agent tune. Then it compares the recommended configuration with the default
in alternating episodes. Every episode is in the journal before the next one begins. So the same
call continues where the last one was stopped: a new agent and a new guard get the measurements of
the journal again, and no server is touched. What the run draws itself, it draws again. Only the
generator of the server stands in the journal, because the server alone knows how much it draws.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.journal import OTHER_VERSION, Journal
from rrl.operating.other_work import OtherWork
from rrl.operating.records import (
    Record,
    compared,
    episode_record,
    in_ms,
    is_record,
    learned,
    round_record,
    settled,
    stopped_words,
)
from rrl.operating.verdict import amount, decided, duration, progress
from rrl.support.errors import DataError, UsageError
from rrl.support.versions import version
from rrl.tuning.comparison import draw_rounds
from rrl.tuning.episode import Episode, Server, measure_valid
from rrl.tuning.guard import USUAL_EPISODES, Guard, Keeps, Part
from rrl.tuning.guarded import Trial, check_answered, guarded_steps, measured
from rrl.tuning.loop import draw_run, learning_steps
from rrl.tuning.objective import suited
from rrl.tuning.presets import THREADS, in_words
from rrl.workloads.workload import Times

Contestants = Callable[[Configuration], AbstractContextManager[Mapping[str, Server]]]
"""Takes a recommendation and opens the servers "default" and "recommended" of the comparison."""


SETTLED = "no trial is worth its price any more: the tuning ends early"


def on_one_server(server: Server) -> Contestants:
    """Compare on one server, which switches between the two configurations."""
    return lambda recommended: nullcontext({"default": server, "recommended": server})


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
        for line, record in enumerate(journal.records, 2):
            if not is_record(record, job.space, dict(job.default)):
                raise DataError(
                    f"{journal.path}, line {line}: it is no measurement of this run; restore the "
                    "file, or remove it to start a new run"
                )
        known = learned(journal.records)
        if len(known) > job.episodes:
            raise UsageError(
                f"{journal.path} has {len(known)} episodes: give --episodes {len(known)} or more, "
                "or choose another folder"
            )
        if compared(journal.records) and not known:
            raise DataError(
                f"{journal.path}: it has rounds of a comparison and no episode before them; "
                "restore the file, or remove it to start a new run"
            )
        if len(known) == job.episodes or (known and settled(job, known)):
            yield Opened(journal, None)
            return
        agent = make_agent(job)
        replay(journal, agent)
        yield Opened(journal, agent)


def make_agent(job: Job) -> Agent:
    """Make a job's agent by its name; `rrl-gp` begins at or near the default.

    Automatic threads that are not on the grid are a thread per core.
    """
    from rrl.rivals.agents import maker
    from rrl.tuning.defaults import guess_cores, nearest

    settings: dict[str, Any] = {} if job.warm is None else {"warm": job.warm.start}
    if job.agent == "rrl-gp":
        automatic = [k.name for k in job.space.knobs if k.name in THREADS and 0 not in k.values]
        cores = {name: guess_cores(job.space) for name in automatic if not job.default[name]}
        settings["start"] = nearest(job.space, {**job.default, **cores})
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
                f"{journal.path}, line {line}: the agent asks for {in_words(asked)} where the "
                f"journal has {in_words(known)}, so it is of another version: {OTHER_VERSION}"
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


def make_guard(job: Job, refuses: Callable[[Configuration], bool] | None = None) -> Guard | None:
    """Make a job's guard; None if it has no budget of bad requests.

    `refuses` says whether a configuration would refuse requests that are served today.
    """
    if job.budget is None:
        return None
    late_s = job.slo.target_s if job.slo else job.late_s
    return Guard(
        job.space, job.default, job.budget, late_s, refuses=refuses, refused_cost=job.failure_cost
    )


def remember(guard: Guard, records: Sequence[Record]) -> None:
    """Bring a new guard into its state after these records."""
    for record in (record for record in records if "guard" in record):
        for part in record["guard"]["parts"]:
            guard.note(Part(**part))
        if guard.is_default(record.get("configuration", {})) and "p99_s" in record:
            guard.set_limit(record["p99_s"])


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
    guard: Guard | None = None,
    others: OtherWork | None = None,
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
    guard : Guard, optional
        A new guard. By default, the job's own one is made.
    others : OtherWork, optional
        What else the machine does. The journal notes it with each episode.

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
    journals = nullcontext(folder) if isinstance(folder, Opened) else open_journal(job, folder)
    with journals as opened:
        run = _Run(job, opened.journal, guard or make_guard(job), show, tick, every, others)
        run.begin(machine)
        if opened.agent is not None:
            run.learn(server, opened.agent)
        if run.guard is not None and isinstance(server, Keeps):
            server.keep(run.guard.sound(run.recommended))
        second = run.to_compare()
        if second is not None:
            with contestants(second) as servers:
                run.compare(servers, second)
        return opened.journal.records


class _Run:
    """A run with its journal, its guard, and whom it tells."""

    def __init__(
        self,
        job: Job,
        journal: Journal,
        guard: Guard | None,
        show: Callable[[str], None],
        tick: Callable[[str, str], None] | None,
        every: int,
        others: OtherWork | None,
    ) -> None:
        self.job, self.journal, self.guard = job, journal, guard
        self._show, self._every, self._others = show, every, others
        self._tick = tick or (lambda short, line: show(line))

    @property
    def recommended(self) -> Configuration:
        """What the agent recommends after its last episode."""
        return learned(self.journal.records)[-1]["recommended"]

    def begin(self, machine: Mapping[str, Any] | None) -> None:
        """Say what was done before, note the machine, and bring the guard into its state."""
        journal = self.journal
        if journal.recovered:
            self._show("the last line of the journal was cut off; that episode is measured again")
        done = len(learned(journal.records)), len(compared(journal.records))
        if journal.records:
            self._show(
                f"continuing after {done[0]} episodes and {done[1]} rounds in {journal.path}"
            )
        for line in self.job.warm.lines if self.job.warm else ():
            self._show(line)
        known = [record["machine"] for record in journal.records if "machine" in record]
        if machine is not None and (not known or known[-1] != machine):
            if known:
                self._show("this is another machine, or another version of it: the result says so")
            journal.append({"machine": dict(machine)})
        if self.guard is not None:
            remember(self.guard, journal.records)

    def learn(self, server: Server, agent: Agent) -> None:
        """Let the agent tune until its episodes are used up, or no trial is worth its price."""
        job, journal, guard = self.job, self.journal, self.guard
        known = learned(journal.records)
        load, parts, rng = draw_run(job.workload, job.episodes, job.requests, job.rng(1))
        if known:
            load, rng.bit_generator.state = known[-1]["next_load_per_s"], known[-1]["rng"]
        left = islice(parts, len(known), None)
        what = suited(server, job.objective), agent, load, left, rng, job.objective
        run = learning_steps(*what) if guard is None else guarded_steps(*what, guard)
        began, late_s = time.monotonic(), guard and guard.late_s
        self._look(lambda line: None)
        for done, step in enumerate(run, 1):
            number = len(known) + done
            record = episode_record(job, number - 1, step, rng, guard)
            journal.append(record | self._look())
            if number % self._every == 0 or number == job.episodes:
                left_s = (job.episodes - number) * (time.monotonic() - began) / done
                self._tick(*progress(job, journal.records, duration(left_s)))
            if guard and guard.late_s is not None and guard.late_s != late_s:
                late_s = guard.late_s
                self._show(
                    f"late means over {in_ms(late_s)}: twice the p99 of {USUAL_EPISODES} "
                    "episodes of the default (--slo or --late sets it)"
                )
            if settled(job, journal.records):
                self._tick(SETTLED, SETTLED)
                return

    def _look(self, show: Callable[[str], None] | None = None) -> Record:
        """Return how much else the machine did since the last look, for the journal."""
        return {} if self._others is None else self._others.look(show or self._show)

    def to_compare(self) -> Configuration | None:
        """Return what another round measures beside the default; None if no round is needed.

        It is the recommendation. If nothing is left of the guard's budget, the default is measured
        alone.
        """
        job, known = self.job, compared(self.journal.records)
        if len(known) >= job.rounds or decided(job, self.journal.records):
            return None
        if known and "default" not in known[0]["cost"]:
            return dict(job.default)
        if self.guard is None or self.guard.admits(self.recommended):
            return self.recommended
        return None if known else dict(job.default)

    def compare(self, servers: Mapping[str, Server], second: Configuration) -> None:
        """Measure the default and another configuration in rounds, until the answer is clear."""
        job, journal, guard = self.job, self.journal, self.guard
        ready = {name: suited(server, job.objective) for name, server in servers.items()}
        pairs = {"recommended": (ready["recommended"], second)}
        if second != dict(job.default):
            pairs = {"default": (ready["default"], job.default), **pairs}
        drawn = draw_rounds(list(pairs), job.workload, job.rounds, job.requests, job.rng(2))
        done = len(compared(journal.records))
        self._look(lambda line: None)
        for number, (arrivals, seed, order) in enumerate(islice(drawn, done, None), done):
            episodes, trials = _round(pairs, arrivals, seed, order, guard)
            record = round_record(job, number, episodes, trials, guard) | self._look()
            journal.append(record)
            if guard is not None:
                remember(guard, [record])
            words = ", ".join(
                f"{name} {stopped_words(record[name], job.requests) or amount(job, cost)}"
                for name, cost in record["cost"].items()
            )
            self._tick(line := f"round {number + 1}/{job.rounds}: {words}", line)
            if guard is not None and not guard.admits(second):
                why = "the recommendation did too badly to serve any longer"
                if guard.charge(second) is None:
                    why = "the budget of late or failed requests is used up (--budget)"
                self._show(f"{why}: the comparison ends")
                return
            if decided(job, journal.records):
                self._show("the answer is clear: no more rounds are needed")
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
