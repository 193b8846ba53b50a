"""What a SavedModel says of its signatures, read from its file in milliseconds without TensorFlow.

Only the needed fields of TensorFlow's messages are declared; Protocol Buffers skip the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rrl.serving.loadgen import LastingError
from rrl.serving.messages import Fields, message
from rrl.support.errors import DataError

FILE = "saved_model.pb"
INTERNAL = "__"  # names of signatures that TensorFlow adds begin with it
SERVED = "serve"  # the tag of the graph that a server loads

_TYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string",
    8: "complex64", 9: "int64", 10: "bool", 17: "uint16", 18: "complex128", 19: "float16",
    22: "uint32", 23: "uint64",
}  # fmt: skip
_FIELDS: Fields = {
    "SavedModel": [("meta_graphs", 2, "MetaGraph")],
    "MetaGraph": [("info", 1, "MetaInfo"), ("signatures", 5, "SignatureEntry")],
    "MetaInfo": [("tags", 4, "string")],
    "SignatureEntry": [("key", 1, "string"), ("value", 2, "SignatureDef")],
    "SignatureDef": [("inputs", 1, "InputEntry")],
    "InputEntry": [("key", 1, "string"), ("value", 2, "TensorInfo")],
    "TensorInfo": [("dtype", 2, "int64"), ("shape", 3, "TensorShape")],
    "TensorShape": [("dim", 2, "Dim"), ("unknown_rank", 3, "int64")],
    "Dim": [("size", 1, "int64")],
}


def saved_inputs(version: Path, signature: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the inputs of a signature, name to (dtype, shape), from a version folder.

    An unknown size is -1.

    Raises
    ------
    LastingError
        If the model has no such signature. The message lists those that it has.
    DataError
        If there is no SavedModel, or an input has an unknown number of axes or a type that cannot
        be sent.
    """
    from google.protobuf.message import DecodeError

    path = version / FILE
    if not path.is_file():
        raise DataError(f"{version}: no {FILE} in it; export the model again, as a SavedModel")
    try:
        model = message("rrl", _FIELDS, "SavedModel")()
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise DataError(f"{path}: not a SavedModel; export the model again") from None
    graphs = [graph for graph in model.meta_graphs if SERVED in _tags(graph)]
    found = {entry.key[0]: entry for graph in graphs[:1] for entry in graph.signatures}
    if signature not in found:
        own = sorted(name for name in found if not name.startswith(INTERNAL))
        raise LastingError(
            f"{version.parent}: the model has no signature {signature!r}; it has: "
            f"{', '.join(own)}; choose one with --signature"
        )
    inputs = {}
    for entry in (one for value in found[signature].value for one in value.inputs):
        info = entry.value[0]
        shape = info.shape[0] if info.shape else None
        dtype = _TYPES.get(info.dtype[0] if info.dtype else 0)
        if shape is None or shape.unknown_rank or dtype is None:
            raise DataError(
                f"{path}: input {entry.key[0]!r} of {signature!r} has an unknown number of axes, "
                "or a type that cannot be sent; export the model with another signature"
            )
        inputs[entry.key[0]] = dtype, tuple(dim.size[0] if dim.size else 0 for dim in shape.dim)
    return inputs


def _tags(graph: Any) -> list[str]:
    return [tag for info in graph.info for tag in info.tags]
