"""A guard between an agent and a service, so that learning cannot do more than a stated harm.

The default configuration is what serves without tuning. A request is bad if it failed or was late
(:mod:`rrl.tuning.watch`). The guard keeps this promise for any agent, with probability at least
1 - `delta`: at every moment, the number of bad requests of all trials is at most `budget`, plus
`factor` times the number that the default would have caused among the same requests. A trial is
every episode of another configuration than the default.

A server that other clients use, too, measures their requests and reports them with the episode.
They count like the others.

The promise holds because a trial is admitted, and goes on, only while all its open requests may
become bad without breaking it. The default's fraction of bad requests is known only from the
default's own episodes, so the guard uses a lower confidence bound of it. The promise concerns the
requests that the server measures. It assumes that this fraction does not fall with time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.support.mean_bound import lower_mean
from rrl.tuning.watch import Watch

LATE = 2.0  # without an objective, late means later than this many times the default's p99
USUAL_EPISODES = 3  # of the default; the p99 of a single one is often several times too high
LEAST_USUAL, MOST_USUAL = 0.02, 0.9  # limits of the fraction of bad requests that a watch expects
LEAST = 5  # a trial that may have fewer bad requests than this is not worth its start
MOST_REFUSED = 20  # choices of the agent that are answered without a measurement, per episode


@dataclass(frozen=True)
class Part:
    """What one configuration did in one episode.

    Parameters
    ----------
    configuration : configuration
    requests, bad : int
        Number of requests that were sent, and number of bad ones among them.
    ended : str
        Empty if the episode ended as planned. Otherwise "aborted" (stopped by the watch) or
        "crashed" (the server did not start, died, or answered no request).
    why : str
        The reason of a crash, in one line.
    whole : bool
        False if it only served the rest of an episode, after a bad trial.
    charge : float, optional
        The cost that the agent is told whenever it asks for this configuration again. None if it
        may be served again.
    """

    configuration: Configuration
    requests: int
    bad: int
    ended: str = ""
    why: str = ""
    whole: bool = True
    charge: float | None = None


@dataclass
class Guard:
    """Decide what may be tried, and what serves instead; see the module's text for the promise.

    Parameters
    ----------
    space : ConfigSpace
        The agent's space. The default need not be in it.
    default : configuration
        What serves without tuning.
    budget : int
        Bad requests that trials may have besides the default's own.
    late_s : float, optional
        A request is late if it takes longer than this many seconds. By default the guard sets it
        after the first `USUAL_EPISODES` episodes of the default, to `LATE` times the median of
        their 99th percentiles. No trial begins before.
    factor : float, optional
        How many times the default's own bad requests are allowed, at least 0.
    delta : float, optional
        Probability that the promise does not hold.

    Attributes
    ----------
    parts : list of Part
        Everything that was served so far.
    serves : configuration
        What serves now.
    shunned : dict
        Configurations that crashed or were stopped, by number, with the cost that the agent is told
        whenever it asks for one of them again.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from rrl import Knob
    >>> guard = Guard(ConfigSpace([Knob("threads", (1, 2))]), {"threads": 2}, budget=10, late_s=0.1)
    >>> guard.admits({"threads": 1})  # the default serves first
    False
    >>> guard.note(Part({"threads": 2}, requests=100, bad=1))
    >>> guard.admits({"threads": 1})
    True
    >>> guard.note(Part({"threads": 1}, requests=40, bad=8, ended="aborted", charge=0.5))
    >>> guard.admits({"threads": 1}), guard.shunned
    (False, {0: 0.5})
    """

    space: ConfigSpace
    default: Configuration
    budget: int
    late_s: float | None = None
    factor: float = 1.0
    delta: float = 0.05
    parts: list[Part] = field(default_factory=list)
    shunned: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.default = dict(self.default)
        if self.budget < 0 or self.factor < 0 or not 0 < self.delta < 1:
            raise ValueError(
                f"a guard needs budget and factor of 0 or more and 0 < delta < 1, got "
                f"{self.budget}, {self.factor} and {self.delta}"
            )
        self.serves: Configuration = self.default
        self._usual_p99s: list[float] = []
        self._default_fractions: list[float] = []
        self._default_bad = self._trial_requests = self._trial_bad = 0
        self._lower = 0.0
        self._records: dict[int, tuple[int, int]] = {}  # requests and bad ones

    # --- what may be served ---------------------------------------------------------------------

    @property
    def allowance(self) -> int:
        """Bad requests that trials may still have now."""
        own = self.factor * self._lower * self._trial_requests
        return int(self.budget + own) - self._trial_bad

    def is_default(self, configuration: Configuration) -> bool:
        """Return whether this is the default configuration."""
        return dict(configuration) == self.default

    def admits(self, configuration: Configuration) -> bool:
        """Return whether a configuration may serve now."""
        if self.is_default(configuration):
            return True
        known = bool(self._default_fractions) and self.late_s is not None
        return known and self.charge(configuration) is None and self.allowance >= LEAST

    def charge(self, configuration: Configuration) -> float | None:
        """Return the cost that the agent is told instead of a trial; None if it may be tried."""
        return self.shunned.get(self.space.index(configuration))

    def watch(self, configuration: Configuration) -> Watch | None:
        """Return the rule that stops an episode; None for the default: nothing else is safer."""
        if self.is_default(configuration) or self.late_s is None:
            return None
        usual = float(np.clip(np.mean(self._default_fractions or [0.0]), LEAST_USUAL, MOST_USUAL))
        return Watch(self.late_s, max(self.allowance, 1), usual)

    def sound(self, best: Configuration) -> Configuration:
        """Return a configuration if it did well, or the default.

        It must have served a whole episode, and have no larger fraction of bad requests than the
        default so far.
        """
        if self.is_default(best):
            return self.default
        requests, bad = self._records.get(self.space.index(best), (0, 0))
        sound = requests and bad / requests <= np.mean(self._default_fractions or [0.0])
        return dict(best) if sound and self.admits(best) else self.default

    def choices(self, agent: Agent, load: float) -> Iterator[tuple[Configuration, float | None]]:
        """Ask the agent until it names a configuration that is not shunned.

        Yields
        ------
        configuration, charge
            Each choice of the agent. The charge is what the agent was told for a shunned
            configuration at once. It is None for the last choice, which may be served if
            :meth:`admits` agrees.
        """
        for _ in range(MOST_REFUSED):
            asked = dict(agent.ask(load))
            charge = self.charge(asked)
            yield asked, charge
            if charge is None:
                return
            agent.tell(asked, charge)

    # --- what was served ------------------------------------------------------------------------

    def note(self, part: Part) -> None:
        """Take in what a configuration did; a charge shuns it from now on."""
        self.parts.append(part)
        if self.is_default(part.configuration):
            self._default_bad += part.bad
            if part.whole:  # the rest of an episode suffers from the trial before it
                self._default_fractions.append(part.bad / max(part.requests, 1))
                self._lower = lower_mean(self._default_fractions, self.delta)
            return
        self._trial_requests += part.requests
        self._trial_bad += part.bad
        index = self.space.index(part.configuration)
        if not part.ended and part.whole:
            requests, bad = self._records.get(index, (0, 0))
            self._records[index] = requests + part.requests, bad + part.bad
        if part.charge is not None:
            self.shunned[index] = part.charge

    def set_limit(self, p99_s: float) -> None:
        """Take in the 99th percentile (s) of an episode of the default, unless a limit is known."""
        if self.late_s is None:
            self._usual_p99s.append(p99_s)
            if len(self._usual_p99s) == USUAL_EPISODES:
                self.late_s = LATE * float(np.median(self._usual_p99s))

    def summary(self) -> dict[str, Any]:
        """Return what happened so far, in a form for JSON."""
        trials = [part for part in self.parts if not self.is_default(part.configuration)]
        return {
            "late_s": self.late_s,
            "budget": self.budget,
            "factor": self.factor,
            "delta": self.delta,
            "default_requests": sum(p.requests for p in self.parts) - self._trial_requests,
            "default_bad": self._default_bad,
            "trial_requests": self._trial_requests,
            "trial_bad": self._trial_bad,
            "aborted": sum(part.ended == "aborted" for part in trials),
            "crashed": sum(part.ended == "crashed" for part in trials),
        }
