"""The settings of a tuning run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import home
from rrl.support.errors import UsageError
from rrl.support.provenance import Version, known
from rrl.tuning.objective import Objective
from rrl.tuning.slo import SLO
from rrl.workloads.trace import Trace
from rrl.workloads.workload import Workload

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
    agent: str = "rrl-gp"
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

        Numbers of episodes and rounds, the budget and the patience may be others. The space and a
        trace are stored as checksums.
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
            "space": self.space.fingerprint,
            "default": dict(self.default),
            "fixed": dict(self.fixed),
            "arrivals": arrivals,
            "objective": str(self.objective),
            "slo": self.slo and str(self.slo),
            "agent_version": known().get(f"agent {self.agent}", NEW).number,
        }
