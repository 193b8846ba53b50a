"""The REST port: HTTP/1.1 by tornado, in a thread beside the gRPC server."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body

from rrl.serving.rest import HttpReply, failure
from rrl.serving.status import DEADLINE_EXCEEDED, HTTP, INVALID_ARGUMENT

MOST_BODY_BYTES = 2**31 - 1
"""The largest body, as for a gRPC message; a larger one gets the status 400."""

MOST_UNPACKED_BYTES = 100 * 2**20
"""The largest body in gzip, once it is unpacked, as in the original."""

_STOP_S = 5.0  # seconds that open requests have when the server stops

Answering = Callable[[str, str, bytes], HttpReply]


@stream_request_body
class _Handler(RequestHandler):
    """One request. Its body is taken as it is: tornado would read the default type as a form."""

    def initialize(self, server: RestServer) -> None:
        self._server, self._chunks = server, list[bytes]()

    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def compute_etag(self) -> None:
        """Give no ETag: an answer is never "not modified"."""

    def data_received(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    async def _respond(self) -> None:
        self._server.open += 1
        try:
            packed = self.request.headers.get("Content-Encoding", "").lower() == "gzip"
            reply = await self._server.answer(
                self.request.method or "", self.request.path, b"".join(self._chunks), packed
            )
            self.set_status(reply.status)
            self.set_header("Content-Type", reply.content_type)
            await self.finish(reply.body)
        except StreamClosedError:
            pass  # the client has gone
        finally:
            self._server.open -= 1

    get = head = post = put = patch = delete = options = _respond

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer what tornado refuses, such as an unknown HTTP method."""
        message = f"Malformed request: {self.request.method} {self.request.path}"
        reply = failure(status_code, message)
        self.set_header("Content-Type", reply.content_type)
        self.finish(reply.body)


class RestServer:
    """An HTTP server in a thread of its own.

    Parameters
    ----------
    answer : callable
        This function makes a reply from the HTTP method, the path and the body. It runs in one of
        the worker threads.
    address : str
        The address to bind.
    port : int
    threads : int
        Number of worker threads, which is the number of requests in work at the same time.
    timeout_s : float
        Seconds after which a request gets the status 504; 0 means never.

    Attributes
    ----------
    open : int
        Number of requests that wait for their answer.

    Raises
    ------
    OSError
        If the port is taken.
    """

    def __init__(
        self, answer: Answering, address: str, port: int, threads: int, timeout_s: float
    ) -> None:
        self._answer, self._timeout_s = answer, timeout_s or None
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        try:
            self._sockets = bind_sockets(port, address)
        except OSError as error:
            raise OSError(
                f"Failed to start HTTP Server at {address}:{port} (is the port taken?): {error}"
            ) from None
        self.open = 0
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        routes = [(r".*", _Handler, {"server": self})]
        server = HTTPServer(
            Application(routes, log_function=lambda _: None),
            max_body_size=MOST_BODY_BYTES,
            max_buffer_size=MOST_BODY_BYTES,
        )
        server.add_sockets(self._sockets)
        await self._stopping.wait()
        server.stop()
        while self.open:
            await asyncio.sleep(0.01)

    async def answer(self, method: str, path: str, body: bytes, packed: bool) -> HttpReply:
        """Answer in a worker thread, or say that the time is over; the body may be in gzip.

        What runs by then runs on to its end. What has not begun is dropped.
        """
        work = self._loop.run_in_executor(self._workers, self._work, method, path, body, packed)
        try:
            return await asyncio.wait_for(work, self._timeout_s)
        except TimeoutError:
            return failure(HTTP[DEADLINE_EXCEEDED], "Timed out waiting for notification")

    def _work(self, method: str, path: str, body: bytes, packed: bool) -> HttpReply:
        if packed:
            unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            with suppress(zlib.error):
                body = unpacker.decompress(body, MOST_UNPACKED_BYTES)
            if not unpacker.eof:
                message = (
                    f"the body is not gzip, or unpacks to more than {MOST_UNPACKED_BYTES} bytes"
                )
                return failure(HTTP[INVALID_ARGUMENT], message)
        return self._answer(method, path, body)

    def stop(self) -> None:
        """Take no new connections, and give the open requests some seconds."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_S)
        self._workers.shutdown(wait=False, cancel_futures=True)
