"""Watch an episode while it runs, and stop it when it goes badly.

A request is *bad* if it failed, or if it took longer than a limit. A request that is still open
after that limit is already bad, so a stalled server is noticed before it answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rrl.core.space import Bools, Floats

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
    >>> watch = Watch(late_s=0.1, allowance=20, usual=0.02)
    >>> [watch.stops(bad, good, 1) for bad, good in ((2, 0), (3, 0), (3, 6), (0, 99))]
    ['', 'worse', '', '']
    >>> watch.stops(0, 99, open_requests=20)
    'budget'
    """

    late_s: float
    allowance: int
    usual: float
    idle: bool = False

    def stops(self, bad: int, good: int, open_requests: int) -> str:
        """Return why the episode stops before the next request is sent; empty if it goes on.

        The reason is "worse" if the test says so, and "budget" if the allowance is used up.
        """
        if self.idle:
            return ""
        many = (1 + self.usual) / 2
        ratios = math.log(many / self.usual), math.log((1 - many) / (1 - self.usual))
        if bad * ratios[0] + good * ratios[1] >= ALARM:
            return "worse"
        return "budget" if bad + open_requests + 1 > self.allowance else ""

    def at(self, now_s: float, due: Floats, done: Floats, failed: Bools) -> str:
        """Return why an episode stops at a time, see :meth:`stops`, by the requests until then.

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
        answered = done <= now_s
        late = np.minimum(done, now_s) - due > self.late_s
        bad = late | (answered & failed)
        n_bad, n_good = int(bad.sum()), int((answered & ~bad).sum())
        return self.stops(n_bad, n_good, len(due) - n_bad - n_good)
