"""A configuration as what a server is started with: flags, a file, environment variables and CPUs.

The file has TensorFlow Serving's parameters of batching, in the text form of a protocol buffer,
such as ``max_batch_size { value: 8 }``. A setting that is not in it has the server's own default.

Other settings say in their names what they are: ``flag:--grpc_max_threads``,
``env:TF_ENABLE_ONEDNN_OPTS`` or ``cpus``. The values of the first two are numbers or text. A
process has all settings from its start to its end, so another value needs another process.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from rrl.core.knob import Configuration, Value
from rrl.support.errors import UsageError
from rrl.tuning.defaults import LEFT_OUT, SERVER_DEFAULTS
from rrl.tuning.presets import CPUS, MOST_THREADS, THREADS

KNOBS = (*SERVER_DEFAULTS, "grpc_max_threads")
"""Settings of a served configuration; 0 means automatic for pools and off for batch_threads.

A configuration may also have flags, environment variables and CPUs.
"""

FLAG, ENV = "flag:", "env:"
"""How the names of other flags and of environment variables begin."""

_FLAGS = {
    "inter_op": "tensorflow_inter_op_parallelism",
    "intra_op": "tensorflow_intra_op_parallelism",
    "grpc_max_threads": "grpc_max_threads",
}
_LIMITS = {
    **dict.fromkeys((*THREADS, "grpc_max_threads"), (0, MOST_THREADS)),
    CPUS: (1, MOST_THREADS),
    "max_batch_size": (1, 2**31 - 1),
}
"""The least and the largest value of knobs."""

_LEAST = {
    "max_batch_size": 1,
    "batch_timeout_micros": 0,
    "max_enqueued_batches": 1,
    "num_batch_threads": 1,
}
"""The batching parameters that knobs set, and their least values."""

_PARAMETER = re.compile(r"(\w+)\s*\{\s*value\s*:\s*(-?\d+)\s*\}")
_FORMS = {
    FLAG: (r"--[A-Za-z][\w-]*", "a flag; write it with its dashes, as flag:--name"),
    ENV: (r"[A-Za-z_]\w*", "an environment variable; write it as env:NAME"),
}
_TAKEN = {
    "flag:--port": "give the port by --port",
    "flag:--grpc_socket_path": "rrl chooses it",
    "flag:--model_name": "it is the name of the model's folder",
    "flag:--model_base_path": "give the model instead",
    "flag:--file_system_poll_wait_seconds": "rrl needs its own value to measure one version",
    "flag:--enable_batching": "use the knob batch_threads",
    "flag:--enable_per_model_batching_parameters": "use the knob batch_threads",
    "flag:--batching_parameters_file": "use the knobs batch_threads, max_batch_size and so on",
}


def checked(configuration: Configuration) -> dict[str, int]:
    """Check the settings and return those of `KNOBS` as whole numbers.

    Raises
    ------
    UsageError
        If a setting is unknown, its name has another form, or rrl sets that flag itself. A knob is
        a whole number within its limits. Two settings of one flag are not possible.

    Examples
    --------
    >>> checked({"inter_op": 2.0, "env:X": "a"})
    {'inter_op': 2}
    >>> checked({"env:2X": 1})
    Traceback (most recent call last):
    ...
    rrl.support.errors.UsageError: env:2X: no name of an environment variable; write it as env:NAME
    """
    values: dict[str, int] = {}
    for name, value in configuration.items():
        if why := _TAKEN.get(name):
            raise UsageError(f"{name.removeprefix(FLAG)} cannot be set in this way: {why}")
        for begin, (form, kind) in _FORMS.items():
            own = name.removeprefix(begin)
            if own != name and not re.fullmatch(form, own, re.ASCII):
                raise UsageError(f"{name}: no name of {kind}")
        if name.startswith(tuple(_FORMS)):
            continue
        if name not in (*KNOBS, CPUS):
            known = ", ".join((*KNOBS, "flag:--NAME", "env:NAME", "cpus"))
            raise UsageError(f"unknown knob {name!r}; a server has: {known}")
        if (same := f"{FLAG}--{_FLAGS.get(name)}") in configuration:
            raise UsageError(f"{name} and {same} are the same setting; give one of them")
        least, most = _LIMITS.get(name, (0, 2**31 - 1))
        if isinstance(value, bool | str) or not least <= value <= most or value != int(value):
            raise UsageError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
        if name != CPUS:
            values[name] = int(value)
    return values


def flags(configuration: Configuration, batching_file: Path) -> tuple[list[str], str]:
    """Return the command-line flags and the batching file that deploy a configuration.

    Parameters
    ----------
    configuration : configuration
        All settings. One of batches that is not named has the value of
        :data:`rrl.tuning.defaults.LEFT_OUT`.
    batching_file : pathlib.Path
        The file of the batching parameters. Its content is the second result; it is empty if
        batching is off.

    Raises
    ------
    UsageError
        If the server cannot have a setting.

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
    line += ["--enable_batching", f"--batching_parameters_file={batching_file}"]
    parameters = {name: values[name] for name in ("max_batch_size", "batch_timeout_micros")}
    parameters["num_batch_threads"] = threads
    if queue := named.get("max_enqueued_batches"):
        parameters["max_enqueued_batches"] = queue
    text = "".join(f"{name} {{ value: {value} }}\n" for name, value in parameters.items())
    return line, text


def read_batching(text: str) -> dict[str, int]:
    """Return the parameters in the text of a file.

    Raises
    ------
    ValueError
        If it has another form, a parameter that no knob sets, or a value that is too small.

    Examples
    --------
    >>> read_batching("max_batch_size { value: 8 }  # examples")
    {'max_batch_size': 8}
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
    return parameters


def read_value(text: str) -> Value:
    """Return the value that a text stands for: a number if it is written like one, or the text.

    Examples
    --------
    >>> read_value("8"), read_value("0.5"), read_value("08"), read_value("true")
    (8, 0.5, '08', 'true')
    """
    for kind in (int, float):
        with suppress(ValueError):
            if repr(number := kind(text)) == text and abs(number) < float("inf"):
                return number
    return text


def environment_of(configuration: Configuration) -> dict[str, str]:
    """Return the environment variables of a configuration.

    Examples
    --------
    >>> environment_of({"env:OMP_NUM_THREADS": 1, "inter_op": 2})
    {'OMP_NUM_THREADS': '1'}
    """
    found = (pair for pair in configuration.items() if pair[0].startswith(ENV))
    return {name.removeprefix(ENV): str(value) for name, value in found}


def cpus_of(configuration: Configuration) -> list[int]:
    """Return the numbers of the CPUs that a configuration gives a server: the first usable ones.

    Raises
    ------
    UsageError
        If there are fewer CPUs.

    Examples
    --------
    >>> len(cpus_of({"cpus": 1})), set(cpus_of({})) == os.sched_getaffinity(0)
    (1, True)
    """
    here = sorted(os.sched_getaffinity(0))
    checked(configuration)
    count = int(configuration.get(CPUS, len(here)))
    if count > len(here):
        raise UsageError(
            f"cpus={count}: rrl may use {len(here)} CPUs here; give at most {len(here)}"
        )
    return here[:count]


def prefix(configuration: Configuration) -> list[str]:
    """Return the words before a server's command that give it its environment and its CPUs.

    They are those of `env` and `taskset`, which replace themselves by the server.

    Raises
    ------
    UsageError
        If there are fewer CPUs, or this system cannot bind a process to CPUs.

    Examples
    --------
    >>> prefix({"env:OMP_NUM_THREADS": 1, "inter_op": 2})
    ['env', 'OMP_NUM_THREADS=1']
    """
    variables = [f"{name}={value}" for name, value in environment_of(configuration).items()]
    words = ["env", *variables] if variables else []
    if CPUS not in configuration:
        return words
    numbers = ",".join(map(str, cpus_of(configuration)))
    if shutil.which("taskset") is None:
        raise UsageError("cpus needs the program taskset; install util-linux, or leave it out")
    return [*words, "taskset", "--cpu-list", numbers]
