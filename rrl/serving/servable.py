"""A loaded SavedModel behind TensorFlow's own batch scheduler: what the local server serves."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rrl.serving.batching import BatchingParameters

DEFAULT_SIGNATURE = "serving_default"


def log(message: str) -> None:
    """One line of the server's log, on stderr like the original's."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {message}", file=sys.stderr, flush=True)


def newest_version(base: Path) -> int | None:
    """The largest numbered folder under `base`, TF Serving's choice; None if there is none."""
    versions = [int(p.name) for p in base.glob("[0-9]*") if p.name.isdecimal() and p.is_dir()]
    return max(versions, default=None)


def wait_for_version(base: Path, poll_wait_s: float) -> int:
    """Block until a version exists, as the original does, saying so at each look."""
    while (version := newest_version(base)) is None:
        missing = "Could not find base path" if not base.is_dir() else "No versions found under"
        log(f"{missing} {base}. Did you forget to name your leaf directory as a number (e.g. /1/)?")
        time.sleep(max(poll_wait_s, 0.1))
    return version


def batched(function: Any, parameters: BatchingParameters, key: str) -> Callable[..., Any]:
    """Put TensorFlow's batch scheduler in front of a signature's concrete function.

    The op's shared name is always "batch/"; without a name scope of its own a second signature
    would silently join the first one's scheduler, thread count included.
    """
    import tensorflow as tf

    limit = parameters.max_batch_size or 1000
    names = sorted(function.structured_input_signature[1])
    outputs = sorted(function.structured_outputs)
    batch = tf.nondifferentiable_batch_function(
        num_batch_threads=parameters.num_batch_threads or os.cpu_count() or 1,
        max_batch_size=limit,
        batch_timeout_micros=parameters.batch_timeout_micros or 0,
        allowed_batch_sizes=list(parameters.allowed_batch_sizes) or None,
        max_enqueued_batches=parameters.max_enqueued_batches or 10,
        autograph=False,
        enable_large_batch_splitting=bool(parameters.enable_large_batch_splitting),
    )

    @batch
    def run(*tensors: Any) -> list[Any]:
        results = function(**dict(zip(names, tensors, strict=True)))
        return [results[name] for name in outputs]

    @tf.function(
        input_signature=[function.structured_input_signature[1][name] for name in names],
        autograph=False,
    )
    def call(*tensors: Any) -> dict[str, Any]:
        with tf.name_scope(f"scheduler_{key}"):
            return dict(zip(outputs, run(*tensors), strict=True))

    concrete = call.get_concrete_function()
    return lambda **inputs: concrete(*(inputs[name] for name in names))


class LoadedModel:
    """One loaded version: its signatures, ready to run."""

    def __init__(self, name: str, path: Path, batching: BatchingParameters | None) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import saved_model_pb2

        self.name, self.path, self.version = name, path, int(path.name)
        graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        self.signature_defs = dict(graph.meta_graphs[0].signature_def)
        self._loaded = tf.saved_model.load(str(path))  # keeps the variables alive
        self._functions = {
            key: batched(function, batching, key) if batching else function
            for key, function in self._loaded.signatures.items()
        }

    def predict(self, request: Any) -> Any:
        """Run a PredictRequest; raises tf.errors.OpError with TF Serving's codes and words."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if key not in self._functions:
            raise tf.errors.FailedPreconditionError(
                None, None, f'Serving signature key "{key}" not found.'
            )
        outputs = self._functions[key](**self._inputs(request, self.signature_defs[key]))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self.name
        response.model_spec.signature_name = key
        response.model_spec.version.value = self.version
        for name in request.output_filter or outputs:
            if name not in outputs:
                raise invalid(f"output tensor alias not found in signature: {name}")
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name].numpy()))
        return response

    def _inputs(self, request: Any, signature: Any) -> dict[str, Any]:
        """The request's tensors, checked against the signature as TF Serving does."""
        import tensorflow as tf

        sent, wanted = set(request.inputs), set(signature.inputs)
        if sent != wanted:
            extra, missing = ", ".join(sorted(sent - wanted)), ", ".join(sorted(wanted - sent))
            raise invalid(
                f"input size does not match signature: {len(sent)}!={len(wanted)}. "
                f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
            )
        tensors = {}
        for name, proto in request.inputs.items():
            spec = signature.inputs[name]
            if proto.dtype != spec.dtype:
                expected, got = tf.as_dtype(spec.dtype).name, tf.as_dtype(proto.dtype).name
                raise invalid(f"input {name!r}: expected {expected}, got {got}")
            try:
                array = tf.make_ndarray(proto)
            except (ValueError, TypeError) as error:
                raise invalid(f"tensor parsing error: {name}: {error}") from None
            shape = tf.TensorShape(spec.tensor_shape)
            if not shape.is_compatible_with(array.shape):
                raise invalid(f"input {name!r}: expected shape {shape}, got {array.shape}")
            tensors[name] = tf.constant(array)
        return tensors

    def warm_up(self) -> int:
        """Replay TF Serving's warm-up file, if the version has one; returns its length."""
        import tensorflow as tf
        from tensorflow_serving.apis import prediction_log_pb2

        file = self.path / "assets.extra" / "tf_serving_warmup_requests"
        if not file.exists():
            return 0
        records = list(tf.compat.v1.io.tf_record_iterator(str(file)))
        for record in records:
            self.predict(prediction_log_pb2.PredictionLog.FromString(record).predict_log.request)
        return len(records)


def invalid(message: str) -> Exception:
    """The error that a bad request gets: INVALID_ARGUMENT."""
    import tensorflow as tf

    return tf.errors.InvalidArgumentError(None, None, message)


def reason(message: str) -> str:
    r"""The one line that says what went wrong, out of TensorFlow's message with its traceback.

    Examples
    --------
    >>> reason("Graph execution error:\n\nDetected at node x\nToo large\n\t [[x]] [Op:f]")
    'Too large'
    """
    return message.split("\n\t [[")[0].rstrip().split("\n")[-1]
