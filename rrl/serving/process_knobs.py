"""Settings that a server's process starts with: any flag, any environment variable, its CPUs.

The name of such a setting says what it is: ``flag:--grpc_max_threads``,
``env:TF_ENABLE_ONEDNN_OPTS`` or ``cpus``. The values of the first two are numbers or text. A
process has these settings from its start to its end, so another value needs another process.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress

from rrl.core.knob import Configuration, Value
from rrl.support.errors import UsageError
from rrl.tuning.presets import CPUS

FLAG, ENV = "flag:", "env:"
"""How the names begin."""

_FLAG_NAME = re.compile(r"--[A-Za-z][\w-]*", re.ASCII)
_ENV_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_TAKEN = {
    "port": "give the port by --port",
    "grpc_socket_path": "rrl chooses it",
    "model_name": "it is the name of the model's folder",
    "model_base_path": "give the model instead",
    "file_system_poll_wait_seconds": "rrl needs its own value to measure one version",
    "enable_batching": "use the knob batch_threads",
    "enable_per_model_batching_parameters": "use the knob batch_threads",
    "batching_parameters_file": "use the knobs batch_threads, max_batch_size and so on",
}


def is_process_knob(name: str) -> bool:
    """Return whether a setting is a flag, an environment variable or the number of CPUs.

    Examples
    --------
    >>> [is_process_knob(name) for name in ("flag:--port", "env:A", "cpus", "inter_op")]
    [True, True, True, False]
    """
    return name == CPUS or name.startswith((FLAG, ENV))


def check_process_knob(name: str, value: Value | None = None) -> None:
    """Check the name of such a setting, and its value if there is one.

    Raises
    ------
    UsageError
        If the name has another form, if rrl sets that flag itself, or if the number of CPUs is not
        a whole number of 1 or more.

    Examples
    --------
    >>> check_process_knob("env:2X")
    Traceback (most recent call last):
    ...
    rrl.support.errors.UsageError: env:2X: no name of an environment variable; write it as env:NAME
    """
    if name.startswith(FLAG):
        flag = name.removeprefix(FLAG)
        if not _FLAG_NAME.fullmatch(flag):
            raise UsageError(f"{name}: no name of a flag; write it with its dashes, as flag:--name")
        if why := _TAKEN.get(flag.removeprefix("--")):
            raise UsageError(f"{flag} cannot be set in this way: {why}")
    elif name.startswith(ENV) and not _ENV_NAME.fullmatch(name.removeprefix(ENV)):
        raise UsageError(f"{name}: no name of an environment variable; write it as env:NAME")
    elif name == CPUS and value is not None and not _is_count(value):
        raise UsageError(f"cpus must be a whole number, 1 or more, got {value!r}")


def _is_count(value: Value) -> bool:
    return not isinstance(value, bool | str) and value == value // 1 and value >= 1


def check_cpus(values: Iterable[Value]) -> None:
    """Raise UsageError if a number of CPUs is larger than the machine has for this process."""
    here = len(usable_cpus())
    for value in values:
        check_process_knob(CPUS, value)
        if not isinstance(value, str) and value > here:
            raise UsageError(f"cpus={value}: rrl may use {here} CPUs here; give at most {here}")


def usable_cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


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
    >>> cpus_of({"cpus": 1}) == usable_cpus()[:1], cpus_of({}) == usable_cpus()
    (True, True)
    """
    if CPUS not in configuration:
        return usable_cpus()
    check_cpus([configuration[CPUS]])
    return usable_cpus()[: int(configuration[CPUS])]


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
