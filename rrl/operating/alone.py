"""A server at an address has one tuner at a time, and what a killed one left there is known.

Two tuners would measure each other's trials. The second one would even take a trial of the first
for what the operator runs, and return to it at the end.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.serving.deployed import Deployed
from rrl.support.errors import RRLError, UsageError
from rrl.support.one_writer import open_alone
from rrl.support.own_folder import own_folder

if TYPE_CHECKING:
    from rrl.core.knob import Configuration

MOST_BYTES = 1 << 16  # of a note


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
                self.left = {"folder": str(note["folder"]), "default": dict(note["default"])}

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
                f"was killed: the same command as there returns it to {self._default}; or say by "
                "--default what it returns to"
            )

    def refused(self, folder: Path) -> str:
        """Return what to add to the reason why a run in a folder cannot go on; perhaps ""."""
        if not self.left or not self._in(folder):
            return ""
        return (
            f"; {self._address} may still run a trial of that run, which was killed: restore "
            f"{self._default} there"
        )

    def _in(self, folder: Path) -> bool:
        return bool(self.left) and self.left["folder"] == str(folder.resolve())

    @property
    def _default(self) -> str:
        values = self.left["default"] if self.left else {}
        return ", ".join(f"{name} {value}" for name, value in values.items())

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
