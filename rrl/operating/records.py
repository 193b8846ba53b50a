"""The records of a tuning run: what follows from each episode and each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rrl.operating.job import Job
from rrl.operating.journal import Record
from rrl.operating.tape import answered
from rrl.tuning.constrained import MEMORY
from rrl.tuning.episode import Episode
from rrl.tuning.guard import Guard
from rrl.tuning.guarded import GuardedStep, Trial
from rrl.tuning.loop import Step
from rrl.tuning.objective import Percentile, charged_latency

_STORED = (
    "episode", "round", "load_per_s", "configuration", "cost", "budget", "late_s", "answers",
    "due_s", "rng", "other_work",
)  # fmt: skip


def line_of(record: Record) -> Record:
    """Return what a journal stores of a record.

    These are the answers of the servers, and the numbers that a run cannot draw or compute again.

    Examples
    --------
    >>> line_of({"episode": 0, "cost": 0.5, "mean_s": 0.5, "answers": []})
    {'episode': 0, 'cost': 0.5, 'answers': []}
    """
    return {name: record[name] for name in _STORED if name in record}


# --- what follows from a measurement --------------------------------------------------------------


def episode_record(job: Job, step: Step, guard: Guard | None) -> Record:
    """Return the record of an episode of the tuning."""
    episode = step.episode
    record: Record = {
        "episode": step.number,
        "load_per_s": step.load,
        "configuration": step.configuration,
        "cost": step.cost,
        "recommended": step.recommended,
        "failed": int(episode.failed.sum()),
    }
    if "aborted" not in episode.info:
        record["mean_s"] = float(charged_latency(episode).mean())
        record["p99_s"] = Percentile(99)(episode)
    if job.slo:
        record["late"] = episode.bad(job.slo.target_s) / len(episode)
    record |= seen(job, episode, guard)
    if isinstance(step, GuardedStep):
        record["guard"] = {"asked": step.asked, "parts": [asdict(part) for part in step.parts]}
        if ending(record) == "crashed":  # the others were not sent
            record["failed"] = step.parts[0].requests
    return record


def round_record(
    job: Job,
    number: int,
    episodes: Mapping[str, Episode],
    trials: Sequence[Trial],
    guard: Guard | None,
) -> Record:
    """Return the record of a round; the guard notes its trials.

    The episodes are given by contestant.
    """
    costs = {name: job.objective(episode) for name, episode in episodes.items()}
    record = {"round": number, "cost": costs}
    record |= {name: seen(job, episode, guard) for name, episode in episodes.items()}
    if guard is not None:
        parts = [trial.charged(job.objective(trial.episode)) for trial in trials]
        for part in parts:
            guard.note(part)
        record["guard"] = {"parts": [asdict(part) for part in parts]}
    return record


def seen(job: Job, episode: Episode, guard: Guard | None = None) -> Record:
    """Return an episode's answers, and in words how it was stopped if the guard has stopped it."""
    late_s = None if guard is None else guard.late_s
    record: Record = {"answered": answered(episode, late_s)}
    if "aborted" in episode.info and late_s is not None:
        record["stopped"] = stopped_words(episode, job.requests, late_s)
    return record | {name: episode.info[name] for name in (MEMORY,) if name in episode.info}


def in_ms(seconds: float) -> str:
    """Format a limit of latency for people to read.

    Examples
    --------
    >>> in_ms(2.0), in_ms(0.01119)
    ('2000 ms', '11.2 ms')
    """
    return f"{round(1e3 * seconds, 1):g} ms"


def stopped_words(episode: Episode, planned: int, late_s: float) -> str:
    """Say how an episode was stopped; the requests that were open are cancelled, not failed.

    Examples
    --------
    >>> sent, seconds, status = [0.0, 0.1, 0.2], [0.2, 0.1, 0.05], [0, 0, 1]
    >>> stopped_words(Episode({}, sent, seconds, status, info={"aborted": "worse"}), 60, 0.08)
    'stopped after 3 of 60 requests: 2 over 80 ms'
    >>> stopped_words(Episode({}, sent, seconds, status, info={"aborted": "budget"}), 60, 0.3)
    'stopped after 3 of 60 requests: 0 over 300 ms, and 1 open could have used up the budget'
    """
    late = int((~episode.failed & (episode.latency > late_s)).sum())
    failed = f", {int(episode.failed.sum())} failed" if episode.failed.any() else ""
    words = f"stopped after {len(episode)} of {planned} requests: {late} over {in_ms(late_s)}"
    if episode.info["aborted"] == "budget" and episode.cancelled.any():  # see rrl.tuning.watch
        failed += f", and {int(episode.cancelled.sum())} open could have used up the budget"
    return words + failed


# --- what the records say -------------------------------------------------------------------------


def learned(records: Sequence[Record]) -> list[Record]:
    """Return the records of the tuning: one per episode.

    Examples
    --------
    >>> learned([{"configuration": {"a": 1}}, {"round": 0}])
    [{'configuration': {'a': 1}}]
    """
    return [record for record in records if "configuration" in record]


def compared(records: Sequence[Record]) -> list[Record]:
    """Return the records of the comparison: the rounds since the last episode.

    Earlier rounds compared an earlier recommendation.

    Examples
    --------
    >>> compared([{"round": 0}, {"configuration": {"a": 1}}, {"round": 0}, {"round": 1}])
    [{'round': 0}, {'round': 1}]
    """
    last = max((i for i, record in enumerate(records) if "configuration" in record), default=-1)
    return list(records[last + 1 :])


def ending(record: Record) -> str:
    """Return how the trial of an episode ended: "" as planned, "aborted" or "crashed".

    Examples
    --------
    >>> ending({}), ending({"guard": {"parts": [{"ended": "aborted"}]}})
    ('', 'aborted')
    """
    parts = record.get("guard", {}).get("parts") or [{"ended": ""}]
    return parts[0]["ended"]


def settled(job: Job, records: Sequence[Record]) -> bool:
    """Return whether the agent has kept its best during all episodes of the job's patience.

    An episode in which the guard ended or refused a trial does not count.
    """
    last = learned(records)[-job.patience :] if job.may_settle else []
    if not job.may_settle or len(last) < job.patience:
        return False
    best = last[-1]["recommended"]
    return all(
        record["configuration"] == record["recommended"] == best
        and record.get("guard", {}).get("asked", best) == best
        for record in last
    )
