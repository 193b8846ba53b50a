"""A small SavedModel with two signatures, like TensorFlow Serving's half_plus_two."""

from __future__ import annotations

from pathlib import Path


def build_half_plus(base: Path, version: int, plus: float) -> Path:
    """`y = x / 2 + plus`, and an `echo` of several types."""
    import tensorflow as tf

    v1 = tf.compat.v1
    signatures = v1.saved_model.signature_def_utils
    info = v1.saved_model.build_tensor_info
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        kinds = {"number": tf.float64, "whole": tf.int64, "flag": tf.bool, "raw_bytes": tf.string}
        sent = {name: v1.placeholder(kind, [None], name=name) for name, kind in kinds.items()}
        echo = {name: info(tensor) for name, tensor in sent.items()}
        back = {name: info(tf.identity(tensor)) for name, tensor in sent.items()}
        builder = v1.saved_model.Builder(str(base / str(version)))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            signature_def_map={
                "serving_default": signatures.predict_signature_def({"x": x}, {"y": x / 2 + plus}),
                "echo": signatures.build_signature_def(
                    echo, back, tf.saved_model.PREDICT_METHOD_NAME
                ),
            },
        )
        builder.save()
    return base
