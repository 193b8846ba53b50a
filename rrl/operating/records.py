"""The records of a tuning run: what a journal stores for each episode and each round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.tuning.constrained import MEMORY, RATE
from rrl.tuning.guarded import GuardedStep
from rrl.tuning.objective import Percentile, charged_latency

if TYPE_CHECKING:
    from rrl.operating.job import Job
    from rrl.tuning.episode import Episode
    from rrl.tuning.guard import Guard
    from rrl.tuning.guarded import Trial
    from rrl.tuning.loop import Step

Record = dict[str, Any]
REPORTED = (MEMORY, RATE)
"""What else the journal stores of an episode's `info`."""


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
    return [record for record in records[last + 1 :] if "round" in record]


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


def episode_record(
    job: Job, number: int, step: Step, rng: np.random.Generator, guard: Guard | None
) -> Record:
    """Return what the journal stores of an episode; `rng` is the generator of the server."""
    charged = charged_latency(step.episode)
    record: Record = {
        "episode": number,
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
    record |= {name: step.episode.info[name] for name in REPORTED if name in step.episode.info}
    if "switch_s" in step.episode.info:
        record["switch_s"] = round(step.episode.info["switch_s"], 3)
    if guard is not None and isinstance(step, GuardedStep):
        record["guard"] = {
            "asked": step.asked,
            "refused": step.refused,
            "told": step.told,
            "parts": [asdict(part) for part in step.parts],
            "late_s": guard.late_s,
        }
    after = {"next_load_per_s": step.next_load, "rng": rng.bit_generator.state}
    return record | kept(step.episode) | after


def round_record(
    job: Job,
    number: int,
    episodes: Mapping[str, Episode],
    trials: Sequence[Trial],
    guard: Guard | None,
) -> Record:
    """Return what the journal stores of a round: the episodes by contestant, and the trials."""
    costs = {name: job.objective(episode) for name, episode in episodes.items()}
    requests = {
        name: kept(episode) | {key: episode.info[key] for key in REPORTED if key in episode.info}
        for name, episode in episodes.items()
    }
    record = {"round": number, "cost": costs, **requests}
    if guard is not None:
        parts = [trial.charged(job.objective(trial.episode)) for trial in trials]
        record["guard"] = {"parts": [asdict(part) for part in parts], "late_s": guard.late_s}
    return record


def kept(episode: Episode) -> Record:
    """Return an episode's requests, with latencies in whole microseconds."""
    record: Record = {"latency_us": np.rint(1e6 * episode.latency).astype(int).tolist()}
    return record if episode.ok.all() else record | {"status": episode.status.tolist()}


def harm_done(job: Job, records: Sequence[Record]) -> Record:
    """Return what tuning and comparison did to the requests, in a form for JSON.

    `trials` and `default` have the numbers of requests, and of late or failed ones among them.
    `ended` lists the trials that were stopped or crashed. It is empty without a guard.
    """
    parts = [(r, part) for r in records for part in r.get("guard", {}).get("parts", ())]
    counts = {"trials": [0, 0], "default": [0, 0]}
    for _, part in parts:
        side = counts["default" if part["configuration"] == dict(job.default) else "trials"]
        side[0] += part["requests"]
        side[1] += part["bad"]
    ended = [
        {name: record[name] for name in ("episode", "round") if name in record}
        | {name: part[name] for name in ("configuration", "ended", "why")}
        for record, part in parts
        if part["ended"]
    ]
    late = [record["guard"]["late_s"] for record in records if "guard" in record]
    machines = [record["machine"] for record in records if "machine" in record]
    return {"late_s": late[-1] if late else None, **counts, "ended": ended, "machines": machines}


def late_while_tuning(job: Job, records: Sequence[Record]) -> float:
    """Return the fraction of the requests while tuning that were late by the SLO, or failed.

    With a guard, these are the requests that were sent: a trial that did not start had none, and
    the incumbent served in its place.
    """
    tuned = learned(records)
    trials, default = (harm_done(job, tuned)[side] for side in ("trials", "default"))
    if requests := trials[0] + default[0]:
        return (trials[1] + default[1]) / requests
    return float(np.mean([record["late"] for record in tuned]))


def failures(records: Sequence[Record]) -> int:
    """Return how many requests failed while tuning; those that were not sent do not count.

    Examples
    --------
    >>> crashed = {"guard": {"parts": [{"ended": "crashed", "requests": 3}]}}
    >>> episode = {"configuration": {}, "failed": 2}
    >>> failures([episode, episode | crashed])
    5
    """
    return sum(
        record["guard"]["parts"][0]["requests"] if ending(record) == "crashed" else record["failed"]
        for record in learned(records)
    )
