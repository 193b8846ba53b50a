"""The capacity search: the highest of some rates at which a configuration keeps an SLO."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.tuning.constrained import RATE, HighestRate
from rrl.tuning.episode import Episode, Server, check_arrivals
from rrl.tuning.objective import Objective
from rrl.tuning.watch import Watch


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


def searching(server: Server, objective: Objective) -> Server:
    """Return a server whose episodes suit an objective: capacity searches for `HighestRate`."""
    return RateSearch(server, objective) if isinstance(objective, HighestRate) else server
