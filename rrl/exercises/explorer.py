"""Exercises of the homework: odds, a region, safe probabilities, a loop, and a new update."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from rrl.core.exploration import action_probabilities
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.exercises.judging import Function, WrongAnswer, ask, kind_of, numbers, require, same

#: How many times less likely a cost is at a temperature.
check_times_less_likely = Function(
    lambda q, t: q ** (1 / t),
    [(2.0, 1.0), (2.0, 0.1), (1.01, 0.01), (3.0, 2.0)],
    (lambda q, t: q**t, "the power is 1 / T: a low temperature is selective"),
    (lambda q, t: q**-t, "the power is 1 / T, and the fraction has to be turned over"),
    (lambda q, t: q / t, "the temperature belongs in the exponent: see the weight of a cost"),
    (
        lambda q, t: 1 / (1 + q ** (1 / t)),
        "that is a probability: the odds of the two are asked for",
    ),
)


_GRID = ConfigSpace([Knob(name, (1, 2, 3, 4, 5)) for name in ("inter", "intra", "batch")])


def check_region(answer: Callable[..., Any]) -> None:
    """Check the indices of all configurations within a radius of one."""
    for index, radius in product((0, 62, 124), (1.0, 0.0, 1.5, 3.0)):
        found = ask(answer, _GRID, index, radius)
        pair = "np.where and np.nonzero return a tuple: its first entry, [0], is the array"
        array, kind = numbers(found), f"region() returns {kind_of(found)}"
        require(array is None or array.ndim < 2 or not isinstance(found, tuple), pair)
        listed = array is not None and array.ndim == 1 and array.dtype != bool
        require(listed, f"{kind}; np.flatnonzero returns the indices of the true elements")
        whole = "return whole numbers: numbers with a decimal point cannot be indices"
        require(not np.size(found) or np.asarray(found).dtype.kind in "iu", whole)
        wanted, away = set(_GRID.ball(index, radius).tolist()), _GRID.distances(index)
        for number in sorted(wanted ^ {*np.asarray(found).tolist()}):
            require(0 <= number < len(_GRID), f"{number} is no index of the grid")
            word = "belongs" if number in wanted else "does not belong"
            raise WrongAnswer(
                f"{number} {word} to the region of {index} with a radius of {radius:g}: it is "
                f"{away[number]:.3g} away (the root of the sum of squares)"
            )
        require(same(found, sorted(wanted)), "the indices are not sorted, or one is there twice")
    print("region: right")


def _normal(weights: Any) -> Any:
    return weights / weights.sum()


_COSTS = np.array([0.02, 0.04, 0.02])

#: The probabilities of a choice, also where the formula overflows as it stands.
check_choice = Function(
    action_probabilities,
    [
        (_COSTS, 1.0),
        (_COSTS, 0.001),
        (1e6 * _COSTS, 0.001),
        (np.array([0.02, 0.04, 0.09, 20.0]), 0.001),
        (np.array([0.5, 1e-3, 2e-3]), 0.3),
        (np.array([0.02, 0.0411]), 0.001),
        (np.array([0.02, 0.02, 0.02, 9.0]), 0.001),
    ],
    (
        lambda c, t: _normal(np.asarray(c) ** (-1 / t)),
        "at T = 0.001 the weights overflow: divide all by one number, so that none is large",
    ),
    (
        lambda c, t: _normal(np.exp((np.log(c).max() - np.log(c)) / t)),
        "the largest log cost was subtracted, so the weights of low costs overflow: subtract "
        "that of the lowest cost",
    ),
    (
        lambda c, t: _normal(np.exp((np.min(c) - np.asarray(c)) / t)),
        "the weight is a power of the cost: take the logarithm first",
    ),
    (
        lambda c, t: np.exp((np.log(c).min() - np.log(c)) / t),
        "the weights do not add up to 1: divide by their sum",
    ),
    (
        lambda c, t: _normal(np.exp((np.log(c).min() - np.log(c)) * t)),
        "multiplied by the temperature: divide, since a low one is selective",
    ),
)


# --- The loop ----------------------------------------------------------------------------------


SEED = 5  # of the run that a loop is tried with


class Countdown(gymnasium.Env[Any, Any]):
    """A run of four steps; an observation is the number of steps so far.

    Parameters
    ----------
    terminates : bool
        Whether the last step terminates the run, or truncates it.
    """

    def __init__(self, *, terminates: bool) -> None:
        self.observation_space = spaces.Box(0, 4, (1,), np.float64)
        self.action_space = spaces.Discrete(10)
        self.terminates, self.number = terminates, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin again, with the right seed only."""
        require(seed == SEED, "the seed does not reach the environment: call reset(seed=seed)")
        self.number = 0
        return np.zeros(1), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the next observation, and a reward that depends on the action."""
        require(self.number < 4, "the run goes on after its end: stop at the end")
        self.number += 1
        reward, over = -self.number - 10.0 * action, self.number == 4
        seen = np.array([float(self.number)])
        return seen, reward, over and self.terminates, over and not self.terminates, {}


class Recorder:
    """An agent that writes down what it sees; its action is the number of the step."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.learned: list[tuple[Any, Any, Any]] = []

    def act(self, observation: Any) -> int:
        """Return how often it was asked before."""
        told = len(self.learned) == len(self.seen)
        require(told, "learn() has to be called once after each step, before the next act()")
        self.seen.append(np.asarray(observation).tolist())
        return len(self.seen) - 1

    def learn(self, observation: Any, action: Any, reward: Any) -> None:
        """Write down what the loop says."""
        self.learned.append((np.asarray(observation).tolist(), action, reward))


def check_play(answer: Callable[..., Any]) -> None:
    """Check a loop of acting, stepping and learning until the run is over."""
    for terminates in (False, True):
        environment, agent = Countdown(terminates=terminates), Recorder()
        hint = "reset() returns a pair, and step() five things."
        rewards = ask(answer, environment, agent, SEED, hint=hint)
        found = numbers(rewards)
        listed = found is not None and found.ndim == 1
        require(listed, f"play() returns {kind_of(rewards)}: return a list of rewards")
        end = "terminated" if terminates else "truncated"
        require(
            len(rewards) == 4, f"a run that is {end} after 4 steps gives {len(rewards)} rewards"
        )
        wanted = [[n] for n in range(4)]
        require(
            same(agent.seen, wanted),
            "act() has to see what reset(seed=seed) returned first in its pair, and then what each "
            "step() returned first in its five things",
        )
        right = [-(n + 1) - 10.0 * n for n in range(4)]
        require(same(list(rewards), right), f"the rewards are {rewards}, not those of the steps")
        times = len(agent.learned)
        require(times == 4, f"learn() is called {times} times in 4 steps: once after each step")
        observed, actions, told = map(list, zip(*agent.learned, strict=True))
        require(
            same(observed, wanted),
            "learn() needs the observation that act() saw, which is the one before the action",
        )
        require(same(actions, range(4)), "learn() needs the action that act() returned")
        require(same(told, right), "learn() gets other rewards than those returned")
    print("play: right")


# --- The update --------------------------------------------------------------------------------


def check_region_greedy(agent_class: Callable[..., Any]) -> None:
    """Check an agent that adds a reward to all actions within the radius."""
    space = ConfigSpace([Knob("inter", (1, 2, 3)), Knob("batch", (1, 2, 3, 4))])
    pupil = ask(agent_class, space.shape, np.random.default_rng(0))
    pupil.space, pupil.radius = space, 1.0
    hint = "np.ravel_multi_index(tuple(action), shape) gives the index of an action."
    for reward in (-1.0, -3.0):
        ask(pupil.learn, None, space.value_indices[5], reward, hint=hint)
    near = np.isin(np.arange(len(space)), space.ball(5, 1.0))
    for name, wanted in (("count", 2), ("total", -4)):
        part = _table(pupil, name, space)
        require(part.any(), f"learn() does not change self.{name}: update it in place")
        require(not part[~near].any(), f"self.{name} changes outside the region: use space.ball")
        require(
            part[near].all(),
            f"self.{name} lacks a part of the region: its neighbours, or the measured cell",
        )
        found = np.unique(part[near]).tolist()
        require(
            found == [wanted],
            f"after the rewards -1 and -3, self.{name} contains {found} in the region, not "
            f"{wanted}: for each reward, add 1 to each count, and the reward to each sum",
        )
    before = _table(pupil, "count", space).sum()
    pupil.radius = 0.0
    ask(pupil.learn, None, space.value_indices[11], -1.0, hint=hint)
    grown = int(_table(pupil, "count", space).sum() - before)
    require(grown == 1, f"with a radius of 0, {grown} counts grow, not 1: use self.radius")
    print("RegionGreedy: right")


def _table(pupil: Any, name: str, space: ConfigSpace) -> Any:
    """Return a table of an agent as one row, after a look at what the answer has made of it."""
    table, kind = numbers(getattr(pupil, name)), kind_of(getattr(pupil, name))
    if table is None or table.shape != space.shape:
        raise WrongAnswer(f"self.{name} is {kind}: change its entries in place")
    return table.astype(float).ravel()
