"""What a run recommends to start: flags, environment and batching file, as a line for a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.support.errors import UsageError

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.operating.job import Job
    from rrl.operating.targets import Target

BATCHING = "batching.txt"
"""The batching file of the configuration to deploy."""


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
    from rrl.operating.verdict import serving_flags
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
            with suppress(UsageError):  # a server at an address may have what no flag gives
                result["start"][name], files[file] = _line(settings, folder / file, target)
    return {name: text for name, text in files.items() if text}


def _line(settings: Configuration, file: Path, target: Target) -> tuple[str, str]:
    """Return the line for a shell, and the content of the batching file that it names."""
    from rrl.serving.process_knobs import prefix
    from rrl.serving.settings import flags

    own, text = flags(settings, file)
    return shlex.join([*prefix(settings, target.cpus), *target.command, *own]), text


def write(result: Mapping[str, Any], files: Mapping[str, str], folder: Path) -> None:
    """Write `result.json` and the batching files."""
    from rrl.support.files import write_atomically

    for name, text in files.items():
        write_atomically(folder / name, text)
    write_atomically(folder / "result.json", json.dumps(result, indent=2) + "\n")
