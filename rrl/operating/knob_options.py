"""What `rrl tune` may change, and what it starts from: the options about knobs."""

from __future__ import annotations

import csv
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable

from rrl.core.knob import Configuration, Value
from rrl.core.space import ConfigSpace
from rrl.serving.settings import (
    ENV,
    FLAG,
    checked,
    cpus_of,
    is_process_knob,
    read_value,
    usable_cpus,
)
from rrl.support.errors import UsageError
from rrl.support.machine import available_cpus
from rrl.support.number_options import whole
from rrl.tuning.defaults import SERVER_DEFAULTS
from rrl.tuning.presets import CPUS, paper_cpu, serving_knob

_THREADS = ("inter_op", "intra_op", "batch_threads", "grpc_max_threads")
_BATCHES = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")
LIMITS = dict.fromkeys(_THREADS, (0, 4096)) | {"max_batch_size": (1, 2**31 - 1), CPUS: (1, 4096)}
"""The least and the largest value of knobs; more threads than that are a mistake."""


def knob_values(text: str) -> tuple[str, tuple[Value, ...]]:
    """Read a knob with its values; those of a flag or an environment variable may also be text.

    A value with a comma is in double quotes.

    Raises
    ------
    UsageError
        If the text has another form, or a value is one that no server can have.

    Examples
    --------
    >>> knob_values("inter_op=1,2")
    ('inter_op', (1, 2))
    >>> knob_values("flag:--enable_model_warmup=true,false")
    ('flag:--enable_model_warmup', ('true', 'false'))
    >>> knob_values('env:CPUS="0,1","2,3"')
    ('env:CPUS', ('0,1', '2,3'))
    """
    name, equals, values = text.partition("=")
    if not name.startswith((FLAG, ENV)):
        try:
            if not equals:
                raise ArgumentTypeError("write it as name=1,2,4")
            return name, tuple(map(whole(*LIMITS.get(name, (0, 2**31 - 1))), values.split(",")))
        except ArgumentTypeError as error:
            raise UsageError(f"--knob {text!r}: {error}") from None
    try:
        words = next(csv.reader([values], strict=True), [])
    except csv.Error:
        words = []
    if not words or not all(words):
        raise UsageError(
            f"--knob {text!r}: write it as {name}=VALUE,VALUE; no value is empty, and one with "
            'a comma is in double quotes: "0,1"'
        )
    return name, tuple(map(read_value, words))


def each_once(texts: Iterable[str]) -> dict[str, tuple[Value, ...]]:
    """Read the values of several knobs.

    Raises
    ------
    UsageError
        If a knob is given twice, or is one of the batches and batching is off everywhere.

    Examples
    --------
    >>> each_once(["inter_op=1,2", "batch_threads=0"])
    {'inter_op': (1, 2), 'batch_threads': (0,)}
    """
    knobs: dict[str, tuple[Value, ...]] = {}
    for name, values in map(knob_values, texts):
        if name in knobs:
            raise UsageError(f"--knob {name}= is given twice; write all its values in one")
        knobs[name] = values
    idle = [name for name in _BATCHES if name in knobs]
    if idle and not max(knobs.get("batch_threads", (0,))):
        raise UsageError(
            f"{idle[0]} has no effect while batching is off: add --knob batch_threads="
        )
    return knobs


def read_knobs(
    options: Namespace, largest: int
) -> tuple[dict[str, tuple[Value, ...]], dict[str, Value]]:
    """Return the knobs that are given with several values, and those with one, which are fixed.

    A batch must hold the largest request (`largest` examples), or the server refuses it. So smaller
    values of `max_batch_size` are left out.

    Raises
    ------
    UsageError
        If a server that is started here lacks a knob, or the number of CPUs.
    """
    knobs = each_once(options.knob)
    checked({name: values[0] for name, values in knobs.items()})
    if (port := f"{FLAG}--rest_api_port") in knobs:
        raise UsageError(f"{port.removeprefix(FLAG)}: two servers may run at once; use --rest-port")
    for count in knobs.get(CPUS, ()):
        cpus_of({CPUS: count})
    sizes = knobs.get("max_batch_size", (largest,) if largest > 1 else ())
    if sizes:
        knobs["max_batch_size"] = tuple(size for size in sizes if int(size) >= largest)
        if not knobs["max_batch_size"]:
            raise UsageError(
                f"max_batch_size {max(sizes)}: the sample has a request of {largest} examples, "
                "which a server with smaller batches refuses; give a larger value"
            )
    several = {name: values for name, values in knobs.items() if len(values) > 1}
    return several, {name: values[0] for name, values in knobs.items() if name not in several}


def read_space(options: Namespace, largest: int) -> tuple[ConfigSpace, Configuration]:
    """Return the space to tune, and the knobs that have one value and are fixed.

    Flags, environment variables and CPUs that are fixed leave the usual knobs to tune.
    """
    knobs, fixed = read_knobs(options, largest)
    if knobs:
        free = [serving_knob(name, values) for name, values in knobs.items()]
        return ConfigSpace(free, cores=available_cpus()), fixed
    if not all(is_process_knob(name) for name in fixed if name != "max_batch_size"):
        raise UsageError("each --knob has only one value: there is nothing to tune")
    return paper_cpu(min(available_cpus(), 8)), fixed


def setting(texts: Iterable[str]) -> dict[str, Value]:
    """Read a configuration from texts of the form ``name=value``.

    Examples
    --------
    >>> setting(["threads=2", "mode=fast"])
    {'threads': 2, 'mode': 'fast'}
    >>> setting(['env:CPUS="0,1"']) == setting(["env:CPUS=0,1"])  # as for --knob
    True
    """
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--default {text!r}: write it as name=value")
        if name in values:
            raise UsageError(f"--default {name}= is given twice; give it once")
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        values[name] = read_value(value[1:-1] if quoted else value)
    return values


def read_default(options: Namespace, space: ConfigSpace) -> Configuration:
    """Return the default to compare with: the user's choice, or the server's own.

    The default of the CPUs is all of them, and that of a flag or an environment variable its first
    value.
    """
    if options.default:
        return setting(options.default)
    own = {**SERVER_DEFAULTS, CPUS: len(usable_cpus())}
    first = {knob.name: knob.values[0] for knob in space.knobs if is_process_knob(knob.name)}
    return {name: {**first, **own}.get(name, 0) for name in space.names}
