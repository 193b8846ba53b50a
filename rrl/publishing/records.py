"""What the last run of a notebook read, ran and made, so that it runs again only if that changed.

The record of ``00_quickstart`` is ``build/notebooks/00_quickstart.json``. It contains no times of
files: a file counts as changed if its bytes did, and a module if its code does something else
(:func:`rrl.support.instructions.behaviour`). Records stay on one machine; what is committed about a
notebook is in :mod:`rrl.publishing.manifest`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl.publishing.parameters import read_notebook
from rrl.publishing.tracing import Traffic
from rrl.support.files import write_atomically
from rrl.support.instructions import behaviour
from rrl.support.provenance import DRAWING, NUMERICAL, digest, locked

Record = dict[str, Any]


def last_record(path: Path) -> Record:
    """Return a record; it is empty if there is none, or if it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def why_outdated(output: Path, notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Return what has changed since the last run; it is empty if the notebook is current.

    Parameters
    ----------
    output : Path
        The executed copy. Its record lies beside it.
    notebook : Path
    parameters : mapping
        The parameters that the notebook is to run with.
    """
    record = last_record(output.with_suffix(".json"))
    if not record:
        return "not run yet"
    for name, value in _circumstances(notebook, parameters).items():
        if value != record.get(name):
            return f"other {name} than in the last run"
    for name, before in {**record["read"], **record["made"]}.items():
        if before != digest_of(Path(name)):
            return f"{name} has changed"
    for name, (text, does) in record["code"].items():
        now = digest_of(Path(name))
        if now != text and (not now or _does(Path(name)) != does):
            return f"{name} does something else"
    return ""


def write_record(
    output: Path,
    notebook: Path,
    parameters: Mapping[str, Any],
    seen: Traffic,
    seconds: float,
) -> None:
    """Write the record of a run beside the executed copy.

    Parameters
    ----------
    output : Path
        The executed copy.
    notebook : Path
    parameters : mapping
        The parameters that the notebook ran with.
    seen : Traffic
        What the notebook read and wrote.
    seconds : float
        The time that the run took. The next run is expected to take as long.
    """
    code = [name for name in seen.read if name.startswith("rrl/")]
    record = _circumstances(notebook, parameters) | {
        "read": {name: digest_of(Path(name)) for name in seen.read if name not in code},
        "code": {name: [digest_of(Path(name)), _does(Path(name))] for name in code},
        "made": {name: digest_of(Path(name)) for name in (*seen.written, str(output))},
        "seconds": round(seconds, 1),
    }
    write_atomically(
        output.with_suffix(".json"), json.dumps(record, indent=1, sort_keys=True) + "\n"
    )


def _circumstances(notebook: Path, parameters: Mapping[str, Any]) -> Record:
    """Return all that decides what a run makes, besides the files that it reads."""
    cells = [
        [cell.cell_type, cell.source, cell.metadata.get("tags", [])]
        for cell in read_notebook(notebook).cells
    ]
    return {
        "cells": hashlib.sha256(json.dumps(cells).encode()).hexdigest(),
        "parameters": dict(parameters),
        "packages": locked((*NUMERICAL, *DRAWING)),
        "python": "{}.{}".format(*sys.version_info),
    }


def digest_of(path: Path) -> str:
    """Return the digest of a file; it is empty if there is none."""
    return digest(path) if path.is_file() else ""


def _does(path: Path) -> str:
    """Return a digest of what a module does, or of the bytes of any other file."""
    if path.suffix != ".py":
        return digest_of(path)
    try:
        return behaviour(path.read_text(encoding="utf-8"))
    except SyntaxError:  # the notebook will say so
        return ""
