"""A substitute for `tensorflow_model_server` that uses the same runtime.

Run it as `python -m rrl.serving.local_server`.

TensorFlow contains the parts that determine latency: the thread pools and the batch scheduler
(`SharedBatchScheduler`, reached through `tf.nondifferentiable_batch_function`). This module puts
them behind TF Serving's gRPC services and REST API. It serves one model, by Predict, with the flags
and status codes of the original, as far as rrl and usual clients need them. These differences from
the original are intended:

- an unknown flag stops the start-up (the original prints it and runs with defaults);
- the servers bind the loopback address;
- a port that is taken stops the start-up (the original may share it, or go on without REST);
- it serves the version that is the newest when it starts until it ends (the original looks for new
  versions), and a model without a version stops the start-up (the original waits for one);
- batching parameters that no knob has stop the start-up;
- a request beyond `--grpc_max_threads` waits for a thread (the original refuses it with
  RESOURCE_EXHAUSTED, "Server Threadpool Exhausted");
- a REST request has at most 2 GiB and 2**20 values, and is not compressed;
- numbers in REST answers have the fewest digits that give the same value back;
- inputs that do not fit the signature are refused in words of our own.

For all that is not here, such as Classify, several models or TLS, use `tensorflow_model_server`.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from rrl.serving.loadgen import UNLIMITED
from rrl.serving.quiet import load_tensorflow
from rrl.serving.sample import WARMUP, predict_requests
from rrl.serving.saved_model import newest_version
from rrl.serving.servable import LOOPBACK, LoadedModel, log, problem
from rrl.serving.settings import read_batching
from rrl.support.number_options import whole

MOST = 2**31 - 1  # the largest number that a flag takes, as in the original
START_ERROR = 255  # exit status of tensorflow_model_server if it cannot start
ENDS = (signal.SIGTERM, signal.SIGINT)
GRAPH_ERROR = "Graph execution error:"  # TensorFlow's first line, before what went wrong


# --- the flags, which are those of tensorflow_model_server ----------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(START_ERROR, f"{message} (see --help)\n")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in ("true", "1")


def parse_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check flags of `tensorflow_model_server`; a bad flag exits with status 255."""
    parser = _Parser(
        prog="rrl.serving.local_server",
        allow_abbrev=False,
        description="Serve a SavedModel on the local TensorFlow runtime behind TF Serving's gRPC "
        "and REST APIs. Flags are those of tensorflow_model_server.",
    )
    threads = 4 * len(os.sched_getaffinity(0))  # a forked server gets its CPUs after the import
    port, count = whole(0, 65535), whole(0, MOST)
    flag = parser.add_argument
    flag("--port", type=port, default=8500, help="gRPC port; 0: none")
    flag("--grpc_socket_path", default="", help="unix socket to listen on as well")
    flag("--rest_api_port", type=port, default=0, help="HTTP port of the REST API; 0: none")
    flag("--model_name", default="default")
    flag("--model_base_path", required=True, help="folder with numbered version folders")
    flag("--grpc_max_threads", type=whole(1, MOST), default=threads)
    flag("--tensorflow_intra_op_parallelism", type=count, default=0, help="0: automatic")
    flag("--tensorflow_inter_op_parallelism", type=count, default=0, help="0: automatic")
    flag("--batching_parameters_file", default="")
    for name, default in (("enable_batching", False), ("enable_model_warmup", True)):
        flag(f"--{name}", type=_boolean, nargs="?", const=True, default=default)
    flags = parser.parse_args(argv)
    if flags.batching_parameters_file and not flags.enable_batching:
        parser.error("--batching_parameters_file needs --enable_batching")
    if not flags.port and not flags.grpc_socket_path:
        parser.error("give --port or --grpc_socket_path")
    return flags


# --- the servers ----------------------------------------------------------------------------------


def start(flags: argparse.Namespace, model: LoadedModel) -> Any:
    """Bind port and socket, and start the gRPC server; a taken port raises OSError."""
    import grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
        Predict = staticmethod(_on_grpc(model, model.predict))

    class Models(model_service_pb2_grpc.ModelServiceServicer):
        GetModelStatus = staticmethod(_on_grpc(model, lambda _: model.status()))

    # Handler threads block while their request waits for a batch, as in TF Serving.
    workers = ThreadPoolExecutor(flags.grpc_max_threads)
    server = grpc.server(workers, options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    addresses = [f"{LOOPBACK}:{flags.port}"] if flags.port else []
    if flags.grpc_socket_path:
        addresses.append(f"unix:{flags.grpc_socket_path}")
    for address in addresses:
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            raise OSError(
                f"Failed to start server: could not bind {address} (is the port taken?)"
            ) from None
    server.start()
    log(f"Running gRPC ModelServer at {', '.join(addresses)} ...")
    return server


def _on_grpc(model: LoadedModel, answer: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Check which model a request is for, and turn errors into gRPC errors."""
    import grpc

    codes = {code.value[0]: code for code in grpc.StatusCode}

    def call(request: Any, context: Any) -> Any:
        try:
            model.check(request.model_spec)
            return answer(request)
        except Exception as error:
            code, message = problem(error)
            context.abort(codes[code], message)

    return call


def _start_all(flags: argparse.Namespace) -> Any:
    """Load and warm up the newest version, and start the servers; return the one for gRPC."""
    file = flags.batching_parameters_file
    parameters = read_batching(Path(file).read_text() if file else "")
    batching = parameters if flags.enable_batching else None
    _, newest = newest_version(Path(flags.model_base_path))
    preload()
    import tensorflow as tf

    # Making a function starts TensorFlow's eager part. Its idle pool needs only one thread.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pools = flags.tensorflow_inter_op_parallelism, flags.tensorflow_intra_op_parallelism
    model = LoadedModel(flags.model_name, newest, batching, pools)
    if flags.enable_model_warmup:
        requests = predict_requests(newest / WARMUP) if (newest / WARMUP).exists() else []
        for request in requests:  # it may name another model, as in the original
            model.predict(request)
        log(f"Warmed up with {len(requests)} requests")
    log(f"Version {model.version} of {model.name} is available")
    if flags.rest_api_port:  # before gRPC, whose first answer says that the server has started
        from rrl.serving.rest import serve_rest

        serve_rest(model, flags.rest_api_port, flags.grpc_max_threads)
        log(f"Exporting HTTP/REST API at:{LOOPBACK}:{flags.rest_api_port} ...")
    return start(flags, model)


def preload() -> None:
    """Import what serving needs and what may be imported before a fork, most of it TensorFlow.

    Serving does not need Keras, whose import takes nearly half of TensorFlow's import time. The old
    Keras is a separate package. If it is requested, TensorFlow starts without Keras.

    What is there then stays, so the garbage collector need not look at it. No request is answered
    while it looks, and a look would also copy pages that a forked server shares with its parent.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    load_tensorflow()
    from tensorflow_serving.apis import get_model_status_pb2, predict_pb2  # noqa: F401

    gc.collect()
    gc.freeze()


def serve(argv: Sequence[str] | None = None) -> NoReturn:
    """Load, warm up and serve, as the whole process. SIGTERM and SIGINT end it at any time."""
    try:
        flags = parse_flags(argv)
    except SystemExit as end:
        _leave(int(end.code or 0))
    # A signal may reach any thread (after a pause it does), and would wake up no other one.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    started: list[Any] = []
    threading.Thread(target=_start, args=(flags, started)).start()
    signal.sigwait(ENDS)
    for server in started:
        server.stop(grace=5).wait()
    _leave(0)


def _start(flags: argparse.Namespace, started: list[Any]) -> None:
    try:
        started.append(_start_all(flags))
    except Exception as error:  # a bad file, a port that is taken, a model that does not load
        first = str(error).split("\n")[0] or repr(error)
        log(problem(error)[1] if first == GRAPH_ERROR else first)
        _leave(START_ERROR)


def _leave(status: int) -> NoReturn:
    """End at once, because a normal TensorFlow shutdown would add a second to each restart."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
