"""The flags of the local server, which are those of `tensorflow_model_server`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from rrl.serving.process_knobs import usable_cpus

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


def parse_flags(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check flags of `tensorflow_model_server`; a bad flag exits with status 255."""
    parser = _parser()
    flags = parser.parse_args(argv)
    problem = _problem(flags)
    if problem:
        parser.error(problem)
    return flags


def _parser() -> _Parser:
    parser = _Parser(
        prog="rrl.serving.local_server",
        allow_abbrev=False,
        description="Serve a SavedModel on the local TensorFlow runtime behind TF Serving's gRPC "
        "and REST APIs. Flags are those of tensorflow_model_server.",
    )
    threads = 4 * len(usable_cpus())  # a forked server gets its CPUs after the import
    flag = parser.add_argument
    flag("--port", type=_natural, default=8500, help="gRPC port; 0: none")
    flag("--grpc_socket_path", default="", help="unix socket to listen on as well")
    flag("--rest_api_port", type=_natural, default=0, help="HTTP port of the REST API; 0: none")
    flag("--bind_address", default="127.0.0.1", help="address to bind (only in rrl)")
    flag("--model_name", default="default")
    flag("--model_base_path", default="", help="folder with numbered version folders")
    flag("--file_system_poll_wait_seconds", type=_seconds, default=1.0, help="0: look only once")
    flag("--grpc_max_threads", type=_natural, default=threads)
    flag("--grpc_channel_arguments", default="", help="comma-separated key=value")
    flag("--tensorflow_intra_op_parallelism", type=_natural, default=0, help="0: automatic")
    flag("--tensorflow_inter_op_parallelism", type=_natural, default=0, help="0: automatic")
    flag("--batching_parameters_file", default="")
    for name, default in (
        ("enable_batching", False),
        ("adaptive_batching", False),
        ("enable_model_warmup", True),
    ):
        flag(f"--{name}", type=_boolean, nargs="?", const=True, default=default)
    return parser


def _problem(flags: argparse.Namespace) -> str | None:
    """Return what is wrong with flags that do not go together; None if nothing is."""
    for name, needed in (
        ("batching_parameters_file", "enable_batching"),
        ("adaptive_batching", "enable_batching"),
    ):
        if getattr(flags, name) and not getattr(flags, needed):
            return f"--{name} needs --{needed}"
    if not flags.model_base_path:
        return "--model_base_path must be set"
    if not flags.port and not flags.grpc_socket_path:
        return "at least one of --port and --grpc_socket_path must be set"
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        return f"--rest_api_port and --port are both {flags.port}; give two ports"
    if not flags.grpc_max_threads:
        return "--grpc_max_threads must be at least 1"
    return None
