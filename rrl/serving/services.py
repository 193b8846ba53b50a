"""TensorFlow Serving's gRPC services over the versions of one model, for the local server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rrl.serving.servable import LoadedModel, invalid, reason
from rrl.serving.versions import Versions


def services(versions: Versions, name: str) -> tuple[Any, Any]:
    """Make the PredictionService and the ModelService of a model with this name."""
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    def by_model(method: Callable[[LoadedModel, Any], Any]) -> Callable[[Any], Any]:
        def answer(request: Any) -> Any:
            spec = request.model_spec
            try:
                with versions.serving(_version(spec)) as model:
                    return method(model, request)
            except LookupError:
                raise _not_found(spec) from None

        return _guarded(name, answer)

    def status(request: Any) -> Any:
        return _status(versions, request)

    prediction = type(
        "Prediction",
        (prediction_service_pb2_grpc.PredictionServiceServicer,),
        {"Predict": by_model(LoadedModel.predict), "GetModelMetadata": by_model(_metadata)},
    )
    models = type(
        "Models",
        (model_service_pb2_grpc.ModelServiceServicer,),
        {"GetModelStatus": _guarded(name, status)},
    )
    return prediction(), models()


def _guarded(name: str, answer: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Make a method of a servicer that turns TensorFlow's errors into gRPC errors."""
    import grpc
    import tensorflow as tf

    codes = {code.value[0]: code for code in grpc.StatusCode}

    def call(_self: Any, request: Any, context: Any) -> Any:
        try:
            if request.model_spec.name != name:
                raise _not_found(request.model_spec)
            return answer(request)
        except tf.errors.OpError as error:
            context.abort(codes[error.error_code], reason(error.message))

    return call


def _version(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _not_found(spec: Any) -> Exception:
    import tensorflow as tf

    version = _version(spec)
    wanted = f"Latest({spec.name})" if version is None else f"Specific({spec.name}, {version})"
    return tf.errors.NotFoundError(None, None, f"Servable not found for request: {wanted}")


def _metadata(model: LoadedModel, request: Any) -> Any:
    from google.protobuf import any_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2

    if list(request.metadata_field) != ["signature_def"]:
        raise invalid(f"Metadata field {list(request.metadata_field)} is not supported")
    reply = get_model_metadata_pb2.GetModelMetadataResponse()
    reply.model_spec.name = model.name
    reply.model_spec.version.value = model.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in model.signature_defs.items():
        signatures.signature_def[key].CopyFrom(signature)
    packed = any_pb2.Any()
    packed.Pack(signatures)
    reply.metadata["signature_def"].CopyFrom(packed)
    return reply


def _status(versions: Versions, request: Any) -> Any:
    from tensorflow_serving.apis import get_model_status_pb2

    states, version = dict(versions.states), _version(request.model_spec)
    reply = get_model_status_pb2.GetModelStatusResponse()
    for number in sorted(states, reverse=True) if version is None else [version]:
        if number not in states:
            raise _not_found(request.model_spec)
        state = states[number]
        found = reply.model_version_status.add(version=number)
        found.state = get_model_status_pb2.ModelVersionStatus.State.Value(state.name)
        found.status.error_code, found.status.error_message = state.error_code, state.error
    return reply
