"""`--warm-start`: what a profile, or the journal of an earlier tuning, says about this job.

The earlier costs are those of this job's objective, because both files have all latencies. The
agent gets them as a prior that fades, see :mod:`rrl.tuning.warm_start`.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.operating.journal import JOURNAL, SCHEMA, read_records
from rrl.operating.log import LOG
from rrl.operating.options import DATA, checksum, refuse
from rrl.operating.tape import answered, restored
from rrl.recording.profile import DESCRIPTION, EPISODES, read_profile
from rrl.support.errors import DataError, ServerError, UsageError
from rrl.tuning.episode import Episode
from rrl.tuning.guard import unanswered
from rrl.tuning.objective import Objective
from rrl.tuning.warm_start import Earlier, WarmStart, transfer


def read_warm_start(
    options: Namespace, space: ConfigSpace, fixed: Configuration, objective: Objective, out: Path
) -> tuple[WarmStart | None, dict[str, str]]:
    """Return what the folder or journal of `--warm-start` says, and its name for the journal.

    Without the option, these are None and nothing.

    Parameters
    ----------
    options : Namespace
    space : ConfigSpace
        What this run tunes.
    fixed : configuration
        The settings that all its configurations have.
    objective : Objective
        What this run minimises.
    out : pathlib.Path
        The folder of this run.

    Raises
    ------
    UsageError
        If there is no such source, it shares no knob with at least two values, or the agent has no
        warm start.
    DataError
        If a file is damaged.
    """
    if options.warm_start is None:
        return None, {}
    if options.agent != "rrl-gp":
        refuse(options, ["warm_start"], f"on the agent {options.agent}, only on rrl-gp")
    file, episodes = _source(options.warm_start)
    if file.parent.resolve() == out.resolve():
        raise UsageError(
            f"--warm-start {options.warm_start}: that is this run's own folder; choose another "
            "--out"
        )
    earlier = _summary(file, episodes, objective)
    try:
        start = transfer(space, earlier, fixed)
    except ValueError as error:
        raise UsageError(f"--warm-start {file.parent}: {error}; leave it out") from None
    LOG.info(f"warm start from {file.parent}: {start}")
    return start, {"warm_start": f"{file.parent.name} ({checksum(file)})"}


_Episodes = Iterable[tuple[Mapping[str, Any], float, Episode]]
"""Configurations with the fixed settings, a load (requests/s), and an episode of them."""


def _source(given: Path) -> tuple[Path, _Episodes]:
    """Return the file with the measurements, and its episodes."""
    for path in (given, DATA / given):
        folder = path.parent if path.is_file() else path
        if (folder / DESCRIPTION).is_file():
            return folder / EPISODES, _of_profile(folder)
        if (folder / JOURNAL).is_file():
            return folder / JOURNAL, _of_journal(folder / JOURNAL)
    raise UsageError(
        f"--warm-start {given}: neither a profile nor the journal of a tuning; give the folder of "
        f"`rrl profile` (with {DESCRIPTION}) or of `rrl tune` (with {JOURNAL})"
    )


def _of_profile(folder: Path) -> _Episodes:
    profile = read_profile(folder)
    fixed = profile.description["plan"].get("fixed") or {}
    table = profile.grid
    columns = [table[name].tolist() for name in profile.knobs]
    for row, rate, *values in zip(table.index, table["rate_per_s"], *columns, strict=True):
        latency = profile.latencies(row)
        due = np.arange(len(latency), dtype=float)
        episode = Episode({}, due, latency, profile.statuses(row))
        yield {**fixed, **dict(zip(profile.knobs, values, strict=True))}, float(rate), episode


def _of_journal(file: Path) -> _Episodes:
    """Read a journal; an episode that was stopped early counts as what it was until then."""
    records, _ = read_records(file, file.read_bytes())
    if records and records[0]["journal"] != SCHEMA:
        raise DataError(f"{file} was written by another version of rrl; use another source")
    fixed = records[0].get("fixed", {}) if records else {}
    for number, record in enumerate(records[1:], 2):
        try:
            if "episode" in record:
                configuration, episode = _trial(record)
                configuration = {**fixed, **configuration}
                if not all(type(one) in (int, float, str) for one in configuration.values()):
                    raise TypeError("no configuration")
                yield configuration, 0.0, episode
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise DataError(
                f"{file}, line {number}: damaged, or no journal; restore the file"
            ) from error


def _trial(record: Mapping[str, Any]) -> tuple[Configuration, Episode]:
    """Return the configuration and the episode of a record; a crash has no answers."""
    (first, *_) = (answer for answer in record["answers"] if answer.get("valid", True))
    try:
        return first["configuration"], answered(restored(first), record.get("late_s"))
    except ServerError:
        return first["configuration"], unanswered(first["configuration"], np.zeros(1))


def _summary(file: Path, episodes: _Episodes, objective: Objective) -> Earlier:
    """Return the mean log cost of each configuration, in relation to the others at its loads."""
    costs: dict[float, dict[tuple[Any, ...], list[float]]] = {}
    for configuration, load, episode in episodes:
        if (cost := objective(episode)) > 0:
            of_load = costs.setdefault(load, {})
            of_load.setdefault(tuple(configuration.items()), []).append(np.log(cost))
    everywhere = set.intersection(*(set(of_load) for of_load in costs.values())) if costs else set()
    if len(everywhere) < 2:
        raise DataError(f"{file}: fewer than two configurations were measured; use another source")
    known = [key for key in next(iter(costs.values())) if key in everywhere]
    means = np.array([[np.mean(of_load[key]) for key in known] for of_load in costs.values()])
    counts = np.array([sum(len(of_load[key]) for of_load in costs.values()) for key in known])
    return Earlier([dict(key) for key in known], means.mean(axis=0), counts)
