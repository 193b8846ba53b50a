"""An objective under a service-level objective (SLO): the fewest CPUs that keep it.

An operator rarely wants the lowest latency. The latency has to stay below a limit, and then the
service should need few CPUs. Agents minimise one number, so an episode is turned into one
dimensionless number like this:

* If the episode breaks the SLO, its cost is the statistic divided by the target. It is above 1.
* If it keeps the SLO, its cost is a fraction of the CPUs, above 0 and at most 1.

So an episode that breaks the SLO always costs more than any that keeps it, and among those that
keep it the CPUs decide. This is a lexicographic order. It holds for each episode. Agents
compare means over episodes: a configuration that sometimes breaks the SLO is charged for it in
proportion to how often and by how much. A short episode can keep an SLO by luck, and an agent that
looks for the fewest CPUs finds such luck. So give a smaller target than the promised one, or more
requests per episode, and judge the result by new requests, as ``rrl tune`` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rrl.core.space import ConfigSpace
from rrl.support.errors import UsageError
from rrl.tuning.episode import Episode
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import SLO


@dataclass(frozen=True)
class Constrained:
    """The fewest CPUs that keep the SLO; of episodes with equally many CPUs, the fastest one.

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
        If `most` is below 1, or if the configuration of an episode does not give the server from 1
        to `most` CPUs.

    Examples
    --------
    >>> from rrl import parse_slo
    >>> fewest = Constrained(parse_slo("p99<80ms"), most=4)
    >>> measured = ((1, 0.12), (2, 0.08), (2, 0.04))  # CPUs and seconds
    >>> [fewest(Episode({"cpus": n}, [0.0], [seconds], [0])) for n, seconds in measured]
    [1.5, 0.5, 0.4375]
    """

    slo: SLO
    most: int

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"the most CPUs must be at least 1, got {self.most}")

    def __call__(self, episode: Episode) -> float:
        """Return the cost of an episode.

        A failed request counts at least twice the target, so that failing never keeps an SLO.
        """
        target_s = self.slo.target_s
        latency = np.where(episode.ok, episode.latency, np.maximum(episode.latency, 2 * target_s))
        times = self.slo.statistic(replace(episode, latency=latency)) / target_s
        if times > 1:
            return times
        used = episode.configuration.get(CPUS)
        if not isinstance(used, int | float) or not 1 <= used <= self.most:
            raise ValueError(f"{self} needs {CPUS} from 1 to {self.most}, got {used!r}")
        return float(used - (1 - times) / 2) / self.most

    def words(self, cost: float) -> str:
        """Format a cost for people to read."""
        if cost > 1:
            return f"{cost:.2f} times the target (SLO broken)"
        cpus = math.ceil(cost * self.most)
        times = 1 - 2 * (cpus - cost * self.most)
        if times < 0:  # a mean of episodes that keep the SLO and of others that break it
            return f"{cost:.2f}"
        word = "CPU" if cpus == 1 else "CPUs"
        return f"{cpus} {word}, {self.slo.statistic} at {100 * times:.0f} % of the target"

    def __str__(self) -> str:
        return f"{CPUS} with {self.slo}"


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
    >>> one, two = (ConfigSpace([Knob("cpus", values)]) for values in ((2,), (1, 2)))
    >>> most_cpus(one), most_cpus(two, 4), most_cpus(paper_cpu())
    (2, 4, None)
    """
    values = next((knob.values for knob in space.knobs if knob.name == CPUS), ())
    if any(isinstance(value, str) for value in values):
        raise UsageError(f"the values of {CPUS} must be numbers, got {', '.join(map(str, values))}")
    return int(max((*values, *more))) if values else None
