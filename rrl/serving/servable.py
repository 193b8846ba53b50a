"""What the local server serves: a loaded SavedModel behind TensorFlow's own batch scheduler."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rrl.serving.loadgen import SIGNATURE
from rrl.serving.sample import WARMUP, read_logs, to_array
from rrl.serving.settings import usable_cpus
from rrl.tuning.defaults import SERVER_DEFAULTS

LOOPBACK = "127.0.0.1"  # where the server listens
INIT_SIGNATURE = "__saved_model_init_op"  # an operation that loading runs, not a function


def refused(message: str, kind: str = "InvalidArgument") -> Exception:
    """Return TensorFlow's error of a kind, with the line that the client gets.

    Examples
    --------
    >>> error = refused("no such model", "NotFound")
    >>> error.error_code, error.message
    (5, 'no such model')
    """
    import tensorflow as tf

    error: Exception = getattr(tf.errors, f"{kind}Error")(None, None, message)
    return error


def log(message: str) -> None:
    """Write one line of the server's log to stderr, as the original does."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {message}", file=sys.stderr, flush=True)


def batched(
    inputs: list[Any], outputs: list[Any], parameters: Mapping[str, int], key: str
) -> list[Any]:
    """Put TensorFlow's batch scheduler in front of a signature of the current graph.

    The part of the graph between the signature's inputs and outputs becomes the body of the batched
    function. Its variables are found by name in the same session.

    The name of the signature, `key`, names the scope, too. In one scope, a second signature would
    silently share the scheduler and the thread count of the first one.
    """
    import tensorflow as tf

    part = tf.compat.v1.graph_util.extract_sub_graph(
        tf.compat.v1.get_default_graph().as_graph_def(), [tensor.op.name for tensor in outputs]
    )
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")
    own = {name: parameters.get(name, SERVER_DEFAULTS[name]) for name in names}
    threads = parameters.get("num_batch_threads", len(usable_cpus()))

    @tf.nondifferentiable_batch_function(num_batch_threads=threads, **own, autograph=False)
    def run(*batch: Any) -> list[Any]:
        given = {tensor.name: value for tensor, value in zip(inputs, batch, strict=True)}
        return tf.graph_util.import_graph_def(
            part, given, [tensor.name for tensor in outputs], name=""
        )

    with tf.name_scope(f"scheduler_{key}"):
        return run(*inputs)


class LoadedModel:
    """One loaded version of a model: its signatures, ready to run, and what clients learn of it.

    What it refuses, it refuses by tf.errors.OpError, with TF Serving's codes and messages.

    Parameters
    ----------
    name : str
    path : pathlib.Path
        The version folder.
    batching : mapping of str to int, optional
        If it is None, each request runs alone.
    pools : (int, int)
        Number of inter-op and intra-op threads; 0 means automatic. The first model of a process
        determines them.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        batching: Mapping[str, int] | None,
        pools: tuple[int, int] = (0, 0),
    ) -> None:
        import tensorflow as tf

        self.name, self.path, self.version = name, path, int(path.name)
        config = tf.compat.v1.ConfigProto(
            inter_op_parallelism_threads=pools[0], intra_op_parallelism_threads=pools[1]
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
            self.signature_defs = dict(meta.signature_def)
            self.signature_defs.pop(INIT_SIGNATURE, None)
            self._calls = {
                key: self._callable(key, signature, batching)
                for key, signature in self.signature_defs.items()
            }

    def _callable(
        self, key: str, signature: Any, batching: Mapping[str, int] | None
    ) -> Callable[..., list[Any]]:
        """Return a function from a signature's inputs to its outputs, both sorted by name."""
        find = self._session.graph.get_tensor_by_name
        inputs = [find(signature.inputs[name].name) for name in sorted(signature.inputs)]
        outputs = [find(signature.outputs[name].name) for name in sorted(signature.outputs)]
        if batching is not None and inputs:
            outputs = batched(inputs, outputs, batching, key)
        return self._session.make_callable(outputs, feed_list=inputs)

    def warm_up(self) -> int:
        """Replay TF Serving's warm-up file if there is one; return its number of requests.

        A request in it may name another model, as in the original.

        Raises
        ------
        tf.errors.OpError
            If one of them is no Predict request (UNIMPLEMENTED), or fails.
        """
        file = self.path / WARMUP
        logs = read_logs(file) if file.exists() else []
        for entry in logs:
            kind = entry.WhichOneof("log_type")
            if kind != "predict_log":
                raise refused(f"Unsupported log_type for warmup: {kind}", "Unimplemented")
            self.predict(entry.predict_log.request)
        return len(logs)

    def check(self, spec: Any) -> None:
        """Check that a ModelSpec asks for this model and version.

        Raises
        ------
        tf.errors.OpError
            If it names no model or a label (INVALID_ARGUMENT), or another model or version
            (NOT_FOUND).
        """
        choice = spec.WhichOneof("version_choice")
        if not spec.name:
            raise refused("ModelSpec has no name specified.")
        if choice == "version_label":
            raise refused(f"Unrecognized servable version label: {spec.version_label}")
        version = spec.version.value if choice == "version" else None
        if spec.name != self.name or version not in (None, self.version):
            wanted = f"Latest({spec.name})"
            if version is not None:
                wanted = f"Specific({spec.name}, {version})"
            raise refused(f"Servable not found for request: {wanted}", "NotFound")

    def status(self, request: Any) -> Any:
        """Answer a GetModelStatusRequest: this version is AVAILABLE, and there is no other."""
        from tensorflow_serving.apis import get_model_status_pb2

        spec = _spec(request)
        if spec.name != self.name:
            raise refused(f"Could not find any versions of model {spec.name}", "NotFound")
        if spec.HasField("version") and spec.version.value != self.version:
            words = f"Could not find version {spec.version.value} of model {spec.name}"
            raise refused(words, "NotFound")
        no_error = {"error_code": 0, "error_message": ""}  # REST shows it, too
        own = get_model_status_pb2.ModelVersionStatus(
            version=self.version, state="AVAILABLE", status=no_error
        )
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[own])

    def answer(self, request: Any) -> Any:
        """Answer the PredictRequest of a client, which must ask for this model and version."""
        self.check(_spec(request))
        return self.predict(request)

    def predict(self, request: Any) -> Any:
        """Run a PredictRequest, whichever model it names."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        key = request.model_spec.signature_name or SIGNATURE
        if key not in self.signature_defs:
            raise refused(f'Serving signature key "{key}" not found.', "FailedPrecondition")
        outputs = self.run(key, self._inputs(request, self.signature_defs[key]))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self.name
        response.model_spec.signature_name = key
        response.model_spec.version.value = self.version
        for name in request.output_filter or outputs:
            if name not in outputs:
                raise refused(
                    f"output tensor alias not found in signature: {name} "
                    f"Outputs expected to be in the set {_listed(outputs)}."
                )
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def run(self, key: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run a signature on arrays that fit it; return its outputs by name."""
        values = self._calls[key](*(inputs[name] for name in sorted(inputs)))
        return dict(zip(sorted(self.signature_defs[key].outputs), values, strict=True))

    def _inputs(self, request: Any, signature: Any) -> dict[str, Any]:
        """Return the tensors of a request by name, checked as TF Serving checks them."""
        import tensorflow as tf

        sent, wanted = set(request.inputs), set(signature.inputs)
        if sent != wanted:
            raise refused(f"inputs {_listed(sent)}: expected {_listed(wanted)}")
        arrays = {}
        for name in sorted(wanted):
            proto, spec = request.inputs[name], signature.inputs[name]
            try:
                array = to_array(proto)
            except (ValueError, TypeError) as error:
                raise refused(f"tensor parsing error: {name}: {error}") from None
            if proto.dtype != spec.dtype:
                expected, got = tf.as_dtype(spec.dtype).name, tf.as_dtype(proto.dtype).name
                raise refused(f"input {name!r}: expected {expected}, got {got}")
            shape = tf.TensorShape(spec.tensor_shape)
            if not shape.is_compatible_with(array.shape):
                raise refused(f"input {name!r}: expected shape {shape}, got {array.shape}")
            arrays[name] = array
        return arrays


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise refused("Missing ModelSpec")
    return request.model_spec


def _listed(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def reason(message: str) -> str:
    r"""Return the one line of TensorFlow's message and traceback that says what went wrong.

    Examples
    --------
    >>> reason("Graph execution error:\n\nDetected at node x\nToo large\n\t [[x]] [Op:f]")
    'Too large'
    """
    return message.split("\n\t [[")[0].rstrip().split("\n")[-1]
