"""What the local server serves: a loaded SavedModel behind TensorFlow's own batch scheduler."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rrl.serving.loadgen import SIGNATURE, LastingError
from rrl.serving.sample import Inputs, fit, to_array
from rrl.serving.saved_model import INTERNAL, needed_inputs
from rrl.tuning.defaults import SERVER_DEFAULTS
from rrl.tuning.episode import Status

LOOPBACK = "127.0.0.1"  # where the server listens


def problem(error: Exception) -> tuple[int, str]:
    r"""Return the gRPC status code and the line with which a request is refused.

    Of a message and traceback of TensorFlow, it is the line that says what went wrong.

    Examples
    --------
    >>> problem(ValueError("no numbers"))
    (3, 'no numbers')
    >>> import tensorflow as tf
    >>> words = "Graph execution error:\n\nDetected at node x\nToo large\n\t [[x]] [Op:f]"
    >>> problem(tf.errors.UnavailableError(None, None, words))
    (14, 'Too large')
    """
    bad = isinstance(error, (ValueError, TypeError, RecursionError, LastingError))
    code = Status.INVALID_ARGUMENT if bad else getattr(error, "error_code", None)
    if code is None:  # a defect here
        log(repr(error))
        code = Status.INTERNAL
    message = str(getattr(error, "message", error))
    return int(code), message.split("\n\t [[")[0].rstrip().split("\n")[-1]


def log(message: str) -> None:
    """Write one line of the server's log to stderr, as the original does."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {message}", file=sys.stderr, flush=True)


def _batched(
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
    threads = parameters.get("num_batch_threads", len(os.sched_getaffinity(0)))

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

    What it refuses, it refuses by an exception, of which `problem` gives the code and the message.
    The codes are TF Serving's own.

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

        self.name, self.version = name, int(path.name)
        config = tf.compat.v1.ConfigProto(
            inter_op_parallelism_threads=pools[0], intra_op_parallelism_threads=pools[1]
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
            self._calls = {
                key: self._callable(key, signature, batching)
                for key, signature in meta.signature_def.items()
                if not key.startswith(INTERNAL)
            }

    def _callable(
        self, key: str, signature: Any, batching: Mapping[str, int] | None
    ) -> Callable[[Inputs, bool], dict[str, Any]]:
        """Return a function from a signature's inputs to its outputs, see `run`."""
        find, needed = self._session.graph.get_tensor_by_name, needed_inputs(signature)
        inputs = [find(signature.inputs[name].name) for name in needed]
        names = sorted(signature.outputs)
        outputs = [find(signature.outputs[name].name) for name in names]
        if batching is not None and inputs:
            outputs = _batched(inputs, outputs, batching, key)
        call = self._session.make_callable(outputs, feed_list=inputs)

        def run(given: Inputs, exact: bool) -> dict[str, Any]:
            return dict(zip(names, call(*fit(given, needed, exact=exact).values()), strict=True))

        return run

    def check(self, spec: Any) -> None:
        """Check that a ModelSpec asks for this model and version.

        Raises
        ------
        ValueError
            If it names no model, or a label.
        tf.errors.NotFoundError
            If it names another model or version.
        """
        import tensorflow as tf

        choice = spec.WhichOneof("version_choice")
        if not spec.name:
            raise ValueError("ModelSpec has no name specified.")
        if choice == "version_label":
            raise ValueError(f"Unrecognized servable version label: {spec.version_label}")
        version = spec.version.value if choice == "version" else None
        if spec.name != self.name or version not in (None, self.version):
            wanted = f"Latest({spec.name})"
            if version is not None:
                wanted = f"Specific({spec.name}, {version})"
            message = f"Servable not found for request: {wanted}"
            raise tf.errors.NotFoundError(None, None, message)

    def status(self) -> Any:
        """Return a GetModelStatusResponse: this version is AVAILABLE, and there is no other."""
        from tensorflow_serving.apis import get_model_status_pb2

        no_error = {"error_code": 0, "error_message": ""}  # REST shows it, too
        own = {"version": self.version, "state": "AVAILABLE", "status": no_error}
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[own])

    def predict(self, request: Any) -> Any:
        """Run a PredictRequest, whichever model it names."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        key = request.model_spec.signature_name or SIGNATURE
        given = {name: to_array(tensor) for name, tensor in request.inputs.items()}
        outputs = self.run(key, given, exact=True)
        spec = {"name": self.name, "signature_name": key, "version": {"value": self.version}}
        response = predict_pb2.PredictResponse(model_spec=spec)
        for name in request.output_filter or outputs:
            if name not in outputs:
                raise ValueError(
                    f"output tensor alias not found in signature: {name} "
                    f"Outputs expected to be in the set {{{','.join(outputs)}}}."
                )
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    def run(self, key: str, given: Inputs, *, exact: bool = False) -> dict[str, Any]:
        """Run a signature on the inputs of a request; return its outputs by name.

        Parameters
        ----------
        key : str
            The name of the signature.
        given, exact
            See :func:`rrl.serving.sample.fit`.

        Raises
        ------
        tf.errors.OpError
            If there is no such signature, or its run fails.
        LastingError
            If the inputs do not fit it.
        """
        import tensorflow as tf

        if key not in self._calls:
            message = f'Serving signature key "{key}" not found.'
            raise tf.errors.FailedPreconditionError(None, None, message)
        return self._calls[key](given, exact)
