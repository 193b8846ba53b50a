"""A model server on another machine, which the user's own commands start and stop.

The commands run in a shell here, and reach the machine by ``ssh``, ``kubectl`` or a script. The
server is asked and measured over the network, at its address. Everything else is as for a server
that rrl starts itself.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rrl.core.knob import Configuration, plain
from rrl.serving.lasting import start_apart, wait_until
from rrl.serving.launcher import START_TIMEOUT_S, ModelServer, StartTimeoutError, new_log
from rrl.serving.loadgen import Client
from rrl.serving.settings import flags
from rrl.support.errors import ServerError, UsageError
from rrl.support.files import write_atomically

CONNECT_S = 5.0
_PLACE = re.compile(r"\{([\w:-]+)\}")


@dataclass(frozen=True)
class Elsewhere:
    """Where a server is, and the commands that start and stop it.

    Parameters
    ----------
    address : str
        ``host:port`` of its gRPC endpoint.
    start, stop : str
        Commands for a shell. In `start`, ``{inter_op}`` stands for the value of that knob, and so
        on for each other one; ``{flags}`` for all flags of TensorFlow Serving; and ``{batching}``
        for the file on this machine that these flags name, with the batching parameters. The
        command may end when the server has started, or run as long as the server.

    Examples
    --------
    >>> box = Elsewhere("box:8500", "ssh box restart {flags} {env:MODE}", "ssh box stop")
    >>> box.filled({"inter_op": 2, "env:MODE": "a b"}, Path("b.txt"))
    "ssh box restart --tensorflow_inter_op_parallelism=2 'a b'"
    >>> box.check(["inter_op", "cpus"])
    Traceback (most recent call last):
    ...
    rrl.support.errors.UsageError: --start does not use the knob cpus: write {cpus} into it
    """

    address: str
    start: str
    stop: str

    def check(self, knobs: list[str]) -> None:
        """Raise UsageError if the address is none, or the command does not use a knob."""
        host, _, port = self.address.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise UsageError(f"--address {self.address}: write it as HOST:PORT")
        used = _PLACE.findall(self.start)
        for knob in knobs:
            if knob not in used and ("flags" not in used or knob == "cpus" or knob[:4] == "env:"):
                more = "" if knob == "cpus" or knob[:4] == "env:" else ", or {flags} for all flags,"
                raise UsageError(
                    f"--start does not use the knob {knob}: write {{{knob}}}{more} into it"
                )

    def filled(self, configuration: Configuration, batching: Path) -> str:
        """Return the command that starts the server with a configuration."""
        line, _ = flags(configuration, batching)
        values = {name: shlex.quote(str(value)) for name, value in configuration.items()}
        values |= {"flags": shlex.join(line), "batching": shlex.quote(str(batching))}
        return _PLACE.sub(lambda found: values.get(found[1], found[0]), self.start)

    def serves(self, model: str) -> bool:
        """Whether a model is AVAILABLE there."""
        if not self.listens:
            return False
        with Client(self.address, model) as client:
            return client.available(CONNECT_S)

    @property
    def listens(self) -> bool:
        """Whether anything takes a connection at the address."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        except OSError:
            return False
        return True


class ElsewhereServer(ModelServer):
    """A server elsewhere with one configuration; see :class:`Elsewhere` for the parameters."""

    def __init__(
        self,
        model_path: Path,
        configuration: Configuration,
        *,
        place: Elsewhere,
        logs: Path,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self.configuration = {name: plain(value) for name, value in configuration.items()}
        self.name, self.kind, self.address = model_path.resolve().name, "elsewhere", place.address
        self.rest_port = self.rest_address = None
        self.log, self._log_stays, self._timeout_s = new_log(logs, self.name), True, start_timeout_s
        self._place, self._batching = place, logs.absolute() / "batching.txt"
        self._command: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Run the command, and wait until the model is AVAILABLE at the address.

        Raises
        ------
        ServerError
            If the command fails, or an earlier server has not left the address.
        """
        until = time.monotonic() + self._timeout_s
        if self._place.serves(self.name):  # a server that others have started
            self._run_stop()
        if not wait_until(lambda: not self._place.serves(self.name), self._timeout_s):
            raise ServerError(
                f"{self.address}: a server still answers there after the command of --stop"
            )
        _, parameters = flags(self.configuration, self._batching)
        write_atomically(self._batching, parameters)
        command = self._place.filled(self.configuration, self._batching)
        with self.log.open("ab") as log:
            self._command = start_apart(["sh", "-c", command], subprocess.DEVNULL, log)
        self._timeout_s = max(until - time.monotonic(), 0.001)
        try:
            self._wait_until_available()
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def alive(self) -> bool:
        """Whether the command runs, or has ended well: nothing else is known of the server."""
        return self._command is not None and self._command.poll() in (None, 0)

    def check(self) -> None:
        """Raise ServerError if the command has failed."""
        if not self.alive and self._command is not None:
            raise ServerError(
                f"{self.address}: the command of --start ended with status "
                f"{self._command.returncode}; {self._kept_log()}"
            )

    def silent(self, waited_s: float) -> ServerError:
        """Return the error of a server that does not tell its state."""
        if not self._place.listens:
            return ServerError(f"{self.address}: nothing listens there any more")
        return super().silent(waited_s)

    def memory_bytes(self) -> None:
        """Return None: nobody knows the memory of a server elsewhere."""

    def stop(self, grace_s: float = 10.0) -> None:
        """Run the command that stops the server, and end the other one if it still runs.

        Raises
        ------
        ServerError
            If it fails or hangs.
        """
        self._run_stop()
        command = self._command
        if command and not wait_until(lambda: command.poll() is not None, grace_s):
            command.terminate()

    def _run_stop(self) -> None:
        with self.log.open("ab") as log:
            command = start_apart(["sh", "-c", self._place.stop], subprocess.DEVNULL, log)
        try:
            status = command.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            command.kill()
            raise StartTimeoutError(
                f"{self.address}: the command of --stop has not ended in {START_TIMEOUT_S:g} s"
            ) from None
        if status:
            raise ServerError(
                f"{self.address}: the command of --stop ended with status {status}; "
                f"{self._kept_log()}"
            )
