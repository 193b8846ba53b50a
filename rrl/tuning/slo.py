"""Service-level objectives (SLOs): what an operator promises, and whether measurements meet it.

:class:`Constrained` is the objective of an operator who wants few CPUs, as long as the promise is
kept. :func:`parse_objective` reads this objective and all others from their names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rrl.core.space import ConfigSpace
from rrl.support.errors import UsageError
from rrl.tuning.episode import Episode
from rrl.tuning.objective import (
    MeanLatency,
    Objective,
    Percentile,
    SLOViolations,
    charged_latency,
)
from rrl.tuning.presets import CPUS

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?"


@dataclass(frozen=True)
class SLO:
    """A service-level objective: a percentile of the latency, and the target it must not exceed.

    Parameters
    ----------
    statistic : Percentile
    target_s : float
        The target in seconds. A request that takes longer is late.
    """

    statistic: Percentile
    target_s: float

    def __str__(self) -> str:
        return f"{self.statistic}<{1e3 * self.target_s:.15g}ms"

    def judge(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """Judge whether episodes of one configuration meet the objective.

        Returns
        -------
        dict
            ``slo``, ``value_s``, the ends ``low_s`` and ``high_s`` of its 95 % interval (all in
            seconds; ``high_s`` is None if nothing limits it), and the ``word``, which is "met" if
            the whole interval is within the target, "missed" if no part of it is, and "undecided"
            otherwise. The interval is that of the percentile over all requests. They count as fewer
            independent ones as they scatter together, see :func:`design_effect`.
        """
        joined = join_episodes(episodes)
        value = self.statistic(joined)
        low, high = self.statistic.interval(joined, effect=design_effect(episodes, value))
        word = "met" if high <= self.target_s else "missed" if low > self.target_s else "undecided"
        bounds = {"low_s": low, "high_s": high if np.isfinite(high) else None}
        return {"slo": str(self), "word": word, "value_s": value, **bounds}


def design_effect(episodes: Sequence[Episode], latency_s: float) -> float:
    """Return Kish's design effect: how many requests count as one independent request.

    Requests of one queue are late together. So the fraction of those that take longer than
    `latency_s` varies more from episode to episode than the fractions of independent requests
    would. The effect is the ratio of the two variances. The fewer the episodes are, the less sure
    is their variance, so it is enlarged as Student's t is. One episode does not show how much its
    requests depend on each other, so all of them may count as one: the effect is infinite.

    References
    ----------
    Kish, *Survey Sampling* (1965), section 8.2.

    Examples
    --------
    >>> fast, slow = (Episode({}, range(100), np.full(100, x), np.zeros(100)) for x in (0.1, 1.0))
    >>> round(design_effect([fast, slow] * 10, 0.5))  # all late or none
    120
    >>> design_effect([fast], 0.5)
    inf
    """
    from scipy.special import stdtrit

    if len(episodes) < 2:
        return math.inf
    charged = [charged_latency(one) for one in episodes]
    unsure = stdtrit(len(episodes) - 1, 0.975) / stdtrit(np.inf, 0.975)
    effects = [1.0]
    for beyond in (np.greater, np.greater_equal):  # many requests may take just as long
        fractions = np.array([beyond(one, latency_s).mean() for one in charged])
        independent = (
            fractions.mean() * (1 - fractions.mean()) * len(charged) / sum(map(len, charged))
        )
        if independent > 0:
            effects.append(float(fractions.var(ddof=1) / independent * unsure**2))
    return max(effects)


def parse_slo(text: str) -> SLO:
    """Read a service-level objective.

    Parameters
    ----------
    text : str
        An objective such as ``p99<50ms``: a percentile, and a time in s, ms or us.

    Raises
    ------
    UsageError
        If the text has another form.

    Examples
    --------
    >>> parse_slo("p99<50ms").target_s, str(parse_slo("p99.9 < 0.02s"))
    (0.05, 'p99.9<20ms')
    """
    pattern = rf"p({_NUMBER})<=?({_NUMBER})(s|ms|us)"
    found = re.fullmatch(pattern, re.sub(r"\s", "", text))
    q, target_s = (float(found[1]), float(found[2]) * _SECONDS[found[3]]) if found else (0.0, 0.0)
    if not (0 < q < 100 and 0 < target_s < math.inf):
        raise UsageError(f"SLO {text!r}: write it as p99<50ms")
    return SLO(Percentile(q), target_s)


def join_episodes(episodes: Sequence[Episode]) -> Episode:
    """Return all requests of several episodes as one episode."""
    latency = np.concatenate([episode.latency for episode in episodes])
    status = np.concatenate([episode.status for episode in episodes])
    return Episode({}, np.arange(len(latency), dtype=float), latency, status)


# --- objectives by name ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Constrained:
    """The fewest CPUs that keep the SLO; of episodes with equally many CPUs, the fastest one.

    Agents minimise one number, so an episode is turned into one dimensionless number like this:

    * If the episode breaks the SLO, its cost is the statistic divided by the target. It is above 1.
    * If it keeps the SLO, its cost is a fraction of the CPUs, above 0 and at most 1. It is
      ``(cpus - (1 - times) / 2) / most``, where `times` is its latency divided by the target. So
      the latency counts for at most half a CPU.

    So an episode that breaks the SLO always costs more than any that keeps it, and among those that
    keep it the CPUs decide. This is a lexicographic order. It holds for each episode. Agents
    compare means over episodes: a configuration that sometimes breaks the SLO is charged for it in
    proportion to how often and by how much. A short episode can keep an SLO by luck, and an agent
    that looks for the fewest CPUs finds such luck. So give a smaller target than the promised one,
    or more requests per episode, and judge the result by new requests, as ``rrl tune`` does.

    Parameters
    ----------
    slo : SLO
    most : int
        The highest number of CPUs of any configuration.

    Raises
    ------
    ValueError
        If the configuration of an episode does not give the server from 1 to `most` CPUs.

    Examples
    --------
    >>> fewest = Constrained(parse_slo("p99<80ms"), most=4)
    >>> measured = ((1, 0.12), (2, 0.08), (2, 0.04))  # CPUs and seconds
    >>> [fewest(Episode({"cpus": n}, [0.0], [seconds], [0])) for n, seconds in measured]
    [1.5, 0.5, 0.4375]
    """

    slo: SLO
    most: int

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
        """Format a cost for people to read.

        Examples
        --------
        >>> fewest = Constrained(parse_slo("p99<80ms"), most=4)
        >>> fewest.words(0.4375), fewest.words(1.5)
        ('2 CPUs (p99 at 50 % of the target)', 'p99 at 150 % of the target')
        """
        if cost > 1:
            return f"{self.slo.statistic} at {100 * cost:.0f} % of the target"
        cpus = math.ceil(cost * self.most)
        times = 1 - 2 * (cpus - cost * self.most)
        if times < 0:  # a mean of episodes that keep the SLO and of others that break it
            return f"a cost of {cost:.2f} (some episodes break the SLO)"
        word = "CPU" if cpus == 1 else "CPUs"
        return f"{cpus} {word} ({self.slo.statistic} at {100 * times:.0f} % of the target)"

    def __str__(self) -> str:
        return f"{CPUS} with {self.slo}"


def most_cpus(space: ConfigSpace, *more: float) -> int | None:
    """Return the highest number of CPUs of a space, or of the numbers beside it.

    It is None if the space has no knob for the CPUs.

    Examples
    --------
    >>> from rrl import Knob, paper_cpu
    >>> one, two = (ConfigSpace([Knob("cpus", values)]) for values in ((2,), (1, 2)))
    >>> most_cpus(one), most_cpus(two, 4), most_cpus(paper_cpu())
    (2, 4, None)
    """
    values = next((knob.values for knob in space.knobs if knob.name == CPUS), ())
    return int(max((*values, *more))) if values else None


def parse_objective(name: str, most_cpus: int | None = None) -> Objective:
    """Return the objective with the given name.

    Parameters
    ----------
    name : str
        The name is ``mean``; ``p`` and a percentile, as in ``p99.9``; ``slo:`` and a time in
        seconds, as in ``slo:0.1``; or it asks for the fewest CPUs that keep a service-level
        objective, as in ``cpus with p99<80ms``.
    most_cpus : int, optional
        The highest number of CPUs of any configuration, see :func:`most_cpus`. The fewest CPUs need
        it.

    Raises
    ------
    ValueError
        If the name is none of these.
    UsageError
        If the service-level objective has another form, or the fewest CPUs are wanted and there is
        no knob for them.

    Examples
    --------
    >>> parse_objective("mean"), parse_objective("p99").q, parse_objective("slo:0.1").target_s
    (MeanLatency(), 99.0, 0.1)
    >>> str(parse_objective("cpus with p99 < 80ms", most_cpus=2))
    'cpus with p99<80ms'
    """
    what, limited, slo = name.partition(" with ")
    if limited and what.strip() == CPUS:
        kept = parse_slo(slo)
        if most_cpus is None:
            raise UsageError(f"objective {name!r} needs a knob such as --knob cpus=1,2")
        return Constrained(kept, most_cpus)
    kind = name.strip()
    if kind == "mean":
        return MeanLatency()
    if re.fullmatch("p" + _NUMBER, kind):
        return Percentile(float(kind[1:]))
    if re.fullmatch("slo:" + _NUMBER, kind):
        return SLOViolations(float(kind[4:]))
    raise ValueError(
        f"unknown objective {name!r}: use mean, p99, slo:SECONDS or 'cpus with p99<80ms'"
    )
