"""One episode under a guard: the agent chooses, the guard admits, watches and returns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode, Server, Status
from rrl.tuning.guard import Guard, Keeps, Part
from rrl.tuning.measuring import GeneratorError, measure_valid
from rrl.tuning.objective import Objective, Percentile

Times = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Guarded:
    """One episode under a guard.

    Parameters
    ----------
    configuration : configuration
        What served, or what was tried and crashed.
    cost : float
        Its cost in the objective's unit. After a crash it is that of an episode without answers.
    episode : Episode
        Its requests; none was answered after a crash.
    asked : configuration, optional
        The agent's last choice. It differs from `configuration` if the guard did not admit it, and
        is None if all choices were refused.
    refused : list of (configuration, float)
        Earlier choices, with the costs that the agent was told for them at once.
    told : bool
        Whether the agent was told the cost; not if the default is not in its space.
    parts : list of Part
        Everything that was served, in order.
    recommended : configuration
        What the agent would deploy. It is the default if the agent knows nothing, or if its choice
        is shunned.
    invalid, switch_s
        See :class:`rrl.tuning.loop.Step`.
    """

    configuration: Configuration
    cost: float
    episode: Episode
    asked: Configuration | None
    refused: list[tuple[Configuration, float]]
    told: bool
    parts: list[Part]
    recommended: Configuration
    invalid: int
    switch_s: float


@dataclass(frozen=True, eq=False)
class _Trial:
    """A part with its episode, and how it was measured."""

    part: Part
    episode: Episode
    shun: bool
    invalid: int = 0
    switch_s: float = 0.0


def serve_guarded(
    guard: Guard,
    server: Server,
    agent: Agent,
    load: float,
    arrivals: Times,
    rng: np.random.Generator,
    objective: Objective,
    switch_cost: float = 0.0,
) -> Guarded:
    """Serve one episode, and tell the agent its cost.

    If the trial crashes or is stopped, the incumbent serves the rest of the arrivals. If that fails
    too, the default does.

    Raises
    ------
    ServerError
        If the default itself fails. Then it is not the configuration that is wrong.
    """
    *refused, (asked, charge) = guard.choices(agent, load)
    if charge is not None:
        refused, asked = [*refused, (asked, charge)], None
    chosen = asked if asked is not None and guard.admits(asked) else guard.default
    safe = guard.incumbent(agent, load)
    if isinstance(server, Keeps):
        server.keep(safe)
    parts: list[Part] = []

    def take_in(trial: _Trial) -> float:
        cost = objective(trial.episode) + switch_cost * trial.switch_s
        parts.append(replace(trial.part, charge=cost if trial.shun else None))
        guard.note(parts[-1])
        return cost

    trial = _measured(guard, server, chosen, arrivals, rng)
    cost = take_in(trial)
    told = _has(guard, chosen)
    if told:
        agent.tell(chosen, cost)
    if guard.is_default(chosen) and guard.late_s is None:
        guard.set_limit(Percentile(99)(trial.episode))
    rest, last = _rest(arrivals, trial), trial
    for fallback in (safe, guard.default):
        if not last.part.ended or len(rest) < 2:
            break
        last = _measured(guard, server, fallback, rest - rest[0], rng, whole=False)
        take_in(last)
        rest = _rest(rest, last)
    return Guarded(
        chosen, cost, trial.episode, asked, refused, told, parts,
        _recommended(guard, agent, load), trial.invalid, trial.switch_s,
    )  # fmt: skip


def _recommended(guard: Guard, agent: Agent, load: float) -> Configuration:
    try:
        best = dict(agent.best(load))
    except ValueError:  # it was told nothing yet, because the default is not in its space
        return guard.default
    return best if guard.charge(best) is None else guard.default


def _has(guard: Guard, configuration: Configuration) -> bool:
    """Return whether the agent's space has a configuration."""
    try:
        guard.space.index(configuration)
    except ValueError:
        return False
    return True


def _rest(arrivals: Times, trial: _Trial) -> Times:
    """Return the arrivals that a trial left to others."""
    return arrivals if trial.part.ended == "crashed" else arrivals[len(trial.episode) :]


def _measured(
    guard: Guard,
    server: Server,
    configuration: Configuration,
    arrivals: Times,
    rng: np.random.Generator,
    whole: bool = True,
) -> _Trial:
    """Measure one part under the guard's watch; only the default's failures are raised."""
    watch = guard.watch(configuration)
    try:
        episode, invalid, switch_s = measure_valid(server, configuration, arrivals, rng, watch)
        check_answered(episode)
    except ServerError as error:
        if guard.is_default(configuration) or isinstance(error, GeneratorError):
            raise
        episode = unanswered(configuration, arrivals)
        lost = error.lost
        part = Part(dict(configuration), lost, lost, "crashed", str(error), whole)
        return _Trial(part, episode, shun=True)
    reason = str(episode.info.get("aborted", ""))
    requests, bad = _counts(episode, guard.late_s)
    ended = "aborted" if reason else ""
    part = Part(dict(configuration), requests, bad, ended, whole=whole)
    return _Trial(part, episode, reason == "worse", invalid, switch_s)


def _counts(episode: Episode, late_s: float | None) -> tuple[int, int]:
    """Return how many requests were served, and how many were bad: also those of other clients."""
    latency, status = episode.info.get("others", (np.empty(0), np.empty(0)))
    requests = len(episode) + len(latency)
    if late_s is None:
        return requests, 0
    return requests, episode.bad(late_s) + int(np.count_nonzero((status != 0) | (latency > late_s)))


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
        f"all {len(episode)} requests to {dict(episode.configuration)} failed: {words}",
        lost=len(episode),
    )


def unanswered(configuration: Configuration, arrivals: Times) -> Episode:
    """Return an episode in which no request was answered."""
    n = len(arrivals)
    return Episode(configuration, arrivals, np.zeros(n), np.full(n, Status.UNAVAILABLE))
