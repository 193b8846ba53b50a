"""Requests as TensorFlow Serving's REST API has them, read from a JSON file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rrl.serving.loadgen import SIGNATURE
from rrl.support.errors import DataError, shown
from rrl.support.files import read_json

UNNAMED = ""
"""The name of an input that the request does not name, because the model has only one."""


def read_request(path: Path, signature: str = SIGNATURE) -> list[Mapping[str, Any]]:
    """Read one request from a JSON file; see :func:`rrl.serving.sample.read_sample`.

    Returns
    -------
    list of dict
        One mapping of each input to its values, the batch first. Values with bytes are arrays of
        objects, because other NumPy arrays lose zero bytes at the end.

    Raises
    ------
    DataError
        If the file has another form. The message says which part.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "one.json"
    ...     _ = path.write_text('{"instances": [{"x": [1, 2], "k": 3}, {"x": [4, 5], "k": 6}]}')
    ...     read_request(path)
    [{'x': [[1, 2], [4, 5]], 'k': [3, 6]}]
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f'{path}: write {{"instances": [...]}} or {{"inputs": {{"NAME": [...]}}}}')
    forms = content.keys() & {"instances", "inputs"}
    if len(forms) > 1:
        raise DataError(f"{path}: it has instances and inputs; leave one of them out")
    if forms and content.keys() <= forms | {"signature_name"}:
        named = content.get("signature_name", signature)
        if named != signature:
            raise DataError(
                f"{path}: it is for the signature {shown(str(named))}, not {signature!r}; choose "
                "it by --signature, or leave signature_name out"
            )
        rows = "instances" in content
        content = _columns(path, content["instances"]) if rows else content["inputs"]
    inputs = content if isinstance(content, dict) and not _is_bytes(content) else {UNNAMED: content}
    return [{name: _values(path, name, values) for name, values in inputs.items()}]


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _columns(path: Path, rows: Any) -> Any:
    """Return the values of each input from a list of instances, or of the only one."""
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: instances must be a list with at least one")
    named = [isinstance(row, dict) and not _is_bytes(row) for row in rows]
    if not any(named):
        return rows
    for number, row in enumerate(rows):
        if not named[number] or row.keys() != rows[0].keys():
            raise DataError(
                f"{path}: instance {number} has not the same inputs as instance 0; give each the "
                "same names"
            )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _values(path: Path, name: str, values: Any) -> Any:
    """Return the values of an input, with bytes for what is written in base 64."""
    what = f"{path}: {name!r}" if name else f"{path}: the input"
    try:
        if not _has_bytes(values):
            np.asarray(values)
            return values
        decoded = np.array(_decoded(values), dtype=object)
    except ValueError as error:  # such as rows of different lengths, or text that is not base 64
        raise DataError(f"{what} is not an array ({error})") from None
    if any(isinstance(value, list) for value in decoded.flat):
        raise DataError(f"{what} is not an array (its rows have different lengths)")
    return decoded


def _has_bytes(values: Any) -> bool:
    return _is_bytes(values) or (isinstance(values, list) and any(map(_has_bytes, values)))


def _decoded(values: Any) -> bytes | str | Sequence[Any]:
    if _is_bytes(values):
        return base64.b64decode(str(values["b64"]), validate=True)
    if isinstance(values, list):
        return [_decoded(value) for value in values]
    if not isinstance(values, str):
        raise ValueError(f"{shown(str(values))} beside bytes; write all as bytes or text")
    return values
