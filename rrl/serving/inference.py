"""Classify, Regress and MultiInference: the methods whose input is a list of tf.Example.

As in TensorFlow Serving without `--enable_signature_method_name_check`, a signature fits if its
input and outputs have the names of the method; its own `method_name` is not compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.serving.servable import DEFAULT_SIGNATURE, LoadedModel
from rrl.serving.status import UNIMPLEMENTED, StatusError, invalid

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
_INPUT, _CLASSES, _SCORES, _VALUES = "inputs", "classes", "scores", "outputs"
_DIMENSIONS = 2  # of classes and scores: examples, classes


def classify(model: LoadedModel, request: Any) -> Any:
    """Answer a ClassificationRequest; a failure raises StatusError or tf.errors.OpError."""
    from tensorflow_serving.apis import classification_pb2

    response = classification_pb2.ClassificationResponse()
    _classify(model, _identify(response, model, request), request.input, response.result)
    return response


def regress(model: LoadedModel, request: Any) -> Any:
    """Answer a RegressionRequest; a failure raises StatusError or tf.errors.OpError."""
    from tensorflow_serving.apis import regression_pb2

    response = regression_pb2.RegressionResponse()
    _regress(model, _identify(response, model, request), request.input, response.result)
    return response


def multi_inference(model: LoadedModel, request: Any) -> Any:
    """Answer a MultiInferenceRequest.

    Each signature runs by itself. (The original runs them together, with the same results.)
    """
    from tensorflow_serving.apis import inference_pb2

    response = inference_pb2.MultiInferenceResponse()
    seen: set[str] = set()
    for task in request.tasks:
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        result = response.results.add()
        key = _identify(result, model, task)
        if key in seen:
            raise invalid(f"Duplicate evaluation of signature: {key}")
        seen.add(key)
        if task.method_name == CLASSIFY:
            _classify(model, key, request.input, result.classification_result)
        elif task.method_name == REGRESS:
            _regress(model, key, request.input, result.regression_result)
        else:
            message = f"Unsupported signature method_name: {task.method_name}"
            raise StatusError(UNIMPLEMENTED, message)
    return response


def warm_up(model: LoadedModel) -> int:
    """Replay TF Serving's warm-up file if there is one; return its number of requests."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = model.path / "assets.extra" / "tf_serving_warmup_requests"
    if not file.exists():
        return 0
    methods = {
        "predict_log": LoadedModel.predict,
        "classify_log": classify,
        "regress_log": regress,
        "multi_inference_log": multi_inference,
    }
    records = list(tf.compat.v1.io.tf_record_iterator(str(file)))
    for record in records:
        entry = prediction_log_pb2.PredictionLog.FromString(record)
        kind = entry.WhichOneof("log_type")
        if kind not in methods:
            raise StatusError(UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
        methods[kind](model, getattr(entry, kind).request)
    return len(records)


def _identify(response: Any, model: LoadedModel, request: Any) -> str:
    """Write in a response which model, version and signature answer; return the signature's key."""
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    response.model_spec.name, response.model_spec.signature_name = model.name, key
    response.model_spec.version.value = model.version
    return key


def _classify(model: LoadedModel, key: str, examples: Any, result: Any) -> None:
    outputs = _signature(model, key, "classification").outputs
    if len(outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(outputs)}")
    if not {_CLASSES, _SCORES} & set(outputs):
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature has: {sorted(outputs)}'
        )
    count, arrays = _run(model, "Classify", key, examples)
    classes, scores = arrays.get(_CLASSES), arrays.get(_SCORES)
    if classes is not None:
        _check_output(_CLASSES, classes, "O", count)
    if scores is not None:
        _check_output(_SCORES, scores, "f", count)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    for row in range(count):
        labels = None if classes is None else [_text(label) for label in classes[row]]
        values = None if scores is None else scores[row].tolist()
        found = result.classifications.add()
        for label, score in zip(
            labels or [""] * len(values or ()), values or [0.0] * len(labels or ()), strict=True
        ):
            found.classes.add(label=label, score=score)


def _check_output(name: str, array: NDArray[Any], kind: str, count: int) -> None:
    """Check the shape and the type of the classes or the scores of a number of examples."""
    if array.ndim != _DIMENSIONS:
        raise invalid(
            f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}"
        )
    if array.dtype.char != kind:
        wanted = "DT_STRING" if kind == "O" else "DT_FLOAT"
        raise invalid(f"Expected {name} Tensor of {wanted}. Got: {array.dtype}")
    if len(array) != count:
        raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")


def _regress(model: LoadedModel, key: str, examples: Any, result: Any) -> None:
    signature = _signature(model, key, "regression")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if _VALUES not in signature.outputs:
        raise invalid("No regression outputs found in SignatureDef")
    count, outputs = _run(model, "Regress", key, examples)
    values = outputs[_VALUES]
    if values.shape not in ((len(values),), (len(values), 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            f"but got {list(values.shape)}"
        )
    if len(values) != count:
        raise invalid(
            f"Input batch size did not match output batch size: {count} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}")
    for value in values.flat:
        result.regressions.add(value=value)


def _signature(model: LoadedModel, key: str, kind: str) -> Any:
    signature = model.signature_defs.get(key)
    if signature is None:
        raise invalid(f"No signature was found with the name: {key}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if _INPUT not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef")
    return signature


def _run(model: LoadedModel, api: str, key: str, given: Any) -> tuple[int, dict[str, Any]]:
    """Run a signature on an Input; return the number of examples, and the outputs by name."""
    import tensorflow as tf

    signature, examples = model.signature_defs[key], _serialized(given)
    expected = tf.as_dtype(signature.inputs[_INPUT].dtype)
    if expected != tf.string:
        raise invalid(f"Expects arg[0] to be {expected.name} but string is provided")
    outputs = model.run(api, key, [examples])
    return len(examples), dict(zip(sorted(signature.outputs), outputs, strict=True))


def _serialized(given: Any) -> NDArray[Any]:
    """Return the serialized examples of an Input; each begins with the context if there is one."""
    context, examples = b"", given.example_list.examples
    if given.WhichOneof("kind") == "example_list_with_context":
        examples = given.example_list_with_context.examples
        context = given.example_list_with_context.context.SerializeToString()
    if not examples:
        raise invalid("Input is empty.")
    return np.array([context + one.SerializeToString() for one in examples], dtype=object)


def _text(label: bytes) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError:  # a protobuf string must be UTF-8
        raise invalid(f"class label {label!r} is not UTF-8") from None
