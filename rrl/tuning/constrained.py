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
from dataclasses import dataclass, replace

from rrl.core.space import ConfigSpace
from rrl.support.errors import UsageError
from rrl.tuning.episode import Episode
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import SLO

MEMORY = "memory_bytes"
"""Where an episode's `info` has the resident memory of the server."""
RESOURCES = {CPUS: "CPUs of the configuration", "memory": "bytes of a server on this machine"}


@dataclass(frozen=True)
class Constrained:
    """The least of a resource that keeps the SLO; of episodes with equal amounts, the fastest one.

    The cost of an episode that keeps the SLO is ``(amount - (1 - times) / 2) / most``, where
    `times` is its latency divided by the target. So the latency counts for at most half a CPU, or
    half a byte.

    Parameters
    ----------
    slo : SLO
    resource : {"cpus", "memory"}
        The CPUs that the configuration gives to the server, or the resident memory of its process
        at the end of the episode (``memory_bytes`` in the episode's `info`).
    most : int
        The highest amount of any episode: CPUs, or bytes.

    Raises
    ------
    ValueError
        If the resource is another one or `most` is below 1, or if an episode has no amount from 1
        to `most`.

    Examples
    --------
    >>> from rrl import parse_slo
    >>> fewest = Constrained(parse_slo("p99<80ms"), "cpus", most=4)
    >>> measured = ((1, 0.12), (2, 0.08), (2, 0.04))  # CPUs and seconds
    >>> [fewest(Episode({"cpus": n}, [0.0], [seconds], [0])) for n, seconds in measured]
    [1.5, 0.5, 0.4375]
    """

    slo: SLO
    resource: str
    most: int

    def __post_init__(self) -> None:
        if self.resource not in RESOURCES or self.most < 1:
            raise ValueError(
                f"give a resource of {', '.join(RESOURCES)}, and the most of it, at least 1; got "
                f"{self.resource!r} and {self.most}"
            )

    def __call__(self, episode: Episode) -> float:
        """Return the cost of an episode.

        A failed request counts at least twice the target, so that failing never keeps an SLO.
        """
        statistic, target_s = self.slo.statistic, self.slo.target_s
        failure_s = max(statistic.failure_s, 2 * target_s)
        times = replace(statistic, failure_s=failure_s)(episode) / target_s
        if times > 1:
            return times
        used = (
            episode.configuration.get(CPUS) if self.resource == CPUS else episode.info.get(MEMORY)
        )
        if not isinstance(used, int | float) or not 1 <= used <= self.most:
            words = f"{self.resource} from 1 to {self.most} ({RESOURCES[self.resource]})"
            raise ValueError(f"{self} needs {words}, got {used!r}")
        return float(used - (1 - times) / 2) / self.most

    def words(self, cost: float) -> str:
        """Format a cost for people to read."""
        if cost > 1:
            return f"{cost:.2f} times the target (SLO broken)"
        if self.resource != CPUS:
            return f"{cost * self.most / 2**20:.0f} MiB"
        cpus = math.ceil(cost * self.most)
        times = 1 - 2 * (cpus - cost * self.most)
        if times < 0:  # a mean of episodes that keep the SLO and of others that break it
            return f"{cost:.2f}"
        word = "CPU" if cpus == 1 else "CPUs"
        return f"{cpus} {word}, {self.slo.statistic} at {100 * times:.0f} % of the target"

    def __str__(self) -> str:
        return f"{self.resource} with {self.slo}"


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
