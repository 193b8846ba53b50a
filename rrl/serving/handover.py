"""A change of configuration that loses no request: start beside, warm up, take over, drain.

TensorFlow fixes its thread pools once a process, so a new configuration is a new process. Clients
keep one address, that of a :class:`Front`, which passes every call on to the server of the
moment. :class:`HandoverServer` is a live server behind such a front. While a hand-over is under
way two servers share the machine: it needs the memory of both, and answers are slower.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from rrl.core.knob import Configuration
from rrl.serving.launcher import ModelServer, can_bind, free_port
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import UNLIMITED, Client
from rrl.support.errors import ServerError

AT_ONCE = 256  # requests that a front passes on side by side; more wait for a thread of it

NO_DEADLINE_S = 1e8
"""A call without a deadline has one centuries ahead, which gRPC does not take as a timeout."""


class _Route:
    """The way to one server, and how many calls are on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        own_connection = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(address, options=own_connection)
        self.calls = 0
        self.idle = threading.Condition()

    def begin(self) -> None:
        """Count a call."""
        with self.idle:
            self.calls += 1

    def end(self) -> None:
        """Count it off."""
        with self.idle:
            self.calls -= 1
            self.idle.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until no call is on the way; False if some still are."""
        with self.idle:
            return self.idle.wait_for(lambda: not self.calls, timeout_s)


class Front(grpc.GenericRpcHandler):
    """One gRPC address in front of servers that come and go; it passes bytes, deadlines, errors.

    Parameters
    ----------
    port : int, optional
        On the loopback address; a free one by default.

    Raises
    ------
    ServerError
        If the port is taken.
    """

    def __init__(self, port: int | None = None) -> None:
        port = port or free_port()
        self.address = f"127.0.0.1:{port}"
        if not can_bind(port):
            raise ServerError(f"{self.address}: the port is taken; choose another, or none")
        self._route: _Route | None = None
        self._switching = threading.Lock()
        options = [*UNLIMITED, ("grpc.so_reuseport", 0)]
        self._server = grpc.server(ThreadPoolExecutor(AT_ONCE), handlers=[self], options=options)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """How gRPC asks who answers a method: we do, whatever it is."""
        method = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._pass_on(method, request, context)
        )

    def _pass_on(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._switching:  # between choosing a route and counting the call on it, no switch
            route = self._route
            if route is None:
                context.abort(grpc.StatusCode.UNAVAILABLE, "no server is running")
            route.begin()
        try:
            left_s = context.time_remaining()
            if left_s is not None and left_s > NO_DEADLINE_S:
                left_s = None
            return route.channel.unary_unary(method)(request, timeout=left_s)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        finally:
            route.end()

    def route(self, address: str | None) -> Callable[[float], bool]:
        """Send calls to another server from now on (None: to nobody).

        Returns
        -------
        callable
            Takes a time limit in seconds, waits for the calls that are still on their way to the
            server before, and says whether all of them came back.
        """
        new = _Route(address) if address else None
        with self._switching:
            old, self._route = self._route, new

        def drain(timeout_s: float) -> bool:
            if old is None:
                return True
            drained = old.drain(timeout_s)
            old.channel.close()
            return drained

        return drain

    def close(self) -> None:
        """Stop answering."""
        self._server.stop(grace=None).wait()
        self.route(None)(0.0)


@dataclass(frozen=True)
class Switch:
    """What one hand-over took.

    Parameters
    ----------
    configuration : configuration
        The one that took over.
    began : float
        When, by `time.monotonic`.
    start_s : float
        Seconds in which the new server started and warmed up while the old one served. Where the
        same process took on a new version of the model, all of the switch.
    drain_s : float
        Seconds in which the old server answered what it still had, and stopped.
    drained : bool
        Whether it answered everything; if not, it took longer than allowed and was stopped.
    """

    configuration: Configuration
    began: float
    start_s: float
    drain_s: float
    drained: bool

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.start_s + self.drain_s


class HandoverServer(LiveServer):
    """A live server at one address for good: a new configuration takes over from the running one.

    Takes the parameters of :class:`rrl.LiveServer`, and `port` and `drain_s`. Requests of others
    to :attr:`address` are served as well. A configuration that does not start never takes over.

    Parameters
    ----------
    port : int, optional
        Of the address that stays; a free one by default.
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
        """``host:port`` that stays."""
        return self.front.address

    def close(self) -> None:
        """Stop the server and its address."""
        self.front.close()
        super().close()

    def _drop(self) -> None:
        self.front.route(None)(0.0)
        super().close()

    def configure(self, configuration: Configuration, rng: np.random.Generator) -> ModelServer:
        """Have `configuration` running and warm; the one that ran serves until then."""
        wanted = {**self._fixed, **configuration}
        old, old_client = self._server, self._client
        began = time.monotonic()
        if old:
            old.versions.check()
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
