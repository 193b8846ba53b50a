"""What the local server answers by gRPC and by REST: predictions, and the state of its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rrl.serving.servable import StatusError, invalid, reason
from rrl.serving.versions import ServedModel
from rrl.tuning.episode import Status


class Service:
    """The answers of a server. Each method raises StatusError or tf.errors.OpError if it refuses.

    Parameters
    ----------
    served : ServedModel
    """

    def __init__(self, served: ServedModel) -> None:
        self.served = served

    def predict(self, request: Any) -> Any:
        """Answer a PredictRequest."""
        with self.served.serving(_spec(request)) as model:
            return model.predict(request)

    def status(self, request: Any) -> Any:
        """Answer with the states of all versions, or of the one that the request names."""
        from tensorflow_serving.apis import get_model_status_pb2

        spec = _spec(request)
        states = dict(self.served.states) if spec.name == self.served.name else {}
        if not states:
            raise StatusError(Status.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        wanted = [spec.version.value] if spec.HasField("version") else sorted(states, reverse=True)
        reply = get_model_status_pb2.GetModelStatusResponse()
        for number in wanted:
            if number not in states:
                raise StatusError(
                    Status.NOT_FOUND, f"Could not find version {number} of model {spec.name}"
                )
            state = states[number]
            found = reply.model_version_status.add(version=number)
            found.state = get_model_status_pb2.ModelVersionStatus.State.Value(state.name)
            found.status.error_code, found.status.error_message = state.error_code, state.error
        return reply


def grpc_handlers(service: Service) -> list[Any]:
    """Return the handlers of the two services for a gRPC server."""
    import grpc
    from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

    methods = (
        ("PredictionService", "Predict", service.predict, predict_pb2.PredictRequest),
        (
            "ModelService",
            "GetModelStatus",
            service.status,
            get_model_status_pb2.GetModelStatusRequest,
        ),
    )
    return [
        grpc.method_handlers_generic_handler(
            f"tensorflow.serving.{name}",
            {
                method: grpc.unary_unary_rpc_method_handler(
                    _on_grpc(answer), kind.FromString, lambda reply: reply.SerializeToString()
                )
            },
        )
        for name, method, answer, kind in methods
    ]


def _on_grpc(answer: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Turn errors into gRPC errors."""
    import grpc
    import tensorflow as tf

    codes = {code.value[0]: code for code in grpc.StatusCode}

    def call(request: Any, context: Any) -> Any:
        try:
            return answer(request)
        except (StatusError, tf.errors.OpError) as error:
            context.abort(codes[error.error_code], reason(error.message))

    return call


def _spec(request: Any) -> Any:
    spec = request.model_spec
    if not spec.name and not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return spec
