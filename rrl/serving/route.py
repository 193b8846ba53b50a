"""The connection of a front to one server: it passes on calls as bytes, with all that is theirs."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import grpc
from grpc.experimental import ChannelOptions

from rrl.serving.loadgen import DIRECT, SYNTHETIC, UNLIMITED

NO_DEADLINE_S = 1e8
"""A call without a deadline gets one that is centuries ahead; gRPC refuses it as a timeout."""

_CHANNEL_OPTIONS = [
    *UNLIMITED,
    DIRECT,
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    # The thread that handles a call also waits for its answer. A future, which can be cancelled
    # too, needs one more thread, and with it up to 5 ms more for a call.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
]

_OF_THE_CONNECTION = {"user-agent", "te", "content-type", "grpc-timeout", SYNTHETIC[0]} | {
    f"grpc-{name}encoding" for name in ("", "accept-")
}

_LOST = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,  # by the server, or because the connection was closed
}
_REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
_OF_A_VERSION = "Specific("  # how both executables name a version that they do not have
_BECAUSE_OF_BATCHING = re.compile(r"batch|task size|padding", re.IGNORECASE)

Metadata = tuple[tuple[str, str | bytes], ...]


def passed_on(metadata: Iterable[Any] | None) -> Metadata:
    """Return the metadata without the keys that belong to one connection only."""
    return tuple([pair for pair in metadata or () if pair[0] not in _OF_THE_CONNECTION])


class Reply(NamedTuple):
    """What a server answered: status, details, message and both kinds of metadata."""

    code: grpc.StatusCode
    details: str = ""
    message: bytes | None = None
    initial: Metadata = ()
    trailing: Metadata = ()

    @property
    def refused(self) -> bool:
        """Whether a server with another setting or version, or one that runs, may answer."""
        by_setting = self.code in _REFUSALS and _BECAUSE_OF_BATCHING.search(self.details)
        by_version = self.code is grpc.StatusCode.NOT_FOUND and _OF_A_VERSION in self.details
        return self.code in _LOST or bool(by_setting) or by_version


def seconds_left(context: grpc.ServicerContext) -> float | None:
    """Return the seconds until the client's deadline, or None if there is none."""
    left_s = context.time_remaining()
    return None if left_s is None or left_s > NO_DEADLINE_S else left_s


class Route:
    """The connection to one server, and the number of its open calls.

    Parameters
    ----------
    address : str
        ``host:port``, or ``unix:path``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.calls = 0
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        # For the server, a call that may bring several messages is a call that brings one.
        self._method = functools.lru_cache(maxsize=64)(self._channel.unary_stream)
        self._idle = threading.Condition()

    def begin(self) -> None:
        """Count a call that begins."""
        with self._idle:
            self.calls += 1

    def call(
        self, method: str, request: bytes, metadata: Metadata, context: grpc.ServicerContext
    ) -> Reply:
        """Pass on a call that was counted; if its client cancels it, it is cancelled here too."""
        try:
            left_s = seconds_left(context)
            call = self._method(method)(request, timeout=left_s, metadata=metadata)
            if not context.add_callback(call.cancel):  # the client has cancelled it already
                call.cancel()
            message = next(call)
            next(call, None)  # the status comes after the message
            initial, trailing = map(passed_on, (call.initial_metadata(), call.trailing_metadata()))
            return Reply(grpc.StatusCode.OK, "", message, initial, trailing)
        except grpc.RpcError as error:
            trailing = passed_on(error.trailing_metadata())
            return Reply(error.code(), error.details() or "", trailing=trailing)
        except StopIteration:
            return Reply(grpc.StatusCode.INTERNAL, f"{self.address}: OK, but no message")
        except ValueError as error:  # the channel was closed in the meantime
            return Reply(grpc.StatusCode.UNAVAILABLE, str(error))
        finally:
            with self._idle:
                self.calls -= 1
                self._idle.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until no call is open; return False if some calls are still open."""
        with self._idle:
            return self._idle.wait_for(lambda: not self.calls, timeout_s)

    def close(self) -> None:
        """Close the connection; calls that are still open fail."""
        self._channel.close()
