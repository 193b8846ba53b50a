"""The inputs of a request: read from a file or a message, and fitted to a model's signature."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.serving.loadgen import SIGNATURE, LastingError
from rrl.serving.quiet import load_tensorflow, quiet
from rrl.serving.rest_json import UNNAMED, decoded, request_inputs
from rrl.support.errors import DataError, UsageError, shown
from rrl.support.files import read_json

Inputs = Mapping[str, Any]
"""One request: for each input name, an array whose first axis is the batch."""

Needed = Mapping[str, Any]
"""The `tf.TensorSpec` of each input of a signature by its name."""

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
"""The file in a version folder whose requests TensorFlow Serving replays at start-up."""

FILLED_BYTES = 2**24
"""The largest array, in bytes, for which a message may leave out values: 16 MiB."""

_MOST_PER_BYTE = 8  # bytes of an array per byte of its message: an int64 of 0 takes one byte there


def read_sample(path: str | os.PathLike[str], signature: str = SIGNATURE) -> list[Inputs]:
    """Read requests from a file; the ending of its name gives the format.

    Parameters
    ----------
    path : path
        A ``.json`` file holds one request of TensorFlow Serving's REST API, in rows or in
        columns: ``{"instances": [...]}``, ``{"inputs": {...}}``, or only the mapping of inputs to
        values. Bytes are written as ``{"b64": "..."}``. The name of a single input may be left out,
        as that API allows. Any other file is a TFRecord file of `PredictionLog`, such as a model's
        own `assets.extra/tf_serving_warmup_requests`. Each of its Predict records is one request.
    signature : str
        The signature that is called. Records for other signatures are left out.

    Raises
    ------
    DataError
        If the file does not have the format that its name gives, or no request for the signature.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "one.json"
    ...     _ = path.write_text('{"inputs": {"x": [[1.0, 2.0]]}}')
    ...     read_sample(path)
    [{'x': array([[1., 2.]])}]
    """
    path = Path(path)
    read = _read_json if path.suffix.lower() == ".json" else _read_records
    requests = read(path, signature)
    if not requests or not all(requests):
        raise DataError(f"{path}: no request in it; give at least one, with its inputs by name")
    return requests


def _read_json(path: Path, signature: str) -> list[Inputs]:
    content = read_json(path, decoded)
    named = content.get("signature_name", signature) if isinstance(content, dict) else signature
    if named != signature:
        raise DataError(
            f"{path}: it is for the signature {shown(str(named))}, not {signature!r}; choose it by "
            "--signature, or leave signature_name out"
        )
    if isinstance(content, dict) and not content.keys() & {"instances", "inputs"}:
        content = {"inputs": content}
    try:
        return [request_inputs(content)]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _read_records(path: Path, signature: str) -> list[Inputs]:
    load_tensorflow()
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    path.stat()  # its own FileNotFoundError is clearer than TensorFlow's
    try:
        requests = predict_requests(path)
        named = [(request.model_spec.signature_name or SIGNATURE, request) for request in requests]
        if named and not (requests := [request for name, request in named if name == signature]):
            raise DataError(
                f"{path}: no request for the signature {signature!r}; it has some for "
                f"{named[0][0]!r}: choose it by --signature, or give another --sample"
            )
        return [{k: to_array(v) for k, v in request.inputs.items()} for request in requests]
    except DataError:
        raise
    except (tf.errors.OpError, DecodeError, ValueError, TypeError) as error:
        words = str(error).split("\n")[0]
        raise DataError(
            f"{path}: not a TFRecord file of Predict requests ({words}); a request in JSON needs a "
            "name that ends in .json"
        ) from None


def predict_requests(path: Path) -> list[Any]:
    """Return the Predict requests among the `PredictionLog` records of a TFRecord file."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    with quiet():  # it is deprecated, but it needs no eager runtime
        records = list(tf.compat.v1.io.tf_record_iterator(str(path)))
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    return [log.predict_log.request for log in logs if log.HasField("predict_log")]


def to_array(tensor: Any) -> NDArray[Any]:
    """Return the array of a TensorProto.

    A message may leave out its last values. They are then equal to the last one that it has. So a
    message of 60 bytes can stand for an array of any size. Beyond `FILLED_BYTES`, every value must
    be in the message. This is checked before memory is taken.

    Raises
    ------
    ValueError
        If the shape is not possible, or promises more than the message may leave out, or a value is
        too large for its type.
    TypeError
        If the message has a type without a NumPy equivalent.

    Examples
    --------
    >>> import tensorflow as tf
    >>> one = tf.make_tensor_proto(1.0, shape=[2, 2])
    >>> to_array(one).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    >>> one.tensor_shape.dim[0].size = 10**9
    >>> to_array(one)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: shape [1000000000, 2] in a message of 22 bytes; send all values ...
    """
    import tensorflow as tf

    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}; give every size, 0 or more")
    try:
        item = np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype).itemsize
    except KeyError:  # such as a resource handle
        raise TypeError(f"tensor type {tensor.dtype} has no array") from None
    size = math.prod(shape) * item
    if size > FILLED_BYTES and size > _MOST_PER_BYTE * tensor.ByteSize():
        raise ValueError(
            f"shape {shape} in a message of {tensor.ByteSize()} bytes; send all values if the "
            f"array has more than {FILLED_BYTES >> 20} MiB"
        )
    try:
        return tf.make_ndarray(tensor)
    except OverflowError as error:  # such as 300 in a tensor of uint8
        raise ValueError(str(error)) from None


def random_inputs(signature: Needed, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Make random inputs that fit a signature; unknown sizes become 1.

    Integers of 8 and 16 bits have all values of their type, as pixels and sound do. Longer ones are
    below 100, as they are often positions in a table.

    Raises
    ------
    UsageError
        If an input is a text, for which random values are of no use.

    Examples
    --------
    >>> import tensorflow as tf
    >>> needed = {"x": tf.TensorSpec([None, 4], "uint8"), "y": tf.TensorSpec([99], "bool")}
    >>> inputs = random_inputs(needed, np.random.default_rng(0))
    >>> inputs["x"].shape, inputs["x"].dtype.name, set(inputs["y"].tolist())
    ((1, 4), 'uint8', {False, True})
    """
    inputs = {}
    for name, spec in signature.items():
        dtype, size = spec.dtype.name, tuple(size or 1 for size in spec.shape)
        if dtype == "string":
            raise UsageError(f"input {name!r} is a string: give a request with --sample")
        if dtype in ("uint8", "int8", "uint16", "int16"):
            ends = np.iinfo(dtype)
            inputs[name] = rng.integers(ends.min, ends.max, size, np.dtype(dtype), endpoint=True)
        elif np.dtype(dtype).kind in "biu":
            inputs[name] = rng.integers(0, 2 if dtype == "bool" else 100, size).astype(dtype)
        else:
            inputs[name] = rng.random(size).astype(dtype)
    return inputs


def fit(request: Inputs, signature: Needed, *, exact: bool = False) -> dict[str, NDArray[Any]]:
    """Return a request with the types that a signature needs.

    Numbers are converted. A float may be rounded to a shorter float, but not to an integer.

    Parameters
    ----------
    request : mapping of str to array_like
    signature : Needed
    exact : bool
        Whether the types must be right already, so that nothing is converted.

    Raises
    ------
    LastingError
        If names, shapes or types differ. The message shows the signature.

    Examples
    --------
    >>> import tensorflow as tf
    >>> fit({"x": [[1, 2]]}, {"x": tf.TensorSpec([None, 2], "float32")})
    {'x': array([[1., 2.]], dtype=float32)}
    """
    needs = (f"{name} {spec.dtype.name} {spec.shape}" for name, spec in signature.items())
    if request.keys() == {UNNAMED} and len(signature) == 1:
        request = dict.fromkeys(signature, request[UNNAMED])
    if request.keys() != signature.keys():
        raise LastingError(
            f"the request has the inputs {', '.join(sorted(request)) or '(no names)'}; the model "
            f"needs: {', '.join(needs)}"
        )
    fitted = {}
    for name, spec in signature.items():
        given = np.asarray(request[name])
        array = _convert(given, np.dtype(spec.dtype.as_numpy_dtype), exact)
        if array is None or not spec.shape.is_compatible_with(given.shape):
            raise LastingError(
                f"the request's {name!r} is {given.dtype} {given.shape}; the model needs: "
                f"{', '.join(needs)}"
            )
        fitted[name] = array
    return fitted


def _convert(given: NDArray[Any], wanted: np.dtype[Any], exact: bool) -> NDArray[Any] | None:
    """Convert an array to another type; None if the kinds differ or a number would change."""
    if given.dtype == wanted:
        return given
    if exact:
        return None
    if wanted.kind == "O":
        return given.astype(object) if given.dtype.kind in "SU" else None
    if given.dtype.kind not in "biuf":
        return None
    with np.errstate(invalid="ignore", over="ignore"):  # the test below finds bad values
        array = given.astype(wanted)
    floats = wanted.kind == "f"  # a number that is not finite may be meant, as NaN for "missing"
    same = np.isfinite(array) == np.isfinite(given) if floats else array == given
    return array if np.all(same) else None
