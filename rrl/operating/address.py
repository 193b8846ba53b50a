"""A server at an address: what it runs now, and what its restart command would lose of that."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.verdict import words
from rrl.serving.process_knobs import FLAG, is_process_knob, value_of_process
from rrl.serving.restart_command import RestartCommand
from rrl.serving.running import running_server
from rrl.serving.settings import ADAPTIVE, KNOBS, process_flags
from rrl.support.errors import UsageError

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.core.space import ConfigSpace
    from rrl.operating.job import Job


def runs_now(address: str, space: ConfigSpace) -> Configuration:
    """Return what the server at an address was started with, as far as it can be read."""
    now = running_server(address)
    if now is None:
        return {}
    names = filter(is_process_knob, space.names)
    found = {name: value_of_process(name, now.command, now.pid) for name in names}
    return {**now.configuration, **{n: value for n, value in found.items() if value is not None}}


def keep_others(
    options: Namespace,
    space: ConfigSpace,
    fixed: Configuration,
    begun: Mapping[str, Any] | None = None,
) -> Configuration:
    """Check the restart command, and return the fixed settings with what it would lose otherwise.

    These are the settings of the server that are no knob of this run. If a run has begun here
    (`begun` has its settings), they are those that it returns to, because a trial may be in service
    now. They may have been knobs there, if that run has measured nothing and this one replaces it.

    Raises
    ------
    UsageError
        If the command cannot work, or the server has a setting that no knob has.
    """
    if not RestartCommand(options.restart, space.names, Path(), fixed).sets_all:
        return fixed
    now = running_server(options.address)
    found = dict(now.configuration) if now else {}
    lost = list(now.others) if now else []
    if found.get("batch_threads") == ADAPTIVE and "batch_threads" not in space.names:
        lost.append("adaptive_batching")
    if lost:
        raise UsageError(
            f"{options.address} has {', '.join(lost)}, which no knob has, so {{flags}} and "
            "{batching_file} would lose it: let a script of yours keep it, and give that the "
            "values alone, as {inter_op}"
        )
    if begun:
        fixed_then = {name: value for name, value in begun["fixed"].items() if name in KNOBS}
        then = {name: value for name, value in begun["default"].items() if name in KNOBS}
        found = {**_meant({**fixed_then, **then}), **fixed_then}
    else:
        found = _meant(found)
    given = {name.removeprefix(FLAG) for name in (*space.names, *fixed)}
    if "--tensorflow_session_parallelism" in given:  # it stands for both
        given |= {"inter_op", "intra_op"}

    def is_given(name: str) -> bool:
        flags = [flag.removesuffix("=1") for flag in process_flags({name: 1})]
        return not given.isdisjoint([name, *flags])

    return {**fixed, **{n: value for n, value in found.items() if value and not is_given(n)}}


def _meant(found: Configuration) -> Configuration:
    """Leave out the other settings of a batch while batching is off: they mean nothing then."""
    if found.get("batch_threads"):
        return found
    return {name: value for name, value in found.items() if process_flags({name: value})}


def warning(options: Namespace, job: Job, begun: Mapping[str, Any] | None = None) -> str:
    """Return a line that says what a run may change or lose of what runs now, or ""."""
    now = runs_now(options.address, job.space)
    if begun:
        known = {name: now[name] for name in job.default if name in now}
        if not known or known == dict(job.default):
            return ""
        return (
            f"{options.address} runs {words(known)}; the run that goes on has the default "
            f"{words(job.default)}"
        )
    if now or not RestartCommand(options.restart, job.space.names, Path(), job.fixed).sets_all:
        return ""
    return (
        f"what {options.address} runs now cannot be read from here: with {{flags}} or "
        "{batching_file} it loses each setting that is no --knob, such as max_batch_size or "
        "intra_op, unless the restart command has it"
    )
