"""A simulated server that remembers: a queue that outlasts an episode, and a neighbour.

Each episode of :class:`rrl.simulation.simulator.SimulatedServer` starts with an empty queue on a
machine of its own. In operation neither is true. :class:`SharedServer` adds both:

* **The queue is carried over.** An episode ends with its last arrival. Requests that are not
  answered by then are served first in the next episode, by the configuration of that episode, and
  their work begins anew, as after a restart. Each request is counted once, in the episode in which
  it arrived, with the time that the configuration of that episode needs for it.
* **A neighbour takes a fraction of every core for part of the time.** This is a second model with
  its own load, on the same cores, and a fair scheduler. While it works, all that the server does
  takes ``1 / (1 - fraction)`` times as long. This is done exactly by a change of time: the queue is
  simulated in seconds of the whole machine, and they are converted to seconds of the clock. What
  is left out is that a server which leaves cores idle loses less than the fraction.

The agent sees neither. It sees the arrivals of its own requests and their latencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.core.space import Floats
from rrl.tuning.episode import Episode, Server, check_arrivals
from rrl.workloads.workload import check_positive

_FOR_EVER = 1e9  # seconds; nobody simulates so long

Progress = tuple[Floats, Floats]
"""Seconds of the clock, and the seconds of a whole machine that a server has had by each of them.

Both increase from 0. Between them, the progress is linear.
"""


@dataclass(frozen=True)
class Neighbour:
    """Another model on the same machine, which works and pauses in turn.

    Parameters
    ----------
    fraction : float
        Fraction of the machine that it takes while it works, at least 0 and below 1.
    busy, idle : float
        Mean length of its work and of its pauses in seconds. Both are exponential.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> Neighbour(fraction=0.5, busy=60.0, idle=180.0).working
    0.25
    """

    fraction: float
    busy: float
    idle: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ValueError(f"fraction {self.fraction}: must be at least 0 and below 1")
        check_positive("busy", self.busy, "s")
        check_positive("idle", self.idle, "s")

    @property
    def working(self) -> float:
        """Fraction of the time in which it works."""
        return self.busy / (self.busy + self.idle)

    def progress(self, horizon: float, rng: np.random.Generator) -> Progress:
        """Draw when it works until `horizon` (s); from then on it pauses.

        Examples
        --------
        >>> clock, done = Neighbour(0.5, 60.0, 60.0).progress(1000.0, np.random.default_rng(0))
        >>> bool(500 < np.interp(1000.0, clock, done) < 1000)
        True
        """
        pairs = int(2 * horizon / (self.busy + self.idle)) + 16
        lengths = rng.exponential((self.idle, self.busy), (pairs, 2)).reshape(-1)
        speeds = np.resize((1.0, 1 - self.fraction), len(lengths))
        if rng.random() < self.working:  # it begins with work, and no pause
            lengths, speeds = lengths[1:], speeds[1:]
        times = np.concatenate(((0.0,), np.cumsum(lengths)))
        kept = int(np.searchsorted(times, horizon))
        times = np.concatenate((times[:kept], (horizon, horizon + _FOR_EVER)))
        gained = np.diff(times) * np.append(speeds[:kept], 1.0)
        return times, np.concatenate(((0.0,), np.cumsum(gained)))


ALONE: Progress = (np.array([0.0, _FOR_EVER]), np.array([0.0, _FOR_EVER]))
"""The progress of a server without a neighbour."""


class SharedServer:
    """A server whose queue is carried over from episode to episode, with or without a neighbour.

    It is one run: its episodes follow each other, and a new run needs a new one.

    Parameters
    ----------
    server : Server
        A server that computes latencies from the arrivals, such as a simulated one. A recorded
        one does not, because its arrivals are recorded too.
    progress : Progress, optional
        What a neighbour leaves, see :meth:`Neighbour.progress`. The default is all.

    Attributes
    ----------
    carried : int
        Number of requests that the last episode left unanswered.

    Examples
    --------
    Three requests of 2 s each arrive in 2 s. So the next episode has to wait.

    >>> from rrl.simulation.service_model import Machine, Model
    >>> from rrl.simulation.simulator import SimulatedServer
    >>> from rrl import ConfigSpace, Knob
    >>> space = ConfigSpace([Knob("batch_threads", (1,))])
    >>> slow = SimulatedServer(space, Model("slow", item=2.0), Machine("one core", cores=1))
    >>> server, rng = SharedServer(slow), np.random.default_rng(0)
    >>> server.measure(space[0], [0.0, 1.0, 2.0], rng).latency.tolist(), server.carried
    ([2.0, 3.0, 4.0], 2)
    >>> server.measure(space[0], [1.0], rng).latency.tolist()
    [5.0]
    """

    def __init__(self, server: Server, progress: Progress = ALONE) -> None:
        self.server, self.space, self.progress = server, server.space, progress
        self.carried, self._now = 0, 0.0

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Serve what was carried over and then the requests that arrive at `arrivals` (s).

        The generator gives one number, whatever is carried over. So all agents get the same
        random numbers while nothing is, and others that are as good while something is.
        """
        times = check_arrivals(arrivals)
        start, owed = self._now, self.carried
        clock, done = self.progress
        before = np.interp(start, clock, done)
        due = np.concatenate((np.zeros(owed), np.interp(start + times, clock, done) - before))
        own = np.random.default_rng(rng.integers(2**63))
        served = self.server.measure(configuration, due, own)
        answered = np.interp(before + due + served.latency, done, clock) - start
        self.carried = int(np.count_nonzero(served.ok & (answered > times[-1])))
        self._now = start + float(times[-1])
        latency = np.maximum(answered[owed:] - times, 0.0)  # rounding can give -1e-16
        info = {**served.info, "carried": owed}
        return Episode(configuration, times, latency, served.status[owed:], info=info)
