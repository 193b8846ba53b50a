"""`rrl stop`: end the service that `rrl tune --port` has left."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from rrl.support.errors import UsageError
from rrl.support.number_options import whole


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    stop = commands.add_parser(
        "stop",
        help="end the service that `rrl tune --port` has left at a port",
        description="End the service at a port: the run that tunes it, the proxy (Envoy), and the "
        "model server behind it. Calls that are open are cut off.",
    )
    stop.add_argument("port", type=whole(1, 65535), help="the port of `rrl tune --port`")
    stop.set_defaults(run=_stop)


def _stop(options: Namespace) -> int:
    from rrl.serving.port_folder import end_tuner, port_folder, stop_service

    folder = port_folder(options.port)
    tuned = end_tuner(folder)
    if not stop_service(folder) and not tuned:
        raise UsageError(f"port {options.port}: `rrl tune` has left no service of this user there")
    print(f"the service at port {options.port} has ended")
    return 0
