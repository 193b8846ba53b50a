"""The REST port of the local server: Predict and the status of the model, by tornado.

It runs in a thread beside the gRPC server, and answers by the same functions.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import responses
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from rrl.serving.loadgen import SIGNATURE, LastingError
from rrl.serving.rest_json import request_inputs, response
from rrl.serving.sample import fit
from rrl.serving.saved_model import Needed, needed_inputs
from rrl.serving.servable import invalid, log, reason
from rrl.serving.versions import ServedModel
from rrl.tuning.episode import Status

MOST_BODY_BYTES = 2**31 - 1
"""The largest body, packed or unpacked, as for a gRPC message; a larger one gets the status 400."""

HTTP = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401)
"""The HTTP status of each code, as in TensorFlow Serving's http_server.cc."""

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d{1,18}))?"


class Rest:
    """What the REST port answers.

    Parameters
    ----------
    served : ServedModel
    """

    def __init__(self, served: ServedModel) -> None:
        self._served = served

    def status(self, name: str, version: str | None) -> dict[str, Any]:
        """Return the state of a model's versions, or of one."""
        from google.protobuf import json_format
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        _identify(request.model_spec, name, version)
        reply = self._served.status(request)
        return json_format.MessageToDict(reply, always_print_fields_with_no_presence=True)

    def predict(self, name: str, version: str | None, body: bytes | bytearray) -> dict[str, Any]:
        """Return the answer to a Predict request.

        Raises
        ------
        StatusError
            If the model or the signature is not served.
        ValueError, LastingError
            If the body is no request, or does not fit the signature.
        """
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        document = json.loads(body)
        given = request_inputs(document)
        request = predict_pb2.PredictRequest()
        _identify(request.model_spec, name, version)
        request.model_spec.signature_name = str(document.get("signature_name", ""))
        for key, array in fit(given, self._needed(request.model_spec)).items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
        answer = self._served.predict(request)
        outputs = {key: tf.make_ndarray(proto) for key, proto in answer.outputs.items()}
        return response(outputs, by_row="instances" in document)

    def _needed(self, spec: Any) -> Needed:
        """Return the inputs of a signature."""
        key = spec.signature_name or SIGNATURE
        with self._served.serving(spec) as model:
            if key not in model.signature_defs:
                raise invalid(f'Serving signature name: "{key}" not found in signature def')
            return needed_inputs(model.signature_defs[key])


def _identify(spec: Any, name: str, version: str | None) -> None:
    spec.name = name
    if version:
        spec.version.value = int(version)


@stream_request_body
class _Handler(RequestHandler):
    """One request. Its body is taken as it is: tornado would read the default type as a form."""

    def initialize(self, rest: Rest, workers: ThreadPoolExecutor) -> None:
        self._rest, self._workers, self._body = rest, workers, bytearray()

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    async def answer(self, method: Callable[..., dict[str, Any]], *arguments: Any) -> None:
        """Answer in a worker thread; an error, perhaps TensorFlow's own, becomes an answer, too."""
        loop = asyncio.get_running_loop()
        try:
            document = await loop.run_in_executor(self._workers, method, *arguments)
        except Exception as error:  # a defect here must not cut the connection
            bad_body = isinstance(error, (ValueError, TypeError, RecursionError, LastingError))
            code = getattr(error, "error_code", Status.INVALID_ARGUMENT if bad_body else None)
            if code is None:
                log(f"{self.request.method} {self.request.path}: {error!r}")
            self.set_status(HTTP[Status.INTERNAL if code is None else code])
            document = {"error": reason(str(getattr(error, "message", error)))}
        self._finish(document)

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer what tornado refuses, such as another method."""
        words = f"{responses.get(status_code)}: {self.request.method} {self.request.path}"
        self._finish({"error": words})

    def _finish(self, document: dict[str, Any]) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(document))


class _Predict(_Handler):
    async def post(self, name: str, version: str | None) -> None:
        await self.answer(self._rest.predict, name, version, self._body)


class _Status(_Handler):
    async def get(self, name: str, version: str | None) -> None:
        await self.answer(self._rest.status, name, version)


class _Missing(_Handler):
    def prepare(self) -> None:
        raise HTTPError(404)


def serve_rest(rest: Rest, address: str, port: int, threads: int) -> None:
    """Answer REST requests from now on, by a thread that ends with the process.

    Parameters
    ----------
    rest : Rest
    address : str
        The address to bind.
    port : int
    threads : int
        Number of worker threads, which is the number of requests in work at the same time.

    Raises
    ------
    OSError
        If the port is taken.
    """
    given = {"rest": rest, "workers": ThreadPoolExecutor(threads)}
    routes = [(f"{_MODEL}:predict", _Predict), (_MODEL, _Status), (r".*", _Missing)]
    application = Application(
        [(path, handler, given) for path, handler in routes], log_function=lambda _: None
    )
    try:
        sockets = bind_sockets(port, address)
    except OSError as error:
        raise OSError(
            f"Failed to start HTTP Server at {address}:{port} (is the port taken?): {error}"
        ) from None

    async def serve() -> None:
        sizes = {"max_body_size": MOST_BODY_BYTES, "max_buffer_size": MOST_BODY_BYTES}
        HTTPServer(application, **sizes, decompress_request=True).add_sockets(sockets)
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
