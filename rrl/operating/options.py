"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

import csv
import ipaddress
import math
import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rrl.core.knob import Configuration, Value
from rrl.core.space import ConfigSpace
from rrl.operating.job import Job
from rrl.serving.client_traffic import ClientTraffic
from rrl.serving.settings import FLAG, cpus_of, read_value
from rrl.support.errors import UsageError
from rrl.support.machine import available_cpus
from rrl.support.number_options import COUNT, SEED, above_zero, whole
from rrl.tuning.defaults import SERVER_DEFAULTS
from rrl.tuning.objective import MeanLatency, Objective
from rrl.tuning.presets import CPUS, paper_cpu, serving_knob
from rrl.tuning.slo import SLO, Constrained, most_cpus, parse_objective, parse_slo
from rrl.workloads.trace import read_trace
from rrl.workloads.workload import Poisson, Workload

PATIENCE = 15
"""Episodes in a row in which no trial was worth its price, after which the tuning ends.

Among 2, 3, 4, 6, 8, 10, 15 and 20, this number was the smallest one that changed the recommendation
in at most 1 % of the runs at the recorded loads (the study is in commit f7d51a8f).
"""

MANY = whole(2, 10**6)

Knobs = dict[str, tuple[Value, ...]]
"""The values of each knob."""

BUDGET_FRACTION = 0.05  # of the requests of the tuning may be late or failed because of trials
_BATCHES = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")

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


def refuse(options: Namespace, names: Iterable[str], why: str) -> None:
    """Raise UsageError if one of these options is given, because it would have no effect."""
    for name in names:
        if getattr(options, name) != options.parser.get_default(name):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{option} has no effect {why}; leave it out")


def add_model_options(parser: Any, more: Any) -> None:
    """Add the options about requests and knobs; those about the program go to the group `more`."""
    parser.add_argument(
        "--sample",
        type=Path,
        help="requests to send to your own model: .json or TFRecord (default: its warm-up "
        "requests, or random values)",
    )
    parser.add_argument(
        "--knob",
        type=knob,
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="a knob with its values, such as inter_op=1,2,4; repeatable",
    )
    more.add_argument(
        "--executable",
        help="tensorflow_model_server to use, or 'local' (default: the one on the PATH, or else "
        "the local one)",
    )
    more.add_argument(
        "--start-timeout",
        type=above_zero,
        default=120.0,
        metavar="S",
        help="seconds until a server that was started must be available (default 120)",
    )
    more.add_argument(
        "--signature",
        default="serving_default",
        metavar="NAME",
        help="the signature to call (default serving_default)",
    )


def add_run_options(parser: ArgumentParser) -> Any:
    """Add the options that `rrl tune` and `rrl replay` have in common, most of them to a group.

    The group of the further options is returned.
    """
    parser.set_defaults(parser=parser)  # it knows the defaults
    parser.add_argument("--rate", type=float, help="Poisson arrivals, requests/s")
    parser.add_argument("--slo", help="the service-level objective to meet, such as p99<50ms")
    more = parser.add_argument_group("further options")
    more.add_argument("--trace", type=Path, help="recorded arrivals: a file of timestamps")
    more.add_argument(
        "--objective",
        help="the cost to minimise (default: the SLO's, or mean); see the end of this help",
    )
    more.add_argument(
        "--agent",
        default="rrl-gp",
        help="the agent: rrl-gp (default), rrl, rrl-adaptive (see rrl.AGENTS)",
    )
    more.add_argument("--episodes", type=COUNT, default=60, help="episodes of tuning (default 60)")
    more.add_argument(
        "--requests", type=MANY, default=100, help="requests per episode (default 100)"
    )
    more.add_argument(
        "--rounds",
        type=MANY,
        default=15,
        help="rounds of comparison, fewer if the answer is clear and there is no SLO (default 15)",
    )
    more.add_argument(
        "--patience",
        type=whole(0, 10**6),
        default=PATIENCE,
        metavar="N",
        help="end the tuning when no trial was worth its price for N episodes in a row, under a "
        f"steady --rate and with --agent rrl-gp (default {PATIENCE}; 0: never)",
    )
    more.add_argument(
        "--budget",
        type=whole(0, 10**9),
        metavar="N",
        help="late or failed requests that trials may cause (default: 5 %% of the requests of the "
        "tuning); with any budget, bad trials are stopped",
    )
    more.add_argument("--seed", type=SEED, default=0, help="seed of all randomness (default 0)")
    more.add_argument(
        "--default",
        type=knob,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value of the configuration to compare with (default: the server's own default)",
    )
    more.add_argument(
        "--out", type=Path, help="folder of journal and result (default: build/COMMAND/NAME)"
    )
    more.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return more


# --- knobs ----------------------------------------------------------------------------------------


def knob(text: str) -> tuple[str, tuple[Value, ...]]:
    """Read an option that is a knob with its values; only a flag or a variable takes any number.

    Examples
    --------
    >>> knob("inter_op=1,2"), knob("flag:--rate=0.5")
    (('inter_op', (1, 2)), ('flag:--rate', (0.5,)))
    >>> knob('env:CPUS="0,1","2,3"')
    ('env:CPUS', ('0,1', '2,3'))
    """
    name, _, given = text.partition("=")
    try:
        words = next(csv.reader([given], strict=True), [])
    except csv.Error:
        words = []
    if not words or not all(words):
        raise ArgumentTypeError(
            f"{text!r}: write it as {name}=VALUE; no value is empty, a comma separates two values, "
            'and one with a comma is in double quotes: "0,1"'
        )
    values = tuple(map(read_value, words))
    if ":" not in name and any(isinstance(value, float) for value in values):
        raise ArgumentTypeError(f"{text!r}: give whole numbers, without a point")
    return name, values


def _each_once(option: str, knobs: Sequence[tuple[str, tuple[Value, ...]]]) -> Knobs:
    """Return the values by the names of their knobs; raise UsageError if one is given twice."""
    names = [name for name, _ in knobs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{option} {twice[0]}= is given twice; give it once")
    return dict(knobs)


def read_knobs(options: Namespace, largest: int) -> tuple[Knobs, dict[str, Value]]:
    """Return the knobs that are given with several values, and those with one, which are fixed.

    A batch must hold the largest request (`largest` examples), or the server refuses it. So smaller
    values of `max_batch_size` are left out.

    Raises
    ------
    UsageError
        If a knob is given twice, or has no effect because batching is off everywhere, or a server
        that is started here lacks a knob, or cannot have a value of it.
    """
    knobs = _each_once("--knob", options.knob)
    first = {name: values[0] for name, values in knobs.items()}
    for name, values in knobs.items():
        for value in values:
            cpus_of({**first, name: value})
    idle = [name for name in _BATCHES if name in knobs]
    if idle and not max(knobs.get("batch_threads", (0,))):
        raise UsageError(
            f"{idle[0]} has no effect while batching is off: add --knob batch_threads="
        )
    if (port := f"{FLAG}--rest_api_port") in knobs:
        raise UsageError(f"{port.removeprefix(FLAG)}: two servers may run at once; use --rest-port")
    sizes = knobs.get("max_batch_size", (largest,) if largest > 1 else ())
    if sizes:
        knobs["max_batch_size"] = tuple(size for size in sizes if int(size) >= largest)
        if not knobs["max_batch_size"]:
            raise UsageError(
                f"max_batch_size {max(sizes)}: the sample has a request of {largest} examples, "
                "which a server with smaller batches refuses; give a larger value"
            )
    several = {name: values for name, values in knobs.items() if len(values) > 1}
    return several, {name: values[0] for name, values in knobs.items() if name not in several}


def read_space(options: Namespace, largest: int) -> tuple[ConfigSpace, Configuration]:
    """Return the space to tune, and the knobs that have one value and are fixed.

    If no knob has several values, the threads that are not fixed are tuned.
    """
    knobs, fixed = read_knobs(options, largest)
    free = [serving_knob(name, values) for name, values in knobs.items()]
    if not free:
        usual = paper_cpu(min(available_cpus(), 8)).knobs
        free = [knob for knob in usual if knob.name not in fixed]
    if not free:
        raise UsageError("each --knob has only one value: there is nothing to tune")
    return ConfigSpace(free, cores=available_cpus()), fixed


def read_default(options: Namespace) -> Configuration:
    """Return the user's choice of the default to compare with; it is empty without one."""
    given = _each_once("--default", options.default)
    if several := [name for name, values in given.items() if len(values) > 1]:
        raise UsageError(f"--default {several[0]}=: a default has one value of each knob")
    return {name: value for name, (value,) in given.items()}


def own_default(space: ConfigSpace) -> Configuration:
    """Return the server's own configuration.

    The default of the CPUs is all of them, and that of a flag or an environment variable its first
    value.
    """
    own = {**SERVER_DEFAULTS, CPUS: len(os.sched_getaffinity(0))}
    first = {knob.name: knob.values[0] if ":" in knob.name else 0 for knob in space.knobs}
    return {name: own.get(name, value) for name, value in first.items()}


# --- the job --------------------------------------------------------------------------------------


def read_job(
    options: Namespace, space: ConfigSpace, own: Configuration, load: Workload, **more: Any
) -> tuple[Job, Path]:
    """Return the job of `rrl tune` or `rrl replay`, and the folder of its files.

    The default is the user's choice, or else the server's `own`. For the load, see
    :func:`read_load`. The job has `more` settings.
    """
    what = Path(os.path.abspath(options.model)).name
    folder = options.out or Path("build") / options.command / what
    default = read_default(options) or own
    objective, slo = read_goal(options, space, default)
    names = ("agent", "episodes", "requests", "rounds", "seed", "patience", "budget")
    given = {name: getattr(options, name) for name in names}
    if options.budget is None:
        tuning = options.episodes * options.requests
        given["budget"] = math.ceil(round(BUDGET_FRACTION * tuning, 9))
    return Job(what, space, default, load, objective, slo, **given, **more), folder


def read_goal(
    options: Namespace, space: ConfigSpace, default: Configuration
) -> tuple[Objective, SLO | None]:
    """Return the objective of the agent, and the SLO, which the objective may bring along."""
    slo = parse_slo(options.slo) if options.slo is not None else None
    if options.objective is None:
        return slo.statistic if slo else MeanLatency(), slo
    own = default.get(CPUS, 1)
    most = most_cpus(space, own if isinstance(own, int | float) else 1)
    objective = parse_objective(options.objective, most)
    if isinstance(objective, Constrained):
        if slo is not None:
            raise UsageError(f"--slo: the objective has one already, {objective.slo}; leave it out")
        slo = objective.slo
    return objective, slo


def read_load(options: Namespace) -> Workload:
    """Return the arrivals: those of clients, recorded ones, or Poisson."""
    if getattr(options, "traffic", False):
        return ClientTraffic()
    if options.trace and options.rate is not None:
        raise UsageError("--rate and --trace: give one of them")
    if options.trace:
        trace = read_trace(options.trace)
        wanted = (max(options.episodes + 1, options.rounds)) * options.requests
        if wanted > len(trace.times):
            raise UsageError(
                f"{options.trace} holds {len(trace.times)} requests and the run needs {wanted}: "
                "lower --episodes or --requests"
            )
        return trace
    if options.rate is None:
        raise UsageError("give the load: --rate REQUESTS_PER_S, or --trace FILE of timestamps")
    return Poisson(options.rate)
