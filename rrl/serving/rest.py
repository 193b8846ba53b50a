"""The REST port of the local server: Predict and the status of the model.

It runs in threads beside the gRPC server, and answers by the same functions.
"""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.client import responses
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import unquote

from rrl.serving.loadgen import SIGNATURE, LastingError
from rrl.serving.rest_json import request_inputs, response
from rrl.serving.sample import fit
from rrl.serving.saved_model import needed_inputs
from rrl.serving.servable import LOOPBACK, LoadedModel, log, reason, refused
from rrl.tuning.episode import Status

MOST_BODY_BYTES = 2**31 - 1
"""The largest body, as for a gRPC message; a larger one gets the status 413."""

HTTP = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
"""The HTTP status of each code, as in TensorFlow Serving's http_server.cc."""

IDLE_S = 60.0  # seconds in which a connection has to say more
PIECE = 2**20  # bytes of a body that are read at once, so that a client cannot announce memory away

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d{1,18}))?"


class Rest:
    """What the REST port answers."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def status(self, name: str, version: str | None) -> dict[str, Any]:
        """Return the state of the model, or of one version."""
        from google.protobuf import json_format
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(name, version))
        reply = self._model.status(request)
        return json_format.MessageToDict(reply, always_print_fields_with_no_presence=True)

    def predict(self, name: str, version: str | None, body: bytes) -> dict[str, Any]:
        """Return the answer to a Predict request.

        Raises
        ------
        tf.errors.OpError
            If the model or the signature is not served.
        ValueError, LastingError
            If the body is no request, or does not fit the signature.
        """
        document = json.loads(body)
        given = request_inputs(document)
        key = str(document.get("signature_name") or SIGNATURE)
        self._model.check(_spec(name, version))
        signature = self._model.signature_defs.get(key)
        if signature is None:
            raise refused(f'Serving signature name: "{key}" not found in signature def')
        outputs = self._model.run(key, fit(given, needed_inputs(signature)))
        return response(outputs, by_row="instances" in document)


def _spec(name: str, version: str | None) -> Any:
    from tensorflow_serving.apis import model_pb2

    spec = model_pb2.ModelSpec(name=name)
    if version:
        spec.version.value = int(version)
    return spec


class _Server(ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def __init__(self, rest: Rest, port: int, threads: int) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.rest, self.turn = rest, threading.Semaphore(threads)

    def handle_error(self, *_: Any) -> None:
        """Drop the connection of a client that has left."""


class _Lines(io.BufferedReader):
    """What a client sends; inside a line, a carriage return is a space, as RFC 9112 allows.

    Python's parser of headers would begin another line there.
    """

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line, with its own end."""
        line = super().readline(size)
        return line[:-2].replace(b"\r", b" ") + line[-2:]


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection, one after the other."""

    server: _Server
    protocol_version = default_request_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_S

    def setup(self) -> None:
        """Read what the client sends as :class:`_Lines`."""
        super().setup()
        self.rfile = _Lines(self.connection.makefile("rb", 0))

    def do_GET(self) -> None:
        self._answer(_MODEL, self.server.rest.status)

    def do_POST(self) -> None:
        self._answer(f"{_MODEL}:predict", self.server.rest.predict)

    def _answer(self, path: str, method: Callable[..., dict[str, Any]]) -> None:
        """Answer a request; an error, perhaps TensorFlow's own, becomes an answer, too."""
        if (body := self._body()) is None:
            return None
        found = re.fullmatch(path, unquote(self.path.partition("?")[0]))
        if not found:
            return self._send(404, {"error": f"Not Found: {self.command} {self.path}"})
        given = found.groups() if self.command == "GET" else (*found.groups(), body)
        try:
            with self.server.turn:
                document = method(*given)
        except Exception as error:  # a defect here must not cut the connection
            bad_body = isinstance(error, (ValueError, TypeError, RecursionError, LastingError))
            code = getattr(error, "error_code", Status.INVALID_ARGUMENT if bad_body else None)
            if code is None:
                log(f"{self.command} {self.path}: {error!r}")
            document = {"error": reason(str(getattr(error, "message", error)))}
            return self._send(HTTP[Status.INTERNAL if code is None else code], document)
        return self._send(200, document)

    def _body(self) -> bytes | None:
        """Return the body; None if there is none that can be answered, which is said."""
        given = self.headers.get_all("Content-Length", ["0"])
        unclear = "Transfer-Encoding" in self.headers or self.headers.defects or len(given) > 1
        problem, length, body = 0, 0, bytearray()
        if unclear or not re.fullmatch(r"\d{1,10}", given[0]):
            problem = 411
        elif (length := int(given[0])) > MOST_BODY_BYTES:
            problem = 413
        while not problem and len(body) < length:
            piece = self.rfile.read(min(PIECE, length - len(body)))
            body += piece
            problem = 0 if piece else 400
        if problem:
            self.send_error(problem)
        return None if problem else bytes(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, or cannot be read to its end.

        A client that still sends gets the answer only if somebody reads what it sends.
        """
        self.close_connection = True
        self._send(code, {"error": message or responses[code]})
        self.connection.shutdown(socket.SHUT_WR)
        enough = time.monotonic() + IDLE_S
        while time.monotonic() < enough and self.connection.recv(PIECE):
            pass

    def _send(self, code: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing of single requests."""


def serve_rest(rest: Rest, port: int, threads: int) -> None:
    """Answer REST requests at the loopback address, by threads that end with the process.

    Parameters
    ----------
    rest : Rest
    port : int
    threads : int
        The number of requests in work at the same time.

    Raises
    ------
    OSError
        If the port is taken.
    """
    try:
        server = _Server(rest, port, threads)
    except OSError as error:
        raise OSError(
            f"Failed to start HTTP Server at {LOOPBACK}:{port} (is the port taken?): {error}"
        ) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
