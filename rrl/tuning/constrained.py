"""Objectives under a service-level objective (SLO): the least of a resource that keeps it.

An operator rarely wants the lowest latency. The latency has to stay below a limit, and then the
service should need few CPUs or little memory, or carry a high load. Agents minimise one number, so
an episode is turned into one dimensionless number like this:

* If the episode breaks the SLO, its cost is the statistic divided by the target. It is above 1.
* If it keeps the SLO, its cost is a fraction of the resource, above 0 and at most 1.

So an episode that breaks the SLO always costs more than any that keeps it, and among those that
keep it the resource decides. This is a lexicographic order. It holds for each episode. Agents
compare means over episodes: a configuration that sometimes breaks the SLO is charged for it in
proportion to how often and by how much. A short episode can keep an SLO by luck, and an agent that
looks for the least of a resource finds such luck. So give a smaller target than the promised one,
or more requests per episode, and judge the result by new requests, as ``rrl tune`` does.

The highest rate needs episodes of a kind of its own: :class:`RateSearch` searches for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.support.errors import UsageError
from rrl.support.machine import memory_bytes
from rrl.tuning.episode import Episode, Server, check_arrivals
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import SLO
from rrl.tuning.watch import Watch

MEMORY = "memory_bytes"
"""Where an episode's `info` has the resident memory of the server."""
RATE = "highest_rate_per_s"
"""Where an episode's `info` has the highest rate at which the SLO was kept."""


@dataclass(frozen=True)
class Constrained(ABC):
    """The part that these objectives have in common; `slo` is the limit to keep.

    Parameters
    ----------
    slo : SLO
    """

    slo: SLO
    resource: ClassVar[str]

    def exceeds(self, episode: Episode) -> float:
        """Return the SLO's statistic of an episode, divided by the target: above 1 breaks it.

        A failed request counts at least twice the target, so that failing never keeps an SLO.
        """
        statistic, target_s = self.slo.statistic, self.slo.target_s
        failure_s = max(statistic.failure_s, 2 * target_s)
        return replace(statistic, failure_s=failure_s)(episode) / target_s

    def __call__(self, episode: Episode) -> float:
        """Return the cost of an episode."""
        times = self.exceeds(episode)
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


@dataclass(frozen=True)
class HighestRate(Constrained):
    """The highest of some rates at which the SLO is kept: a capacity search.

    The loop tries the rates of each configuration by bisection, see
    :class:`RateSearch`. The cost is the lowest rate divided by the highest rate
    that kept the SLO. If no rate keeps it, the cost is that of the lowest one.

    Parameters
    ----------
    slo : SLO
    rates_per_s : tuple of float
        The rates that may be tried, in requests per second. There are at least two, they increase,
        and all are above 0.

    Raises
    ------
    ValueError
        If the rates are not like this, or an episode is not that of a capacity search.

    Examples
    --------
    >>> from rrl import parse_slo
    >>> highest = HighestRate(parse_slo("p99<80ms"), (20.0, 40.0, 80.0))
    >>> highest(Episode({}, [0.0], [0.02], [0], info={"highest_rate_per_s": 80.0})), str(highest)
    (0.25, 'rate of 20,40,80 with p99<80ms')
    """

    rates_per_s: tuple[float, ...]
    resource: ClassVar[str] = "rate"

    def server(self, server: Server) -> Server:
        """Return a server whose episodes are capacity searches."""
        return RateSearch(server, self)

    def __post_init__(self) -> None:
        rates = self.rates_per_s
        rise = all(low < high for low, high in pairwise(rates))
        if len(rates) < 2 or not rise or not 0 < rates[0] <= rates[-1] < float("inf"):
            raise ValueError(f"rates must be two or more, above 0 and increase, got {rates}")

    def fraction(self, episode: Episode, times: float) -> float:
        """See :meth:`Constrained.fraction`."""
        if RATE not in episode.info:
            raise ValueError(f"{self} needs episodes of a capacity search")
        return self.rates_per_s[0] / float(episode.info[RATE])

    def amount(self, cost: float) -> str:
        """See :meth:`Constrained.amount`."""
        return f"{self.rates_per_s[0] / cost:.4g} requests/s"

    def __str__(self) -> str:
        rates = ",".join(f"{rate:.15g}" for rate in self.rates_per_s)
        return f"{self.resource} of {rates} with {self.slo}"


class RateSearch:
    """A server whose episodes are searches: the same arrivals, faster or slower, by bisection.

    One call of :meth:`measure` serves ``ceil(log2(n + 1))`` episodes of the server at some of the
    `n` rates. It begins with the middle one. A rate that keeps the SLO is followed by a higher one,
    and a rate that breaks it by a lower one. So the search assumes that a configuration that keeps
    the SLO at one rate keeps it at all lower rates. Each episode begins with an idle server. So a
    short episode can pass at a rate that a server could not carry for long: use enough requests.

    Parameters
    ----------
    server : Server
    objective : HighestRate
        The rates and the SLO.

    Examples
    --------
    >>> from rrl import parse_objective, testbed
    >>> search = RateSearch(testbed("cpu2"), parse_objective("rate of 40,80,160,320 with p99<60ms"))
    >>> best, poor = {"inter_op": 2, "intra_op": 1}, {"inter_op": 1, "intra_op": 2}
    >>> for threads in (best, poor):
    ...     arrivals, rng = np.arange(100) / 50, np.random.default_rng(0)
    ...     episode = search.measure(threads | {"batch_threads": 2}, arrivals, rng)
    ...     episode.info["highest_rate_per_s"]
    160.0
    80.0
    """

    def __init__(self, server: Server, objective: HighestRate) -> None:
        self.space = server.space
        self._server, self._objective = server, objective

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Return the episode at the highest rate that kept the SLO, or at the lowest rate.

        The requests at the other rates are in its `info` as ``others``, as those of other clients
        are. An invalid episode ends the search and is returned. The `watch` is not used, because a
        capacity search overloads the server on purpose.

        Raises
        ------
        ValueError
            If all requests arrive at once, because then they have no rate.
        """
        arrivals = check_arrivals(arrivals)
        span = arrivals[-1] - arrivals[0]
        if not span > 0:
            raise ValueError("a capacity search needs arrivals at different times")
        unit = (arrivals - arrivals[0]) * ((len(arrivals) - 1) / span)  # one request per second
        rates, tried = self._objective.rates_per_s, {}
        low, high = 0, len(rates)  # the number of rates that keep the SLO lies between
        switch_s = 0.0
        while low < high:
            middle = (low + high) // 2
            episode = self._server.measure(configuration, unit / rates[middle], rng)
            switch_s += float(episode.info.get("switch_s", 0.0))
            if not episode.valid:
                return episode
            tried[middle] = episode
            low, high = (middle + 1, high) if self._kept(episode) else (low, middle)
        chosen = tried.pop(max(low - 1, 0))
        found = {RATE: rates[low - 1]} if low else {}
        if "switch_s" in chosen.info:
            found["switch_s"] = switch_s
        latency = [other.latency for other in tried.values()]
        status = [other.status for other in tried.values()]
        others = {"others": (np.concatenate(latency), np.concatenate(status))} if tried else {}
        return replace(chosen, info={**chosen.info, **found, **others})

    def _kept(self, episode: Episode) -> bool:
        return self._objective.exceeds(episode) <= 1


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
