"""The JSON of a REST request as tensors.

The rules and messages are those of TensorFlow Serving's json_tensor.cc. NaN, Infinity and -Infinity
are numbers, as in the original.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.serving.status import NAMES, UNIMPLEMENTED, StatusError, invalid

_SHOWN = 200  # characters of a JSON value in a message
_KINDS: dict[str, tuple[str, set[type]]] = {  # name of a dtype -> the original's name, JSON types
    "float32": ("float", {int, float}),
    "float64": ("double", {int, float}),
    **{
        name: (name, {int})
        for name in ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
    },
    "bool": ("bool", {bool}),
    "string": ("string", {str, dict}),
}
_JSON_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
_MOST_DIMENSIONS = 63  # NumPy has 64, and rows become one array
_UNSIGNED_END = 2**64  # a larger whole number counts as a decimal one


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a request.

    Raises
    ------
    StatusError
        If it is no JSON object: INVALID_ARGUMENT.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (ValueError, RecursionError):  # a number with too many digits, a list that is too deep
        raise invalid("JSON Parse error: a number is too long or a list is too deep") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_in_message(document)} Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid(
            f"JSON Value: {_in_message(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return document


def input_arrays(document: Mapping[str, Any], dtypes: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a Predict request, in row or columnar format.

    Parameters
    ----------
    document : mapping
        The request. It has either "instances" or "inputs".
    dtypes : mapping of str to str
        The name of TensorFlow's type of each input of the signature.

    Raises
    ------
    StatusError
        If the request does not fit: INVALID_ARGUMENT, or UNIMPLEMENTED for a type without JSON.

    Examples
    --------
    >>> rows = {"instances": [[1, 2.5], [float("nan"), 4]]}
    >>> input_arrays(rows, {"x": "float32"})["x"].tolist()
    [[1.0, 2.5], [nan, 4.0]]
    >>> input_arrays({"inputs": {"b64": "aGk="}}, {"text": "string"})["text"].item()
    b'hi'
    """
    if not dtypes:
        name = document.get("signature_name") or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {name}")
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_in_message(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        return _rows(document["instances"], dtypes)
    if "inputs" in document:
        return _columns(document["inputs"], dtypes)
    raise invalid("Missing 'inputs' or 'instances' key")


def _rows(instances: Any, dtypes: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    if not isinstance(instances, list):
        raise invalid(
            f"JSON Value: {_in_message(instances)} Excepting 'instances' to be an list/array"
        )
    if not instances:
        raise invalid("JSON Value: [] No values in 'instances' array")
    named = _is_object(instances[0])
    if not named and len(dtypes) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    if not named:
        ((name, dtype),) = dtypes.items()
        with suppress(StatusError):  # below, the error names the row
            return {name: _tensor(instances, dtype)}
    arrays: dict[str, list[NDArray[Any]]] = {name: [] for name in sorted(dtypes)}
    for number, instance in enumerate(instances):
        if named != _is_object(instance):
            expected = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {expected} at item {number} of input list")
        for name, value in instance.items() if named else [(next(iter(dtypes)), instance)]:
            try:
                _add_row(name, value, arrays, dtypes)
            except StatusError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {number}{key} of 'instances' list. "
                    f"Error: {NAMES[error.error_code]}: {error.message}"
                ) from None
        if named and set(instance) != set(dtypes):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{_in_message(instance)} must only have keys: {','.join(sorted(dtypes))}"
            )
    return {name: np.stack(values) for name, values in arrays.items()}


def _add_row(
    name: str, value: Any, arrays: dict[str, list[NDArray[Any]]], dtypes: Mapping[str, str]
) -> None:
    """Add one row of an input; it has the shape of the first one."""
    if name not in dtypes:
        raise invalid(f"JSON object: does not have named input: {name}")
    array, others = _tensor(value, dtypes[name]), arrays[name]
    if others and array.size != others[0].size:
        raise invalid(f"Expecting tensor size: {others[0].size} but got: {array.size}")
    if others and array.shape != others[0].shape:
        raise invalid(f"Expecting shape {list(others[0].shape)} but got: {list(array.shape)}")
    others.append(array)


def _columns(inputs: Any, dtypes: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    if not _is_object(inputs):
        if len(dtypes) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        ((name, dtype),) = dtypes.items()
        return {name: _tensor(inputs, dtype)}
    missing = sorted(set(dtypes) - set(inputs))
    if missing:
        raise invalid(f"Missing named input: {missing[0]} in 'inputs' object.")
    return {name: _tensor(inputs[name], dtype) for name, dtype in sorted(dtypes.items())}


def _tensor(value: Any, dtype: str) -> NDArray[Any]:
    """Return a JSON value, which may be a nested list, as an array of one of TensorFlow's types.

    Raises
    ------
    StatusError
        If a list is ragged, or a value does not fit the type without loss.
    """
    if dtype not in _KINDS:
        raise StatusError(
            UNIMPLEMENTED, f"Conversion of JSON Value: {_in_message(value)} to type: {dtype}"
        )
    kind, allowed = _KINDS[dtype]
    shape, values = _flattened(value)
    wrong = set(map(type, values)) - allowed
    if wrong:
        raise _wrong_type(next(one for one in values if type(one) in wrong), kind)
    if dtype == "string":
        array = np.empty(len(values), dtype=object)
        array[:] = [_bytes(one) for one in values]
        return array.reshape(shape)
    try:
        array = np.array(values, dtype="float64" if kind in ("float", "double") else dtype)
    except OverflowError:
        raise _wrong_type(_extreme(values), kind) from None
    if kind in ("float", "double"):
        _check_lossless(values, array, dtype, kind)
    return array.astype(dtype).reshape(shape)


def _flattened(value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a nested list, and its values in order."""
    shape: list[int] = []
    values = [value]
    while values and isinstance(values[0], list):
        size = len(values[0])
        for one in values:
            if not isinstance(one, list):
                raise invalid(
                    f"JSON Value: {_in_message(one)} found at incorrect level: {len(shape) + 1} "
                    f"in the JSON DOM. Expected at level: {len(shape) + 1}"
                )
            if len(one) != size:
                raise invalid(
                    f"Encountered list at unexpected size: {len(one)} at level: {len(shape)} "
                    f"expected size: {size}"
                )
        shape.append(size)
        if len(shape) > _MOST_DIMENSIONS:
            raise invalid(f"a list has more than {_MOST_DIMENSIONS} levels")
        values = list(chain.from_iterable(values))
    if any(isinstance(one, list) for one in values):
        rank = len(shape)
        raise invalid(f"Encountered list at unexpected level: {rank} expected < {rank}")
    return tuple(shape), values


def _check_lossless(values: list[Any], array: NDArray[Any], dtype: str, kind: str) -> None:
    """Check that whole numbers are exact, and that decimal ones are in range."""
    digits, largest = np.finfo(dtype).nmant + 1, float(np.finfo(dtype).max)
    exact = 2**digits - 1
    wrong = [v for v in values if type(v) is int and exact < abs(v) < _UNSIGNED_END]
    if not wrong and (np.isfinite(array) & (np.abs(array) > largest)).any():
        wrong = [_extreme(values)]
    if wrong:
        raise _lossy(wrong[0], kind)


def _extreme(values: list[Any]) -> Any:
    return max((v for v in values if abs(v) < float("inf")), key=abs)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    return _decode_base64(value)


def _is_base64(value: Any) -> bool:
    """Return whether a JSON value is an object like {"b64": "..."}."""
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _decode_base64(value: Any) -> bytes:
    """Return the bytes of an object like {"b64": "..."}."""
    if not _is_base64(value):
        raise invalid(f"JSON Value: {_in_message(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _wrong_type(value: Any, kind: str) -> StatusError:
    return invalid(
        f"JSON Value: {_in_message(value)} Type: {_json_name(value)} "
        f"is not of expected type: {kind}"
    )


def _lossy(value: Any, kind: str) -> StatusError:
    """Return the error for a number that a type of floating-point numbers cannot hold."""
    return invalid(
        f"Cannot convert JSON value: {_in_message(value)} to {kind} without loss of precision."
    )


def _json_name(value: Any) -> str:
    """Return the name of a JSON value's type, for a message."""
    if isinstance(value, bool):
        return str(value)
    return _JSON_NAMES.get(type(value), "Number")


def _in_message(value: Any) -> str:
    """Return a JSON value for a message; a long one is cut, and not written to its end."""
    text = ""
    for piece in json.JSONEncoder().iterencode(value):
        text += piece
        if len(text) > _SHOWN:
            return text[:_SHOWN] + "..."
    return text
