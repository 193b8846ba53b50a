"""A Predict request and its answer in the JSON of TensorFlow Serving's REST API.

A sample in a file has the same form as the body of a request.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNNAMED = ""
"""The name of an input that the request does not name, because the model has only one."""


def decoded(value: dict[str, Any]) -> Any:
    """Return the bytes of ``{"b64": "..."}``, and any other JSON object as it is.

    It is an `object_hook` of :func:`json.loads`.

    Examples
    --------
    >>> decoded({"b64": "aGk="}), decoded({"x": 1}), decoded({"b64": "?"})
    (b'hi', {'x': 1}, {'b64': '?'})
    """
    if value.keys() == {"b64"}:
        with suppress(ValueError):
            return base64.b64decode(str(value["b64"]), validate=True)
    return value


def request_inputs(document: Any) -> dict[str, NDArray[Any]]:
    """Return the values of each input of a request that was read with `decoded`, the batch first.

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
    >>> request_inputs({"inputs": b"hi"})
    {'': array(b'hi', dtype=object)}
    """
    forms = document.keys() & {"instances", "inputs"} if isinstance(document, dict) else set()
    if not forms:
        raise ValueError('write {"instances": [...]} or {"inputs": {"NAME": [...]}}')
    if len(forms) > 1:
        raise ValueError("it has instances and inputs; leave one of them out")
    inputs = document[forms.pop()]
    if "instances" in document:
        inputs = _columns(inputs)
    if not isinstance(inputs, dict):
        inputs = {UNNAMED: inputs}
    return {name: _array(name, values) for name, values in inputs.items()}


def response(outputs: Mapping[str, Any], by_row: bool) -> dict[str, Any]:
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
    arrays = {  # TensorFlow gives a single text as bytes
        name: np.asarray(outputs[name], object if isinstance(outputs[name], bytes) else None)
        for name in sorted(outputs)
    }
    values = {name: _plain(name, array) for name, array in arrays.items()}
    if by_row:
        sizes = {array.shape[:1] for array in arrays.values()}
        if len(sizes) != 1 or () in sizes:
            raise ValueError("the outputs have no common batch size; send inputs, not instances")
    answer: Any = values
    if len(values) == 1:
        (answer,) = values.values()
    elif by_row:
        rows = zip(*values.values(), strict=True)
        answer = [dict(zip(values, row, strict=True)) for row in rows]
    return {"predictions" if by_row else "outputs": answer}


def _columns(rows: Any) -> Any:
    """Return the values of each input from a list of instances, or of the only one."""
    if not isinstance(rows, list) or not rows:
        raise ValueError("instances must be a list with at least one")
    if not any(isinstance(row, dict) for row in rows):
        return rows
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != rows[0].keys():
            raise ValueError(
                f"instance {number} has not the same inputs as instance 0; give each the same names"
            )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _array(name: str, values: Any) -> NDArray[Any]:
    with suppress(ValueError):  # of rows that differ in length
        array = np.asarray(values)
        if array.dtype.kind in "biuf":
            return array
    array = np.array(values, object)
    if {type(value) for value in array.flat} <= {str, bytes}:
        return array
    raise ValueError(
        f"{repr(name) if name else 'the input'} is not an array: it needs rows of one length, of "
        "numbers, or of texts and b64 (in base 64)"
    )


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
