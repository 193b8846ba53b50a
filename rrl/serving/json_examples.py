"""The JSON of a Classify or Regress request as tf.Example, as in TensorFlow Serving's REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rrl.serving.json_inputs import decode_base64, in_message, is_base64, json_name, lossy
from rrl.serving.status import invalid

_INT64_END = 2**63
_LARGEST = float(np.finfo(np.float32).max)


def fill_examples(document: Mapping[str, Any], request: Any) -> None:
    """Write the "examples" and the "context" of a JSON object into a request.

    Raises
    ------
    StatusError
        If they do not fit: INVALID_ARGUMENT.

    Examples
    --------
    >>> from tensorflow_serving.apis import regression_pb2
    >>> request = regression_pb2.RegressionRequest()
    >>> fill_examples({"examples": [{"x": [1.5, 2.5]}, {"x": 3.5}]}, request)
    >>> [list(one.features.feature["x"].float_list.value)
    ...  for one in request.input.example_list.examples]
    [[1.5, 2.5], [3.5]]
    """
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill(target.context, document["context"])
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {in_message(document)} When method is classify, key 'examples' "
            "is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"JSON Value: {in_message(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid(f"JSON Value: {in_message(document)} 'examples' value is an empty array")
    for one in examples:
        _fill(target.examples.add(), one)


def _fill(example: Any, features: Any) -> None:
    if not isinstance(features, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_name(features)}")
    example.SetInParent()
    for name, content in features.items():
        feature = example.features.feature[name]
        for value in content if isinstance(content, list) else [content]:
            kind, plain = _element(name, value)
            if feature.WhichOneof("kind") not in (None, kind):
                expected = feature.WhichOneof("kind").removesuffix("_list")
                raise invalid(
                    f"Unexpected element type in feature: {name} expecting type: {expected}"
                )
            getattr(feature, kind).value.append(plain)


def _element(name: str, value: Any) -> tuple[str, Any]:
    """Return the list of a feature that a JSON value belongs to, and the value there."""
    if isinstance(value, str):
        return "bytes_list", value.encode("utf-8", "surrogateescape")
    if is_base64(value):
        return "bytes_list", decode_base64(value)
    if isinstance(value, float):
        if _LARGEST < abs(value) < np.inf:
            raise lossy(value, "float")
        return "float_list", value
    if isinstance(value, int):  # true and false, too
        if not -_INT64_END <= value < _INT64_END:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        return "int64_list", int(value)
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_name(value)}")
