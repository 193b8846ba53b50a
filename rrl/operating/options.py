"""The options of a command as a frozen dataclass, and functions that read their values."""

from __future__ import annotations

import ipaddress
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from rrl.operating.knobs import Named, knob
from rrl.rivals.agents import RECOMMENDED
from rrl.serving.elsewhere import Elsewhere
from rrl.support.errors import UsageError
from rrl.support.number_options import COUNT, SEED, above_zero, fraction, whole

PATIENCE = 15
"""Episodes in a row in which no trial was worth its price, after which the tuning ends.

Among 2, 3, 4, 6, 8, 10, 15 and 20, this number was the smallest one that changed the recommendation
in at most 1 % of the runs at the recorded loads (the study is in commit f7d51a8f).
"""

MANY = whole(2, 10**6)

REQUIRED: Any = object()
"""In place of a default: an argument that has to be given."""

T = TypeVar("T")

DATA = Path("data")
"""The folder in which a profile is known by its name."""

OBJECTIVES = """Objectives of --objective: mean, p99 (any percentile), slo:0.08 (the fraction of
requests above 0.08 s), or the fewest CPUs, where the latency only has to keep an SLO:
  "cpus with p99<80ms"    it needs --knob cpus=1,2
An episode that breaks the SLO costs latency / target, which is above 1. One that keeps it costs the
fraction of the CPUs, at most 1.
"""
"""What the help of a command says about objectives."""


def ip_address(text: str) -> str:
    """Read an option that is an address of this machine, without a port."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no IP address; write it as 127.0.0.1, 10.0.0.7, or 0.0.0.0 for all"
        ) from None


# --- options as data ------------------------------------------------------------------------------


def option(default: T, help: str, *, more: bool = False, **given: Any) -> T:
    """Make a field of a dataclass of options, such as ``rate: float = option(9.0, "the rate")``.

    A field `some_name` is the option ``--some-name``; with `metavar` and without a default, it is
    an argument. One of a tuple may be repeated, and a default of False makes a switch.

    Parameters
    ----------
    default : object
    help : str
    more : bool
        Whether it is listed among the further options.
    **given
        Of :meth:`argparse.ArgumentParser.add_argument`.
    """
    return field(default=default, metadata={"more": more, "given": {"help": help, **given}})


def add_options(parser: ArgumentParser, kind: type[Any], run: Callable[[Any], None]) -> None:
    """Add the fields of a dataclass to the parser of a command that `run` carries out."""
    parser.set_defaults(run=lambda given: run(_made(kind, given)))
    more: Any = None
    for one in (one for one in fields(kind) if one.metadata):
        known, given = one.metadata, dict(one.metadata["given"])
        if known["more"]:
            more = more or parser.add_argument_group("further options")
        if one.default is REQUIRED:
            parser.add_argument(one.name, **given)
            continue
        if one.default is False:
            given["action"] = "store_true"
        elif one.default == ():
            given |= {"action": "append", "default": []}
        else:
            given["default"] = one.default
        (more if known["more"] else parser).add_argument(f"--{one.name.replace('_', '-')}", **given)


def _made(kind: type[T], given: Namespace) -> T:
    """Return the options of a command line, which nobody changes afterwards."""
    values = {one.name: getattr(given, one.name) for one in fields(cast(Any, kind))}
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


def refuse(options: Any, names: Iterable[str], why: str) -> None:
    """Raise UsageError if one of these options is given, because it would have no effect."""
    defaults = {one.name: one.default for one in fields(options)}
    for name in names:
        if getattr(options, name) != defaults[name]:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} has no effect {why}; leave it out")


@dataclass(frozen=True)
class ModelOptions:
    """Options about a model, its requests, its knobs, and the program that serves it."""

    model: str = option(REQUIRED, "a known model, or a SavedModel's base path", metavar="MODEL")
    sample: Path | None = option(
        None,
        "requests to send to your own model: .json or TFRecord (default: its warm-up requests, or "
        "random values)",
        type=Path,
    )
    knob: tuple[Named, ...] = option(
        (),
        "a knob with its values, such as inter_op=1,2,4; repeatable",
        type=knob,
        metavar="NAME=VALUES",
    )
    executable: str | None = option(
        None,
        "tensorflow_model_server to use, or 'local' (default: the one on the PATH, or else the "
        "local one)",
        more=True,
    )
    start_timeout: float = option(
        120.0,
        "seconds until a server that was started must be available (default 120)",
        more=True,
        type=above_zero,
        metavar="S",
    )
    signature: str = option(
        "serving_default",
        "the signature to call (default serving_default)",
        more=True,
        metavar="NAME",
    )


@dataclass(frozen=True)
class RunOptions:
    """Options that `rrl tune` and `rrl replay` have in common."""

    model: str = option(REQUIRED, "", metavar="MODEL")
    rate: float | None = option(None, "Poisson arrivals, requests/s", type=float)
    slo: str | None = option(None, "the service-level objective to meet, such as p99<50ms")
    trace: Path | None = option(
        None, "recorded arrivals: a file of timestamps", more=True, type=Path
    )
    objective: str | None = option(
        None, "the cost to minimise (default: the SLO's, or mean); see the end of this help",
        more=True,
    )  # fmt: skip
    agent: str = option(
        RECOMMENDED,
        f"the agent: {RECOMMENDED} (default), rrl, rrl-adaptive (see rrl.AGENTS)",
        more=True,
    )
    episodes: int = option(60, "episodes of tuning (default 60)", more=True, type=COUNT)
    requests: int = option(100, "requests per episode (default 100)", more=True, type=MANY)
    rounds: int = option(
        15,
        "rounds of comparison, fewer if the answer is clear and there is no SLO (default 15)",
        more=True,
        type=MANY,
    )
    patience: int = option(
        PATIENCE,
        "end the tuning when no trial was worth its price for N episodes in a row, under a steady "
        f"--rate and with --agent rrl-gp (default {PATIENCE}; 0: never)",
        more=True,
        type=whole(0, 10**6),
        metavar="N",
    )
    budget: int | None = option(
        None,
        "late or failed requests that trials may cause (default: 5 %% of the requests of the "
        "tuning); with any budget, bad trials are stopped",
        more=True,
        type=whole(0, 10**9),
        metavar="N",
    )
    seed: int = option(0, "seed of all randomness (default 0)", more=True, type=SEED)
    default: tuple[Named, ...] = option(
        (),
        "a value of the configuration to compare with (default: the server's own default)",
        more=True,
        type=knob,
        metavar="NAME=VALUE",
    )
    out: Path | None = option(
        None, "folder of journal and result (default: build/COMMAND/NAME)", more=True, type=Path
    )
    quiet: bool = option(False, "no progress on stderr", more=True)
    line: str = ""  # the whole command


@dataclass(frozen=True)
class TuneOptions(ModelOptions, RunOptions):
    """The options of `rrl tune`."""

    port: int | None = option(
        None,
        "serve here while tuning, and afterwards; configurations take over without a gap",
        type=whole(1, 65535),
    )
    dry_run: bool = option(
        False, "say what may be tried, how often, how long, and at which risk; start nothing"
    )
    address: str | None = option(
        None,
        "the server is elsewhere, at this address of gRPC; --start and --stop say how",
        more=True,
        metavar="HOST:PORT",
    )
    start: str | None = option(
        None,
        "the command that starts it; {inter_op} stands for the value of that knob, {flags} for all "
        "flags, {batching} for the file of the batching parameters",
        more=True,
        metavar="COMMAND",
    )
    stop: str | None = option(None, "the command that stops it", more=True, metavar="COMMAND")
    rest_port: int | None = option(
        None,
        "serve REST here, beside --port",
        more=True,
        type=whole(1, 65535),
        metavar="PORT",
    )
    bind: str = option(
        "127.0.0.1",
        "the address of this machine on which these ports listen (default 127.0.0.1)",
        more=True,
        type=ip_address,
        metavar="ADDRESS",
    )
    max_request: int = option(
        64,
        "the largest request that is let in there, in MiB (default 64)",
        more=True,
        type=whole(1, 2047),
        metavar="MIB",
    )
    traffic: bool = option(
        False, "learn from the requests that clients send to --port; send no others", more=True
    )
    canary: float = option(
        1.0,
        "fraction of these requests that goes to a configuration on trial (default 1)",
        more=True,
        type=fraction,
        metavar="FRACTION",
    )
    keep_best: bool = option(
        False,
        "after an interrupt or an error, the best known one stays (default: the default)",
        more=True,
    )
    metrics_port: int | None = option(
        None,
        "the tuning's metrics for Prometheus, at this port of 127.0.0.1",
        more=True,
        type=whole(1, 65535),
        metavar="PORT",
    )

    @property
    def place(self) -> Elsewhere | None:
        """Where the server is, if it is elsewhere."""
        given = self.address, self.start, self.stop
        if given == (None, None, None):
            return None
        if None in given:
            raise UsageError("a server elsewhere needs all of --address, --start and --stop")
        return Elsewhere(*map(str, given))


@dataclass(frozen=True)
class ReplayOptions(RunOptions):
    """The options of `rrl replay`."""

    model: str = option(
        REQUIRED, "a profile's folder, or its name in data/; or a testbed", metavar="SOURCE"
    )


@dataclass(frozen=True)
class ReportOptions:
    """The options of `rrl report`."""

    folder: Path = option(REQUIRED, "the folder of the run, as in --out", type=Path)


@dataclass(frozen=True)
class StopOptions:
    """The options of `rrl stop`."""

    port: int = option(REQUIRED, "the port of `rrl tune --port`", type=whole(1, 65535))
