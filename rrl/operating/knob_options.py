"""What `rrl tune` may change, and what it starts from: the options about knobs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rrl.operating.options import each_once, refuse_idle, setting
from rrl.support.errors import UsageError

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.core.space import ConfigSpace


def read_space(options: Namespace, largest: int) -> tuple[ConfigSpace, Configuration]:
    """Return the space to tune, and the knobs that have one level and are fixed.

    A batch must hold the largest request (`largest` examples), or the server refuses it.
    """
    from rrl.core.space import ConfigSpace
    from rrl.serving.settings import KNOBS
    from rrl.support.machine import available_cpus
    from rrl.tuning.presets import serving_knob, tf_serving

    knobs = each_once(options.knob)
    if not options.address and (unknown := [name for name in knobs if name not in KNOBS]):
        raise UsageError(f"unknown knob {unknown[0]!r}; a server has: {', '.join(KNOBS)}")
    if "max_batch_size" in knobs:
        knobs["max_batch_size"] = large_enough(knobs["max_batch_size"], largest)
    fixed = {name: values[0] for name, values in knobs.items() if len(values) == 1}
    if "max_batch_size" not in knobs and largest > 1 and not options.address:
        fixed["max_batch_size"] = largest
    free = [serving_knob(name, values) for name, values in knobs.items() if len(values) > 1]
    if knobs and not free:
        raise UsageError("each --knob has only one level: there is nothing to tune")
    if not options.address:
        refuse_idle(knobs)
    if options.address and (fixed or not free):
        raise UsageError("--address: give the knobs of your command, each with two or more levels")
    if not free:
        return tf_serving(min(available_cpus(), 8)), fixed
    return ConfigSpace(free, cores=None if options.address else available_cpus()), fixed


def large_enough(sizes: Sequence[int], largest: int) -> tuple[int, ...]:
    """Return the batch sizes that hold the largest request.

    Raises
    ------
    UsageError
        If no size does.

    Examples
    --------
    >>> large_enough((1, 4, 8), largest=4)
    (4, 8)
    """
    if max(sizes) < largest:
        raise UsageError(
            f"max_batch_size {max(sizes)}: the sample has a request of {largest} examples, which a "
            "server with smaller batches refuses; give a larger level"
        )
    return tuple(size for size in sizes if size >= largest)


def read_default(options: Namespace, space: ConfigSpace) -> Configuration:
    """Return the default to compare with: the user's choice, or what the server has now."""
    from rrl.serving.running import running_configuration
    from rrl.tuning.defaults import DEFAULT_BATCH_SIZE

    if options.default:
        return setting(options.default)
    if options.address:
        now = running_configuration(options.address)
        if now is None or not set(space.names) <= set(now):
            knob = space.names[0]
            raise UsageError(
                f"what {options.address} runs now cannot be read from here: name it with --default "
                f"{knob}=LEVEL and so on, because the server returns to it"
            )
        return {name: now[name] for name in space.names}
    own = {"max_batch_size": DEFAULT_BATCH_SIZE, "max_enqueued_batches": 10}
    return {name: own.get(name, 0) for name in space.names}  # automatic pools, batching off


def serves_now(options: Namespace, space: ConfigSpace) -> Configuration | None:
    """Return what serves now: the user's default, or TensorFlow Serving's if it has all knobs."""
    from rrl.serving.settings import KNOBS
    from rrl.support.machine import available_cpus
    from rrl.tuning.defaults import serving_default
    from rrl.tuning.presets import THREADS

    if options.default or options.address:
        levels = {knob.name: knob.levels for knob in space.knobs}
        automatic = [name for name in THREADS if 0 not in levels.get(name, (0,))]
        return {
            name: available_cpus() if level == 0 and name in automatic else level
            for name, level in read_default(options, space).items()
        }
    return serving_default(space) if set(space.names) <= set(KNOBS) else None
