"""A Predict request and its answer in the JSON of TensorFlow Serving's REST API.

A sample in a file has the same form as the body of a request.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNNAMED = ""
"""The name of an input that the request does not name, because the model has only one."""


def request_inputs(document: Any) -> dict[str, NDArray[Any]]:
    """Return the values of each input of a request, the batch first.

    Text and bytes become arrays of objects, because other NumPy arrays lose zero bytes at the end.

    Raises
    ------
    ValueError
        If the request has another form. The message says which part.

    References
    ----------
    TensorFlow Serving, "RESTful API", "Predict API" and "Encoding binary values".

    Examples
    --------
    >>> request_inputs({"instances": [{"x": [1, 2], "k": 3}, {"x": [4, 5], "k": 6}]})
    {'x': array([[1, 2],
           [4, 5]]), 'k': array([3, 6])}
    >>> request_inputs({"inputs": {"b64": "aGk="}})
    {'': array(b'hi', dtype=object)}
    """
    forms = document.keys() & {"instances", "inputs"} if isinstance(document, dict) else ()
    if not forms:
        raise ValueError('write {"instances": [...]} or {"inputs": {"NAME": [...]}}')
    if len(forms) > 1:
        raise ValueError("it has instances and inputs; leave one of them out")
    rows = "instances" in document
    inputs = _columns(document["instances"]) if rows else document["inputs"]
    if not isinstance(inputs, dict) or _is_bytes(inputs):
        inputs = {UNNAMED: inputs}
    return {name: _array(name, values) for name, values in inputs.items()}


def response(outputs: Mapping[str, NDArray[Any]], by_row: bool) -> dict[str, Any]:
    """Return the JSON object that answers a request with instances (by row) or with inputs.

    Bytes of an output whose name ends with ``_bytes``, and bytes that are no text, are in base 64.

    Raises
    ------
    ValueError
        If the outputs have no common batch to write by row, or a type that JSON does not have.

    Examples
    --------
    >>> y = np.array([0.1, np.inf], np.float32)
    >>> response({"y": y}, by_row=True)
    {'predictions': [0.1, inf]}
    >>> response({"a": y, "b": np.array([b"x", b"y"], object)}, by_row=True)
    {'predictions': [{'a': 0.1, 'b': 'x'}, {'a': inf, 'b': 'y'}]}
    """
    values = {name: _plain(name, outputs[name]) for name in sorted(outputs)}
    if by_row:
        sizes = {np.shape(array)[:1] for array in outputs.values()}
        if len(sizes) != 1 or () in sizes:
            raise ValueError("the outputs have no common batch size; send inputs, not instances")
    alone = next(iter(values.values())) if len(values) == 1 else None
    if not by_row:
        return {"outputs": values if alone is None else alone}
    if alone is not None:
        return {"predictions": alone}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}


def _columns(rows: Any) -> Any:
    """Return the values of each input from a list of instances, or of the only one."""
    if not isinstance(rows, list) or not rows:
        raise ValueError("instances must be a list with at least one")
    named = [isinstance(row, dict) and not _is_bytes(row) for row in rows]
    if not any(named):
        return rows
    for number, row in enumerate(rows):
        if not named[number] or row.keys() != rows[0].keys():
            raise ValueError(
                f"instance {number} has not the same inputs as instance 0; give each the same names"
            )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _array(name: str, values: Any) -> NDArray[Any]:
    """Return the values of an input as an array, with bytes for what is written in base 64."""
    try:
        has_bytes = _has_bytes(values)
        array = np.array(_decoded(values), object) if has_bytes else np.asarray(values)
        if array.dtype.kind == "U":
            array = np.array(values, object)
        if array.dtype.kind == "O" and any(isinstance(value, list | dict) for value in array.flat):
            raise ValueError("its rows have different lengths, or other objects than b64")
    except ValueError as error:  # such as rows of different lengths, or text that is not base 64
        what = repr(name) if name else "the input"
        raise ValueError(f"{what} is not an array ({error})") from None
    return array


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _has_bytes(values: Any) -> bool:
    return _is_bytes(values) or (isinstance(values, list) and any(map(_has_bytes, values)))


def _decoded(values: Any) -> bytes | str | Sequence[Any]:
    if _is_bytes(values):
        return base64.b64decode(str(values["b64"]), validate=True)
    if isinstance(values, list):
        return [_decoded(value) for value in values]
    if not isinstance(values, str):
        raise ValueError(f"{str(values)[:50]!r} beside bytes; write all as bytes or text")
    return values


def _plain(name: str, array: NDArray[Any]) -> Any:
    """Return an array as JSON values."""
    if array.dtype == np.float32:  # the fewest digits that give the same float32
        return array.astype("U").astype(np.float64).tolist()
    if array.dtype.kind in "bfiu":
        return array.tolist()
    if array.dtype.kind != "O":
        raise ValueError(f"output {name}: JSON has no values of type {array.dtype}")
    written = np.empty(array.size, dtype=object)
    written[:] = [_text(value, name.endswith("_bytes")) for value in array.flat]
    return written.reshape(array.shape).tolist()


def _text(value: bytes, coded: bool) -> str | dict[str, str]:
    try:
        if not coded:
            return value.decode()
    except UnicodeDecodeError:
        pass
    return {"b64": base64.b64encode(value).decode()}
