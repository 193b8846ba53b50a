"""What a server answers as the JSON of TensorFlow Serving's REST API.

The forms are those of json_tensor.cc. NaN, Infinity and -Infinity are written as such.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.serving.status import invalid

_WRITTEN = "bfiu"  # kinds of arrays that JSON can have: booleans and numbers, but
_UNWRITTEN = ("float16", "uint16")  # these types, as in the original


def json_body(document: Any) -> bytes:
    """Return the body of a response; bytes that are not UTF-8 stay as they are."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")


def plain_outputs(outputs: Mapping[str, NDArray[Any]], by_row: bool) -> dict[str, Any]:
    """Return the JSON object of a Predict response.

    Examples
    --------
    >>> y = np.array([0.1, np.inf], np.float32)
    >>> plain_outputs({"y": y}, by_row=True)
    {'predictions': [0.1, inf]}
    >>> plain_outputs({"a": y, "b": np.array([b"x", b"y"], object)}, by_row=True)
    {'predictions': [{'a': 0.1, 'b': 'x'}, {'a': inf, 'b': 'y'}]}
    """
    names = sorted(outputs)
    if by_row:
        _check_batch({name: outputs[name].shape for name in names})
    values = {name: _plain(name, outputs[name]) for name in names}
    alone = values[names[0]] if len(names) == 1 else None
    if not by_row:
        return {"outputs": values if alone is None else alone}
    if alone is not None:
        return {"predictions": alone}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}


def _check_batch(shapes: Mapping[str, tuple[int, ...]]) -> None:
    size = None
    for name, shape in shapes.items():
        if not shape:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if shape[0] < 1:
            raise invalid(f"Tensor name: {name} has invalid batch size: {shape[0]}")
        if size not in (None, shape[0]):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {shape[0]} expecting: {size}"
            )
        size = shape[0]


def _plain(name: str, array: NDArray[Any]) -> Any:
    """Return an array as JSON values; the bytes of a name that ends with _bytes are in base64."""
    if array.dtype == np.float32:  # the fewest digits that give the same float32
        return array.astype("U").astype(np.float64).tolist()
    if array.dtype.char != "O":
        if array.dtype.kind not in _WRITTEN or array.dtype.name in _UNWRITTEN:
            raise invalid(f"Failed to write JSON value for tensor type: {array.dtype}")
        return array.tolist()
    written = np.empty(array.size, dtype=object)
    for number, value in enumerate(array.flat):
        if name.endswith("_bytes"):
            written[number] = {"b64": base64.b64encode(value).decode()}
        else:
            written[number] = value.decode("utf-8", "surrogateescape")
    return written.reshape(array.shape).tolist()
