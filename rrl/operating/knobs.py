"""The knobs of a command line: their values, the space that they span, and its default."""

from __future__ import annotations

import csv
import os
from argparse import ArgumentTypeError
from collections.abc import Sequence

from rrl.core.knob import Configuration, Value
from rrl.core.space import ConfigSpace
from rrl.serving.settings import FLAG, cpus_of, read_value
from rrl.support.errors import UsageError
from rrl.support.machine import available_cpus
from rrl.tuning.defaults import SERVER_DEFAULTS
from rrl.tuning.presets import CPUS, paper_cpu, serving_knob

_BATCHES = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")

Named = tuple[str, tuple[Value, ...]]
"""A knob and its values."""

Knobs = dict[str, tuple[Value, ...]]
"""The values of each knob."""


def knob(text: str) -> tuple[str, tuple[Value, ...]]:
    """Read an option that is a knob with its values; only a flag or a variable takes any number.

    Examples
    --------
    >>> knob("inter_op=1,2"), knob("flag:--rate=0.5")
    (('inter_op', (1, 2)), ('flag:--rate', (0.5,)))
    >>> knob('env:CPUS="0,1","2,3"')
    ('env:CPUS', ('0,1', '2,3'))
    """
    name, _, given = text.partition("=")
    try:
        words = next(csv.reader([given], strict=True), [])
    except csv.Error:
        words = []
    if not words or not all(words):
        raise ArgumentTypeError(
            f"{text!r}: write it as {name}=VALUE; no value is empty, a comma separates two values, "
            'and one with a comma is in double quotes: "0,1"'
        )
    values = tuple(map(read_value, words))
    if ":" not in name and any(isinstance(value, float) for value in values):
        raise ArgumentTypeError(f"{text!r}: give whole numbers, without a point")
    return name, values


def _each_once(option: str, knobs: Sequence[Named]) -> Knobs:
    """Return the values by the names of their knobs; raise UsageError if one is given twice."""
    names = [name for name, _ in knobs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{option} {twice[0]}= is given twice; give it once")
    return dict(knobs)


def read_knobs(given: Sequence[Named], largest: int) -> tuple[Knobs, dict[str, Value]]:
    """Return the knobs that are given with several values, and those with one, which are fixed.

    A batch must hold the largest request (`largest` examples), or the server refuses it. So smaller
    values of `max_batch_size` are left out.

    Raises
    ------
    UsageError
        If a knob is given twice, or has no effect because batching is off everywhere, or a server
        that is started here lacks a knob, or cannot have a value of it.
    """
    knobs = _each_once("--knob", given)
    first = {name: values[0] for name, values in knobs.items()}
    for name, values in knobs.items():
        for value in values:
            cpus_of({**first, name: value})
    idle = [name for name in _BATCHES if name in knobs]
    if idle and not max(knobs.get("batch_threads", (0,))):
        raise UsageError(
            f"{idle[0]} has no effect while batching is off: add --knob batch_threads="
        )
    if (port := f"{FLAG}--rest_api_port") in knobs:
        raise UsageError(f"{port.removeprefix(FLAG)}: two servers may run at once; use --rest-port")
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


def read_space(given: Sequence[Named], largest: int) -> tuple[ConfigSpace, Configuration]:
    """Return the space to tune, and the knobs that have one value and are fixed.

    If no knob has several values, the threads that are not fixed are tuned.
    """
    knobs, fixed = read_knobs(given, largest)
    free = [serving_knob(name, values) for name, values in knobs.items()]
    if not free:
        usual = paper_cpu(min(available_cpus(), 8)).knobs
        free = [knob for knob in usual if knob.name not in fixed]
    if not free:
        raise UsageError("each --knob has only one value: there is nothing to tune")
    return ConfigSpace(free, cores=available_cpus()), fixed


def read_default(given: Sequence[Named]) -> Configuration:
    """Return the user's choice of the default to compare with; it is empty without one."""
    default = _each_once("--default", given)
    if several := [name for name, values in default.items() if len(values) > 1]:
        raise UsageError(f"--default {several[0]}=: a default has one value of each knob")
    return {name: value for name, (value,) in default.items()}


def own_default(space: ConfigSpace) -> Configuration:
    """Return the server's own configuration.

    The default of the CPUs is all of them, and that of a flag or an environment variable its first
    value.
    """
    own = {**SERVER_DEFAULTS, CPUS: len(os.sched_getaffinity(0))}
    first = {knob.name: knob.values[0] if ":" in knob.name else 0 for knob in space.knobs}
    return {name: own.get(name, value) for name, value in first.items()}
