"""One gRPC address in front of changing servers, for a service that has clients already.

A front passes on unary calls of any method: bytes, metadata, deadlines, cancels and errors. It
measures the requests of others. It can try a server with a fraction of the calls; a call that one
of the two cannot answer goes to the other one. At the end, it gives its port to a server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

from rrl.serving.launcher import can_bind, free_port
from rrl.serving.loadgen import SYNTHETIC, UNLIMITED
from rrl.serving.ports import leave_new_connections, listeners, nobody_is_connected, wait_until
from rrl.serving.route import Metadata, Reply, Route, passed_on, seconds_left
from rrl.serving.routing import Routing
from rrl.serving.running import running_server
from rrl.serving.traffic import PREDICTION, ObservedTraffic, batch_size, names_version
from rrl.support.errors import ServerError

AT_ONCE = 1024  # requests that a front passes on in parallel; more requests wait for a thread

CONNECTION_S = 30.0
"""After about this time, a client is asked to connect again. gRPC does this without a failed call.

It is the only way to a port's next owner on which no call fails: gRPC cancels the calls that reach
a server which is about to stop.
"""

_REQUESTS = {PREDICTION + name for name in ("Predict", "Classify", "Regress", "MultiInference")}
"""The methods whose calls are traffic; others are probes, as those of a health check."""

_AT_DEADLINE = 0.03  # gRPC rounds a timeout up by about 1 % on its way to the server


class Front(grpc.GenericRpcHandler):
    """One gRPC address in front of changing servers.

    Parameters
    ----------
    port : int, optional
        Port on the loopback address. By default, a free port is chosen.
    at_once : int
        How many requests are passed on in parallel. A server on trial gets at most half of them.
    connection_s : float
        Seconds after which a client connects again. See `hand_port_over`.

    Attributes
    ----------
    traffic : ObservedTraffic
        The requests of others that have passed: their predictions, and no questions about status
        or health. Calls with the metadata key of `rrl.serving.loadgen.SYNTHETIC` are rrl's own,
        and are not among them.

    Raises
    ------
    ServerError
        If the port is taken.

    Examples
    --------
    >>> front = Front()
    >>> front.route("127.0.0.1:8501")(0.0)  # no server was there before, so all calls have ended
    True
    >>> front.split("127.0.0.1:8502", fraction=0.1)  # every tenth call goes to a server on trial
    >>> front.close()
    """

    def __init__(
        self, port: int | None = None, *, at_once: int = AT_ONCE, connection_s: float = CONNECTION_S
    ) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.traffic = ObservedTraffic()
        # A server on trial that does not answer must leave threads for the other one.
        self._routing, self._connection_s = Routing(at_once // 2), connection_s
        options = [
            *UNLIMITED,
            ("grpc.so_reuseport", 1),
            ("grpc.max_connection_age_ms", int(1000 * connection_s)),
        ]
        self._server = grpc.server(ThreadPoolExecutor(at_once), handlers=[self], options=options)
        free = self._bind()
        self._server.start()
        if not free:  # a server that has not been started does not close its socket
            self._server.stop(grace=None).wait()
            raise ServerError(f"{self.address}: the port is taken; {self._remedy()}")

    def _bind(self) -> bool:
        """Listen on the port; return False if someone else listens there, too."""
        if not can_bind(self.port):
            return False
        try:
            self._server.add_insecure_port(self.address)
        except RuntimeError:
            return False
        return listeners(self.port) <= 1  # another one may have come after the first check

    def _remedy(self) -> str:
        """Say what helps if the port is taken, perhaps by the server that an earlier run left."""
        found, other = running_server(self.address), "choose another, or none"
        if found is None:
            return other
        return (
            f"if an earlier run left the server there, kill {found.pid} first, then the same "
            f"command continues; otherwise {other}"
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return the handler of a method to gRPC; the front handles every method."""
        method, arrival = handler_call_details.method, time.monotonic()
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._pass_on(method, arrival, request, context)
        )

    def _pass_on(
        self, method: str, arrival: float, request: bytes, context: grpc.ServicerContext
    ) -> bytes | None:
        sent = context.invocation_metadata()
        synthetic = any(key == SYNTHETIC[0] for key, _ in sent)
        metadata = passed_on(sent)
        route = self._routing.choose(synthetic)
        address = route.address if route else ""
        number = None
        if not synthetic and method in _REQUESTS:
            self.traffic.names_version |= names_version(method, request)
            number = self.traffic.begin(batch_size(method, request), address, arrival)
        reply = self._ask(route, method, request, metadata, context)
        repeated = not synthetic and self._may_repeat(method, reply, context)
        if repeated and (other := self._routing.other(route)):
            reply = self._ask(other, method, request, metadata, context)
            address = other.address
        if number is not None:
            code, left_s = reply.code, seconds_left(context)
            passed_s = time.monotonic() - arrival
            late = left_s is not None and left_s <= _AT_DEADLINE * passed_s
            if late and code is grpc.StatusCode.CANCELLED:  # as a client does at its deadline
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            self.traffic.end(number, code.value[0], address)
        if context.is_active() and reply.initial:
            context.send_initial_metadata(reply.initial)
        context.set_trailing_metadata(reply.trailing)
        if reply.code is not grpc.StatusCode.OK:
            context.abort(reply.code, reply.details)
        return reply.message

    def _ask(
        self,
        route: Route | None,
        method: str,
        request: bytes,
        metadata: Metadata,
        context: grpc.ServicerContext,
    ) -> Reply:
        if route is None:
            return Reply(grpc.StatusCode.UNAVAILABLE, "no server is running")
        return route.call(method, request, metadata, context)

    @staticmethod
    def _may_repeat(method: str, reply: Reply, context: grpc.ServicerContext) -> bool:
        """Whether a call may be sent again: predictions change nothing, and the client waits."""
        return (
            reply.refused
            and method.startswith(PREDICTION)
            and context.is_active()
            and seconds_left(context) != 0
        )

    def route(self, address: str | None, standby: str | None = None) -> Callable[[float], bool]:
        """Send all calls to a server from now on, or to no server if `address` is None.

        Parameters
        ----------
        address : str, optional
            The server's address.
        standby : str, optional
            Address of the server that answers a prediction which the first one refuses because of
            its batching, or cannot serve. rrl's own calls are not repeated.

        Returns
        -------
        callable
            This function takes a time limit in seconds. It waits for the calls that are still open
            on the servers that get none any more, and returns whether all of them have ended. Then
            it closes the connections to them.
        """
        return self._routing.follow(address, standby, 1.0)

    def split(self, trial: str, fraction: float) -> None:
        """Send a fraction of the calls to a server on trial; the present server gets the others.

        A prediction that one of them refuses because of its batching, or cannot serve, is sent to
        the other one. All calls of rrl itself go to the server on trial. `route` ends
        this.

        Parameters
        ----------
        trial : str
            Address of the server on trial.
        fraction : float
            Fraction of the calls, from 0 to 1. They follow each other evenly.

        Raises
        ------
        ValueError
            If there is no present server, or if the fraction is not between 0 and 1.
        """
        present = self._routing.present
        if present is None or not 0 <= fraction <= 1:
            raise ValueError(
                f"fraction {fraction} of {present and present.address}: it needs a server"
            )
        self._routing.follow(trial, present.address, fraction)

    def hand_port_over(
        self, start: Callable[[], object], *, listen_s: float = 120.0, leave_s: float = 60.0
    ) -> bool:
        """Give the port to a server, and close the front when no client is connected to it.

        The front answers calls until then. New connections go to the server as soon as it listens.
        A client with a long connection is asked to connect again after `connection_s` seconds, as
        always. So this takes about that time, and no call fails.

        Parameters
        ----------
        start : callable
            It starts a process that serves on :attr:`port` of 127.0.0.1, with the flag
            ``--grpc_channel_arguments=grpc.so_reuseport=1``, and returns when the server is ready.
            :func:`rrl.serving.detached.start_detached` does so with ``shared=True``. If it raises
            an error, the front goes on as before.
        listen_s : float
            Longest wait in seconds until the started server listens. The front may answer a client
            that asks the port whether the server is ready.
        leave_s : float
            Longest wait in seconds after `connection_s` for calls that take long.

        Returns
        -------
        bool
            Whether all clients have left. If not, their open calls were cut off.

        Raises
        ------
        ServerError
            If no other server listens on the port. The front then goes on as before.
        """
        start()
        if not wait_until(lambda: listeners(self.port) > 1, listen_s):
            raise ServerError(
                f"{self.address}: the new server does not listen there; "
                "start it with --grpc_channel_arguments=grpc.so_reuseport=1"
            )
        leave_new_connections(self.port)
        limit_s = 1.1 * self._connection_s + leave_s
        left = wait_until(lambda: nobody_is_connected(self.port), limit_s)
        self.close()
        return left

    def close(self) -> None:
        """Stop answering calls."""
        self._server.stop(grace=None).wait()
        self.route(None)(0.0)
