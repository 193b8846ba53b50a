"""A configuration as TensorFlow Serving's flags and its file of batching parameters.

The file has the text form of a protocol buffer, such as ``max_batch_size { value: 8 }``. A setting
that is not in it has the server's own default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rrl.core.knob import Configuration
from rrl.serving.process_knobs import FLAG, check_process_knob, is_process_knob
from rrl.support.errors import UsageError
from rrl.tuning.defaults import LEFT_OUT

KNOBS = (
    "inter_op",
    "intra_op",
    "batch_threads",
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "grpc_max_threads",
)
"""Settings of a served configuration; 0 means automatic for pools and off for batch_threads.

A configuration may also have the settings of :mod:`rrl.serving.process_knobs`.
"""

ADAPTIVE = -1
"""The batch_threads value for TensorFlow's adaptive scheduler, which only the local server has."""

_FLAGS = {
    "inter_op": "tensorflow_inter_op_parallelism",
    "intra_op": "tensorflow_intra_op_parallelism",
    "grpc_max_threads": "grpc_max_threads",
}
_LEAST = {
    "max_batch_size": 1,
    "batch_timeout_micros": 0,
    "max_enqueued_batches": 1,
    "num_batch_threads": ADAPTIVE,
}
"""The batching parameters that knobs set, and their least values."""

_PARAMETER = re.compile(r"(\w+)\s*\{\s*value\s*:\s*(-?\d+)\s*\}")


def checked(configuration: Configuration) -> dict[str, int]:
    """Check the settings and return those of `KNOBS` as whole numbers.

    Raises
    ------
    UsageError
        If a setting is unknown, or is not a whole number of 0 or more. `ADAPTIVE` is also allowed
        for the batch threads. Two settings of one flag are not possible.
    """
    values: dict[str, int] = {}
    for name, value in configuration.items():
        if is_process_knob(name):
            check_process_knob(name, value)
            continue
        if name not in KNOBS:
            known = ", ".join((*KNOBS, "flag:--NAME", "env:NAME", "cpus"))
            raise UsageError(f"unknown knob {name!r}; a server has: {known}")
        if (same := f"{FLAG}--{_FLAGS.get(name)}") in configuration:
            raise UsageError(f"{name} and {same} are the same setting; give one of them")
        least = ADAPTIVE if name == "batch_threads" else 0
        if isinstance(value, bool | str) or not least <= value < np.inf or value != int(value):
            raise UsageError(f"{name} must be a whole number, 0 or more, got {value!r}")
        values[name] = int(value)
    return values


def flags(
    configuration: Configuration, batching_file: Path, *, local: bool = False
) -> tuple[list[str], str]:
    """Return the command-line flags and the batching file that deploy a configuration.

    Parameters
    ----------
    configuration : configuration
        Settings named in `KNOBS`, and process settings. A setting of batches that is not named has
        the value of :data:`rrl.tuning.defaults.LEFT_OUT`.
    batching_file : pathlib.Path
        Path of the file where the batching parameters will be written.
    local : bool
        Whether they are for the local server. It alone can have `ADAPTIVE` batch threads.

    Returns
    -------
    flags : list of str
    text : str
        Content for `batching_file`. It is empty if batching is off.

    Raises
    ------
    UsageError
        If a setting is unknown, if it is not a whole number of 0 or more, or if the server cannot
        have it.

    Examples
    --------
    >>> flags({"inter_op": 2, "intra_op": 0, "flag:--enable_model_warmup": "false"}, Path("b.txt"))
    (['--tensorflow_inter_op_parallelism=2', '--enable_model_warmup=false'], '')
    >>> line, text = flags({"batch_threads": 4}, Path("b.txt"))
    >>> line
    ['--enable_batching', '--batching_parameters_file=b.txt']
    >>> print(text, end="")
    max_batch_size { value: 1 }
    batch_timeout_micros { value: 0 }
    num_batch_threads { value: 4 }
    """
    named = checked(configuration)
    line = [f"--{flag}={named[name]}" for name, flag in _FLAGS.items() if named.get(name)]
    named_flags = (pair for pair in configuration.items() if pair[0].startswith(FLAG))
    line += [f"{name.removeprefix(FLAG)}={value}" for name, value in named_flags]
    values = {**checked(LEFT_OUT), **named}
    if not (threads := values["batch_threads"]):
        return line, ""
    if threads == ADAPTIVE and not local:
        raise UsageError(
            "adaptive batch threads (-1) need the local server: tensorflow_model_server has none"
        )
    line += ["--enable_batching", f"--batching_parameters_file={batching_file}"]
    parameters = {name: values[name] for name in ("max_batch_size", "batch_timeout_micros")}
    parameters["num_batch_threads"] = threads
    if queue := named.get("max_enqueued_batches"):
        parameters["max_enqueued_batches"] = queue
    return line, batching_text(parameters)


def batching_text(parameters: Mapping[str, int]) -> str:
    """Return the file of batching parameters.

    Examples
    --------
    >>> read_batching(batching_text({"max_batch_size": 8}))
    {'max_batch_size': 8}
    """
    return "".join(f"{name} {{ value: {value} }}\n" for name, value in parameters.items())


def read_batching(text: str) -> dict[str, int]:
    """Return the parameters in the text of a file.

    Raises
    ------
    ValueError
        If it has another form, a parameter that no knob sets, or a value that is too small.
    """
    text = re.sub("#.*", "", text)
    if other := _PARAMETER.sub("", text).split():
        raise ValueError(f"batching parameters file: {' '.join(other)}: no NAME {{ value: N }}")
    parameters = {name: int(value) for name, value in _PARAMETER.findall(text)}
    for name, value in parameters.items():
        if name not in _LEAST:
            known = ", ".join(_LEAST)
            raise ValueError(f"batching parameters file: unknown {name}; known: {known}")
        if value < _LEAST[name]:
            raise ValueError(f"{name} must be at least {_LEAST[name]}, got {value}")
    if parameters.get("num_batch_threads") == 0:
        raise ValueError(f"num_batch_threads must be at least 1, or {ADAPTIVE}: adaptive")
    return parameters
