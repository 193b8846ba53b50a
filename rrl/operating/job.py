"""The settings of a tuning run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.operating.knobs import read_default
from rrl.operating.options import RunOptions
from rrl.rivals.agents import RECOMMENDED, home
from rrl.support.errors import UsageError
from rrl.support.provenance import Version, known
from rrl.tuning.objective import MeanLatency, Objective
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import SLO, Constrained, most_cpus, parse_objective, parse_slo
from rrl.workloads.trace import Trace, read_trace
from rrl.workloads.workload import Poisson, Workload

NEW = Version(0, "")  # of an agent that has no version yet


@dataclass(frozen=True, eq=False)
class Job:
    """The settings of a run; see :meth:`settings` for those that the journal stores.

    Parameters
    ----------
    what : str
        The name of the model or of the recording.
    default : configuration
        The recommendation is compared with it, and the agent `rrl-gp` begins at or near it.
    slo : SLO, optional
        The configuration to deploy is judged by it. It also says which requests are late; without
        an SLO, the first episodes of the default do.
    episodes, requests, rounds : int
        Number of episodes of the tuning, of requests per episode, and of paired episodes in the
        comparison.
    fixed : configuration
        Settings of the server that hold for every configuration, including the default.
    budget : int
        Late or failed requests that trials may have besides the default's own, see
        :mod:`rrl.tuning.guard`.
    about : mapping
        What else must be the same when the run continues: the recording, or the model, the server,
        the machine, and the fraction of the clients' requests that goes to a trial.
    patience : int
        The tuning ends early when the agent `rrl-gp` has kept its best this many episodes in a row
        under a steady load: no trial is worth its price any more. With 0 it never does.

    Raises
    ------
    ValueError
        If the default lacks a knob, or the agent's name is unknown.
    """

    what: str
    space: ConfigSpace
    default: Configuration
    workload: Workload
    objective: Objective
    slo: SLO | None = None
    agent: str = RECOMMENDED
    episodes: int = 60
    requests: int = 100
    rounds: int = 15
    seed: int = 0
    fixed: Configuration = field(default_factory=dict)
    budget: int = 10**9
    about: Mapping[str, Any] = field(default_factory=dict)
    patience: int = 0

    def __post_init__(self) -> None:
        if set(self.default) != set(self.space.names):
            raise UsageError(
                f"the default has the knobs {', '.join(self.default)}; give a value for each of: "
                f"{', '.join(self.space.names)}"
            )
        home(self.agent)

    def rng(self, *stream: int) -> np.random.Generator:
        """Return the random generator of one stream of the seed."""
        return np.random.default_rng([self.seed, *stream])

    def settings(self) -> dict[str, Any]:
        """Return the settings that must be the same when a run continues, in a form for JSON.

        Numbers of episodes and rounds, the budget and the patience may be others. The
        distances in the space and a trace are stored as checksums.
        """
        load, arrivals = self.workload, repr(self.workload)
        if isinstance(load, Trace):
            arrivals = f"trace of {len(load.times)} requests, crc32 {crc32(load.times.tobytes()):x}"
        return {
            "what": self.what,
            "agent": self.agent,
            "requests": self.requests,
            "seed": self.seed,
            **self.about,
            "space": {knob.name: [*knob.values] for knob in self.space.knobs},
            "distances": self.space.fingerprint,
            "default": dict(self.default),
            "fixed": dict(self.fixed),
            "arrivals": arrivals,
            "objective": str(self.objective),
            "slo": self.slo and str(self.slo),
            "agent_version": known().get(f"agent {self.agent}", NEW).number,
        }


# --- read from the options of a command -----------------------------------------------------------

BUDGET_FRACTION = 0.05  # of the requests of the tuning may be late or failed because of trials


def read_job(
    command: str,
    options: RunOptions,
    space: ConfigSpace,
    own: Configuration,
    load: Workload,
    **more: Any,
) -> tuple[Job, Path]:
    """Return the job of the `command` tune or replay, and the folder of its files.

    The default is the user's choice, or else the server's `own`. For the load, see
    :func:`read_load`. The job has `more` settings.
    """
    what = Path(os.path.abspath(options.model)).name
    folder = options.out or Path("build") / command / what
    default = read_default(options.default) or own
    objective, slo = read_goal(options, space, default)
    names = ("agent", "episodes", "requests", "rounds", "seed", "patience", "budget")
    given = {name: getattr(options, name) for name in names}
    if options.budget is None:
        tuning = options.episodes * options.requests
        given["budget"] = math.ceil(round(BUDGET_FRACTION * tuning, 9))
    return Job(what, space, default, load, objective, slo, **given, **more), folder


def read_goal(
    options: RunOptions, space: ConfigSpace, default: Configuration
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


def read_load(options: RunOptions) -> Workload:
    """Return the arrivals: recorded ones, or Poisson."""
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
