"""A small SavedModel with three signatures, like TensorFlow Serving's half_plus_two."""

from __future__ import annotations

from pathlib import Path


def build_half_plus(base: Path, version: int, plus: float) -> Path:
    """`y = x / 2 + plus`, an `echo` of several types, and the `length` of an image in bytes."""
    import tensorflow as tf

    kinds = {"number": tf.float64, "whole": tf.int64, "flag": tf.bool, "raw_bytes": tf.string}
    sent = {name: tf.TensorSpec([None], kind, name) for name, kind in kinds.items()}
    half = tf.function(lambda x: {"y": x / 2 + plus})
    echo = tf.function(lambda **sent: {name: tf.identity(one) for name, one in sent.items()})
    length = tf.function(lambda image: {"length": tf.strings.length(image)})
    signatures = {
        "serving_default": half.get_concrete_function(tf.TensorSpec([None], tf.float32, "x")),
        "echo": echo.get_concrete_function(**sent),
        "length": length.get_concrete_function(tf.TensorSpec([None], tf.string, "image")),
    }
    tf.saved_model.save(tf.Module(), str(base / str(version)), signatures)
    return base
