"""Watch an episode while it runs, and stop it when it goes badly.

A request is *bad* if it failed, or if it took longer than a limit. A request that is still open
after that limit is already bad, so a stalled server is noticed before it answers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.core.space import Bools, Floats
from rrl.tuning.episode import Episode, Server

ALARM = math.log(1000)
"""An episode stops when the logarithm of the probability ratio of its test reaches this number."""


@dataclass(frozen=True)
class Watch:
    """A rule that stops an episode by the requests so far.

    An episode stops for one of two reasons. First, `allowance` is a hard limit: no request is sent
    if the bad requests would exceed it, should this one and all open ones become bad. Second, a
    sequential probability ratio test compares two fractions of bad requests: `usual`, and the
    middle between `usual` and 1. The episode stops when the second is 1000 times as likely.

    Parameters
    ----------
    late_s : float
        A request is bad if it takes longer than this many seconds.
    allowance : int
        Most bad requests that the episode may have. With 0 it stops at once.
    usual : float
        The fraction of bad requests that is expected, above 0 and below 1.
    idle : bool, optional
        Whether the watch only looks, and never stops the episode. A look takes time. So what is
        compared with a watched episode needs a watch, too: a server that is looked at would seem
        slower than one that is not.

    References
    ----------
    Wald, "Sequential Tests of Statistical Hypotheses", Annals of Mathematical Statistics 16, 1945.

    Examples
    --------
    Requests that are sent at once are not answered:

    >>> watch = Watch(late_s=0.1, allowance=20, usual=0.02)
    >>> due, done, failed = np.zeros(20), np.full(20, np.inf), np.zeros(20, dtype=bool)
    >>> [watch.reason(0.2, due[:sent], done[:sent], failed[:sent]) for sent in (2, 3)]
    ['', 'worse']
    >>> [watch.reason(0.1, due[:sent], done[:sent], failed[:sent]) for sent in (19, 20)]
    ['', 'budget']
    """

    late_s: float
    allowance: int
    usual: float
    idle: bool = False

    def reason(self, now_s: float, due: Floats, done: Floats, failed: Bools) -> str:
        """Return why an episode stops at a time, before its next request; empty if it goes on.

        The reason is "worse" if the test says so, and "budget" if the allowance is used up.

        Parameters
        ----------
        now_s : float
            Seconds from the start of the episode.
        due, done : ndarray, shape (n,)
            Scheduled arrival and answer of each request, in seconds from the start. An answer that
            is not known yet is infinite or after `now_s`.
        failed : ndarray of bool, shape (n,)
            Whether the answer is a failure. It does not matter for an open request.
        """
        if self.idle:
            return ""
        answered = done <= now_s
        late = np.minimum(done, now_s) - due > self.late_s
        bad = late | (answered & failed)
        n_bad, n_good = int(bad.sum()), int((answered & ~bad).sum())
        many = (1 + self.usual) / 2
        ratios = math.log(many / self.usual), math.log((1 - many) / (1 - self.usual))
        if n_bad * ratios[0] + n_good * ratios[1] >= ALARM:
            return "worse"
        return "budget" if len(due) - n_good + 1 > self.allowance else ""


class WatchingServer(ABC):
    """Base of the servers that can stop an episode while it runs, as one of real requests can."""

    @abstractmethod
    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Serve requests; a `watch` may stop the episode before all of them were sent."""


def measure_watched(
    server: Server,
    configuration: Configuration,
    arrivals: ArrayLike,
    rng: np.random.Generator,
    watch: Watch | None,
) -> Episode:
    """Measure a configuration under a watch, if there is one, which may stop the episode.

    A stopped episode has the requests that were sent before it stopped, and the reason in its
    `info`, as ``aborted``. Simulated and recorded servers know the whole episode at once, so it is
    cut afterwards.

    Examples
    --------
    >>> from rrl import TableServer
    >>> slow = TableServer({"threads": [1], "cost": [9.0]}, ["threads"])
    >>> watch, rng = Watch(late_s=0.5, allowance=2, usual=0.02), np.random.default_rng(0)
    >>> episode = measure_watched(slow, {"threads": 1}, [0.0, 1.0, 2.0, 3.0], rng, watch)
    >>> len(episode), episode.info["aborted"]
    (2, 'budget')
    """
    if isinstance(server, WatchingServer):
        return server.measure(configuration, arrivals, rng, watch=watch)
    episode = server.measure(configuration, arrivals, rng)
    if watch is None:
        return episode
    due, failed = episode.arrivals, ~episode.ok
    done = due + episode.latency
    for sent in range(1, len(due)):
        if reason := watch.reason(float(due[sent]), due[:sent], done[:sent], failed[:sent]):
            return replace(
                episode,
                arrivals=due[:sent],
                latency=episode.latency[:sent],
                status=episode.status[:sent],
                info={**episode.info, "aborted": reason},
            )
    return episode
