"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

import csv
import ipaddress
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from zlib import crc32

from rrl.serving.process_knobs import ENV, FLAG, check_process_knob, read_value
from rrl.support.errors import UsageError
from rrl.support.number_options import above_zero, whole
from rrl.tuning.presets import CPUS

if TYPE_CHECKING:
    from rrl.core.knob import Value

UNLIMITED, NO_LIMIT = "unlimited", 10**9
"""The word for no budget of bad requests, and the number that stands for it."""

DATA = Path("data")
"""The folder in which a profile is known by its name."""

FURTHER = "further options"
"""The title of the options that only ``--help-all`` shows."""

MOST_THREADS = 4096
"""The largest thread count of an option: far above the cores of a machine, so it is a mistake."""

_THREADS = ("inter_op", "intra_op", "batch_threads", "grpc_max_threads")
_BATCHES = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")


def knob_values(text: str) -> tuple[str, tuple[Value, ...]]:
    """Read a knob with its values; those of a flag or an environment variable may also be text.

    A value with a comma is in double quotes.

    Raises
    ------
    UsageError
        If the text has another form, or a value is one that no server can have.

    Examples
    --------
    >>> knob_values("inter_op=1,2")
    ('inter_op', (1, 2))
    >>> knob_values("flag:--enable_model_warmup=true,false")
    ('flag:--enable_model_warmup', ('true', 'false'))
    >>> knob_values('env:CPUS="0,1","2,3"')
    ('env:CPUS', ('0,1', '2,3'))
    """
    name, equals, numbers = text.partition("=")
    if name.startswith((FLAG, ENV)):
        try:
            words = next(csv.reader([numbers], strict=True), [])
        except csv.Error:
            words = []
        if not equals or not words or not all(words):
            raise UsageError(
                f"--knob {text!r}: write it as {name}=VALUE,VALUE; no value is empty, and one with "
                'a comma is in double quotes: "0,1"'
            )
        check_process_knob(name)
        return name, tuple(map(read_value, words))
    try:
        values = tuple(int(value) for value in numbers.split(",")) if text.isascii() else ()
    except ValueError:
        values = ()
    if not equals or not values or min(values) < 0:
        raise UsageError(f"--knob {text!r}: write it as name=1,2,4 with whole numbers, 0 or more")
    if name == "max_batch_size" and not min(values):
        raise UsageError(f"--knob {text}: a batch has at least 1 request")
    if name == CPUS and not min(values):
        raise UsageError(f"--knob {text}: a server has at least 1 CPU")
    if max(values) > (most := MOST_THREADS if name in _THREADS else 2**31 - 1):
        raise UsageError(f"--knob {text}: {max(values)} is too large; use at most {most}")
    return name, values


def each_once(texts: Iterable[str]) -> dict[str, tuple[Value, ...]]:
    """Read the values of several knobs; a UsageError names one that is given twice.

    Examples
    --------
    >>> each_once(["inter_op=1,2", "batch_threads=0"])
    {'inter_op': (1, 2), 'batch_threads': (0,)}
    """
    knobs: dict[str, tuple[Value, ...]] = {}
    for name, values in map(knob_values, texts):
        if name in knobs:
            raise UsageError(f"--knob {name}= is given twice; write all its values in one")
        knobs[name] = values
    return knobs


def requests_or_unlimited(text: str) -> int:
    """Read a number of requests, or `UNLIMITED`."""
    return NO_LIMIT if text == UNLIMITED else whole(0, NO_LIMIT)(text)


def ip_address(text: str) -> str:
    """Read an option that is an address of this machine, without a port."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no IP address; write it as 127.0.0.1, 10.0.0.7, or 0.0.0.0 for all"
        ) from None


def given(options: Namespace, name: str) -> bool:
    """Return whether an option has another value than its default."""
    return getattr(options, name) != options.parser.get_default(name)


def refuse(options: Namespace, names: Iterable[str], why: str) -> None:
    """Raise UsageError if one of these options is given, because it would have no effect."""
    for name in names:
        if given(options, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} has no effect {why}; leave it out")


def refuse_idle(knobs: Mapping[str, Sequence[Value]]) -> None:
    """Raise UsageError if a knob of the batches is given and batching is off everywhere."""
    idle = [name for name in _BATCHES if name in knobs]
    if idle and not max(knobs.get("batch_threads", (0,))):
        raise UsageError(
            f"{idle[0]} has no effect while batching is off: add --knob batch_threads="
        )


def refuse_without_effect(options: Namespace) -> None:
    """Raise UsageError if an option of `rrl tune` has no effect beside the others."""
    if options.port is None:
        names = ("traffic", "rest_port", "bind", "max_request", "keep_best")
        refuse(options, names, "without --port")
    if not options.traffic:
        refuse(options, ("canary",), "without --traffic")
    else:
        given = ("rate", "trace", "time_column", "speed")
        refuse(options, given, "with --traffic: the clients send the requests")


def setting(texts: Sequence[str]) -> dict[str, Value]:
    """Read a configuration from texts of the form ``name=value``.

    Examples
    --------
    >>> setting(["threads=2", "mode=fast"])
    {'threads': 2, 'mode': 'fast'}
    """
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--default {text!r}: write it as name=value")
        if name in values:
            raise UsageError(f"--default {name}= is given twice; give it once")
        for kind in (read_value,) if name.startswith((FLAG, ENV)) else (int, float, str):
            try:
                values[name] = kind(value)
                break
            except ValueError:
                continue
    return values


def checksum(path: Path) -> str:
    """Return a file's checksum, so that a journal can identify the file of its measurements."""
    return f"crc32 {crc32(path.read_bytes()):08x}"


def add_server_options(group: Any) -> None:
    """Add the options for the program that is started, and for how the model is called."""
    group.add_argument("--executable", help="tensorflow_model_server to use, or 'local'")
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
    group.add_argument(
        "--deadline",
        type=above_zero,
        default=60.0,
        metavar="S",
        help="seconds after which a request without an answer has failed (default 60)",
    )


def add_sample_option(group: Any) -> None:
    """Add the option for the requests to send."""
    group.add_argument("--sample", type=Path, help="requests to send: .npz, .json or TFRecord")


class _Help(Action):
    """``--help`` shows the options that most runs need, ``--help-all`` the further ones, too."""

    def __call__(
        self, parser: ArgumentParser, _namespace: Any, _values: Any, option: str | None = None
    ) -> NoReturn:
        groups = parser._action_groups
        shown = [group for group in groups if option == "--help-all" or group.title != FURTHER]
        parser._action_groups = shown
        parser.print_help()
        parser.exit()


def add_further_options(parser: ArgumentParser) -> Any:
    """Add the help, and the group of the options that few runs need; return the group."""
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="show this help")
    parser.add_argument("--help-all", action=_Help, nargs=0, help="show the further options, too")
    return parser.add_argument_group(FURTHER)


def add_goal_options(group: Any) -> None:
    """Add the two options that say under which load which latency is wanted."""
    group.add_argument("--rate", type=float, help="Poisson arrivals, requests/s")
    group.add_argument("--slo", help="the service-level objective to meet, such as p99<50ms")


def add_run_options(parser: ArgumentParser, group: Any) -> None:
    """Add the other options that `rrl tune` and `rrl replay` have in common."""
    parser.set_defaults(parser=parser)  # it knows the defaults
    group.add_argument("--trace", type=Path, help="recorded arrivals: a file of timestamps")
    group.add_argument(
        "--time-column",
        metavar="NAME",
        help="the column of --trace with the times (default: timestamp, time or arrival)",
    )
    group.add_argument(
        "--speed",
        type=above_zero,
        default=1.0,
        metavar="N",
        help="play --trace N times as fast (default 1)",
    )
    group.add_argument(
        "--objective",
        help="the cost to minimise (default: the SLO's, or mean); see the end of this help",
    )
    group.add_argument(
        "--agent",
        default="rrl-gp",
        help="the agent: rrl-gp (default), rrl, rrl-adaptive (see rrl.AGENTS)",
    )
    group.add_argument("--episodes", type=int, default=60, help="episodes of tuning (default 60)")
    group.add_argument(
        "--requests", type=int, default=100, help="requests per episode (default 100)"
    )
    group.add_argument(
        "--rounds",
        type=int,
        default=15,
        help="rounds of comparison, fewer if the answer is clear and there is no SLO (default 15)",
    )
    group.add_argument("--seed", type=int, default=0, help="seed of all randomness (default 0)")
    group.add_argument(
        "--default",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value of the configuration to compare with (default: the server's own default)",
    )
    group.add_argument(
        "--warm-start",
        type=Path,
        metavar="FOLDER",
        help="begin with what a profile, or the journal of another tuning, says; it fades",
    )
    group.add_argument(
        "--out", type=Path, help="folder of journal and result (default: build/tune/NAME)"
    )
    group.add_argument("--json", action="store_true", help="print the result as one JSON object")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
