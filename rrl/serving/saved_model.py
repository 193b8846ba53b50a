"""What a SavedModel says: its versions, and the inputs of its signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rrl.serving.loadgen import LastingError
from rrl.serving.quiet import load_tensorflow
from rrl.serving.sample import Needed
from rrl.support.errors import DataError

FILE = "saved_model.pb"
INTERNAL = "__"  # so begin the names of operations that TensorFlow adds to the signatures


def newest_version(base: Path) -> tuple[int, Path]:
    """Return the number and the folder of the newest version, as TF Serving finds it: 0001 is 1.

    Raises
    ------
    DataError
        If there is no version.
    """
    versions = [(int(p.name), p) for p in base.glob("[0-9]*") if p.name.isdecimal() and p.is_dir()]
    if not versions:
        raise DataError(f"{base} holds no model version: it needs {base}/1/")
    return max(versions)


def saved_inputs(version: Path, signature: str) -> Needed:
    """Return the inputs of a signature from a version folder.

    Raises
    ------
    LastingError
        If the model has no such signature. The message lists those that it has.
    DataError
        If there is no SavedModel, or an input has an unknown number of axes or a type that cannot
        be sent.
    """
    path = version / FILE
    if not path.is_file():
        raise DataError(f"{version}: no {FILE} in it; export the model again, as a SavedModel")
    load_tensorflow()
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError:
        raise DataError(f"{path}: not a SavedModel; export the model again") from None
    served = [g for g in model.meta_graphs if tf.saved_model.SERVING in g.meta_info_def.tags]
    found = served[0].signature_def if served else {}
    if signature not in found:
        own = sorted(name for name in found if not name.startswith(INTERNAL))
        named = f"it has: {', '.join(own)}; choose one with --signature"
        none = "it has none; export the model with one"
        raise LastingError(
            f"{version.parent}: the model has no signature {signature!r}; {named if own else none}"
        )
    for name, info in sorted(found[signature].inputs.items()):
        if not _can_be_sent(info):
            raise DataError(
                f"{path}: input {name!r} of {signature!r} has an unknown number of axes, or a type "
                "that cannot be sent; export the model with another signature"
            )
    return needed_inputs(found[signature])


def _can_be_sent(info: Any) -> bool:
    import tensorflow as tf

    try:
        kind = np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype).kind
    except (KeyError, TypeError):  # such as a resource handle
        return False
    return kind != "V" and not info.tensor_shape.unknown_rank  # V: such as a quantised number


def needed_inputs(signature: Any) -> Needed:
    """Return the inputs of a SignatureDef, in the order of their names."""
    import tensorflow as tf

    inputs = sorted(signature.inputs.items())
    return {name: tf.TensorSpec(info.tensor_shape, info.dtype) for name, info in inputs}
