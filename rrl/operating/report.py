"""The report of a run, for people and as files: what to deploy, what it gains, what it cost."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.options import NO_LIMIT, UNLIMITED
from rrl.operating.records import Record, compared, ending, in_ms, kept_episode, learned
from rrl.operating.verdict import amount, interval_words
from rrl.support.errors import UnstableError, UsageError
from rrl.tuning.constrained import HighestRate
from rrl.tuning.objective import Percentile
from rrl.tuning.presets import CPUS, in_words
from rrl.tuning.slo import SLO

if TYPE_CHECKING:
    from rrl.core.knob import Configuration, Value
    from rrl.operating.job import Job
    from rrl.operating.targets import Target
    from rrl.tuning.episode import Episode

BATCHING = "batching.txt"
"""The batching file of the configuration to deploy."""


# --- how to start a server ------------------------------------------------------------------------


def add_commands(
    job: Job, result: dict[str, Any], folder: Path, target: Target | None
) -> dict[str, str]:
    """Add to a result how a server is started with the default and with the recommendation.

    ``flags``, ``batching`` and ``environment`` are those of the configuration to deploy. ``start``
    has a complete line for a shell for each of the two, if a server was measured. Nothing is added
    if `tensorflow_model_server` has not all of the knobs, or cannot have their values.

    Parameters
    ----------
    job : Job
    result : dict
        The result of :func:`rrl.operating.verdict.summarise`.
    folder : pathlib.Path
        The folder of the batching files.
    target : Target, optional
        What was measured; None if it was a replay.

    Returns
    -------
    dict of str to str
        The batching files to write, by name.
    """
    from rrl.serving.process_knobs import environment_of

    deploy = {**job.fixed, **result["deploy"]}
    own = None
    with suppress(UsageError):  # a table may have other values, such as text
        own = serving_flags(deploy, folder / BATCHING)
    if own is None:
        return {}
    result["flags"], result["batching"] = own
    result["environment"] = environment_of(deploy)
    files = {BATCHING: result["batching"]}
    if target is not None:
        result["start"] = {}
        for name in ("default", "recommended"):
            settings = {**job.fixed, **result[name]}
            file = BATCHING if settings == deploy else f"batching-{name}.txt"
            result["start"][name], files[file] = _line(settings, folder / file, target)
    return {name: text for name, text in files.items() if text}


def serving_flags(configuration: Configuration, file: Path) -> tuple[list[str], str] | None:
    """Return flags and batching file for `tensorflow_model_server`; None if it lacks a knob.

    Parameters
    ----------
    configuration : configuration
    file : pathlib.Path
        Path of the file where the batching parameters will be written.
    """
    from rrl.serving.process_knobs import is_process_knob
    from rrl.serving.settings import KNOBS, flags

    if not all(name in KNOBS or is_process_knob(name) for name in configuration):
        return None
    return flags(configuration, file)


def _line(settings: Configuration, file: Path, target: Target) -> tuple[str, str]:
    """Return the line for a shell, and the content of the batching file that it names."""
    from rrl.serving.process_knobs import prefix
    from rrl.serving.settings import flags

    own, text = flags(settings, file)
    return shlex.join([*prefix(settings), *target.command, *own]), text


def write(result: Mapping[str, Any], files: Mapping[str, str], folder: Path) -> None:
    """Write `result.json` and the batching files."""
    from rrl.support.files import write_atomically

    for name, text in files.items():
        write_atomically(folder / name, text)
    write_atomically(folder / "result.json", json.dumps(result, indent=2) + "\n")


# --- latency against CPUs -------------------------------------------------------------------------


def by_cpus(job: Job, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the best measured configuration with each number of CPUs, in a form for JSON.

    The latency is the SLO's statistic, or the p99, of all requests of a configuration. The best one
    was found among several, so its latency is slightly too low. A trial that was stopped or crashed
    excludes its configuration.

    Returns
    -------
    list of dict
        One row per number of CPUs, in their order. ``latency_s`` has the latency, and ``low_s`` and
        ``high_s`` the ends of its 95 % interval. ``slo`` is the word of :meth:`SLO.judge`, or None.
        ``worthwhile`` is true if no configuration with fewer CPUs is as fast: these rows are the
        Pareto front. The list is empty if the CPUs are no knob, or if episodes are capacity
        searches, because then their loads differ.
    """
    if CPUS not in job.space.names or isinstance(job.objective, HighestRate):
        return []
    slo = job.slo or SLO(Percentile(99), math.inf)
    best: dict[Value, dict[str, Any]] = {}
    for configuration, episodes in _measured(job, records):
        judged = slo.judge(episodes)
        cpus = configuration[CPUS]
        if cpus not in best or judged["value_s"] < best[cpus]["latency_s"]:
            best[cpus] = {
                CPUS: cpus,
                "configuration": configuration,
                "episodes": len(episodes),
                "latency_s": judged["value_s"],
                "low_s": judged["low_s"],
                "high_s": judged["high_s"],
                "slo": judged["word"] if job.slo else None,
            }
    rows = sorted(best.values(), key=lambda row: row[CPUS])
    lowest = math.inf
    for row in rows:
        row["worthwhile"] = row["latency_s"] < lowest
        lowest = min(lowest, row["latency_s"])
    return rows


def _measured(job: Job, records: Sequence[Record]) -> list[tuple[Configuration, list[Episode]]]:
    """Return the measured configurations with their episodes, without those that were stopped."""
    tuned = learned(records)
    parts = [(record["configuration"], record) for record in tuned]
    sides = {"recommended": tuned[-1]["recommended"], "default": dict(job.default)}
    for record in compared(records):
        parts += [(sides[name], record[name]) for name in record["cost"]]
    stopped = [record["configuration"] for record in tuned if ending(record)]
    found: dict[tuple[Any, ...], tuple[Configuration, list[Episode]]] = {}
    for configuration, kept in parts:
        if configuration not in stopped:
            key = tuple(sorted(configuration.items()))
            found.setdefault(key, (configuration, []))[1].append(kept_episode(kept))
    return list(found.values())


def _cpu_lines(job: Job, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table for people to read; an asterisk marks the Pareto front."""
    if not rows:
        return []
    statistic = job.slo.statistic if job.slo else Percentile(99)
    unit, scale = (" ms", 1e3) if job.unit == "s" else ("", 1.0)
    head = f"cost against latency (the fastest measured; * no fewer CPUs are as fast; {statistic}):"
    lines = [head]
    for row in rows:
        high = "unknown" if row["high_s"] is None else f"{scale * row['high_s']:.1f}"
        word = f", SLO {row['slo']}" if row["slo"] else ""
        rest = {name: value for name, value in row["configuration"].items() if name != CPUS}
        lines.append(
            f" {'*' if row['worthwhile'] else ' '} {row[CPUS]} CPU{'s' * (row[CPUS] != 1)}: "
            f"{scale * row['latency_s']:.1f}{unit} ({scale * row['low_s']:.1f} to {high}, "
            f"{row['episodes']} episode{'s' * (row['episodes'] != 1)}){word}"
            + (f": {in_words(rest)}" if rest else "")
        )
    return lines


# --- the text -------------------------------------------------------------------------------------


def report(job: Job, result: dict[str, Any], folder: Path) -> str:
    """Return the report that people read."""
    own = " (the default)" if result["verdict"] == "the default" else ""
    lines = [f"recommended: {in_words(result['recommended'])}{own}", _gain(job, result)]
    lines += _top_lines(job, result)
    if slo := result["slo"]:
        high = "unknown" if slo["high_s"] is None else f"{1e3 * slo['high_s']:.1f}"
        lines.append(
            f"  SLO {slo['slo']}: {slo['word']} ({1e3 * slo['value_s']:.1f} ms, 95 % interval "
            f"{1e3 * slo['low_s']:.1f} to {high}); {100 * slo['late_while_tuning']:.1f} % of the "
            "requests were late while tuning"
        )
    if result["verdict"] == "no difference shown":
        lines.append("  the gain is not certain: keep the default, or use more --rounds")
    if memory := result["memory_bytes"]:
        used = {name: f"{value / 2**20:.0f} MiB" for name, value in memory.items()}
        other = f", {used['default']} by default" if "default" in used else ""
        lines.append(f"  memory of the server: {used['recommended']}{other}")
    lines += _harm_lines(job, result)
    if len(result["machines"]) > 1:
        lines.append("  the machine changed during the run: see result.json")
    if result["busy"]:
        lines.append(f"  {result['busy']}")
    lines += _cpu_lines(job, result["by_cpus"])
    if "flags" in result:
        whose = "" if result["deploy"] == result["recommended"] else " of the default"
        lines.append(f"flags{whose}: {shlex.join(result['flags']) or '(none)'}")
        lines += [f"  batching.txt: {line}" for line in result["batching"].splitlines()]
    names = {line: name for name, line in result.get("start", {}).items()}  # they may be the same
    lines += [f"start the {name}: {line}" for line, name in names.items()]
    lines.append(f"files: {folder}/: journal.jsonl, result.json, tuning.png and .pdf")
    return "\n".join(lines)


def _gain(job: Job, result: dict[str, Any]) -> str:
    """Say what the two cost, and how one compares with the other."""
    rounds, ratio = result["compared"], result["ratio"]

    def cost(name: str) -> str:
        stopped, value = result["stopped"][name], result["cost"][name]
        if value is None:
            return "stopped in each round"
        also = f" where it was not stopped ({stopped} of {rounds} rounds)" if stopped else ""
        return f"{amount(job, value)}{also}"

    table = result["objective"] == "mean" and not job.unit  # of costs in any unit
    gain = f"  {'cost' if table else result['objective']} {cost('recommended')}"
    if "default" not in result["cost"]:
        return gain
    gain += f" against {cost('default')} by default (medians of {rounds} rounds)"
    if ratio and not result["stopped"]["recommended"]:
        gain += f"; ratio within a round: median {ratio['median']:.2f} ({interval_words(ratio)})"
    return f"{gain}; {result['verdict']}"


def _top_lines(job: Job, result: dict[str, Any]) -> list[str]:
    """Say that a capacity search ended at the highest of its rates."""
    if not isinstance(job.objective, HighestRate):
        return []
    least, most = job.objective.rates_per_s[0], job.objective.rates_per_s[-1]
    if min(filter(None, result["cost"].values()), default=1.0) > 1.001 * least / most:
        return []
    return [f"  {most:g}/s kept the SLO, and higher rates may, too: name some in --objective"]


def _harm_lines(job: Job, result: dict[str, Any]) -> list[str]:
    """Say what tuning did to the requests, and which trials ended early."""
    harm = result["harm"]
    if harm["late_s"] is None or isinstance(job.objective, HighestRate):  # it overloads on purpose
        return []
    trials, default = (f"{bad} of {n}" for n, bad in (harm["trials"], harm["default"]))
    budget = UNLIMITED if result["budget"] == NO_LIMIT else result["budget"]
    whose = "" if job.slo or job.late_s else ", by the first episodes of the default"
    lines = [
        f"  late (over {in_ms(harm['late_s'])}{whose}) or failed: {trials} requests in "
        f"trials (budget {budget}), {default} with the default"
    ]
    for trial in harm["ended"]:
        how = f"crashed: {trial['why']}"
        if trial["ended"] == "aborted":
            how = f"stopped: {trial['bad']} of {trial['requests']} requests late or failed"
        lines.append(f"  {in_words(trial['configuration'])} {how}")
    return lines


def check_result(result: dict[str, Any]) -> None:
    """Raise UnstableError if the SLO is missed or the recommendation is worse."""
    slo = result["slo"]
    if slo and slo["word"] == "missed":
        raise UnstableError(
            f"SLO {slo['slo']} missed: {1e3 * slo['value_s']:.1f} ms with the best found at "
            f"{result['load_per_s']:.0f}/s; lower the load, add cores, or tune more knobs"
        )
    if result["verdict"] == "worse":
        raise UnstableError(
            "the recommendation is worse than the default: keep the default, or use more --episodes"
        )
