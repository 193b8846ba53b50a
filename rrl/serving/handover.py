"""A change of configuration that loses no request: start a server, warm up, take over, drain.

TensorFlow fixes its thread pools once per process, so a new configuration is a new process. Clients
keep one address, that of a `rrl.serving.front.Front`, which passes every call on to the current
server. :class:`HandoverServer` is a live server behind such a front. During a hand-over, two
servers share the machine. The hand-over needs the memory of both, and answers are slower.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.serving.front import Front
from rrl.serving.launcher import ModelServer
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client


@dataclass(frozen=True)
class Switch:
    """The times of one hand-over.

    Parameters
    ----------
    configuration : configuration
        The configuration that took over.
    began : float
        Start time in seconds, by `time.monotonic`.
    start_s : float
        Seconds in which the new server started and warmed up while the old one served. If the same
        process loaded a new version of the model instead, it is the time of the whole switch.
    drain_s : float
        Seconds in which the old server answered its open calls and stopped.
    drained : bool
        Whether the old server answered all open calls. If not, it took longer than allowed and was
        stopped.
    """

    configuration: Configuration
    began: float
    start_s: float
    drain_s: float
    drained: bool

    @property
    def seconds(self) -> float:
        """Time of the whole hand-over in seconds."""
        return self.start_s + self.drain_s


class HandoverServer(LiveServer):
    """A live server at a fixed address; a new configuration takes over from the running one.

    It takes the parameters of :class:`rrl.LiveServer`, and also `port` and `drain_s`. It also
    serves requests that other clients send to :attr:`address`. A configuration that does not start
    never takes over.

    Parameters
    ----------
    port : int, optional
        Port of the fixed address. By default, a free port is chosen.
    drain_s : float, optional
        Longest wait in seconds for the old server's last answers.

    Attributes
    ----------
    switches : list of Switch
        The hand-overs so far.

    Examples
    --------
    >>> with HandoverServer(base_path, space, port=8500) as server:  # doctest: +SKIP
    ...     server.configure({"inter_op": 2}, rng)  # clients may come now
    ...     server.configure({"inter_op": 1}, rng)  # and notice nothing of this
    """

    def __init__(
        self, *arguments: Any, port: int | None = None, drain_s: float = 60.0, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.front, self._drain_s = Front(port), drain_s
        self.switches: list[Switch] = []

    @property
    def address(self) -> str:
        """The fixed ``host:port``."""
        return self.front.address

    def close(self) -> None:
        """Stop the server and close its address."""
        self.front.close()
        super().close()

    def _drop(self) -> None:
        self.front.route(None)(0.0)
        super().close()

    def configure(self, configuration: Configuration, rng: np.random.Generator) -> ModelServer:
        """Start and warm up `configuration`; the running configuration serves until then."""
        wanted = {**self._fixed, **configuration}
        old, old_client = self._server, self._client
        began = time.monotonic()
        if old:
            old.versions.check(self._version)
            before = old.configuration
            if self._switched(old, wanted):
                if before != wanted:
                    self.switches.append(Switch(wanted, began, self.start_s, 0.0, drained=True))
                return old
        server, direct = self._launch(wanted, rng)
        direct.close()
        drain = self.front.route(server.address)
        taken = time.monotonic()
        self._server, self._client = server, Client(self.address, server.name)
        if old and old_client:
            drained = drain(self._drain_s)
            old_client.close()
            old.stop()
            switch = Switch(wanted, began, taken - began, time.monotonic() - taken, drained)
            self.switches.append(switch)
        return server
