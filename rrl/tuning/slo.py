"""Service-level objectives: what an operator promises, and whether measurements meet it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrl.core.space import Floats
from rrl.support.errors import UsageError
from rrl.tuning.episode import Episode
from rrl.tuning.objective import MeanLatency, Percentile, charged_latency

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True)
class SLO:
    """A service-level objective: a statistic of the latency, and the target it must not exceed.

    Parameters
    ----------
    statistic : Percentile or MeanLatency
    target_s : float
        The target in seconds.
    """

    statistic: Percentile | MeanLatency
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
            otherwise. The interval is that of the percentile over all requests, or Student's of the
            mean over episodes. For the percentile, requests count as fewer independent ones as they
            scatter together, see :func:`requests_as_one`. If a few requests take very long, the
            upper end of the mean is too low: Student's interval assumes normal means.
        """
        if isinstance(self.statistic, Percentile):
            joined = join(episodes)
            value = self.statistic(joined)
            effect = requests_as_one(episodes, value)
            low, high = self.statistic.interval(joined, effect=effect)
        else:
            means = np.array([self.statistic(episode) for episode in episodes])
            value, low, high = _mean_interval(means)
        word = "met" if high <= self.target_s else "missed" if low > self.target_s else "undecided"
        bounds = {"low_s": low, "high_s": high if np.isfinite(high) else None}
        return {"slo": str(self), "word": word, "value_s": value, **bounds}


def _mean_interval(values: Floats) -> tuple[float, float, float]:
    """Return the mean of positive numbers, and the ends of Student's 95 % interval."""
    from scipy.special import stdtrit

    n, mean = len(values), float(values.mean())
    if n < 2:
        return mean, 0.0, np.inf
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return mean, max(mean - half, 0.0), mean + half


def requests_as_one(episodes: Sequence[Episode], latency_s: float) -> float:
    """Return how many requests count as one independent request.

    Requests of one queue are late together. So the fraction of those that take longer than
    `latency_s` varies more from episode to episode than the fractions of independent requests
    would. The ratio of the two variances is the effect. The fewer the episodes are, the less sure
    is their variance, so it is enlarged as Student's t is. One episode does not show how much its
    requests depend on each other, so all of them may count as one: the effect is infinite.

    References
    ----------
    Kish, *Survey Sampling* (1965), section 8.2.

    Examples
    --------
    >>> fast, slow = (Episode({}, range(100), np.full(100, x), np.zeros(100)) for x in (0.1, 1.0))
    >>> round(requests_as_one([fast, slow] * 10, 0.5))  # all late or none
    120
    >>> requests_as_one([fast], 0.5)
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
        An objective such as ``p99<50ms``: a percentile or ``mean``, and a time in s, ms or us.

    Raises
    ------
    UsageError
        If the text has another form.

    Examples
    --------
    >>> parse_slo("p99<50ms").target_s, str(parse_slo("mean < 0.02s"))
    (0.05, 'mean<20ms')
    """
    number = r"\d+\.?\d*|\.\d+"
    found = re.fullmatch(rf"(mean|p({number}))<=?({number})(s|ms|us)", re.sub(r"\s", "", text))
    target_s = float(found[3]) * _SECONDS[found[4]] if found else 0.0
    if not found or not 0 < target_s < math.inf or (found[2] and not 0 < float(found[2]) < 100):
        raise UsageError(f"SLO {text!r}: write it as p99<50ms or mean<0.02s")
    statistic = Percentile(float(found[2])) if found[2] else MeanLatency()
    return SLO(statistic, target_s)


def join(episodes: Sequence[Episode]) -> Episode:
    """Return all requests of several episodes as one episode."""
    latency = np.concatenate([episode.latency for episode in episodes])
    status = np.concatenate([episode.status for episode in episodes])
    return Episode({}, np.arange(len(latency), dtype=float), latency, status)
