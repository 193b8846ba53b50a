"""TensorFlow Serving's REST API: what a path and a body mean, and what is answered.

The paths, codes and messages are those of http_rest_api_handler.cc and http_rest_api_util.cc. Only
`rest_server` knows HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from rrl.serving.json_inputs import input_arrays, parse
from rrl.serving.json_outputs import json_body, plain_outputs
from rrl.serving.servable import DEFAULT_SIGNATURE, log, reason
from rrl.serving.services import Answer
from rrl.serving.status import HTTP, INTERNAL, StatusError, invalid
from rrl.serving.versions import ServedModel

_CHOICE = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(rf"(?i)/v1/models/(?P<name>[^/:]+){_CHOICE}:predict")
_GET = re.compile(rf"(?i)/v1/models(?:/(?P<name>[^/:]+))?{_CHOICE}(?:/(?P<part>metadata))?")
_VERSION_END = 2**63


class HttpReply(NamedTuple):
    """An HTTP status, a body and its type."""

    status: int
    body: bytes
    content_type: str = "application/json"


class Rest:
    """What the REST port answers.

    Parameters
    ----------
    model : ServedModel
    methods : mapping of str to callable
        What answers each method, by its name.
    """

    def __init__(self, model: ServedModel, methods: Mapping[str, Answer]) -> None:
        self._model, self._methods = model, methods

    def answer(self, http_method: str, path: str, body: bytes) -> HttpReply:
        """Answer one request; an error becomes a reply, too."""
        import tensorflow as tf

        if not path.lower().startswith("/v1/"):
            return failure(404, f"Not found: {path}")
        try:
            return HttpReply(200, json_body(self._result(http_method, path, body)))
        except (StatusError, tf.errors.OpError) as error:
            return failure(HTTP[error.error_code], reason(error.message))
        except Exception as error:  # a defect here must not cut the connection
            log(f"{http_method} {path}: {error!r}")
            return failure(HTTP[INTERNAL], f"Internal error: {error!r}")

    def _result(self, http_method: str, path: str, body: bytes) -> Any:
        pattern = {"POST": _POST, "GET": _GET}.get(http_method)
        found = pattern.fullmatch(path) if pattern else None
        if found is None:
            raise invalid(f"Malformed request: {http_method} {path}")
        if http_method == "GET":
            return self._about_model(found)
        return self._predict(found, parse(body))

    def _about_model(self, found: re.Match[str]) -> Any:
        """Answer with the state or the metadata of a model."""
        from google.protobuf import json_format
        from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

        if not found["name"]:
            raise invalid("Missing model name in request.")
        if not found["part"]:
            request = get_model_status_pb2.GetModelStatusRequest()
            _identify(request, found)
            return _plain(self._methods["GetModelStatus"](request))
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        _identify(request, found)
        reply = self._methods["GetModelMetadata"](request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        reply.metadata["signature_def"].Unpack(signatures)
        spec = json_format.MessageToDict(reply.model_spec, preserving_proto_field_name=True)
        metadata = {"signature_def": _plain(signatures, preserving_proto_field_name=True)}
        return {"model_spec": {"signature_name": "", **spec}, "metadata": metadata}

    def _predict(self, found: re.Match[str], document: dict[str, Any]) -> Any:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        _identify(request, found, document)
        dtypes = self._input_types(request.model_spec)
        for name, array in input_arrays(document, dtypes).items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array, dtypes[name]))
        response = self._methods["Predict"](request)
        outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
        return plain_outputs(outputs, by_row="instances" in document)

    def _input_types(self, spec: Any) -> dict[str, str]:
        """Return the name of the type of each input of a signature."""
        import tensorflow as tf

        key = spec.signature_name or DEFAULT_SIGNATURE
        with self._model.serving(spec) as model:
            if key not in model.signature_defs:
                raise invalid(f'Serving signature name: "{key}" not found in signature def')
            inputs = model.signature_defs[key].inputs
            return {name: tf.as_dtype(info.dtype).name for name, info in inputs.items()}


def failure(status: int, message: str) -> HttpReply:
    """Return the reply to a request that failed.

    Examples
    --------
    >>> failure(404, "no model").body
    b'{"error": "no model"}'
    """
    return HttpReply(status, json_body({"error": message}))


def _identify(
    request: Any, found: re.Match[str], document: Mapping[str, Any] | None = None
) -> None:
    """Write which model, version and signature a request is for."""
    spec = request.model_spec
    spec.name = unquote(found["name"])
    if found["version"]:
        version = int(found["version"])
        if version >= _VERSION_END:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec.version.value = version
    elif found["label"]:
        spec.version_label = unquote(found["label"])
    if document:
        spec.signature_name = document.get("signature_name", "")


def _plain(message: Any, **options: Any) -> dict[str, Any]:
    from google.protobuf import json_format

    options["always_print_fields_with_no_presence"] = True
    return json_format.MessageToDict(message, **options)
