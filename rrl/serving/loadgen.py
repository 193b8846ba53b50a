"""An open-loop load generator over TF Serving's own gRPC API.

See :mod:`rrl.serving.volley` for how requests are sent. They leave from the process that tunes,
which does nothing else during an episode. The generator shares the machine with the server, so it
reports how late its own requests left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.serving.quiet import load_tensorflow
from rrl.serving.volley import Volley
from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode
from rrl.tuning.watch import Watch

SIGNATURE = "serving_default"
UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
SYNTHETIC = ("rrl-synthetic", "1")
"""Metadata of the requests of `Client.fire`, by which Envoy tells them from those of others."""

_METHOD = "/tensorflow.serving.PredictionService/Predict"
_CONNECT_S = 1.0  # longest wait for the connection before an episode

_CHANNEL_OPTIONS = [
    *UNLIMITED,
    ("grpc.enable_http_proxy", 0),  # gRPC would send even 127.0.0.1 through `http_proxy`
    ("grpc.use_local_subchannel_pool", 1),  # a new server on an old port gets a new connection
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1000),  # what one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 200),
]


def predict_request(
    inputs: Mapping[str, NDArray[Any]], model: str = "default", signature: str = SIGNATURE
) -> Any:
    """Make a `tensorflow.serving.PredictRequest` with these inputs (first axis: batch)."""
    from tensorflow import make_tensor_proto
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest(model_spec={"name": model, "signature_name": signature})
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(make_tensor_proto(array))
    return request


class LastingError(ServerError):
    """A failure of a server that another start would not mend."""


class Client:
    """A connection to one model of one server.

    Parameters
    ----------
    address : str
        ``host:port`` of the gRPC endpoint, or ``unix:/path`` of its socket.
    model, signature : str
        TF Serving's own defaults are ``"default"`` and ``"serving_default"``.
    """

    def __init__(self, address: str, model: str = "default", signature: str = SIGNATURE) -> None:
        load_tensorflow()  # tensorflow_serving.apis imports it
        import grpc
        from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

        self.model, self.signature = model, signature
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._named = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": model})
        self._on_bytes = self._channel.unary_unary(_METHOD)  # a payload is serialised once

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def payload(self, inputs: Mapping[str, NDArray[Any]]) -> bytes:
        """Return the serialised request, for `fire`."""
        return predict_request(inputs, self.model, self.signature).SerializeToString()

    def available(self, timeout_s: float) -> bool:
        """Return whether the server reports within some seconds that the model is AVAILABLE."""
        return self.state(timeout_s) == "AVAILABLE"

    def state(self, timeout_s: float) -> str:
        """Return the state of the model, or the gRPC code of an error, such as ``NOT_FOUND``.

        The connection may come up in that time. Without one, or without a free thread, the code is
        ``DEADLINE_EXCEEDED``.
        """
        import grpc

        try:
            reply = self._models.GetModelStatus(self._named, timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            return str(error.code().name)
        states = [found.State.Name(found.state) for found in reply.model_version_status]
        return "AVAILABLE" if "AVAILABLE" in states else next(iter(states), "UNKNOWN")

    def fire(
        self,
        payload: bytes | Sequence[bytes],
        arrivals: ArrayLike,
        timeout_s: float = 60.0,
        watch: Watch | None = None,
        also: Callable[[float], str] | None = None,
    ) -> Episode:
        """Send a request at each scheduled arrival and wait for all the answers.

        Parameters
        ----------
        payload : bytes or sequence of bytes
            One result of `payload`, or several that are sent in turn.
        arrivals : array_like, shape (n,)
            Seconds from the start of the episode, sorted.
        timeout_s : float
            Deadline of each request in seconds, counted from the time when it leaves.
        watch, also : optional
            See :class:`rrl.serving.volley.Volley`.

        Returns
        -------
        Episode
            The configuration is left out.
        """
        # The server may have been restarted: no request waits for a connection, or fails without.
        self.available(_CONNECT_S)
        due = np.asarray(arrivals, dtype=float)
        turns = [payload] if isinstance(payload, bytes) else payload

        def call(i: int) -> Any:
            request = turns[i % len(turns)]
            return self._on_bytes.future(request, timeout=timeout_s, metadata=(SYNTHETIC,))

        return Volley(call, due, watch, also).fire()
