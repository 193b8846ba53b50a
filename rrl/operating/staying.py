"""The server that stays at a port when a run ends: it has the configuration to keep."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrl.operating.requests import model_path
from rrl.serving.undisturbed import undisturbed
from rrl.support.errors import RRLError, ServerError, UsageError, interrupt_by_signals
from rrl.tuning.presets import in_words

if TYPE_CHECKING:
    from rrl.serving.detached import Detached
    from rrl.serving.handover import HandoverServer

LOOK_S = 0.5
"""How often a process that has to go on serving looks whether its server runs."""


def check_socket(options: Namespace, folder: Path) -> None:
    """Refuse now what would end the service of the clients at the end of the run."""
    from rrl.serving.detached import socket_path
    from rrl.serving.launcher import fits

    name = model_path(options.model).name
    socket = socket_path((folder / "serving").absolute(), name, options.port)
    if not options.stop and not fits(socket):
        raise UsageError(
            f"{folder}: this path is too long for the socket of the server that stays; give a "
            "shorter --out, or --stop"
        )


def leave_running(server: HandoverServer, base: Path, folder: Path, options: Namespace) -> None:
    """Give the port to a server that outlives this process, with the kept configuration.

    If no such server starts, this process goes on serving until it is interrupted.
    """
    if not _gave_over(server, base, folder, options):
        _serve_until_interrupted(server)


@undisturbed()
def _gave_over(server: HandoverServer, base: Path, folder: Path, options: Namespace) -> bool:
    """Give the port to a server that stays; return False if this process has to go on serving."""
    left: list[Detached] = []
    say(
        f"a server that stays takes {server.address} over; with clients, this needs half a minute "
        "or more, so that no call fails"
    )
    try:
        server.return_to_kept(np.random.default_rng(0))
        complete = _hand_over(server, base, folder, options, left)
    except KeyboardInterrupt:
        if not left:
            raise KeyboardInterrupt(
                f"interrupted before a server took {server.address} over: nothing serves "
                "there; the same command starts it again"
            ) from None
        complete = False
    except (RRLError, OSError) as error:
        for useless in left:  # it does not listen at the port, and nobody would know of it
            useless.stop()
        if not server.serves:
            raise _nothing_serves(server, error) from error
        say(f"no server of its own could take over {server.address}: {error}")
        say(
            f"{server.address} stays in service, but only as long as this process runs; "
            "Ctrl-C ends it"
        )
        return False
    (serving,) = left
    if not complete:
        say("calls that were still open are cut off: not all clients have connected again")
    if serving.exposed:
        say(serving.exposed)
    say(
        f"{server.address} stays in service with {in_words(server.kept)}; the log is "
        f"{serving.log}; stop it with: {serving.stop_command}"
    )
    return True


def say(line: str) -> None:
    """Write a line for people to read."""
    with suppress(OSError):  # a terminal that was closed must not end the service
        print("rrl:", line, file=sys.stderr, flush=True)


def _hand_over(
    server: HandoverServer, base: Path, folder: Path, options: Namespace, left: list[Detached]
) -> bool:
    """Start the server that stays, and let the front leave the port to it.

    The server is put into `left` as soon as it serves. The result says whether no call was cut off.
    """
    from rrl.serving.detached import start_detached

    def start() -> None:
        """Start it, and warm it up: the model may have no warm-up requests of its own."""
        left.append(
            start_detached(
                base,
                server.kept,
                server.front.port,
                folder / "serving",
                executable=options.executable,
                start_timeout_s=options.start_timeout,
                shared=True,
            )
        )
        with suppress(RRLError):  # it serves all the same
            server.warm_up(left[0].own_address)

    return server.hand_port_over(start)


def _serve_until_interrupted(server: HandoverServer) -> None:
    """Go on serving; a server that ends is started again."""
    interrupt_by_signals()  # again, because an interrupted run ignores further signals
    try:
        while True:
            if not server.serves:
                say(f"the server behind {server.address} has ended; it is started again")
                server.return_to_kept(np.random.default_rng(0))
            time.sleep(LOOK_S)
    except RRLError as error:
        raise _nothing_serves(server, error) from error
    except KeyboardInterrupt:
        pass


def _nothing_serves(server: HandoverServer, error: Exception) -> ServerError:
    return ServerError(f"nothing serves at {server.address} any more: {error}")
