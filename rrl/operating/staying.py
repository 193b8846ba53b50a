"""The service at a port: where it listens, and what goes on there when a run ends."""

from __future__ import annotations

import ipaddress
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from rrl.serving.undisturbed import undisturbed
from rrl.support.errors import RRLError
from rrl.tuning.presets import in_words

if TYPE_CHECKING:
    from rrl.serving.handover import HandoverServer


def opened(server: HandoverServer) -> None:
    """Say where a service listens, and who can reach it."""
    reach = ""
    if not ipaddress.ip_address(server.door.bind).is_loopback:
        reach = "; other machines can send requests there, unless a firewall closes the port"
    say(f"clients may use {server.door} during the tuning and afterwards{reach}")
    if exposed := server.exposed:
        say(exposed)


def leave_running(server: HandoverServer) -> None:
    """Let the kept configuration go on at the port without this process.

    If it does not start, or this is interrupted, the configuration that serves now goes on.

    Raises
    ------
    ServerError
        If nothing serves.
    """
    interrupted = None
    with undisturbed():
        try:
            server.return_to_kept(np.random.default_rng(0))
        except KeyboardInterrupt as error:
            interrupted = error
        except (RRLError, OSError) as error:
            say(f"the configuration to keep cannot take over: {error}")
        left = server.leave()
        say(
            f"{server.door} stays in service with {in_words(left.configuration)}; the log is "
            f"{left.log}; end it with: rrl stop {server.door.port}"
        )
        say("if that server ends, only a supervisor starts it again: see the page for operators")
    if interrupted:
        raise interrupted


def say(line: str) -> None:
    """Write a line for people to read."""
    with suppress(OSError):  # a terminal that was closed must not end the service
        print("rrl:", line, file=sys.stderr, flush=True)
