"""Exercises of the homework: odds, a region, safe probabilities, a loop, and a new update."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, product, zip_longest
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from rrl.core.exploration import action_probabilities
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.exercises.judging import Function, ask, compare, require, shown

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
    rule = (
        "the distance is the root of the sum of squares, and np.flatnonzero returns the indices of "
        "the true elements"
    )
    whole = "return whole numbers: numbers with a decimal point cannot be indices"
    for index, radius in product((0, 62, 124), (1.0, 0.0, 1.5, 3.0)):
        found = ask(answer, _GRID, index, radius)
        region = f"the region of {index} with a radius of {radius:g}"
        compare(region, found, _GRID.ball(index, radius), rule)
        require(np.asarray(found).dtype.kind in "iu", whole)
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
    """A run of four steps, which writes down its calls; an observation is the number of steps.

    Parameters
    ----------
    end : str
        What the last step says: "terminated" or "truncated".
    calls : list of str
    """

    def __init__(self, end: str, calls: list[str]) -> None:
        self.observation_space = spaces.Box(0, 4, (1,), np.float64)
        self.action_space = spaces.Discrete(10)
        self.end, self.calls, self.number = end, calls, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin again."""
        self.calls.append(f"reset(seed={seed})")
        self.number = 0
        return np.zeros(1), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the next observation, and minus the number of the step as its reward."""
        require(self.number < 4, "the run goes on after its end: stop at the end")
        self.calls.append(f"step({shown(action)})")
        self.number += 1
        over, seen = self.number == 4, np.array([float(self.number)])
        ends = over and self.end == "terminated", over and self.end == "truncated"
        return seen, -float(self.number), *ends, {}


class Recorder:
    """An agent that writes down its calls; its action is the number of the step, from 0."""

    def __init__(self, calls: list[str]) -> None:
        self.calls, self.asked = calls, 0

    def act(self, observation: Any) -> int:
        """Return how often it was asked before."""
        self.calls.append(f"act({shown(observation)})")
        self.asked += 1
        return self.asked - 1

    def learn(self, observation: Any, action: Any, reward: Any) -> None:
        """Write down what the loop says."""
        self.calls.append(f"learn({shown(observation)}, {shown(action)}, {shown(reward)})")


def check_play(answer: Callable[..., Any]) -> None:
    """Check a loop of acting, stepping and learning until the run is over."""
    steps = [(f"act([{n}])", f"step({n})", f"learn([{n}], {n}, {-n - 1})") for n in range(4)]
    wanted = [f"reset(seed={SEED})", *chain(*steps)]
    for end in ("truncated", "terminated"):
        calls: list[str] = []
        hint = "reset() returns a pair, and step() five things."
        rewards = ask(answer, Countdown(end, calls), Recorder(calls), SEED, hint=hint)
        for number, (call, right) in enumerate(zip_longest(calls, wanted, fillvalue="missing"), 1):
            require(
                call == right,
                f"in a run that is {end} after 4 steps, call {number} is {call}, not {right}: "
                "act() sees the last observation, and learn() the same, the action and its reward",
            )
        compare("what play() returns", rewards, [-1, -2, -3, -4], "a list of all rewards")
    print("play: right")


# --- The update --------------------------------------------------------------------------------


def check_region_greedy(agent_class: Callable[..., Any]) -> None:
    """Check an agent that adds a reward to all actions within the radius."""
    space = ConfigSpace([Knob("inter", (1, 2, 3)), Knob("batch", (1, 2, 3, 4))])
    hint = "np.ravel_multi_index(tuple(action), shape) gives the index of an action."
    for index, radius, rewards in ((5, 1.0, (-1.0, -3.0)), (11, 0.0, (-1.0,))):
        pupil = ask(agent_class, space.shape, np.random.default_rng(0))
        pupil.space, pupil.radius = space, radius
        for reward in rewards:
            ask(pupil.learn, None, space.value_indices[index], reward, hint=hint)
        near = np.isin(np.arange(len(space)), space.ball(index, radius)).reshape(space.shape)
        for name, wanted in (("count", len(rewards)), ("total", sum(rewards))):
            compare(
                f"after the rewards {shown(rewards)} for the action {index} with a radius of "
                f"{radius:g}, self.{name}",
                getattr(pupil, name),
                np.where(near, wanted, 0),
                "for each reward, change the entries of the region, space.ball(index, "
                "self.radius), in place: add 1 to each count, and the reward to each sum",
            )
    print("RegionGreedy: right")
