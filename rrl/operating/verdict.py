"""Progress, result and flags of a tuning run, computed from the records of its journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration
from rrl.operating.records import Record, compared, learned
from rrl.support.intervals import bootstrap_interval, ratio_interval
from rrl.tuning.episode import Episode
from rrl.tuning.objective import MeanLatency, Percentile

if TYPE_CHECKING:
    from rrl.operating.job import Job


def kept_episode(kept: Mapping[str, Any]) -> Episode:
    """Rebuild an episode of the journal, without its arrival times.

    Examples
    --------
    >>> kept_episode({"latency_us": [2000, 3000]}).latency.tolist()
    [0.002, 0.003]
    """
    latency = np.array(kept["latency_us"]) / 1e6
    status = kept.get("status", np.zeros(len(latency), dtype=np.int64))
    return Episode({}, np.arange(len(latency)), latency, status)


def best_so_far(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return the cost of the configuration that was recommended after each episode.

    The cost is the mean over the episodes of that configuration so far. It is NaN if the
    configuration has not served yet.

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
        costs.setdefault(tuple(record["configuration"].items()), []).append(record["cost"])
        known = costs.get(tuple(record["recommended"].items()))
        means.append(np.mean(known) if known else np.nan)
    return np.array(means)


# --- words ----------------------------------------------------------------------------------------


def amount(job: Job, cost: float) -> str:
    """Format a cost for people to read."""
    seconds = isinstance(job.objective, MeanLatency | Percentile) and job.unit == "s"
    return f"{1e3 * cost:.1f} ms" if seconds else f"{cost:.4g}"


def words(configuration: Configuration) -> str:
    """Format a configuration for people to read.

    Examples
    --------
    >>> words({"inter_op": 2, "batch_threads": 0})
    'inter_op 2, batch_threads 0'
    """
    return ", ".join(f"{name} {level}" for name, level in configuration.items())


def duration(seconds: float) -> str:
    """Format a time in seconds for people to read.

    Examples
    --------
    >>> duration(12.3), duration(720), duration(9000)
    ('12 s', '12 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def progress(job: Job, records: Sequence[Record]) -> str:
    """Return one line about the last episode: what ran, its result, and the best so far."""
    records = learned(records)
    last = records[-1]
    how = f"mean {1e3 * last['mean_s']:.1f} ms, p99 {1e3 * last['p99_s']:.1f} ms"
    if job.unit != "s":
        how = amount(job, last["cost"])
    late = f", {100 * last['late']:.0f} % late" if "late" in last else ""
    failed = f", {last['failed']} failed" if last["failed"] else ""
    best = best_so_far(records)[-1]
    known = "" if np.isnan(best) else f": {job.objective} {amount(job, best)}"
    ran, best_one = words(last["configuration"]), words(last["recommended"])
    first = last.get("guard", {"parts": [{"ended": "", "why": ""}]})["parts"][0]
    if first["ended"] == "aborted":
        how = f"aborted after {len(last['latency_us'])} requests, {how}"
    elif first["ended"]:
        how, late, failed = f"crashed ({first['why']})", "", ""
    return (
        f"episode {len(records)}/{job.episodes}: {ran}: {how}{late}{failed} "
        f"| best so far {best_one}{known}"
    )


# --- the result -----------------------------------------------------------------------------------


def summarise(job: Job, records: Sequence[Record]) -> dict[str, Any]:
    """Summarise a finished run in a form for JSON; the same records give the same result.

    Returns
    -------
    dict
        ``ratio`` is the median of the paired cost ratios (recommended / default) with its 95 %
        interval. It is None if a cost of the default is 0. ``verdict`` is "better", "worse", "the
        default" (the recommendation is the default) or "no difference shown". ``slo`` is the
        result of :meth:`SLO.judge`.
    """
    tuned, rounds = learned(records), compared(records)
    recommended = tuned[-1]["recommended"]
    costs = {n: np.array([r["cost"][n] for r in rounds]) for n in rounds[0]["cost"]}
    ours = costs["recommended"]
    theirs = costs.get("default", ours)
    rng = job.rng(3)
    ratio = ratio_interval(ours, theirs, rng) if theirs.all() else None
    difference = bootstrap_interval(ours - theirs, rng)
    _, low, high = difference if ratio is None else np.log(ratio)
    verdict = "better" if high < 0 else "worse" if low > 0 else "no difference shown"
    switches = [r["switch_s"] for r in tuned if r.get("switch_s")]
    result = {
        **job.settings(),
        "load_per_s": float(np.mean([r["load_per_s"] for r in tuned])),
        "recommended": recommended,
        "verdict": verdict if "default" in costs else "the default",
        "cost": {name: float(np.median(values)) for name, values in costs.items()},
        "ratio": ratio and dict(zip(("median", "low", "high"), ratio, strict=True)),
        "difference": dict(zip(("median", "low", "high"), difference, strict=True)),
        "slo": None,
        "invalid": sum(r["invalid"] for r in tuned),
        "failed": sum(r["failed"] for r in tuned),
        "switches": len(switches),
        "switch_s": float(np.mean(switches)) if switches else None,
    }
    if job.slo:
        final = [kept_episode(r["recommended"]) for r in rounds]
        late = float(np.mean([r["late"] for r in tuned]))
        result["slo"] = job.slo.judge(final, rng) | {"late_while_tuning": late}
    return result


def decided(job: Job, records: Sequence[Record]) -> bool:
    """Stand-in."""
    return False


def serving_flags(configuration: Configuration, folder: Path) -> tuple[list[str], str] | None:
    """Return flags and batching file for `tensorflow_model_server`; None if it lacks a knob."""
    from rrl.serving.settings import KNOBS, flags

    if not set(configuration) <= set(KNOBS):
        return None
    return flags(configuration, folder / "batching.txt")
