"""The result of a run: the verdict on the recommendation, and what was done to the requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.operating.job import Job
from rrl.operating.sequential import symmetric_interval
from rrl.tuning.guard import Guard, GuardedStep, Measured
from rrl.tuning.slo import join_episodes
from rrl.workloads.workload import Poisson

FAR = 20.0  # the log ratio of costs if one of them is 0; the verdict limits large ones anyway

NAMES = ("default", "recommended")
"""The two that are compared."""

FAILED = "it could not serve"
"""The verdict on a recommendation that crashed in the comparison."""


Round = Mapping[str, Measured]
"""A round of the comparison: one measurement of each configuration, by `NAMES`."""


def costs_of(rounds: Sequence[Round]) -> list[dict[str, float]]:
    """Return the costs of each round.

    If the recommendation was stopped by the watch, or crashed, its cost is missing: the latency of
    its other requests is not known.
    """
    return [{n: one.cost for n, one in two.items() if not one.part.ended} for two in rounds]


def judge_costs(costs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Judge the paired costs of all rounds so far; see :func:`symmetric_interval` for the method.

    At most 5 % of the runs in which the two do not differ ever get a verdict, even if each one is
    judged after every round and rounds are added later. No verdict is possible before round 8.

    A round in which the recommendation has no cost counts as lost, when "better" is asked: the
    rounds with late requests are those that the watch stops, so without them the others would look
    too good. For "worse", only whole rounds count, because no default is ever stopped.

    Returns
    -------
    dict
        ``ratio`` has the typical ratio of the paired costs (recommended / default) of whole rounds
        as ``median``, and the ends ``low`` and ``high`` of its 95 % interval. An end is None if
        nothing limits it yet or a round is lost, and the ratio is None if a cost is 0, or if no
        round is whole.
        ``verdict`` is "better", "worse" or "no difference shown".

    Examples
    --------
    >>> result = judge_costs([{"default": 2.0, "recommended": 1.0}] * 8)
    >>> result["verdict"], result["ratio"]
    ('better', {'median': 0.5, 'low': 0.5, 'high': 0.5})
    """
    theirs, ours = (np.array([one.get(name, np.inf) for one in costs]) for name in NAMES)
    with np.errstate(divide="ignore", invalid="ignore"):  # the same rule for costs of 0: see FAR
        logs = np.where(ours == theirs, 0.0, np.clip(np.log(ours / theirs), -FAR, FAR))
    whole = np.isfinite(ours)
    if not whole.any():
        return {"verdict": "no difference shown", "ratio": None}
    better = symmetric_interval(logs)[2] < 0
    of_whole = symmetric_interval(logs[whole])
    verdict = "better" if better else "worse" if of_whole[1] > 0 else "no difference shown"
    if not (ours[whole] * theirs[whole]).all():
        return {"verdict": verdict, "ratio": None}
    if not whole.all():  # chosen by their outcome, so their interval would be too short
        of_whole = of_whole[0], -math.inf, math.inf
    parts = zip(("median", "low", "high"), of_whole, strict=True)
    ratio = {name: math.exp(log) if math.isfinite(log) else None for name, log in parts}
    return {"verdict": verdict, "ratio": ratio}


def _judge_slo(
    job: Job, steps: Sequence[GuardedStep], rounds: Sequence[Round], configuration: Configuration
) -> dict[str, Any] | None:
    """Judge a configuration by the job's SLO; None without one, or if nothing is known.

    All its requests in the comparison count, and those of a round are one episode, because they
    meet the same arrivals. The episodes of the default in the tuning count, too, if they had the
    same load. A trial that was ended early does not count, as nobody knows what became of its open
    requests, and then the SLO is never met: these may be late.
    """
    if job.slo is None:
        return None
    served, ended = [], False
    for one in rounds:
        own = [it for it in one.values() if it.part.configuration == configuration]
        if any(it.part.ended for it in own):
            ended = True
        elif own:
            served.append(join_episodes([it.episode for it in own]))
    if configuration == dict(job.default) and isinstance(job.workload, Poisson):
        served += [one.episode for one in steps if one.configuration == configuration]
    if not served:
        return None
    found = job.slo.judge(served)
    return found | {"word": "undecided"} if ended and found["word"] == "met" else found


def summarise(
    job: Job, steps: Sequence[GuardedStep], rounds: Sequence[Round], guard: Guard
) -> dict[str, Any]:
    """Summarise a finished run in a form for JSON; the same measurements give the same result.

    Returns
    -------
    dict
        ``ratio`` and ``verdict`` are those of :func:`judge_costs`. The verdict is "the default" if
        the recommendation is the default, "stopped" if it was stopped as too bad, and `FAILED` if
        it crashed.
        ``cost`` has the median cost of each of the two in whole rounds, or is None without any.
        ``rounds`` is the number of whole rounds, and ``lost`` that of the others. ``deploy`` is the
        configuration to deploy: the recommended one if it is shown to be better, and otherwise the
        default. ``slo`` says how each of the two meets the SLO; ``by`` names the one to deploy.
        ``memory_bytes`` is the median memory of the server with each of the two, or None if
        it is not known. ``harm`` is what the guard says of all requests, and which trials ``ended``
        early.
    """
    costs = costs_of(rounds)
    whole = [one for one in costs if len(one) == len(NAMES)]
    recommended = dict(rounds[0]["recommended"].part.configuration)
    result = {
        **job.settings(),
        "load_per_s": float(np.mean([step.load for step in steps])),
        "recommended": recommended,
        **judge_costs(costs),
        "cost": {n: float(np.median([one[n] for one in whole])) for n in NAMES} if whole else None,
        "slo": None,
        "memory_bytes": _memory(rounds),
        "episodes": len(steps),
        "rounds": len(whole),
        "lost": len(rounds) - len(whole),
        "harm": {**guard.summary(), "ended": [asdict(p) for p in guard.parts if p.ended]},
    }
    if recommended == dict(job.default):
        result["verdict"] = "the default"
    elif any(one["recommended"].part.ended == "crashed" for one in rounds):
        result["verdict"] = FAILED
    elif guard.charge(recommended) is not None and result["verdict"] != "worse":
        result["verdict"] = "stopped"
    better = result["verdict"] == "better"
    if job.slo:
        two = zip(NAMES, (dict(job.default), recommended), strict=True)
        slo = {name: _judge_slo(job, steps, rounds, one) for name, one in two}
        result["slo"] = {"by": "recommended" if better else "default", **slo}
    return result | {"deploy": recommended if better else dict(job.default)}


def _memory(rounds: Sequence[Round]) -> dict[str, int] | None:
    """Return the median memory (bytes) of each of the two; None if it is unknown."""
    used: dict[str, list[Any]] = {
        name: [one[name].episode.info.get("memory_bytes") for one in rounds] for name in NAMES
    }
    if any(None in values for values in used.values()):
        return None
    return {name: int(np.median(values)) for name, values in used.items()}
