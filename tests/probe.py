"""A tiny SavedModel that reports when it ran, so that tests can see batches overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def build_probe(base: Path, version: int = 1) -> Path:
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
    path = base / str(version)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.__call__})
    return base


def most_at_once(start: np.ndarray, end: np.ndarray) -> int:
    """Largest number of intervals that overlap."""
    times = np.concatenate([start, end])
    steps = np.concatenate([np.ones(len(start)), -np.ones(len(end))])
    return int(np.cumsum(steps[np.lexsort((steps, times))]).max())
