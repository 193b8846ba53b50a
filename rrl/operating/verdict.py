"""The result of a run: the verdict on the recommendation, and what was done to the requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from rrl.operating.job import Job
from rrl.operating.sequential import symmetric_interval
from rrl.operating.tape import answered
from rrl.tuning.episode import MEMORY, Episode
from rrl.tuning.guard import Guard
from rrl.tuning.loop import Step

FAR = 20.0  # the log ratio of costs if one of them is 0; the verdict limits large ones anyway

NAMES = ("default", "recommended")
"""The two that are compared."""


class Round(NamedTuple):
    """A round of the comparison: the cost and the episode of each of the two, by `NAMES`."""

    costs: Mapping[str, float]
    episodes: Mapping[str, Episode]


def judge_costs(costs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Judge the paired costs of all rounds so far; see :func:`symmetric_interval` for the method.

    At most 5 % of the runs in which the two do not differ ever get a verdict, even if each one is
    judged after every round and rounds are added later. No verdict is possible before round 8.

    Parameters
    ----------
    costs : sequence of mapping of str to float
        The costs of each round by `NAMES`, of one round at least.

    Returns
    -------
    dict
        ``ratio`` has the typical ratio of the paired costs (recommended / default) as ``median``,
        and the ends ``low`` and ``high`` of its 95 % interval. An end is None if nothing limits it
        yet, and the ratio is None if a cost is 0. ``verdict`` follows from the ratios. It is
        "better", "worse" or "no difference shown".

    Examples
    --------
    >>> result = judge_costs([{"default": 2.0, "recommended": 1.0}] * 8)
    >>> result["verdict"], result["ratio"]
    ('better', {'median': 0.5, 'low': 0.5, 'high': 0.5})
    """
    theirs, ours = (np.array([round_[name] for round_ in costs]) for name in NAMES)
    with np.errstate(divide="ignore", invalid="ignore"):  # the same rule for costs of 0: see FAR
        logs = np.where(ours == theirs, 0.0, np.clip(np.log(ours / theirs), -FAR, FAR))
    centre, low, high = symmetric_interval(logs)
    verdict = "better" if high < 0 else "worse" if low > 0 else "no difference shown"
    return {
        "verdict": verdict,
        "ratio": _ratio(centre, low, high) if (ours * theirs).all() else None,
    }


def _ratio(centre: float, low: float, high: float) -> dict[str, float | None]:
    """Name the parts of an interval of logarithms, in a form for JSON: no infinite numbers."""
    known = math.isfinite(low)
    return {
        "median": math.exp(centre),
        "low": math.exp(low) if known else None,
        "high": math.exp(high) if known else None,
    }


def decided(job: Job, rounds: Sequence[Round]) -> bool:
    """Return whether the rounds so far answer all questions, so that no more are needed.

    They must show which configuration is better. With an SLO, all rounds are needed: if they ended
    as soon as they seem to decide whether it is met, the answer would be wrong too often.
    """
    if not rounds or job.slo is not None:
        return False
    found = judge_costs([one.costs for one in rounds])
    return found["verdict"] in ("better", "worse")


def summarise(
    job: Job, steps: Sequence[Step], rounds: Sequence[Round], guard: Guard
) -> dict[str, Any]:
    """Summarise a finished run in a form for JSON; the same measurements give the same result.

    Returns
    -------
    dict
        ``ratio`` and ``verdict`` are those of :func:`judge_costs`; the verdict is "the default" if
        the recommendation is the default. ``cost`` has the median cost of each of the two, over the
        rounds in which it was not stopped; None if it was stopped in each. ``stopped`` has the
        number of rounds in which it was. ``slo`` is the result of :meth:`SLO.judge`. ``deploy`` is
        the configuration to deploy: the recommended one if it is shown to be better, and otherwise
        the default. ``memory_bytes`` is the median resident memory of the server with each of the
        two, or None if it is not known. ``harm`` is what the guard says of all requests, and which
        trials ``ended`` early.
    """
    whole: dict[str, list[float]] = {name: [] for name in NAMES}
    for costs, episodes in rounds:
        for name in NAMES:
            if "aborted" not in episodes[name].info:
                whole[name].append(costs[name])
    recommended = dict(rounds[0].episodes["recommended"].configuration)
    result = {
        **job.settings(),
        "load_per_s": float(np.mean([step.load for step in steps])),
        "recommended": recommended,
        **judge_costs([one.costs for one in rounds]),
        "cost": {n: float(np.median(values)) if values else None for n, values in whole.items()},
        "stopped": {name: len(rounds) - len(values) for name, values in whole.items()},
        "slo": None,
        MEMORY: _memory(rounds),
        "episodes": len(steps),
        "rounds": len(rounds),
        "harm": {**guard.summary(), "ended": [asdict(p) for p in guard.parts if p.ended]},
    }
    if recommended == dict(job.default):
        result["verdict"] = "the default"
    if job.slo:
        ours = [answered(one.episodes["recommended"], guard.late_s) for one in rounds]
        result["slo"] = job.slo.judge(ours)
    better = result["verdict"] == "better"
    return result | {"deploy": recommended if better else dict(job.default)}


def _memory(rounds: Sequence[Round]) -> dict[str, int] | None:
    """Return the median resident memory (bytes) of each of the two; None if it is unknown."""
    used: dict[str, list[Any]] = {
        name: [one.episodes[name].info.get(MEMORY) for one in rounds] for name in NAMES
    }
    if any(None in values for values in used.values()):
        return None
    return {name: int(np.median(values)) for name, values in used.items()}
