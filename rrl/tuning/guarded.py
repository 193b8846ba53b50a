"""The loop under a guard: the agent chooses, the guard admits, watches and returns.

`rrl tune` and the runs on live servers use it. Without a guard, see :mod:`rrl.tuning.loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.support.errors import GeneratorError, ServerError
from rrl.tuning.episode import Episode, Server, Status, bad_requests, measure_valid
from rrl.tuning.guard import Guard, Part
from rrl.tuning.loop import Step, shown_load
from rrl.tuning.objective import Percentile
from rrl.tuning.presets import in_words
from rrl.workloads.workload import Times


@dataclass(frozen=True, eq=False)
class GuardedStep(Step):
    """One episode under a guard.

    The configuration is what served, or what was tried and crashed. After a crash, the cost is that
    of an episode without answers. The recommended configuration is the default if the agent knows
    nothing, or if its choice is shunned.

    Parameters
    ----------
    asked : configuration, optional
        The agent's last choice. It differs from `configuration` if the guard did not admit it, and
        is None if all choices were refused.
    refused : list of (configuration, float)
        Earlier choices, with the costs that the agent was told for them at once.
    told : bool
        Whether the agent was told the cost; not if the default is not in its space.
    parts : list of Part
        Everything that was served, in order.
    """

    asked: Configuration | None
    refused: list[tuple[Configuration, float]]
    told: bool
    parts: list[Part]


@dataclass(frozen=True, eq=False)
class Trial:
    """A part with its episode, and how it was measured.

    Parameters
    ----------
    part : Part
        Its charge is not known yet.
    episode : Episode
    shun : bool
        Whether the configuration must not be tried again.
    invalid : int
        Number of measurements that were dropped before this one.
    """

    part: Part
    episode: Episode
    shun: bool
    invalid: int = 0

    def charged(self, cost: float) -> Part:
        """Return the part, with its cost as the charge if the configuration is shunned."""
        return replace(self.part, charge=cost if self.shun else None)


def guarded_steps(
    server: Server,
    agent: Agent,
    load: float,
    parts: Iterable[Times],
    rng: np.random.Generator,
    objective: Callable[[Episode], float],
    guard: Guard,
) -> Iterator[GuardedStep]:
    """Let `agent` learn under a guard; see :func:`rrl.tuning.loop.learning_steps`.

    If a trial crashes or is stopped, the default serves the rest of the arrivals.

    Raises
    ------
    ServerError
        If the default itself fails. Then it is not the configuration that is wrong.
    """
    for number, arrivals in enumerate(parts):
        choices = list(guard.choices(agent, load))
        refused = [(choice, charge) for choice, charge in choices if charge is not None]
        asked = next((choice for choice, charge in choices if charge is None), None)
        chosen = asked if asked is not None and guard.admits(asked) else guard.default
        trial = measured(guard, server, chosen, arrivals, rng)
        cost = objective(trial.episode)
        served = [_noted(guard, trial, cost)]
        if told := chosen in guard.space:
            agent.tell(chosen, cost)
        if guard.is_default(chosen):
            guard.set_limit(Percentile(99)(trial.episode))
        rest = _rest(arrivals, trial)
        if trial.part.ended and len(rest) > 1:
            last = measured(guard, server, guard.default, rest - rest[0], rng, whole=False)
            served.append(_noted(guard, last, objective(last.episode)))
        whole = len(trial.episode) == len(arrivals)
        next_load = shown_load(trial.episode.arrivals if whole else arrivals)
        yield GuardedStep(
            number, load, dict(chosen), cost, _recommended(guard, agent, load), trial.episode,
            trial.invalid, next_load, asked, refused, told, served,
        )  # fmt: skip
        load = next_load


def _noted(guard: Guard, trial: Trial, cost: float) -> Part:
    """Let the guard note a trial; return the part with its charge."""
    part = trial.charged(cost)
    guard.note(part)
    return part


def _recommended(guard: Guard, agent: Agent, load: float) -> Configuration:
    try:
        best = dict(agent.best(load))
    except ValueError:  # it was told nothing yet, because the default is not in its space
        return guard.default
    return best if guard.charge(best) is None else guard.default


def _rest(arrivals: Times, trial: Trial) -> Times:
    """Return the arrivals that a trial left to others."""
    return arrivals if trial.part.ended == "crashed" else arrivals[len(trial.episode) :]


def measured(
    guard: Guard,
    server: Server,
    configuration: Configuration,
    arrivals: Times,
    rng: np.random.Generator,
    whole: bool = True,
) -> Trial:
    """Measure one part under the guard's watch; only the default's failures are raised.

    Raises
    ------
    ServerError
        If the default itself fails, or no configuration is to blame.
    """
    watch = guard.watch(configuration)
    guard.serves = dict(configuration)
    try:
        episode, invalid = measure_valid(server, configuration, arrivals, rng, watch)
        check_answered(episode)
    except ServerError as error:
        if guard.is_default(configuration) or isinstance(error, GeneratorError):
            raise
        episode = unanswered(configuration, arrivals)
        lost = error.lost
        part = Part(dict(configuration), lost, lost, "crashed", str(error), whole)
        return Trial(part, episode, shun=True)
    reason = str(episode.info.get("aborted", ""))
    counts = [bad_requests(one, guard.late_s) for one in (*invalid, episode)]
    requests, bad = (sum(column) for column in zip(*counts, strict=True))
    ended = "aborted" if reason else ""
    part = Part(dict(configuration), requests, bad, ended, whole=whole)
    return Trial(part, episode, reason == "worse", len(invalid))


def check_answered(episode: Episode) -> None:
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
        f"all {len(episode)} requests to {in_words(episode.configuration)} failed: {words}",
        lost=len(episode),
    )


def unanswered(configuration: Configuration, arrivals: Times) -> Episode:
    """Return an episode in which no request was answered."""
    n = len(arrivals)
    return Episode(configuration, arrivals, np.zeros(n), np.full(n, Status.UNAVAILABLE.value))
