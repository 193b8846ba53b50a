"""Configurations without tuning: TensorFlow Serving's defaults and its guide's suggestions."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.tuning.presets import CPUS, MOST_THREADS, THREADS

SERVER_DEFAULTS: Configuration = MappingProxyType(
    {
        "inter_op": 0,
        "intra_op": 0,
        "batch_threads": 0,
        "max_batch_size": 1000,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": 10,
    }
)
"""TensorFlow Serving's own settings: pools with a thread per core, and no batching.

With batching, there is a batch thread per core, and a batch holds at most `max_batch_size`
examples and does not wait for them.
"""

LEFT_OUT: Configuration = MappingProxyType({**SERVER_DEFAULTS, "max_batch_size": 1})
"""The settings of a configuration that does not name them: batches of one request, as in the paper.
"""

LONGEST_TIMEOUT_MICROS = 10_000  # that the guide suggests


def nearest(space: ConfigSpace, wanted: Configuration) -> Configuration:
    """Return the available configuration that is nearest to the wanted values.

    Batch threads are matched first, then the other knobs in their order. A knob that is not
    mentioned takes its first value. The distance between two values is their difference, not that
    of their positions. If 0 threads or CPUs are wanted and the knob has no 0, there are as many as
    the space's machine has cores. If the space does not give them, it is the knob's largest value.
    """
    gaps = np.zeros((len(space), len(space.knobs)))
    for k, knob in enumerate(space.knobs):
        target = wanted.get(knob.name)
        if knob.name in (*THREADS, CPUS) and target == 0 and 0 not in knob.values:
            target = space.cores or MOST_THREADS
        by_value = [
            float(i) if target is None
            else float(value != target) if isinstance(value, str) or isinstance(target, str)
            else abs(value - target)
            for i, value in enumerate(knob.values)
        ]  # fmt: skip
        gaps[:, k] = np.array(by_value)[space.value_indices[:, k]]
    first = sorted(range(len(space.knobs)), key=lambda k: space.names[k] != "batch_threads")
    return space[int(np.lexsort(gaps[:, first[::-1]].T)[0])]


def serving_default(space: ConfigSpace) -> Configuration:
    """Return the configuration of a space that is nearest to TensorFlow Serving's default.

    The default is :data:`SERVER_DEFAULTS` with all CPUs. If a space has no value for batching off,
    batching has its own defaults.

    References
    ----------
    TensorFlow Serving, ``main.cc`` and ``session_bundle_config.proto``.

    Examples
    --------
    >>> from rrl import paper_cpu, paper_gpu, testbed
    >>> serving_default(paper_cpu())
    {'inter_op': 0, 'intra_op': 0, 'batch_threads': 0}
    >>> serving_default(testbed("cpu2").space)
    {'inter_op': 2, 'intra_op': 2, 'batch_threads': 0}
    >>> serving_default(paper_gpu())
    {'max_batch_size': 128, 'batch_timeout_micros': 0, 'batch_threads': 8}
    """
    return nearest(space, {**SERVER_DEFAULTS, CPUS: 0})


def heuristic_candidates(space: ConfigSpace) -> list[Configuration]:
    """Return the configurations that the batching guide suggests to try.

    Thread pools are automatic, because the guide says nothing about them. There is a batch thread
    per core, and the batches are the largest. The first timeout is 0; then the timeouts up to 10 ms
    follow.

    References
    ----------
    TensorFlow Serving Batching Guide, "Performance Tuning".

    Examples
    --------
    >>> from rrl import paper_cpu, paper_gpu
    >>> heuristic_candidates(paper_cpu())
    [{'inter_op': 0, 'intra_op': 0, 'batch_threads': 10}]
    >>> [c["batch_timeout_micros"] for c in heuristic_candidates(paper_gpu())]
    [0, 500, 1000, 2000, 5000, 10000]
    """
    wanted = {**SERVER_DEFAULTS, "batch_threads": space.cores or MOST_THREADS, CPUS: 0}
    timeouts = [knob.values for knob in space.knobs if knob.name == "batch_timeout_micros"]
    numbers = [x for values in timeouts for x in values if not isinstance(x, str)]
    tried = [micros for micros in numbers if micros <= LONGEST_TIMEOUT_MICROS] or [0]
    found = [nearest(space, wanted | {"batch_timeout_micros": t}) for t in tried]
    return [c for i, c in enumerate(found) if c not in found[:i]]
