"""The REST port of the local server: Predict and the status of the model.

Tornado reads and writes HTTP in a thread of its own. The answers are those of the gRPC server.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import responses
from typing import Any
from urllib.parse import unquote

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from rrl.serving.loadgen import SIGNATURE
from rrl.serving.rest_json import decoded, request_inputs, response
from rrl.serving.servable import LOOPBACK, LoadedModel, problem

MOST_BODY_BYTES = 2**31 - 1
"""The largest body, as for a gRPC message."""

MOST_VALUES = 2**20
"""The most values of a request: Python needs seconds for more numbers, and gRPC waits meanwhile."""

BODY_S = 60.0  # seconds until a body has to be there

HTTP = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
"""The HTTP status of each code, as in TensorFlow Serving's http_server.cc."""

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d{1,18}))?"


@stream_request_body  # otherwise Tornado reads what `curl -d` sends as a form
class _Handler(RequestHandler):
    """One request."""

    def initialize(self, model: LoadedModel) -> None:
        """Take what all requests share."""
        self._model, self._body = model, bytearray()

    def data_received(self, chunk: bytes) -> None:
        """Take the next part of the body."""
        self._body += chunk

    async def get(self) -> None:
        """Answer with the state of the model."""
        await self._answer(_MODEL, self._status)

    async def post(self) -> None:
        """Answer a Predict request."""
        await self._answer(f"{_MODEL}:predict", self._predict)

    async def _answer(self, path: str, document: Callable[[], dict[str, Any]]) -> None:
        found = re.fullmatch(path, unquote(self.request.path))
        if not found:
            raise HTTPError(404)
        status, body = await asyncio.to_thread(self._work, document, *found.groups())
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(body)

    def _work(
        self, document: Callable[[], dict[str, Any]], name: str, version: str | None
    ) -> tuple[int, str]:
        """Return status and body; an error, perhaps TensorFlow's own, becomes an answer, too."""
        from tensorflow_serving.apis import model_pb2

        number = {"value": int(version)} if version else None
        try:
            self._model.check(model_pb2.ModelSpec(name=name, version=number))
            return 200, json.dumps(document())
        except Exception as error:
            code, message = problem(error)
            return HTTP[code], json.dumps({"error": message})

    def _status(self) -> dict[str, Any]:
        from google.protobuf import json_format

        reply = self._model.status()
        return json_format.MessageToDict(reply, always_print_fields_with_no_presence=True)

    def _predict(self) -> dict[str, Any]:
        if self._body.count(b",") > MOST_VALUES:
            raise ValueError(
                f"a request by REST has at most {MOST_VALUES} values; send larger ones by gRPC"
            )
        document = json.loads(self._body, object_hook=decoded)
        given = request_inputs(document)
        outputs = self._model.run(str(document.get("signature_name") or SIGNATURE), given)
        return response(outputs, by_row="instances" in document)

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer to a path or a method that is not there."""
        said = f"{responses[status_code]}: {self.request.method} {self.request.path}"
        self.finish({"error": said})


def serve_rest(model: LoadedModel, port: int, threads: int) -> None:
    """Answer REST requests at the loopback address, by threads that end with the process.

    Parameters
    ----------
    model : LoadedModel
    port : int
    threads : int
        The number of requests in work at the same time.

    Raises
    ------
    OSError
        If the port is taken.
    """
    try:
        sockets = bind_sockets(port, LOOPBACK)
    except OSError as error:
        raise OSError(
            f"Failed to start HTTP Server at {LOOPBACK}:{port} (is the port taken?): {error}"
        ) from None
    application = Application([(".*", _Handler, {"model": model})], log_function=lambda _: None)

    async def serve() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        limits = {"max_body_size": MOST_BODY_BYTES, "body_timeout": BODY_S}
        HTTPServer(application, **limits).add_sockets(sockets)
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
