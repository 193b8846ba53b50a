"""Two small SavedModels: one reports when it ran, so that tests can see batches overlap."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np

KEPT = Path(__file__).parent.parent / "build" / "probe"


def build_probe(base: Path, version: int = 1) -> Path:
    """Copy the model to a folder; it is made once, so that most tests need no TensorFlow."""
    text = Path(__file__).read_text(encoding="utf-8") + installed("tensorflow")
    kept = KEPT / hashlib.sha256(text.encode()).hexdigest()[:12]
    if not kept.exists():
        made = kept.with_name(f"{kept.name}.{os.getpid()}")
        _make_probe(made)
        with suppress(OSError):  # another process was faster
            made.rename(kept)
        shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(kept, base / str(version))
    return base


def _make_probe(path: Path) -> None:
    """`y = 2 x`, in-graph `start` and `end` times (s) around a busy loop, and the `batch` size."""
    import tensorflow as tf

    class Probe(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def __call__(self, x):
            start = tf.timestamp()
            with tf.control_dependencies([start]):
                spun = tf.while_loop(
                    lambda i, _: i < 2000,
                    lambda i, total: (i + 1, total * 0.5 + tf.sqrt(tf.cast(i, tf.float32))),
                    (tf.constant(0), tf.reduce_sum(x)),
                    parallel_iterations=1,
                )
            with tf.control_dependencies([spun[1]]):
                end = tf.timestamp()
            size = tf.shape(x)[:1]
            return {
                "y": 2 * x,
                "start": tf.fill(size, start),
                "end": tf.fill(size, end),
                "batch": tf.fill(size, size[0]),
            }

    module = Probe()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.__call__})


def build_half_plus(base: Path, version: int, plus: float) -> Path:
    """Three signatures: `y = x / 2 + plus`, an `echo` of several types, and a text's `length`."""
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


def most_at_once(start: np.ndarray, end: np.ndarray) -> int:
    """Largest number of intervals that overlap."""
    times = np.concatenate([start, end])
    steps = np.concatenate([np.ones(len(start)), -np.ones(len(end))])
    return int(np.cumsum(steps[np.lexsort((steps, times))]).max())
