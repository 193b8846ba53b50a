"""A substitute for `tensorflow_model_server` that uses the same runtime.

Run it as `python -m rrl.serving.local_server`.

TensorFlow contains the parts that determine latency: the thread pools and the batch scheduler
(`SharedBatchScheduler`, reached through `tf.nondifferentiable_batch_function`). This module puts
them behind TF Serving's gRPC services. It has the flags, batching file and status codes of the
original, as far as rrl uses them. These differences from the original are intended:

- an unknown flag stops the start-up (the original prints it and runs with defaults);
- the server binds the loopback address, unless `--bind_address` gives another address;
- `--file_system_poll_wait_seconds` may be a fraction;
- `--adaptive_batching` uses TensorFlow's adaptive scheduler, which the original cannot use;
- the server continues to serve a model whose folder has lost all its versions;
- there is no REST, no model config file, and no labels.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from rrl.serving.batching import VERSION_PARAMETERS, BatchingParameters
from rrl.serving.loadgen import UNLIMITED
from rrl.serving.servable import LoadedModel, log
from rrl.serving.services import services
from rrl.serving.versions import Versions

START_ERROR = 255  # exit status of tensorflow_model_server if it cannot start


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(START_ERROR, f"{message} (see --help)\n")


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in ("true", "1")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def flag_defaults() -> dict[str, str]:
    """Return the text of each flag's default, by the flag's name without dashes.

    Examples
    --------
    >>> flag_defaults()["enable_model_warmup"]
    'true'
    """
    actions = [action for action in _parser()._actions if action.dest != "help"]
    defaults = {action.dest: action.default for action in actions}
    texts = {name: "" if value is None else str(value) for name, value in defaults.items()}
    return {n: t.lower() if isinstance(defaults[n], bool) else t for n, t in texts.items()}


def _parser() -> _Parser:
    parser = _Parser(
        prog="rrl.serving.local_server",
        allow_abbrev=False,
        description="Serve a SavedModel on the local TensorFlow runtime behind TF Serving's gRPC "
        "API. Flags are those of tensorflow_model_server.",
    )
    flag = parser.add_argument
    flag("--port", type=_natural, default=8500, help="gRPC port; 0: none")
    flag("--grpc_socket_path", default="", help="unix socket to listen on as well")
    flag("--bind_address", default="127.0.0.1", help="address to bind (only in rrl)")
    flag("--model_name", default="default")
    flag("--model_base_path", required=True, help="folder with numbered version folders")
    flag("--file_system_poll_wait_seconds", type=_seconds, default=1.0, help="0: look only once")
    flag("--grpc_max_threads", type=_natural, default=4 * (os.cpu_count() or 1))
    flag("--grpc_channel_arguments", default="", help="comma-separated key=value")
    flag("--tensorflow_session_parallelism", type=_natural, default=0)
    flag("--tensorflow_intra_op_parallelism", type=_natural, default=0, help="0: automatic")
    flag("--tensorflow_inter_op_parallelism", type=_natural, default=0, help="0: automatic")
    flag("--batching_parameters_file", default="")
    for name, default in (
        ("enable_batching", False),
        ("enable_per_model_batching_parameters", False),
        ("adaptive_batching", False),
        ("enable_model_warmup", True),
        ("enable_grpc_healthcheck_service", False),
    ):
        flag(f"--{name}", type=_boolean, nargs="?", const=True, default=default)
    return parser


def parse_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check flags of `tensorflow_model_server`; a bad flag exits with status 255."""
    parser = _parser()
    flags = parser.parse_args(argv)
    pools = (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    if flags.tensorflow_session_parallelism and all(pools):
        parser.error("tensorflow_session_parallelism excludes the inter- and intra-op flags")
    needy = ("batching_parameters_file", "adaptive_batching")
    for name in needy:
        if getattr(flags, name) and not flags.enable_batching:
            parser.error(f"--{name} needs --enable_batching")
    if not flags.port and not flags.grpc_socket_path:
        parser.error("at least one of --port and --grpc_socket_path must be set")
    if not flags.grpc_max_threads:
        parser.error("--grpc_max_threads must be at least 1")
    return flags


def read_batching(flags: argparse.Namespace, version: Path) -> BatchingParameters | None:
    """Return the batching parameters of a version folder; None if it is not batched.

    With `--enable_per_model_batching_parameters`, a version is batched by its own file. Without
    such a file, it is not batched. Only the number of threads is common to all versions.
    """
    if not flags.enable_batching:
        return None
    common = BatchingParameters()
    if flags.batching_parameters_file:
        common = BatchingParameters.from_text(Path(flags.batching_parameters_file).read_text())
    own = version / VERSION_PARAMETERS
    if flags.enable_per_model_batching_parameters:
        if not own.exists():
            return None
        threads = common.num_batch_threads
        common = BatchingParameters.from_text(own.read_text())
        common = replace(common, num_batch_threads=threads)
    return replace(common, adaptive=True) if flags.adaptive_batching else common


def start(flags: argparse.Namespace, versions: Versions) -> Any:
    """Bind port and socket, and start the gRPC server; a taken port raises OSError."""
    import grpc
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    options: list[tuple[str, Any]] = list(UNLIMITED)
    for pair in filter(None, flags.grpc_channel_arguments.split(",")):
        key, _, value = pair.partition("=")
        options.append((key, int(value) if value.lstrip("-").isdecimal() else value))
    # Handler threads block while their request waits for a batch, as in TF Serving.
    server = grpc.server(ThreadPoolExecutor(flags.grpc_max_threads), options=options)
    prediction, models = services(versions, flags.model_name)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    if flags.enable_grpc_healthcheck_service:
        servicer = health.HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    addresses = [f"{flags.bind_address}:{flags.port}"] if flags.port else []
    if flags.grpc_socket_path:
        addresses.append(f"unix:{flags.grpc_socket_path}")
    for address in addresses:
        try:
            bound = server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            raise OSError(f"Failed to start server: could not bind {address} (is the port taken?)")
    server.start()
    log(f"Running gRPC ModelServer at {', '.join(addresses)} ...")
    return server


def load_version(flags: argparse.Namespace, path: Path) -> LoadedModel:
    """Load a version folder with the settings in the flags, and warm it up."""
    both = flags.tensorflow_session_parallelism
    pools = (
        flags.tensorflow_inter_op_parallelism or both,
        flags.tensorflow_intra_op_parallelism or both,
    )
    model = LoadedModel(flags.model_name, path, read_batching(flags, path), pools)
    if flags.enable_model_warmup:
        log(f"Warmed up with {model.warm_up()} requests")
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Load, warm up, serve; return the exit status. SIGTERM and SIGINT end it at any time."""
    flags = parse_flags(argv)
    # A signal may reach any thread (after a pause it does). Python's handlers run only when the
    # main thread wakes up. So the main thread waits for the byte that a signal writes here.
    stop, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # Serving does not need Keras, whose import takes nearly half of TensorFlow's import time. The
    # old Keras is a separate package. If it is requested, TensorFlow starts without Keras.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    try:
        base = Path(flags.model_base_path)
        read_batching(flags, base)  # a bad file must end the start-up
        versions = Versions(base, lambda path: load_version(flags, path))
        versions.first(flags.file_system_poll_wait_seconds)
        server = start(flags, versions)
        versions.follow(flags.file_system_poll_wait_seconds)
    except (OSError, ValueError) as error:
        log(str(error).split("\n")[0])
        return START_ERROR
    try:
        stop.recv(1)
    finally:
        server.stop(grace=5).wait()
    return 0


def _leave(status: int) -> NoReturn:
    """End at once, because a normal TensorFlow shutdown would add a second to each restart."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        _leave(main())
    except SystemExit as end:
        _leave(int(end.code or 0))
