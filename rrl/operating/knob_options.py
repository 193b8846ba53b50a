"""What `rrl tune` may change, and what it starts from: the options about knobs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rrl.operating.options import each_once, refuse_idle, setting
from rrl.support.errors import UsageError

if TYPE_CHECKING:
    from rrl.core.knob import Configuration, Value
    from rrl.core.space import ConfigSpace


def read_space(options: Namespace, largest: int) -> tuple[ConfigSpace, Configuration]:
    """Return the space to tune, and the knobs that have one value and are fixed.

    Flags, environment variables and CPUs that are fixed leave the usual knobs to tune.

    A batch must hold the largest request (`largest` examples), or the server refuses it.
    """
    from rrl.core.space import ConfigSpace
    from rrl.serving.process_knobs import is_process_knob
    from rrl.support.machine import available_cpus
    from rrl.tuning.presets import paper_cpu, serving_knob

    knobs = each_once(options.knob)
    check_names(knobs)
    if "max_batch_size" in knobs:
        knobs["max_batch_size"] = large_enough([int(x) for x in knobs["max_batch_size"]], largest)
    fixed = {name: values[0] for name, values in knobs.items() if len(values) == 1}
    if "max_batch_size" not in knobs and largest > 1:
        fixed["max_batch_size"] = largest
    free = [serving_knob(name, values) for name, values in knobs.items() if len(values) > 1]
    if not free and not all(map(is_process_knob, knobs)):
        raise UsageError("each --knob has only one value: there is nothing to tune")
    refuse_idle(knobs)
    if not free:
        return paper_cpu(min(available_cpus(), 8)), fixed
    return ConfigSpace(free, cores=available_cpus()), fixed


def check_names(knobs: Mapping[str, Sequence[Value]]) -> None:
    """Raise UsageError if a server that is started here lacks a knob, or the number of CPUs."""
    from rrl.serving.process_knobs import FLAG, check_cpus
    from rrl.serving.settings import checked
    from rrl.tuning.presets import CPUS

    checked({name: values[0] for name, values in knobs.items()})
    if (port := f"{FLAG}--rest_api_port") in knobs:
        raise UsageError(f"{port.removeprefix(FLAG)}: two servers may run at once; use --rest-port")
    check_cpus(knobs.get(CPUS, ()))


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
            "server with smaller batches refuses; give a larger value"
        )
    return tuple(size for size in sizes if size >= largest)


def read_default(options: Namespace, space: ConfigSpace) -> Configuration:
    """Return the default to compare with: the user's choice, or the server's own.

    The default of the CPUs is all of them, and that of a flag or an environment variable its first
    value.
    """
    from rrl.serving.process_knobs import is_process_knob, usable_cpus
    from rrl.tuning.defaults import SERVER_DEFAULTS
    from rrl.tuning.presets import CPUS

    if options.default:
        return setting(options.default)
    own = {**SERVER_DEFAULTS, CPUS: len(usable_cpus())}
    first = {knob.name: knob.values[0] for knob in space.knobs if is_process_knob(knob.name)}
    return {name: {**first, **own}.get(name, 0) for name in space.names}
