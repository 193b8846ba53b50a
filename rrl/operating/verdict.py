"""The result of a run: the verdict on the recommendation, and what was done to the requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.operating.job import Job
from rrl.operating.journal import Record
from rrl.operating.records import (
    compared,
    ending,
    learned,
)
from rrl.recording.other_work import busy_line
from rrl.support.sequential import symmetric_interval
from rrl.tuning.constrained import MEMORY, LeastMemory

SAME_MEMORY = 0.02  # of the memory; seven starts of one server differed by up to 1.1 %
FAR = 20.0  # the log ratio of costs if one of them is 0; the verdict limits large ones anyway


def best_so_far(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return the cost of the configuration that was recommended after each episode.

    The cost is the mean over the whole episodes of that configuration so far. It is NaN if there is
    none: what a stopped or crashed trial is charged is no measurement.

    Examples
    --------
    >>> a, b = {"threads": 1}, {"threads": 2}
    >>> told = [(a, 3.0, a), (b, 1.0, b), (b, 2.0, b)]
    >>> best_so_far([{"configuration": c, "cost": x, "recommended": r} for c, x, r in told])
    array([3. , 1. , 1.5])
    """
    costs: dict[tuple[Any, ...], list[float]] = {}
    means = []
    for record in records:
        if not ending(record):
            costs.setdefault(tuple(record["configuration"].items()), []).append(record["cost"])
        known = costs.get(tuple(record["recommended"].items()))
        means.append(np.mean(known) if known else np.nan)
    return np.array(means)


# --- the result -----------------------------------------------------------------------------------


def judge_rounds(rounds: Sequence[Record], least: float = 0.0) -> dict[str, Any]:
    """Judge the paired costs of all rounds so far; see :func:`symmetric_interval` for the method.

    At most 5 % of the runs in which the two do not differ ever get a verdict, even if each one is
    judged after every round and rounds are added later. No verdict is possible before round 8.

    Parameters
    ----------
    rounds : sequence of dict
        Records of the comparison, at least one.
    least : float, optional
        A fraction of the cost. A difference that may be smaller is none, see
        :func:`least_fraction`.

    Returns
    -------
    dict
        ``ratio`` has the typical ratio of the paired costs (recommended / default) as ``median``,
        and the ends ``low`` and ``high`` of its 95 % interval. An end is None if nothing limits it
        yet, and the ratio is None if a cost is 0. ``verdict`` follows from the ratios. It is
        "better", "worse" or "no difference shown".

    Examples
    --------
    >>> result = judge_rounds([{"cost": {"default": 2.0, "recommended": 1.0}}] * 8)
    >>> result["verdict"], result["ratio"]
    ('better', {'median': 0.5, 'low': 0.5, 'high': 0.5})
    """
    ours, theirs = (
        np.array([record["cost"][name] for record in rounds]) for name in ("recommended", "default")
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # the same rule for costs of 0: see FAR
        logs = np.where(ours == theirs, 0.0, np.clip(np.log(ours / theirs), -FAR, FAR))
    centre, low, high = symmetric_interval(logs)
    limit = math.log1p(least)
    verdict = "better" if high < -limit else "worse" if low > limit else "no difference shown"
    return {
        "verdict": verdict,
        "ratio": _ratio(centre, low, high) if (ours * theirs).all() else None,
    }


def least_fraction(job: Job) -> float:
    """Return the fraction of the cost by which two configurations must differ.

    Memory is measured in one process per configuration, so rounds do not average what differs from
    start to start.
    """
    return SAME_MEMORY if isinstance(job.objective, LeastMemory) else 0.0


def _ratio(centre: float, low: float, high: float) -> dict[str, float | None]:
    """Name the parts of an interval of logarithms, in a form for JSON: no infinite numbers."""
    known = math.isfinite(low)
    return {
        "median": math.exp(centre),
        "low": math.exp(low) if known else None,
        "high": math.exp(high) if known else None,
    }


def decided(job: Job, records: Sequence[Record]) -> bool:
    """Return whether the rounds so far answer all questions, so that no more are needed.

    They must show which configuration is better. With an SLO, all rounds are needed: if they ended
    as soon as they seem to decide whether it is met, the answer would be wrong too often.
    """
    rounds = compared(records)
    if not rounds or job.slo is not None:
        return False
    return judge_rounds(rounds, least_fraction(job))["verdict"] in ("better", "worse")


def summarise(job: Job, records: Sequence[Record]) -> dict[str, Any]:
    """Summarise a finished run in a form for JSON; the same records give the same result.

    Returns
    -------
    dict
        ``ratio`` and ``verdict`` are those of :func:`judge_rounds`; the verdict is "the default" if
        the recommendation is the default. ``cost`` has the median cost of each of the two, over the
        rounds in which it was not stopped; None if it was stopped in each. ``stopped`` has the
        number of rounds in which it was. ``slo`` is the result of :meth:`SLO.judge`. ``deploy`` is
        the configuration to deploy: the recommended one if it is shown to be better, and otherwise
        the default. ``memory_bytes`` is the median resident memory of the server with each of the
        two, or None if it is not known.
    """
    tuned, rounds = learned(records), compared(records)
    names = ("default", "recommended")
    whole = {n: [r["cost"][n] for r in rounds if "stopped" not in r[n]] for n in names}
    recommended = dict(rounds[0]["recommended"]["answered"].configuration)
    result = {
        **job.settings(),
        "load_per_s": float(np.mean([r["load_per_s"] for r in tuned])),
        "recommended": recommended,
        **judge_rounds(rounds, least_fraction(job)),
        "cost": {n: float(np.median(values)) if values else None for n, values in whole.items()},
        "stopped": {name: len(rounds) - len(values) for name, values in whole.items()},
        "slo": None,
        MEMORY: _memory(rounds),
        "failed": sum(r["failed"] for r in tuned),
        "compared": len(rounds),
        "harm": harm_done(job, records),
        "busy": busy_line(records),
    }
    if recommended == dict(job.default):
        result["verdict"] = "the default"
    if job.slo:
        late = {"late_while_tuning": late_while_tuning(job, records)}
        result["slo"] = job.slo.judge([r["recommended"]["answered"] for r in rounds]) | late
    better = result["verdict"] == "better"
    return result | {"deploy": recommended if better else dict(job.default)}


def _memory(rounds: Sequence[Record]) -> dict[str, int] | None:
    """Return the median resident memory (bytes) of each contestant; None if it is unknown."""
    used = {n: [r[n].get(MEMORY) for r in rounds] for n in ("default", "recommended")}
    if any(None in values for values in used.values()):
        return None
    return {name: int(np.median(values)) for name, values in used.items()}


# --- what it did to the requests ------------------------------------------------------------------


def harm_done(job: Job, records: Sequence[Record]) -> Record:
    """Return what tuning and comparison did to the requests, in a form for JSON.

    `trials` and `default` have the numbers of requests, and of late or failed ones among them.
    `ended` lists the trials that were stopped or crashed. It is empty without a guard.
    """
    counts, ended = {"trials": [0, 0], "default": [0, 0]}, []
    for record in records:
        for number, part in enumerate(record.get("guard", {}).get("parts", ())):
            own = part["configuration"] == dict(job.default)
            side = counts["default" if own else "trials"]
            side[0] += part["requests"]
            side[1] += part["bad"]
            if part["ended"]:
                why = f"stopped: {part['bad']} of {part['requests']} requests late or failed"
                why = f"crashed: {part['why']}" if part["ended"] == "crashed" else why
                if number == 0:  # what was tried; the others served the rest of its episode
                    why = record.get("stopped", why)
                names = ("configuration", "ended", "requests", "bad")
                ended.append({name: part[name] for name in names} | {"why": why})
    late = [record["late_s"] for record in records if "late_s" in record]
    return {"late_s": late[-1] if late else None, **counts, "ended": ended}


def late_while_tuning(job: Job, records: Sequence[Record]) -> float:
    """Return the fraction of the requests while tuning that were late by the SLO, or failed.

    With a guard, these are the requests that were sent: a trial that did not start had none, and
    the default served in its place.
    """
    tuned = learned(records)
    trials, default = (harm_done(job, tuned)[side] for side in ("trials", "default"))
    if requests := trials[0] + default[0]:
        return (trials[1] + default[1]) / requests
    return float(np.mean([record["late"] for record in tuned]))
