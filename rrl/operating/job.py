"""The settings of a tuning run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.support.errors import UsageError
from rrl.tuning.objective import Objective
from rrl.tuning.slo import SLO
from rrl.workloads.trace import Trace
from rrl.workloads.workload import Poisson, Workload

if TYPE_CHECKING:  # it compiles loops, and the help of a command needs none
    from rrl.tuning.warm_start import WarmStart


@dataclass(frozen=True, eq=False)
class Job:
    """The settings of a run; see :meth:`settings` for those that the journal stores.

    Parameters
    ----------
    what : str
        One line of text that names what is tuned.
    space : ConfigSpace
    default : configuration
        The recommendation is compared with this configuration, and the agent `rrl-gp` begins at
        or near it.
    workload : Workload
    objective : Objective
        The agent minimises this objective.
    slo : SLO, optional
        The recommendation is judged by this service-level objective.
    agent : str
        A name in `rrl.rivals.agents.AGENTS`.
    episodes, requests : int
        Number of episodes of the tuning, and number of requests per episode.
    rounds : int
        Number of paired episodes in the comparison.
    patience : int
        The tuning ends early when the agent `rrl-gp` has kept its best this many episodes in a row
        under a steady load: no trial is worth its price any more. With 0 it never does. It may
        change when a run continues.
    seed : int
        Seed of all random numbers: for the agent, the arrivals, the server and the intervals.
    fixed : configuration
        Settings of the server that hold for every configuration, including the default.
    budget : int, optional
        Late or failed requests that trials may have besides the default's own, see
        :mod:`rrl.tuning.guard`. Without a budget there is no guard. Late is what the SLO says, or
        without one what the first episodes of the default say.
    about : mapping
        What else must be the same when the run continues: the model's digest and version, the
        server's version, the machine, the source of the warm start.
    warm : WarmStart, optional
        What an earlier profile or tuning says. Only the agent `rrl-gp` has a warm start.
    unit : str
        Unit of a latency: "s" for seconds, or "" if the costs of a table have another unit.

    Raises
    ------
    UsageError
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
    unit: str = "s"
    budget: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    warm: WarmStart | None = None
    patience: int = 0

    def __post_init__(self) -> None:
        if set(self.default) != set(self.space.names):
            raise UsageError(
                f"the default has the knobs {', '.join(self.default)}; give a value for each of: "
                f"{', '.join(self.space.names)}"
            )
        from rrl.rivals.agents import AGENTS

        if self.agent not in AGENTS:
            raise UsageError(f"unknown agent {self.agent!r}; known: {', '.join(AGENTS)}")

    @property
    def may_settle(self) -> bool:
        """Whether the tuning may end before its last episode."""
        return self.agent == "rrl-gp" and self.patience > 0 and isinstance(self.workload, Poisson)

    @property
    def redrawn(self) -> bool:
        """Whether a run that continues draws the same arrivals again; clients send theirs once."""
        return isinstance(self.workload, Poisson | Trace)

    def rng(self, stream: int) -> np.random.Generator:
        """Return the random generator of one stream of the seed."""
        return np.random.default_rng([self.seed, stream])

    def settings(self) -> dict[str, Any]:
        """Return the settings that the journal stores, in a form for JSON.

        The space and a trace are stored as checksums. The `unit` is not stored.
        """
        load = self.workload
        if isinstance(load, Trace):
            arrivals = f"trace of {len(load.times)} requests, crc32 {crc32(load.times.tobytes()):x}"
        else:
            arrivals = repr(load)
        own = ("what", "agent", "episodes", "requests", "rounds", "seed")
        guard = {} if self.budget is None else {"budget": self.budget}
        return (
            {name: getattr(self, name) for name in own}
            | guard
            | dict(self.about)
            | {
                "space": self.space.fingerprint,
                "default": dict(self.default),
                "fixed": dict(self.fixed),
                "arrivals": arrivals,
                "objective": str(self.objective),
                "slo": self.slo and str(self.slo),
            }
        )
