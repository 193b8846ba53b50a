"""The records of a tuning run: what a journal stores for each episode and each round."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.tuning.constrained import MEMORY, RATE
from rrl.tuning.episode import Episode, Status
from rrl.tuning.guarded import GuardedStep
from rrl.tuning.objective import Percentile, charged_latency

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.core.space import ConfigSpace
    from rrl.operating.job import Job
    from rrl.tuning.guard import Guard
    from rrl.tuning.guarded import Trial
    from rrl.tuning.loop import Step

Record = dict[str, Any]
REPORTED = (MEMORY, RATE)
"""What else the journal stores of an episode's `info`."""


# --- what a run stores ----------------------------------------------------------------------------


def episode_record(
    job: Job, number: int, step: Step, rng: np.random.Generator, guard: Guard | None
) -> Record:
    """Return what the journal stores of an episode; `rng` is the generator of the server."""
    episode = step.episode
    record: Record = {
        "episode": number,
        "load_per_s": step.load,
        "configuration": step.configuration,
        "cost": step.cost,
        "recommended": step.recommended,
        "invalid": step.invalid,
        "failed": int(episode.failed.sum()),
    }
    if "aborted" not in episode.info:
        record["mean_s"] = float(charged_latency(episode).mean())
        record["p99_s"] = Percentile(99)(episode)
    if job.slo:
        record["late"] = episode.bad(job.slo.target_s) / len(episode)
    if "switch_s" in episode.info:
        record["switch_s"] = round(episode.info["switch_s"], 3)
    if guard is not None and isinstance(step, GuardedStep):
        record["guard"] = {
            "asked": step.asked,
            "refused": step.refused,
            "told": step.told,
            "parts": [asdict(part) for part in step.parts],
            "late_s": guard.late_s,
        }
        if ending(record) == "crashed":  # the others were not sent
            record["failed"] = step.parts[0].requests
    after = {"next_load_per_s": step.next_load, "rng": rng.bit_generator.state}
    return record | kept(episode, guard) | after


def round_record(
    job: Job,
    number: int,
    episodes: Mapping[str, Episode],
    trials: Sequence[Trial],
    guard: Guard | None,
) -> Record:
    """Return what the journal stores of a round: the episodes by contestant, and the trials."""
    costs = {name: job.objective(episode) for name, episode in episodes.items()}
    record = {"round": number, "cost": costs}
    record |= {name: kept(episode, guard) for name, episode in episodes.items()}
    if guard is not None:
        parts = [trial.charged(job.objective(trial.episode)) for trial in trials]
        record["guard"] = {"parts": [asdict(part) for part in parts], "late_s": guard.late_s}
    return record


def kept(episode: Episode, guard: Guard | None = None) -> Record:
    """Return an episode's requests, with latencies in whole microseconds.

    If the guard has stopped the episode, ``stopped`` says how many requests were late by then, and
    how many failed. The requests that were open are cancelled, which is no failure. If the guard
    stopped it because they could have used up the budget, ``open`` is their number.
    """
    record: Record = {"latency_us": np.rint(1e6 * episode.latency).astype(int).tolist()}
    if not episode.ok.all():
        record["status"] = episode.status.tolist()
    if "aborted" in episode.info and guard is not None and guard.late_s is not None:
        late = int((~episode.failed & (episode.latency > guard.late_s)).sum())
        failed = int(episode.failed.sum())
        record["stopped"] = {"late": late, "failed": failed, "late_s": guard.late_s}
        if episode.info["aborted"] == "budget":  # a reason of rrl.tuning.watch
            record["stopped"]["open"] = int((episode.status == Status.CANCELLED.value).sum())
    return record | {name: episode.info[name] for name in REPORTED if name in episode.info}


def kept_episode(kept: Mapping[str, Any]) -> Episode:
    """Rebuild an episode of the journal, without its arrival times.

    A request that was cancelled counts as answered then if it was late already. Otherwise nothing
    is known of it, and it is left out, unless no other request was sent.

    Examples
    --------
    >>> kept_episode({"latency_us": [2000, 3000]}).latency.tolist()
    [0.002, 0.003]
    >>> stopped = {"late": 1, "failed": 0, "late_s": 0.1}
    >>> some = {"latency_us": [9000, 200_000, 5000], "status": [0, 1, 1], "stopped": stopped}
    >>> kept_episode(some).latency.tolist()
    [0.009, 0.2]
    """
    latency = np.array(kept["latency_us"]) / 1e6
    status = np.array(kept.get("status", np.zeros(len(latency))), dtype=np.int64)
    if stopped := kept.get("stopped"):
        cancelled = status == Status.CANCELLED.value
        known = ~cancelled | (latency > stopped["late_s"])
        status = np.where(cancelled, Status.OK.value, status)
        if known.any():
            latency, status = latency[known], status[known]
    return Episode({}, np.arange(len(latency), dtype=float), latency, status)


def in_ms(seconds: float) -> str:
    """Format a limit of latency for people to read.

    Examples
    --------
    >>> in_ms(2.0), in_ms(0.01119)
    ('2000 ms', '11.2 ms')
    """
    return f"{round(1e3 * seconds, 1):g} ms"


def stopped_words(kept: Mapping[str, Any], planned: int) -> str:
    """Say how an episode was stopped; "" if it was not.

    Examples
    --------
    >>> stopped = {"late": 2, "failed": 0, "late_s": 0.08}
    >>> stopped_words({"latency_us": [90_000, 85_000, 10], "stopped": stopped}, 60)
    'stopped after 3 of 60 requests: 2 over 80 ms'
    """
    if (stopped := kept.get("stopped")) is None:
        return ""
    failed = f", {stopped['failed']} failed" if stopped["failed"] else ""
    return (
        f"stopped after {len(kept['latency_us'])} of {planned} requests: {stopped['late']} over "
        f"{in_ms(stopped['late_s'])}{failed}{open_words(stopped)}"
    )


def open_words(stopped: Mapping[str, Any]) -> str:
    """Say that the open requests of a stopped episode were the reason; "" if they were not.

    Examples
    --------
    >>> open_words({"late": 0, "open": 7})
    ', and 7 open ones could have used up the budget'
    """
    count = stopped.get("open")
    return f", and {count} open ones could have used up the budget" if count else ""


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
        | {name: part[name] for name in ("configuration", "ended", "why", "requests", "bad")}
        | {"open": _stopped(job, record, part).get("open", 0)}
        for record, part in parts
        if part["ended"]
    ]
    late = [record["guard"]["late_s"] for record in records if "guard" in record]
    return {"late_s": late[-1] if late else None, **counts, "ended": ended}


def _stopped(job: Job, record: Record, part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is stored of how a part of an episode or a round was stopped."""
    if "round" in record:
        own = part["configuration"] == dict(job.default)
        record = record["default" if own and "default" in record else "recommended"]
    return record.get("stopped", {})


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


# --- whether a record is one ----------------------------------------------------------------------


def is_record(
    record: Any, space: ConfigSpace | None = None, default: Configuration | None = None
) -> bool:
    """Return whether a line of a journal holds what :mod:`rrl.operating` writes there.

    Parameters
    ----------
    record : object
        What was read from the file, which anybody may have written.
    space, default : optional
        The configurations of the run. By default, any are accepted.

    Examples
    --------
    >>> is_record({"machine": {"cpus": 2}}), is_record({"round": "1"})
    (True, False)
    """

    def is_known(value: Any) -> bool:
        if not is_configuration(value):
            return False
        try:
            return space is None or value == default or space.index(value) >= 0
        except ValueError:
            return False

    part: dict[str, Any] = {
        "configuration": is_known,
        "requests": _is_count,
        "bad": _is_count,
        "ended": lambda ended: ended in ("", "aborted", "crashed"),
        "why": str,
        "whole": bool,
        "charge": (_is_number, None),
    }
    guard: dict[str, Any] = {"parts": [part], "late_s": (_is_number, None)}
    form: dict[str, Any]
    if "machine" in record:
        return _fits(record["machine"], dict)
    if "round" in record:
        names = [name for name in ("default", "recommended") if name in record]
        costs = {"cost": dict.fromkeys(names, _is_number)}
        form = dict.fromkeys(["recommended", *names], _are_requests) | {"round": _is_count} | costs
        whole = _fits(record, form) and sorted(record["cost"]) == names
        return whole and _fits(record.get("guard"), (guard, None))
    guard |= {"asked": (is_known, None), "refused": [_is_pair(is_known)], "told": bool}
    numbers = ["load_per_s", "next_load_per_s", "cost", "failed", "invalid"]
    form = dict.fromkeys(numbers, _is_number) | {
        "episode": _is_count,
        "configuration": is_known,
        "recommended": is_known,
        "rng": _is_generator,
        "guard": (guard, None),
    }
    form |= {} if "stopped" in record else {"mean_s": _is_number, "p99_s": _is_number}
    form |= dict.fromkeys(("late", "switch_s", "other_work"), (_is_number, None))
    return (
        _fits(record, form)
        and _are_requests(record)
        and record["load_per_s"] > 0 < record["next_load_per_s"]
    )


def _fits(value: Any, form: Any) -> bool:
    """Return whether a value has a form.

    A form is a type, None, a function that judges, a mapping of names to forms, a list with the
    form of each entry, or a tuple of forms of which one must fit.
    """
    if form is None or isinstance(form, type):
        return value is None if form is None else isinstance(value, form)
    if isinstance(form, tuple):
        return any(_fits(value, one) for one in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(one, form[0]) for one in value)
    if isinstance(form, dict):
        fields = form.items()
        return isinstance(value, dict) and all(_fits(value.get(name), one) for name, one in fields)
    return form(value)


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and 0 <= value < math.inf


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def is_configuration(value: Any) -> bool:
    """Return whether a value of a file can be a configuration: names, and numbers or text."""
    return isinstance(value, dict) and all(type(one) in (int, float, str) for one in value.values())


def _is_pair(is_known: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Judge a choice that was refused, with its charge."""
    return lambda pair: (
        isinstance(pair, list) and len(pair) == 2 and is_known(pair[0]) and _is_number(pair[1])
    )


def _is_generator(value: Any) -> bool:
    try:
        np.random.PCG64().state = value
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError):
        return False
    return True


def _are_requests(value: Any) -> bool:
    """Return whether a value holds requests as :func:`kept` stores them."""
    stopped: dict[str, Any] = {"late": _is_count, "failed": _is_count, "late_s": _is_number}
    stopped["open"] = (_is_count, None)
    form = {"latency_us": [_is_count], "status": ([_is_count], None), "stopped": (stopped, None)}
    if not _fits(value, form | dict.fromkeys(REPORTED, (_is_number, None))):
        return False
    status, count = value.get("status") or [0], len(value["latency_us"])
    return (
        count > 0
        and len(value.get("status", value["latency_us"])) == count
        and (max(status) < len(Status))
    )
