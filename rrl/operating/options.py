"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

import ipaddress
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

from rrl.serving.client_traffic import MOST_CALLS
from rrl.support.errors import UsageError
from rrl.support.number_options import COUNT, SEED, above_zero, whole

PATIENCE = 15
"""Episodes in a row in which no trial was worth its price, after which the tuning ends.

Among 2, 3, 4, 6, 8, 10, 15 and 20, this number was the smallest one that changed the recommendation
in at most 1 % of the runs at the recorded loads (the study is in commit f7d51a8f).
"""

MANY = whole(2, 10**6)

DATA = Path("data")
"""The folder in which a profile is known by its name."""


def ip_address(text: str) -> str:
    """Read an option that is an address of this machine, without a port."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no IP address; write it as 127.0.0.1, 10.0.0.7, or 0.0.0.0 for all"
        ) from None


def refuse(options: Namespace, names: Iterable[str], why: str) -> None:
    """Raise UsageError if one of these options is given, because it would have no effect."""
    for name in names:
        if getattr(options, name) != options.parser.get_default(name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} has no effect {why}; leave it out")


def refuse_without_effect(options: Namespace) -> None:
    """Raise UsageError if an option of `rrl tune` has no effect beside the others."""
    if options.port is None:
        names = ("traffic", "rest_port", "bind", "max_request", "keep_best")
        refuse(options, names, "without --port")
    if not options.traffic:
        refuse(options, ("canary",), "without --traffic")
    else:
        refuse(options, ("rate", "trace"), "with --traffic: the clients send the requests")
        if options.requests > options.canary * MOST_CALLS / 2:  # an episode would never end
            raise UsageError(
                f"--requests {options.requests}: too many of the clients' requests for an episode "
                f"with --canary {options.canary:g}; give fewer, or a larger --canary"
            )


def checksum(path: Path) -> str:
    """Return a file's checksum, so that a journal can identify the file of its measurements."""
    return f"crc32 {crc32(path.read_bytes()):08x}"


def add_server_options(group: Any) -> None:
    """Add the options for the program that is started, and for how the model is called."""
    group.add_argument(
        "--executable",
        help="tensorflow_model_server to use, or 'local' (default: the one on the PATH, or else "
        "the local one)",
    )
    group.add_argument(
        "--start-timeout",
        type=above_zero,
        default=120.0,
        metavar="S",
        help="seconds until a server that was started must be available (default 120)",
    )
    group.add_argument(
        "--signature",
        default="serving_default",
        metavar="NAME",
        help="the signature to call (default serving_default)",
    )


def add_model_options(group: Any) -> None:
    """Add the options for the requests to send, and for what may be changed."""
    group.add_argument(
        "--sample",
        type=Path,
        help="requests to send to your own model: .json or TFRecord (default: its warm-up "
        "requests, or random values)",
    )
    group.add_argument(
        "--knob",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="a knob with its values, such as inter_op=1,2,4; repeatable",
    )


def add_goal_options(group: Any) -> None:
    """Add the two options that say under which load which latency is wanted."""
    group.add_argument("--rate", type=float, help="Poisson arrivals, requests/s")
    group.add_argument("--slo", help="the service-level objective to meet, such as p99<50ms")


def add_run_options(parser: ArgumentParser, group: Any) -> None:
    """Add the other options that `rrl tune` and `rrl replay` have in common to a group."""
    parser.set_defaults(parser=parser)  # it knows the defaults
    group.add_argument("--trace", type=Path, help="recorded arrivals: a file of timestamps")
    group.add_argument(
        "--objective",
        help="the cost to minimise (default: the SLO's, or mean); see the end of this help",
    )
    group.add_argument(
        "--agent",
        default="rrl-gp",
        help="the agent: rrl-gp (default), rrl, rrl-adaptive (see rrl.AGENTS)",
    )
    group.add_argument("--episodes", type=COUNT, default=60, help="episodes of tuning (default 60)")
    group.add_argument(
        "--requests", type=MANY, default=100, help="requests per episode (default 100)"
    )
    group.add_argument(
        "--rounds",
        type=MANY,
        default=15,
        help="rounds of comparison, fewer if the answer is clear and there is no SLO (default 15)",
    )
    group.add_argument(
        "--patience",
        type=whole(0, 10**6),
        default=PATIENCE,
        metavar="N",
        help="end the tuning when no trial was worth its price for N episodes in a row, under a "
        f"steady --rate and with --agent rrl-gp (default {PATIENCE}; 0: never)",
    )
    group.add_argument(
        "--budget",
        type=whole(0, 10**9),
        metavar="N",
        help="late or failed requests that trials may cause (default: 5 %% of the requests of the "
        "tuning); with any budget, bad trials are stopped",
    )
    group.add_argument("--seed", type=SEED, default=0, help="seed of all randomness (default 0)")
    group.add_argument(
        "--default",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value of the configuration to compare with (default: the server's own default)",
    )
    group.add_argument(
        "--out", type=Path, help="folder of journal and result (default: build/tune/NAME)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
