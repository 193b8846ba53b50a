"""Read what a running model server was started with, from its process on this machine.

Linux says which process listens at an address, and with which command line it was started. Nothing
is guessed: if the process cannot be found or its files cannot be read, the answer is None.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rrl.core.knob import Configuration
from rrl.serving.batching import BatchingParameters
from rrl.serving.launcher import BINARY
from rrl.serving.loadgen import Client
from rrl.serving.ports import listening
from rrl.serving.servable import found_versions
from rrl.serving.settings import ADAPTIVE
from rrl.tuning.defaults import SERVER_DEFAULTS

PROGRAMS = {BINARY, "rrl.serving.local_server"}
"""How the command line names an executable."""

VERSION_PARAMETERS = "batching_params.pbtxt"
"""The file of one version folder, used with `--enable_per_model_batching_parameters`."""

_ACCEPTS = 0x10000  # the flag of a unix socket that listens
_NUMBERS = (
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_parallelism",
    "grpc_max_threads",
)
_SWITCHES = ("enable_batching", "enable_per_model_batching_parameters", "adaptive_batching")
_TEXTS = ("model_base_path", "batching_parameters_file", "platform_config_file")


@dataclass(frozen=True)
class Running:
    """A model server as its command line describes it.

    Parameters
    ----------
    configuration : configuration
        A value for each of `rrl.serving.settings.KNOBS`. Without a flag, it is the server's own
        default.
    model_base_path : str
        Empty if the models are in a configuration file.
    others : tuple of str
        Batching settings that no knob has, such as ``"allowed_batch_sizes"``. A server that is
        restarted by its knobs alone loses them.
    pid : int
        Number of the process; 0 if it is not known.
    command : tuple of str
        The command line.
    """

    configuration: Configuration
    model_base_path: str
    others: tuple[str, ...] = ()
    pid: int = 0
    command: tuple[str, ...] = ()


def running_configuration(address: str) -> Configuration | None:
    """Return the configuration of the server at an address, in knob names.

    Parameters
    ----------
    address : str
        ``host:port`` or ``unix:path``.

    Returns
    -------
    configuration or None
        None if it cannot be known: the server is on another machine, in another container, of
        another user, or it is no model server.

    Examples
    --------
    >>> running_configuration("192.0.2.1:8500") is None  # an address of no machine
    True
    """
    found = running_server(address)
    return found.configuration if found else None


def running_server(address: str) -> Running | None:
    """Return the model server that listens at an address; see :func:`running_configuration`."""
    try:
        owners = _owners({f"socket:[{inode}]" for inode in _inodes(address)})
        lines = {
            pid: os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
            for pid in owners
        }
    except (OSError, ValueError):
        return None
    servers = {pid: words for pid, words in lines.items() if _program(words)}
    if len(servers) != 1:  # several may share a port
        return None
    ((pid, words),) = servers.items()
    return read_command_line(words, pid)


def read_command_line(words: Sequence[str], pid: int = 0) -> Running | None:
    """Read the command line of a model server.

    Parameters
    ----------
    words : sequence of str
    pid : int, optional
        The process. Its root, its working folder and its processors are used. The default is this
        process.

    Returns
    -------
    Running or None
        None if it is no model server, or if its batching parameters cannot be read.

    Examples
    --------
    >>> line = "tensorflow_model_server --port=8500 --tensorflow_inter_op_parallelism=2"
    >>> found = read_command_line(line.split())
    >>> found.configuration["inter_op"], found.configuration["batch_threads"]
    (2, 0)
    """
    program = _program(words)
    if program is None:
        return None
    view = _view(pid)
    try:
        flags = _flags(words)
        if flags.platform_config_file:  # it replaces the flags
            return None
        base = view(flags.model_base_path) if flags.model_base_path else None
        common = flags.batching_parameters_file and view(flags.batching_parameters_file)
        own = None
        if flags.enable_per_model_batching_parameters and flags.enable_batching:
            found = found_versions(base) if base else {}
            if not found:
                return None
            own = found[max(found)] / VERSION_PARAMETERS
        batching = _read_batching(flags, common or None, own)
    except (OSError, ValueError, argparse.ArgumentError):
        return None
    both = flags.tensorflow_session_parallelism
    configuration = {
        **SERVER_DEFAULTS,
        "inter_op": flags.tensorflow_inter_op_parallelism or both,
        "intra_op": flags.tensorflow_intra_op_parallelism or both,
        "grpc_max_threads": flags.grpc_max_threads,
    }
    others: tuple[str, ...] = ()
    if batching is not None:
        given = {
            "batch_threads": batching.num_batch_threads or _processors(pid),
            "max_batch_size": batching.max_batch_size,
            "batch_timeout_micros": batching.batch_timeout_micros,
            "max_enqueued_batches": batching.max_enqueued_batches,
        }
        configuration |= {name: value for name, value in given.items() if value is not None}
        if batching.adaptive:
            configuration["batch_threads"] = ADAPTIVE
        unknown = (
            "allowed_batch_sizes",
            "enable_large_batch_splitting",
            "max_execution_batch_size",
            "pad_variable_length_inputs",
        )
        others = tuple(name for name in unknown if getattr(batching, name))
    return Running(
        configuration=configuration,
        model_base_path=flags.model_base_path,
        others=others,
        pid=pid,
        command=tuple(words),
    )


def model_version(client: Client, timeout_s: float = 5.0) -> int | None:
    """Return the newest version that a server reports as AVAILABLE; None if it reports none.

    Raises
    ------
    ServerError
        If the server has no such model.
    """
    states = client.states(timeout_s)
    return max((v for v, (state, _) in states.items() if state == "AVAILABLE"), default=None)


def may_enter(pid: int, folder: Path) -> bool:
    """Return whether a process may enter a folder, by its user and groups; True if unknown.

    A process in a container sees other folders, so there it is unknown.

    Examples
    --------
    >>> may_enter(os.getpid(), Path("/"))
    True
    """
    try:
        if os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"):
            return True
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        words = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
        user, groups = int(words["Uid"][1]), {*map(int, (words["Gid"][1], *words["Groups"]))}
        about = folder.stat()
    except (OSError, KeyError, ValueError):
        return True
    with suppress(OSError):  # this file system has no such lists
        if "system.posix_acl_access" in os.listxattr(folder):
            return True  # the mode does not tell who is in its list
    bit = 0o100 if about.st_uid == user else 0o010 if about.st_gid in groups else 0o001
    return user == 0 or bool(about.st_mode & bit)


# --- the command line -----------------------------------------------------------------------------


def _program(words: Sequence[str]) -> str | None:
    """Return the name of the model server in a command line; None if there is none."""
    return next((p for p in (Path(word).name for word in words) if p in PROGRAMS), None)


def _flags(words: Sequence[str]) -> argparse.Namespace:
    """Read the flags that matter here and ignore all others."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in _NUMBERS:
        parser.add_argument(f"--{name}", type=int, default=0)
    for name in _SWITCHES:
        parser.add_argument(
            f"--{name}",
            type=lambda text: text.lower() in ("true", "1"),
            nargs="?",
            const=True,
            default=False,
        )
    for name in _TEXTS:
        parser.add_argument(f"--{name}", default="")
    return parser.parse_known_args(list(words))[0]


def _read_batching(
    flags: argparse.Namespace, common: Path | None, own: Path | None
) -> BatchingParameters | None:
    """Return the batching parameters of a server; None if it does not batch.

    Parameters
    ----------
    flags : argparse.Namespace
    common : pathlib.Path, optional
        The file that the server was started with.
    own : pathlib.Path, optional
        The file of the newest version, if each version has one. A version without it is not
        batched, and only the number of threads is common to all versions.
    """
    if not flags.enable_batching:
        return None
    found = BatchingParameters.from_text(common.read_text()) if common else BatchingParameters()
    if own:
        if not own.exists():
            return None
        threads = found.num_batch_threads
        found = replace(BatchingParameters.from_text(own.read_text()), num_batch_threads=threads)
    return replace(found, adaptive=True) if flags.adaptive_batching else found


def _view(pid: int) -> Callable[[str], Path]:
    """Return a function that finds a path as a process sees it."""
    process = f"/proc/{pid or 'self'}"

    def find(path: str) -> Path:
        inside = Path(path).is_absolute()
        return Path(f"{process}/root{path}") if inside else Path(f"{process}/cwd") / path

    return find


def _processors(pid: int) -> int:
    """Return how many batch threads a server has if no number is given."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(pid)) if affinity else os.cpu_count() or 1


# --- who listens ----------------------------------------------------------------------------------


def _inodes(address: str) -> set[str]:
    """Return the listening sockets at an address, by the numbers that Linux gives them."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        lines = Path("/proc/net/unix").read_text().splitlines()[1:]
        rows = (line.split(maxsplit=7) for line in lines)
        return {r[6] for r in rows if r[7:] == [path] and int(r[3], 16) & _ACCEPTS}
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    sockets = list(listening(int(port)))
    inodes: set[str] = set()
    for wanted in {ipaddress.ip_address(info[4][0]) for info in found if _is_here(info)}:
        exact = {inode for ip, inode in sockets if ip == wanted}
        inodes |= exact or {
            inode for ip, inode in sockets if ip.is_unspecified and ip.version >= wanted.version
        }
    return inodes


def _is_here(info: tuple[Any, ...]) -> bool:
    """Return whether an address belongs to this machine: only then can it be bound."""
    with socket.socket(info[0], socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((info[4][0], 0, *info[4][2:]))
        except OSError:
            return False
    return True


def _owners(sockets: set[str]) -> set[int]:
    """Return the processes that have one of these sockets open, as far as they can be seen."""
    owners = set()
    for process in filter(str.isdecimal, os.listdir("/proc")) if sockets else ():
        folder = Path(f"/proc/{process}/fd")
        with suppress(OSError):  # it ended, or it belongs to another user
            for number in os.listdir(folder):
                with suppress(FileNotFoundError):  # it was closed meanwhile
                    if os.readlink(folder / number) in sockets:
                        owners.add(int(process))
    return owners
