"""The command that starts the server of a run, without the flags of a configuration."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from rrl.serving.launcher import BINARY, LOCAL, find_executable, kind_of
from rrl.serving.running import running_server

PORT = 8500  # TensorFlow Serving's own
UNKNOWN_BASE = "MODEL_BASE_PATH"
"""It stands for a model's base path that cannot be read from here."""


def command_here(options: Namespace, base: Path) -> list[str]:
    """Return the command that starts a server of the model, without the flags that are tuned."""
    return [
        *find_executable(options.executable),
        f"--port={options.port or PORT}",
        f"--model_name={base.resolve().name}",
        f"--model_base_path={base.resolve()}",
    ]


def own_server(options: Namespace) -> str:
    """Say which server starts here, if nobody chose it and it is not the original."""
    if options.address or options.executable or kind_of(find_executable()) != LOCAL:
        return ""
    return f"no {BINARY} on the PATH: the local server of rrl, on the same runtime, takes its place"


def command_at(options: Namespace) -> list[str]:
    """Return the command that starts the server at an address, without the flags that are tuned.

    `UNKNOWN_BASE` stands for the model's base path if it cannot be read from here.
    """
    now = running_server(options.address)
    where, _, port = options.address.rpartition(":")
    own = where.startswith("unix") or not port.isdecimal()
    return [
        BINARY,
        *([f"--grpc_socket_path={port}", "--port=0"] if own else [f"--port={port}"]),
        f"--model_name={options.model_name}",
        f"--model_base_path={now.model_base_path if now and now.model_base_path else UNKNOWN_BASE}",
    ]
