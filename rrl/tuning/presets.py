"""Configuration spaces by name: the paper's grids, and the knobs of a server on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rrl.core.knob import Knob, Value
from rrl.core.space import ConfigSpace

THREADS = ("inter_op", "intra_op", "batch_threads")
CPUS = "cpus"
"""The knob for the number of CPUs that the server is bound to."""
MOST_THREADS = 4096
"""The most threads or CPUs of a server; a larger number is a mistake."""
WITHOUT_EFFECT = (
    ("batch_threads", 0, "max_batch_size"),
    ("batch_threads", 0, "batch_timeout_micros"),
    ("max_batch_size", 1, "batch_timeout_micros"),
)
"""If a knob has a value, another one has no effect."""


def in_words(configuration: Mapping[str, Value]) -> str:
    """Format a configuration for people to read.

    Examples
    --------
    >>> in_words({"inter_op": 2, "batch_threads": 0})
    'inter_op 2, batch_threads 0'
    >>> in_words({"flag:--grpc_max_threads": 8, "env:OMP_NUM_THREADS": 1, "cpus": 2})
    '--grpc_max_threads=8, OMP_NUM_THREADS=1, cpus 2'
    """
    return ", ".join(
        f"{name.partition(':')[2]}={value}" if ":" in name else f"{name} {value}"
        for name, value in configuration.items()
    )


def serving_knob(name: str, values: Sequence[Value]) -> Knob:
    """Build a knob of TensorFlow Serving with its values in the order of their effect.

    Sorted values are one step apart. The value 0 of a thread count is an exception. It means "one
    thread per core" or, for batch threads, "batching off", so that every request is served at once.
    In both cases 0 is the most parallel value, so this value comes last. If a value is text, the
    values keep their order.

    Examples
    --------
    >>> serving_knob("batch_threads", (0, 1, 2, 8)).positions
    (3, 0, 1, 2)
    >>> serving_knob("batch_timeout_micros", (0, 1000)).positions
    (0, 1)
    """
    if any(isinstance(value, str) for value in values):
        return Knob(name, tuple(values))
    last = name in THREADS
    order = sorted(values, key=lambda value: (last and value == 0, value))
    return Knob(name, tuple(values), tuple(order.index(value) for value in values))


def paper_cpu(cores: int = 10) -> ConfigSpace:
    """Build the paper's CPU grid: inter-op, intra-op and batch threads, each 0..`cores`.

    Parameters
    ----------
    cores : int, optional
        Number of cores. The paper's machine has 10, so there are 11 x 11 x 11 = 1331
        configurations.

    References
    ----------
    Qin et al., "Swift Machine Learning Model Serving Scheduling", SC'19, figure 1 and the
    released code.

    Examples
    --------
    >>> len(paper_cpu()), paper_cpu(2).knobs[0].values
    (1331, (0, 1, 2))
    >>> paper_cpu(2).knobs[0].positions  # 0 means all cores, see `serving_knob`
    (2, 0, 1)
    """
    if isinstance(cores, bool) or cores != int(cores) or not 1 <= cores <= MOST_THREADS:
        raise ValueError(f"cores must be a whole number from 1 to {MOST_THREADS}, got {cores!r}")
    values = range(int(cores) + 1)
    return ConfigSpace([serving_knob(name, values) for name in THREADS], cores=cores)


def paper_gpu() -> ConfigSpace:
    """Build a grid of the paper's indirect GPU knobs: batch size, batch timeout, batch threads.

    The knobs are those of SC'19, figure 2. The values are ours, because the paper's values are not
    in the released code. Sizes double from value to value, and timeouts approximately double. So
    each step changes a knob by about the same factor.

    Examples
    --------
    >>> paper_gpu()
    ConfigSpace(max_batch_size[8] x batch_timeout_micros[8] x batch_threads[8], 512 available)
    """
    return ConfigSpace(
        [
            Knob("max_batch_size", (1, 2, 4, 8, 16, 32, 64, 128)),
            Knob("batch_timeout_micros", (0, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)),
            Knob("batch_threads", (1, 2, 3, 4, 5, 6, 7, 8)),
        ]
    )


def effective_space(knobs: Mapping[str, Sequence[Value]], cores: int | None = None) -> ConfigSpace:
    """Build a grid of TensorFlow Serving's knobs in which all configurations differ in effect.

    If batching is off, the batch size and the timeout have no effect. If batches have one request,
    the timeout has no effect. Of the configurations that differ only in values without effect,
    only the one with the first values is available.

    Parameters
    ----------
    knobs : mapping of str to sequence of int, float or str
        Values of each knob, by its name in :data:`rrl.tuning.defaults.SERVER_DEFAULTS`.
    cores : int, optional
        Number of cores of the machine.

    Examples
    --------
    >>> effective_space({"batch_threads": (0, 2), "max_batch_size": (1, 4), "inter_op": (1, 2)})
    ConfigSpace(batch_threads[2] x max_batch_size[2] x inter_op[2], 6 available)
    """
    whole = ConfigSpace([serving_knob(name, values) for name, values in knobs.items()])
    index = dict(zip(whole.names, whole.value_indices.T, strict=True))
    kept = np.ones(len(whole), dtype=bool)
    for name, value, idle in WITHOUT_EFFECT:
        if name in knobs and idle in knobs:
            kept &= (np.array(knobs[name])[index[name]] != value) | (index[idle] == 0)
    return ConfigSpace(whole.knobs, available=whole.value_indices[kept], cores=cores)
