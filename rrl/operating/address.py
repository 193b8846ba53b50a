"""A server at an address: what it runs now, what a restart would lose, and who else tunes it.

A server has one tuner at a time, and what a killed one left there is known. Two tuners would
measure each other's trials. The second one would even take a trial of the first for what the
operator runs, and return to it at the end.
"""

from __future__ import annotations

import json
import os
import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.records import is_configuration
from rrl.serving.deployed import Deployed
from rrl.serving.process_knobs import FLAG, is_process_knob, value_of_process
from rrl.serving.restart_command import RestartCommand
from rrl.serving.running import running_server
from rrl.serving.settings import ADAPTIVE, KNOBS, process_flags
from rrl.support.errors import RRLError, UsageError
from rrl.support.one_writer import open_alone
from rrl.support.own_folder import own_folder
from rrl.tuning.presets import in_words

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.core.space import ConfigSpace
    from rrl.operating.job import Job

MOST_BYTES = 1 << 16  # of a note


# --- what it runs ---------------------------------------------------------------------------------


def runs_now(address: str, space: ConfigSpace) -> Configuration:
    """Return what the server at an address was started with, as far as it can be read."""
    now = running_server(address)
    if now is None:
        return {}
    names = filter(is_process_knob, space.names)
    found = {name: value_of_process(name, now.command, now.pid) for name in names}
    return {**now.configuration, **{n: value for n, value in found.items() if value is not None}}


def keep_others(
    options: Namespace,
    space: ConfigSpace,
    fixed: Configuration,
    begun: Mapping[str, Any] | None = None,
) -> Configuration:
    """Check the restart command, and return the fixed settings with what it would lose otherwise.

    These are the settings of the server that are no knob of this run. If a run has begun here
    (`begun` has its settings), they are those that it returns to, because a trial may be in service
    now. They may have been knobs there, if that run has measured nothing and this one replaces it.

    Raises
    ------
    UsageError
        If the command cannot work, or the server has a setting that no knob has.
    """
    if not RestartCommand(options.restart, space.names, Path(), fixed).sets_all:
        return fixed
    now = running_server(options.address)
    found: Configuration = dict(now.configuration) if now else {}
    lost = list(now.others) if now else []
    if found.get("batch_threads") == ADAPTIVE and "batch_threads" not in space.names:
        lost.append("adaptive_batching")
    if lost:
        raise UsageError(
            f"{options.address} has {', '.join(lost)}, which no knob has, so {{flags}} and "
            "{batching_file} would lose it: let a script of yours keep it, and give that the "
            "values alone, as {inter_op}"
        )
    if begun:
        fixed_then = {name: value for name, value in begun["fixed"].items() if name in KNOBS}
        then = {name: value for name, value in begun["default"].items() if name in KNOBS}
        found = {**_meant({**fixed_then, **then}), **fixed_then}
    else:
        found = _meant(found)
    given = {name.removeprefix(FLAG) for name in (*space.names, *fixed)}
    if "--tensorflow_session_parallelism" in given:  # it stands for both
        given |= {"inter_op", "intra_op"}

    def is_given(name: str) -> bool:
        flags = [flag.removesuffix("=1") for flag in process_flags({name: 1})]
        return not given.isdisjoint([name, *flags])

    return {**fixed, **{n: value for n, value in found.items() if value and not is_given(n)}}


def _meant(found: Configuration) -> Configuration:
    """Leave out the other settings of a batch while batching is off: they mean nothing then."""
    if found.get("batch_threads"):
        return found
    return {name: value for name, value in found.items() if process_flags({name: value})}


def warning(options: Namespace, job: Job, begun: Mapping[str, Any] | None = None) -> str:
    """Return a line that says what a run may change or lose of what runs now, or ""."""
    now = runs_now(options.address, job.space)
    if begun:
        known = {name: now[name] for name in job.default if name in now}
        if not known or known == dict(job.default):
            return ""
        return (
            f"{options.address} runs {in_words(known)}; the run that goes on has the default "
            f"{in_words(job.default)}"
        )
    if now or not RestartCommand(options.restart, job.space.names, Path(), job.fixed).sets_all:
        return ""
    return (
        f"what {options.address} runs now cannot be read from here: with {{flags}} or "
        "{batching_file} it loses each setting that is no --knob, such as max_batch_size or "
        "intra_op, unless the restart command has it"
    )


# --- who tunes it ---------------------------------------------------------------------------------


class OnlyTuner:
    """The right of this process to tune a server, and a note for the one that comes after it.

    Parameters
    ----------
    address : str
    files : sequence of int
        The descriptors of the locked files. The note is in each of them.

    Attributes
    ----------
    left : dict or None
        ``folder`` and ``default`` of the last run, if it was killed.
    """

    def __init__(self, address: str, files: Sequence[int]) -> None:
        self._address, self._files = address, files
        self.left: dict[str, Any] | None = None
        for file in files:
            with suppress(OSError, ValueError, KeyError, TypeError):
                note = json.loads(os.pread(file, MOST_BYTES, 0))
                if is_configuration(note["default"]):
                    self.left = {"folder": str(note["folder"]), "default": note["default"]}

    def check(self, folder: Path, default: Sequence[str]) -> None:
        """Refuse to take for the operator's choice what a killed run may have left in service.

        Parameters
        ----------
        folder : pathlib.Path
            The folder of this run. In its own folder, a run knows what it began with.
        default : sequence of str
            What the user says that the server is to return to.

        Raises
        ------
        UsageError
            If it is another folder, and the user says nothing.
        """
        if self.left and not default and not self._in(folder):
            raise UsageError(
                f"{self._address} may still run a trial of the run in {self.left['folder']}, which "
                f"was killed: the same command as there returns it to "
                f"{in_words(self.left['default'])}; or say by --default what it returns to"
            )

    def refused(self, folder: Path) -> str:
        """Return what to add to the reason why a run in a folder cannot go on; perhaps ""."""
        if not self.left or not self._in(folder):
            return ""
        return (
            f"; {self._address} may still run a trial of that run, which was killed: restore "
            f"{in_words(self.left['default'])} there"
        )

    def _in(self, folder: Path) -> bool:
        return self.left is not None and self.left["folder"] == str(folder.resolve())

    def begin(self, folder: Path, default: Configuration) -> None:
        """Note that from now on a trial may be in service."""
        self._write(json.dumps({"folder": str(folder.resolve()), "default": dict(default)}))

    def end(self, folder: Path) -> None:
        """Remove the note, unless the return of the server was interrupted or has failed."""
        with suppress(RRLError), closing(Deployed(folder.resolve(), self._address)) as now:
            if now.complete or now.configuration is None:
                self._write("")

    def _write(self, text: str) -> None:
        for file in self._files:
            with suppress(OSError):  # the file of another user, or a full disk
                os.ftruncate(file, 0)
                os.pwrite(file, text.encode(), 0)


@contextmanager
def alone_at(address: str | None) -> Iterator[OnlyTuner]:
    """Claim the server at an address for the block; None stands for a server of one's own.

    Raises
    ------
    UsageError
        If another run tunes it from this machine.

    Examples
    --------
    >>> with alone_at("127.0.0.1:8500"):
    ...     try:
    ...         alone_at("localhost:8500").__enter__()
    ...     except UsageError as error:
    ...         print(error)
    localhost:8500: another run tunes this server; wait for that one, or stop it
    """
    with ExitStack() as stack:
        files = []
        for place in _places(address) if address else ():
            name = f"{sha256(place.encode()).hexdigest()[:16]}.lock"
            with suppress(OSError):  # without a place for the file, nothing can be claimed
                files.append(_locked(address or "", own_folder("tunes") / name))
                stack.callback(os.close, files[-1])
        yield OnlyTuner(address or "", files)


def _places(address: str) -> set[str]:
    """Return the endpoints that an address stands for, so that no two names hide one server."""
    if address.startswith(("unix:", "unix-abstract:")):
        return {os.path.realpath(address.partition(":")[2])}
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return {address}
    return {f"{info[4][0]}:{port}" for info in found}


def _locked(address: str, path: Path) -> int:
    """Open and lock a file of the user's own."""
    try:
        return open_alone(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    except UsageError:
        raise UsageError(
            f"{address}: another run tunes this server; wait for that one, or stop it"
        ) from None
