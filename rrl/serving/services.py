"""What TensorFlow Serving's services answer, and the gRPC servicers of the local server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rrl.serving.servable import LoadedModel, StatusError, invalid, reason
from rrl.serving.versions import ServedModel
from rrl.tuning.episode import Status

Answer = Callable[[Any], Any]
"""A function from a request to its response; it raises StatusError or tf.errors.OpError."""


def answers(served: ServedModel) -> dict[str, Answer]:
    """Return what answers each method that the local server has, by the method's name."""

    def by_model(method: Callable[[LoadedModel, Any], Any]) -> Answer:
        def answer(request: Any) -> Any:
            with served.serving(_spec(request)) as model:
                return method(model, request)

        return answer

    return {
        "Predict": by_model(LoadedModel.predict),
        "GetModelStatus": lambda request: _status(served, request),
    }


def servicers(methods: Mapping[str, Answer]) -> tuple[Any, Any]:
    """Make the PredictionService and the ModelService."""
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    calls = {name: _on_grpc(answer) for name, answer in methods.items()}
    prediction = prediction_service_pb2_grpc.PredictionServiceServicer
    models = model_service_pb2_grpc.ModelServiceServicer
    made = [
        type(base.__name__, (base,), {name: calls[name] for name in calls if hasattr(base, name)})()
        for base in (prediction, models)
    ]
    return made[0], made[1]


def _on_grpc(answer: Answer) -> Callable[[Any, Any, Any], Any]:
    """Make a method of a servicer that turns errors into gRPC errors."""
    import grpc
    import tensorflow as tf

    codes = {code.value[0]: code for code in grpc.StatusCode}

    def call(_self: Any, request: Any, context: Any) -> Any:
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


def _status(served: ServedModel, request: Any) -> Any:
    """Answer with the states of all versions, or of one; a label is ignored, as in the original."""
    from tensorflow_serving.apis import get_model_status_pb2

    spec = _spec(request)
    states = dict(served.states) if spec.name == served.name else {}
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
