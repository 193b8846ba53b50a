"""A change of configuration that loses no request: start a server, warm up, take over, drain.

TensorFlow fixes its thread pools once per process, so a new configuration is a new process. Clients
keep one address, that of a :class:`Front`, which passes every call on to the current server.
:class:`HandoverServer` is a live server behind such a front. During a hand-over, two servers share
the machine. The hand-over needs the memory of both, and answers are slower.
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

AT_ONCE = 256  # requests that a front passes on in parallel; more requests wait for a thread

NO_DEADLINE_S = 1e8
"""A call without a deadline gets one that is centuries ahead; gRPC refuses it as a timeout."""


class _Route:
    """The connection to one server, and the number of its open calls."""

    def __init__(self, address: str) -> None:
        self.address = address
        own_connection = [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(address, options=own_connection)
        self.calls = 0
        self.idle = threading.Condition()

    def begin(self) -> None:
        """Count a call that begins."""
        with self.idle:
            self.calls += 1

    def end(self) -> None:
        """Remove a call that has ended from the count."""
        with self.idle:
            self.calls -= 1
            self.idle.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until no call is open; return False if some calls are still open."""
        with self.idle:
            return self.idle.wait_for(lambda: not self.calls, timeout_s)


class Front(grpc.GenericRpcHandler):
    """One gRPC address in front of changing servers; it passes on bytes, deadlines and errors.

    Parameters
    ----------
    port : int, optional
        Port on the loopback address. By default, a free port is chosen.

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
        """Return the handler of a method to gRPC; the front handles every method."""
        method = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._pass_on(method, request, context)
        )

    def _pass_on(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._switching:  # no switch may come between the choice of a route and the count
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
        """Send calls to another server from now on, or to no server if `address` is None.

        Returns
        -------
        callable
            This function takes a time limit in seconds. It waits for the calls that are still open
            on the previous server, and returns whether all of them have ended.
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
        """Stop answering calls."""
        self._server.stop(grace=None).wait()
        self.route(None)(0.0)


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
