"""Objectives under a service-level objective (SLO): the least of a resource that keeps it.

An operator rarely wants the lowest latency. The latency has to stay below a limit, and then the
service should need few CPUs or little memory. Agents minimise one number, so an episode is turned
into one dimensionless number like this:

* If the episode breaks the SLO, its cost is the statistic divided by the target. It is above 1.
* If it keeps the SLO, its cost is a fraction of the resource, above 0 and at most 1.

So an episode that breaks the SLO always costs more than any that keeps it, and among those that
keep it the resource decides. This is a lexicographic order. It holds for each episode. Agents
compare means over episodes: a configuration that sometimes breaks the SLO is charged for it in
proportion to how often and by how much. A short episode can keep an SLO by luck, and an agent that
looks for the least of a resource finds such luck. So give a smaller target than the promised one,
or more requests per episode, and judge the result by new requests, as ``rrl tune`` does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from rrl.core.space import ConfigSpace
from rrl.support.errors import UsageError
from rrl.support.machine import memory_bytes
from rrl.tuning.episode import Episode
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import SLO

MEMORY = "memory_bytes"
"""Where an episode's `info` has the resident memory of the server."""


@dataclass(frozen=True)
class Constrained(ABC):
    """The part that these objectives have in common; `slo` is the limit to keep.

    Parameters
    ----------
    slo : SLO
    """

    slo: SLO
    resource: ClassVar[str]

    def __call__(self, episode: Episode) -> float:
        """Return the cost of an episode.

        A failed request counts at least twice the target, so that failing never keeps an SLO.
        """
        statistic, target_s = self.slo.statistic, self.slo.target_s
        failure_s = max(statistic.failure_s, 2 * target_s)
        times = replace(statistic, failure_s=failure_s)(episode) / target_s
        return times if times > 1 else self.fraction(episode, times)

    @abstractmethod
    def fraction(self, episode: Episode, times: float) -> float:
        """Return the cost of an episode that keeps the SLO, above 0 and at most 1."""

    @abstractmethod
    def amount(self, cost: float) -> str:
        """Format the cost of an episode that keeps the SLO for people to read."""

    def words(self, cost: float) -> str:
        """Format a cost for people to read."""
        return self.amount(cost) if cost <= 1 else f"{cost:.2f} times the target (SLO broken)"

    def __str__(self) -> str:
        return f"{self.resource} with {self.slo}"


@dataclass(frozen=True)
class FewestCPUs(Constrained):
    """The fewest CPUs that keep the SLO; of configurations with equal CPUs, the fastest one.

    The cost of an episode that keeps the SLO is ``(cpus - (1 - times) / 2) / most``, where `times`
    is its latency divided by the target. So the latency counts for at most half a CPU.

    Parameters
    ----------
    slo : SLO
    most : int
        The highest number of CPUs of any configuration.

    Raises
    ------
    ValueError
        If `most` is below 1, or an episode's configuration has no number of CPUs from 1 to `most`.

    Examples
    --------
    >>> from rrl import parse_slo
    >>> fewest = FewestCPUs(parse_slo("p99<80ms"), most=4)
    >>> measured = ((1, 0.12), (2, 0.08), (2, 0.04))  # CPUs and seconds
    >>> [fewest(Episode({"cpus": n}, [0.0], [seconds], [0])) for n, seconds in measured]
    [1.5, 0.5, 0.4375]
    """

    most: int
    resource: ClassVar[str] = CPUS

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most must be at least 1 CPU, got {self.most}")

    def fraction(self, episode: Episode, times: float) -> float:
        """See :meth:`Constrained.fraction`."""
        cpus = episode.configuration.get(CPUS)
        if not isinstance(cpus, int | float) or not 1 <= cpus <= self.most:
            raise ValueError(f"{self} needs {CPUS} from 1 to {self.most}, got {cpus!r}")
        return float(cpus - (1 - times) / 2) / self.most

    def amount(self, cost: float) -> str:
        """See :meth:`Constrained.amount`."""
        cpus = math.ceil(cost * self.most)
        times = 1 - 2 * (cpus - cost * self.most)
        if times < 0:  # a mean of episodes that keep the SLO and of others that break it
            return f"{cost:.2f}"
        word = "CPU" if cpus == 1 else "CPUs"
        return f"{cpus} {word}, {self.slo.statistic} at {100 * times:.0f} % of the target"


@dataclass(frozen=True)
class LeastMemory(Constrained):
    """The least resident memory of the server process that keeps the SLO.

    The cost of an episode that keeps the SLO is the fraction of the machine's memory. The server is
    asked at the end of the episode (``memory_bytes`` in the episode's `info`).

    Parameters
    ----------
    slo : SLO
    most : int, optional
        The memory of the machine in bytes. The default is that of this machine.

    Raises
    ------
    ValueError
        If an episode has no memory from 1 to `most` bytes.

    Examples
    --------
    >>> from rrl import parse_slo
    >>> episode = Episode({}, [0.0], [0.02], [0], info={"memory_bytes": 3 * 2**28})
    >>> LeastMemory(parse_slo("p99<80ms"), most=2**30)(episode)
    0.75
    """

    most: int | None = None
    resource: ClassVar[str] = "memory"

    def fraction(self, episode: Episode, times: float) -> float:
        """See :meth:`Constrained.fraction`."""
        used, most = episode.info.get(MEMORY), self.most or memory_bytes()
        if not used or used > most:
            raise ValueError(
                f"{self} needs the memory of a server on this machine, got {used!r} bytes"
            )
        return float(used / most)

    def amount(self, cost: float) -> str:
        """See :meth:`Constrained.amount`."""
        return f"{cost * (self.most or memory_bytes()) / 2**20:.0f} MiB"


def most_cpus(space: ConfigSpace, *more: float) -> int | None:
    """Return the highest number of CPUs of a space, or of the numbers beside it.

    It is None if the space has no knob for the CPUs.

    Raises
    ------
    UsageError
        If a value is text.

    Examples
    --------
    >>> from rrl import Knob, paper_cpu
    >>> most_cpus(ConfigSpace([Knob("cpus", (1, 2))]), 4), most_cpus(paper_cpu())
    (4, None)
    """
    values = next((knob.values for knob in space.knobs if knob.name == CPUS), ())
    if any(isinstance(value, str) for value in values):
        raise UsageError(f"the values of {CPUS} must be numbers, got {', '.join(map(str, values))}")
    return int(max(*values, *more)) if values else None
