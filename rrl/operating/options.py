"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from rrl.support.errors import UsageError

if TYPE_CHECKING:
    from rrl.tuning.objective import Objective
    from rrl.tuning.slo import SLO
    from rrl.workloads.workload import Workload


def levels(text: str) -> tuple[str, tuple[int, ...]]:
    """Read ``name=1,2,4``.

    Raises
    ------
    UsageError
        If the text has another form.

    Examples
    --------
    >>> levels("inter_op=1,2")
    ('inter_op', (1, 2))
    """
    name, equals, numbers = text.partition("=")
    try:
        values = tuple(int(level) for level in numbers.split(","))
    except ValueError:
        values = ()
    if not equals or not values or min(values) < 0:
        raise UsageError(f"--knob {text!r}: write it as name=1,2,4 with whole numbers, 0 or more")
    return name, values


def setting(texts: Sequence[str]) -> dict[str, int | float | str]:
    """Read a configuration from texts of the form ``name=value``.

    Examples
    --------
    >>> setting(["threads=2", "mode=fast"])
    {'threads': 2, 'mode': 'fast'}
    """
    values: dict[str, int | float | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--default {text!r}: write it as name=value")
        for kind in (int, float, str):
            try:
                values[name] = kind(value)
                break
            except ValueError:
                continue
    return values


def checksum(path: Path) -> str:
    """Return a file's checksum, so that a journal can identify the file of its measurements."""
    return f"crc32 {crc32(path.read_bytes()):08x}"


def add_tuning_options(parser: ArgumentParser) -> None:
    """Add the options that `rrl tune` and `rrl replay` have in common."""
    goal = parser.add_argument_group("goal and load")
    goal.add_argument("--slo", help="the service-level objective to meet, such as p99<50ms")
    goal.add_argument("--objective", help="the cost to minimise (default: the SLO's, or mean)")
    goal.add_argument("--rate", type=float, help="Poisson arrivals, requests/s")
    goal.add_argument("--trace", type=Path, help="recorded arrivals: a file of timestamps")
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--agent",
        default="rrl",
        help="the agent: rrl (default), rrl-boltzmann, rrl-adaptive (see rrl.AGENTS)",
    )
    run.add_argument("--episodes", type=int, default=60, help="episodes of tuning (default 60)")
    run.add_argument("--requests", type=int, default=100, help="requests per episode (default 100)")
    run.add_argument("--rounds", type=int, default=15, help="rounds of comparison (default 15)")
    run.add_argument("--seed", type=int, default=0, help="seed of all randomness (default 0)")
    run.add_argument(
        "--default",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a level of the configuration to compare with (default: the server's own default)",
    )
    run.add_argument(
        "--out", type=Path, help="folder of journal and result (default: build/tune/NAME)"
    )
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--quiet", action="store_true", help="no progress on stderr")


def read_goal(options: Namespace) -> tuple[Objective, SLO | None]:
    """Return the objective of the agent, and the SLO if there is one."""
    from rrl.tuning.objective import MeanLatency, parse_objective
    from rrl.tuning.slo import parse_slo

    slo = parse_slo(options.slo) if options.slo else None
    if options.objective:
        return parse_objective(options.objective), slo
    return slo.statistic if slo else MeanLatency(), slo


def read_load(options: Namespace, rate: float | None = None) -> Workload:
    """Return the arrivals: recorded, or Poisson at the rate of the options (or at `rate`)."""
    from rrl.workloads.trace import read_trace
    from rrl.workloads.workload import Poisson

    if options.trace and options.rate:
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
    rate = rate if options.rate is None else options.rate
    if rate is None:
        raise UsageError("give the load: --rate REQUESTS_PER_S, or --trace FILE of timestamps")
    return Poisson(rate)
