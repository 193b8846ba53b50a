"""A guard between an agent and a service, so that learning cannot do more than a stated harm.

The default configuration is what serves without tuning. A request is bad if it failed or was late
(:mod:`rrl.tuning.watch`). The guard keeps this promise for any agent, with probability at least
1 - `DELTA`: at every moment, the number of bad requests of all trials is at most `budget`, plus the
number that the default would have caused on average among the same requests. For a guard, a trial
is every episode of another configuration than the default, also one of the incumbent.

A server that other clients use, too, measures their requests and reports them with the episode.
They count like the others.

The promise holds because a trial is admitted, and goes on, only while all its open requests may
become bad without breaking it. The default's fraction of bad requests is known only from the
default's own episodes, so the guard uses a lower confidence bound of it. It assumes that this
fraction is the same at all times, also within an episode. If the default's queue grows during an
episode, the first requests of an episode are bad less often than all of them, and a trial that is
stopped early is allowed too many. The promise concerns the requests that the server
measures: those of an episode that an interrupt or an error ended are unknown to a run that
continues. Nobody plans the requests of other clients, so a burst of them may go beyond the budget
before the watch looks again.

:func:`guarded_step` is one episode under a guard: the agent chooses, and the guard admits, measures
and returns to the default. `rrl tune` and `rrl replay` use it. The loop without a guard
is in :mod:`rrl.tuning.loop`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from rrl.core.knob import Configuration
from rrl.support.errors import GeneratorError, ServerError
from rrl.tuning.episode import MAX_INVALID, TOO_LATE, Episode, Server, Status
from rrl.tuning.loop import Agent, Step
from rrl.tuning.mean_bound import lower_mean
from rrl.tuning.objective import Objective, Percentile
from rrl.tuning.presets import in_words
from rrl.tuning.watch import Watch, measure_watched
from rrl.workloads.workload import Times, estimate_rate

DELTA = 0.05  # probability that the promise does not hold
LATE = 2.0  # without an SLO, late means later than this many times the default's p99
USUAL_EPISODES = 3  # of the default; the p99 of a single one is often several times too high
LEAST_USUAL, MOST_USUAL = 0.02, 0.9  # limits of the fraction of bad requests that a watch expects
LEAST = 5  # a trial that may have fewer bad requests than this is not worth its start


@dataclass(frozen=True)
class Part:
    """What one configuration did in one episode.

    Parameters
    ----------
    configuration : configuration
    requests, bad : int
        Number of requests that were sent, and number of bad ones among them.
    ended : str
        Empty if the episode ended as planned. Otherwise "aborted" (stopped by the watch), "crashed"
        (the server did not start, or answered no request), or "server": it died or hung after it
        had started. The first time, that is no fault of the configuration, which is measured again.
        If it comes again at once, the configuration has crashed.
    why : str
        The reason of a crash, in one line, or that of the watch: "worse", "budget".
    whole : bool
        False if it only served the rest of an episode, after a bad trial, and if the measurement
        itself went wrong.
    charge : float, optional
        The configuration is shunned, and this is the cost that the agent is told whenever it asks
        for it again. None if it may be served again.
    """

    configuration: Configuration
    requests: int
    bad: int
    ended: str = ""
    why: str = ""
    whole: bool = True
    charge: float | None = None


class Measured(NamedTuple):
    """What a guard measured, of a trial or of the default: a part, its episode and its cost."""

    part: Part
    episode: Episode
    cost: float


@dataclass
class Guard:
    """Decide what may be tried, and what serves instead; see the module's text for the promise.

    Parameters
    ----------
    default : configuration
        What serves without tuning.
    budget : int
        Bad requests that trials may have besides the default's own, at least 0.
    late_s : float, optional
        A request is late if it takes longer than this many seconds. By default the guard sets it
        after the first `USUAL_EPISODES` episodes of the default, to `LATE` times the median of
        their 99th percentiles. No trial begins before.

    Attributes
    ----------
    parts : list of Part
        Everything that was served so far.
    serves : configuration
        What serves now.

    Raises
    ------
    ValueError
        If the budget is negative.

    Examples
    --------
    >>> guard = Guard({"threads": 2}, budget=10, late_s=0.1)
    >>> guard.admits({"threads": 1})  # the default serves first
    False
    >>> guard.parts.append(Part({"threads": 2}, requests=100, bad=1))
    >>> guard.admits({"threads": 1})
    True
    >>> guard.parts.append(Part({"threads": 1}, requests=40, bad=8, ended="aborted", charge=0.5))
    >>> guard.admits({"threads": 1}), guard.charge({"threads": 1})
    (False, 0.5)
    """

    default: Configuration
    budget: int
    late_s: float | None = None
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.default = dict(self.default)
        if self.budget < 0:
            raise ValueError(f"a guard needs a budget of 0 or more, got {self.budget}")
        self.serves: Configuration = self.default
        self._usual_p99s: list[float] = []

    # --- what may be served ---------------------------------------------------------------------

    @property
    def allowance(self) -> int:
        """Bad requests that trials may still have now."""
        requests, bad = self._counted(default=False)
        return int(self.budget + lower_mean(self._default_fractions, DELTA) * requests) - bad

    @property
    def _default_fractions(self) -> list[float]:
        """The fraction of bad requests in each whole episode of the default.

        The rest of an episode suffers from the trial before it, so it does not count.
        """
        own = [part for part in self.parts if part.whole and part.configuration == self.default]
        return [part.bad / max(part.requests, 1) for part in own]

    def _counted(self, *, default: bool) -> tuple[int, int]:
        """Return the numbers of requests and of bad ones, with the default or in all trials."""
        own = [one for one in self.parts if (one.configuration == self.default) == default]
        return sum(part.requests for part in own), sum(part.bad for part in own)

    def admits(self, configuration: Configuration) -> bool:
        """Return whether a configuration may serve now."""
        if configuration == self.default:
            return True
        known = bool(self._default_fractions) and self.late_s is not None
        return known and self.charge(configuration) is None and self.allowance >= LEAST

    def charge(self, configuration: Configuration) -> float | None:
        """Return the cost that the agent is told instead of a trial; None if it may be tried."""
        charged = (part for part in self.parts if part.charge is not None)
        own = (part.charge for part in charged if part.configuration == configuration)
        return next(own, None)

    def watch(self, configuration: Configuration) -> Watch:
        """Return the rule that stops an episode; that of the default is idle: nothing is safer."""
        late_s = math.inf if self.late_s is None else self.late_s  # no trial is admitted yet
        usual = float(np.clip(np.mean(self._default_fractions or [0.0]), LEAST_USUAL, MOST_USUAL))
        return Watch(late_s, max(self.allowance, 1), usual, idle=configuration == self.default)

    def sound(self, best: Configuration) -> Configuration:
        """Return a configuration if it did well, or the default.

        It must have served a whole episode, and have no larger fraction of bad requests than the
        default so far.
        """
        if best == self.default:
            return self.default
        own = [part for part in self.parts if part.configuration == best]
        whole = [part for part in own if part.whole and not part.ended]
        requests, bad = sum(part.requests for part in whole), sum(part.bad for part in whole)
        sound = requests and bad / requests <= np.mean(self._default_fractions or [0.0])
        return dict(best) if sound and self.admits(best) else self.default

    # --- what is served -------------------------------------------------------------------------

    def measure(
        self,
        server: Server,
        configuration: Configuration,
        arrivals: Times,
        rng: np.random.Generator,
        objective: Objective,
        whole: bool = True,
    ) -> Measured:
        """Measure a configuration under its watch, and add what it did to the parts.

        It is shunned from now on if it crashed or was stopped as too bad. The cost of a crash is
        that of an episode without answers, and a failure of the server has none (NaN). After an
        invalid episode, or one in which the server failed, it is measured again, unless the bad
        requests have used up the allowance.

        Raises
        ------
        ServerError
            If the default itself fails, or no configuration is to blame.
        """
        self.serves = dict(configuration)
        for _ in range(MAX_INVALID):
            episode, part = self._measure_once(server, configuration, arrivals, rng)
            cost = math.nan if part.ended == "server" else objective(episode)
            charge = cost if part.ended == "crashed" or part.why == "worse" else None
            part = replace(part, whole=whole and episode.valid, charge=charge)
            self.parts.append(part)
            again = part.ended == "server" and self.admits(configuration)
            if (episode.valid or part.ended) and not again:
                return Measured(part, episode, cost)
        raise GeneratorError(TOO_LATE)

    def _measure_once(
        self, server: Server, chosen: Configuration, arrivals: Times, rng: np.random.Generator
    ) -> tuple[Episode, Part]:
        """Measure an episode of the chosen configuration under its watch, and say what it did."""
        watch, requests, bad = self.watch(chosen), 0, 0
        try:
            episode = measure_watched(server, chosen, arrivals, rng, watch)
            requests, bad = _requests_of(episode, watch.late_s)
            why = ""
            if episode.valid:
                _check_answered(episode)
                why = str(episode.info.get("aborted", ""))
            elif not watch.idle and bad >= watch.allowance:
                why = "budget"
            ended = "aborted" if why else ""
        except ServerError as error:
            if chosen == self.default or isinstance(error, GeneratorError):
                raise
            episode = _unanswered(chosen, arrivals)
            requests, bad = requests + error.lost, bad + error.lost
            own = [part.ended for part in self.parts if part.configuration == chosen]
            innocent = error.started and own[-1:] != ["server"]
            ended, why = "server" if innocent else "crashed", str(error)
        return episode, Part(dict(chosen), requests, bad, ended, why)

    def set_limit(self, p99_s: float) -> None:
        """Take in the 99th percentile (s) of an episode of the default, unless a limit is known."""
        if self.late_s is None:
            self._usual_p99s.append(p99_s)
            if len(self._usual_p99s) == USUAL_EPISODES:
                self.late_s = LATE * float(np.median(self._usual_p99s))

    def summary(self) -> dict[str, Any]:
        """Return the limits, and the numbers of requests so far and of bad ones."""
        default_requests, default_bad = self._counted(default=True)
        requests, bad = self._counted(default=False)
        return {
            "late_s": self.late_s,
            "budget": self.budget,
            "default_requests": default_requests,
            "default_bad": default_bad,
            "trial_requests": requests,
            "trial_bad": bad,
        }


# --- one episode ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GuardedStep(Step):
    """One episode under a guard.

    The configuration is what served, or what was tried and crashed. After a crash, the cost is that
    of an episode without answers. The recommended configuration is the default if the agent knows
    nothing, or if its choice is shunned.

    Parameters
    ----------
    asked : configuration
        The agent's choice. It differs from `configuration` if the guard did not admit it.
    part : Part
        What the configuration did.
    next_load : float
        The load that the agent is shown next.
    """

    asked: Configuration
    part: Part
    next_load: float


def guarded_step(
    server: Server,
    agent: Agent,
    load: float,
    arrivals: Times,
    rng: np.random.Generator,
    objective: Objective,
    guard: Guard,
) -> GuardedStep:
    """Let `agent` learn from an episode under a guard.

    If the agent asks for a shunned configuration, it is told the charge, and the default serves. If
    a trial crashes or is stopped, the default serves the rest of the arrivals. The agent is not
    told the cost of an invalid episode, nor that of one in which the server failed, nor that of a
    default that is not in its space.

    Parameters
    ----------
    server, agent, objective
        See :func:`rrl.tuning.loop.tune`.
    load : float
        The load that the agent is shown: in the first episode, the one that
        :func:`rrl.tuning.loop.draw_run` returns, and later the ``next_load`` of the step before.
    arrivals : ndarray
        Arrivals of the episode in seconds.
    rng : numpy.random.Generator
        Generator for the server.
    guard : Guard

    Raises
    ------
    ServerError
        If the default itself fails. Then it is not the configuration that is wrong.
    """
    asked = dict(agent.ask(load))
    if (charge := guard.charge(asked)) is not None:
        agent.tell(asked, charge)
    chosen = asked if guard.admits(asked) else guard.default
    part, episode, cost = guard.measure(server, chosen, arrivals, rng, objective)
    if episode.valid and part.ended != "server" and chosen in server.space:
        agent.tell(chosen, cost)
    if chosen == guard.default:
        guard.set_limit(Percentile(99)(episode))
    rest = arrivals if part.ended in ("crashed", "server") else arrivals[len(episode) :]
    if part.ended and len(rest) > 1:
        guard.measure(server, guard.default, rest - rest[0], rng, objective, whole=False)
    best = _recommended(guard, agent, load)
    next_load = estimate_rate(episode.arrivals if len(episode) == len(arrivals) else arrivals)
    return GuardedStep(load, dict(chosen), cost, best, episode, asked, part, next_load)


def _recommended(guard: Guard, agent: Agent, load: float) -> Configuration:
    try:
        best = dict(agent.best(load))
    except ValueError:  # it was told nothing yet, because the default is not in its space
        return guard.default
    return best if guard.charge(best) is None else guard.default


def _requests_of(episode: Episode, late_s: float) -> tuple[int, int]:
    """Return the numbers of requests and of bad ones, also of those of other clients."""
    latency, status = map(np.asarray, episode.info.get("others", ([], [])))
    others = int(np.count_nonzero((status != 0) | (latency > late_s)))
    return len(episode) + len(latency), episode.bad(late_s) + others


def _check_answered(episode: Episode) -> None:
    """Raise ServerError if no request of an episode was answered.

    Raises
    ------
    ServerError
        The message has the gRPC status and the server's own words.
    """
    if episode.ok.any() or "aborted" in episode.info:
        return
    words = episode.info.get("failure") or Status(int(episode.status[0])).name
    raise ServerError(
        f"all {len(episode)} requests to {in_words(episode.configuration)} failed: {words}"
    )


def _unanswered(configuration: Configuration, arrivals: Times) -> Episode:
    """Return an episode in which no request was answered."""
    n = len(arrivals)
    return Episode(configuration, arrivals, np.zeros(n), np.full(n, Status.UNAVAILABLE.value))
