"""What a run is to achieve, and under which load: the options about both."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.operating.job import Job
from rrl.operating.options import refuse
from rrl.support.errors import UsageError
from rrl.tuning.constrained import Constrained, most_cpus
from rrl.tuning.objective import MeanLatency, Objective
from rrl.tuning.objective_names import parse_objective
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import SLO, parse_slo
from rrl.workloads.trace import read_trace
from rrl.workloads.workload import Poisson, Workload

BUDGET_FRACTION = 0.05  # of the requests of the tuning may be late or failed because of trials

OBJECTIVES = """Objectives of --objective: mean, p99 (any percentile), slo:0.08 (the fraction of
requests above 0.08 s), a sum such as mean+0.5*p99, or a resource under an SLO, where the latency
only has to keep the SLO:
  "cpus with p99<80ms"    the fewest CPUs (it needs --knob cpus=1,2), then the latency
  "memory with p99<80ms"  the least memory of a server that rrl starts here
An episode that breaks the SLO costs latency / target, which is above 1. One that keeps it costs the
fraction of the resource, at most 1. A short episode can keep an SLO by luck: give a smaller target
than the promised one, or more --requests.
"""
"""What the help of a command says about objectives."""


def read_job(
    options: Namespace,
    what: str,
    source: str,
    space: ConfigSpace,
    default: Configuration,
    load: Workload | None = None,
    rate: float | None = None,
    **more: Any,
) -> tuple[Job, Path]:
    """Return the job of `rrl tune` or `rrl replay`, and the folder of its files.

    Parameters
    ----------
    options : Namespace
    what : str
        One line that names the model or the table, and its server.
    source : str
        The path or the name of the model or the table. It also names the folder of the files.
    space, default
        See :class:`Job`.
    load : Workload, optional
        By default, the options say which arrivals there are.
    rate : float, optional
        The load (requests/s) if the options have none.
    **more
        Further settings of the job.
    """
    from rrl.operating.warm_start import read_warm_start

    folder = options.out or Path("build") / "tune" / Path(source).name.removesuffix(".csv")
    objective, slo = read_goal(options, space, default)
    warm, about = read_warm_start(options, space, more.get("fixed", {}), objective, folder)
    names = ("agent", "episodes", "requests", "rounds", "seed")
    given = {name: getattr(options, name) for name in names}
    load = load or read_load(options, rate)
    job = Job(
        what, space, default, load, objective, slo, about=about, warm=warm, **given, **more
    )  # fmt: skip
    return job, folder


def read_goal(
    options: Namespace, space: ConfigSpace, default: Configuration
) -> tuple[Objective, SLO | None]:
    """Return the objective of the agent, and the SLO if there is one.

    An objective that has an SLO brings it along.
    """
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


def read_load(options: Namespace, rate: float | None = None) -> Workload:
    """Return the arrivals: recorded, or Poisson at the rate of the options (or at `rate`)."""
    if options.trace and options.rate is not None:
        raise UsageError("--rate and --trace: give one of them")
    if not options.trace:
        refuse(options, ["time_column", "speed"], "without --trace")
    else:
        trace = read_trace(options.trace, options.time_column)
        wanted = (max(options.episodes + 1, options.rounds)) * options.requests
        if wanted > len(trace.times):
            raise UsageError(
                f"{options.trace} holds {len(trace.times)} requests and the run needs {wanted}: "
                "lower --episodes or --requests"
            )
        return trace if options.speed == 1 else trace.faster(options.speed)
    rate = rate if options.rate is None else options.rate
    if rate is None:
        raise UsageError("give the load: --rate REQUESTS_PER_S, or --trace FILE of timestamps")
    return Poisson(rate)


def read_budget(options: Namespace, job: Job) -> int:
    """Return the guard's budget in requests.

    Raises
    ------
    UsageError
        If a port is given without an SLO, which says what is late for the clients there.
    """
    if options.port and job.slo is None:
        raise UsageError("--port: say which requests are late for your clients, by --slo p99<80ms")
    if options.budget is not None:
        return int(options.budget)
    return math.ceil(round(BUDGET_FRACTION * options.episodes * options.requests, 9))
