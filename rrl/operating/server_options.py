"""Options about the server that a command starts, its model and its requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rrl.support.number_options import above_zero


def add_process_options(group: Any) -> None:
    """Add the options for flags and environment variables that every configuration has."""
    group.add_argument(
        "--flag",
        action="append",
        default=[],
        metavar="--NAME=VALUE",
        help="a further flag of the server, written as --flag=--name=value; repeatable",
    )
    group.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an environment variable of the server; it is stored with the result; repeatable",
    )


def add_server_options(group: Any) -> None:
    """Add the options for the program that is started, and for how long its start may take."""
    group.add_argument("--executable", help="tensorflow_model_server to use, or 'local'")
    group.add_argument(
        "--start-timeout",
        type=above_zero,
        default=120.0,
        metavar="S",
        help="seconds until a server that is started here must be available (default 120)",
    )


def add_model_options(group: Any) -> None:
    """Add the options for the requests to send, and for the server of the model."""
    group.add_argument("--sample", type=Path, help="requests to send: .npz, .json or TFRecord")
    group.add_argument(
        "--signature",
        default="serving_default",
        metavar="NAME",
        help="the signature to call (default serving_default)",
    )
    group.add_argument(
        "--deadline",
        type=above_zero,
        default=60.0,
        metavar="S",
        help="seconds after which a request without an answer has failed (default 60)",
    )
    add_server_options(group)
