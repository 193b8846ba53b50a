"""Region Q-learning on a Markov decision process, with the error of each step and the covers.

The agent for servers is :class:`rrl.RRL`, which has one step and no next state. This module has
the general update of the theory, with a discount. The true Q of its processes is known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from rrl.core.space import Bools, Floats, Ints
from rrl.theory.cover import cover_ends
from rrl.theory.mdp import MDP


class Learning(NamedTuple):
    """The result of region learning.

    `errors` is the maximum norm of Q - truth before the first step and after each step, of shape
    (T + 1,). `covers` contains the steps at which a cover ended. `values` is the last table, of
    shape (S, A).
    """

    errors: Floats
    covers: Ints
    values: Floats


def walk(mdp: MDP, steps: int, rng: np.random.Generator) -> Ints:
    """Walk through a process by uniformly random actions; a row is state, action, next state.

    Examples
    --------
    >>> one = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.0)
    >>> walk(one, 3, np.random.default_rng(0)).tolist()
    [[0, 1, 0], [0, 1, 0], [0, 1, 0]]
    """
    states, actions = mdp.cost.shape
    chosen, uniform = rng.integers(actions, size=steps), rng.random(steps)
    return _walk(mdp.transition.cumsum(axis=-1), chosen, uniform, int(rng.integers(states)))


@njit(cache=True)
def _walk(cumulative: Floats, actions: Ints, uniform: Floats, state: int) -> Ints:
    path = np.empty((len(actions), 3), dtype=np.int64)
    last = cumulative.shape[0] - 1
    for t in range(len(actions)):
        following = min(np.searchsorted(cumulative[state, actions[t]], uniform[t]), last)
        path[t] = state, actions[t], following
        state = following
    return path


def region_learning(
    mdp: MDP,
    near: Bools,
    path: Ints,
    start: Floats,
    *,
    truth: Floats,
    learning_rate: float = 0.3,
) -> Learning:
    """Run region Q-learning along a path: each visit updates the whole region of its action.

    A target uses the expectation over the next state.

    Parameters
    ----------
    mdp : MDP
        It is a single process, without batch axes.
    near : ndarray of bool, shape (A, A)
        These are the regions.
    path : ndarray of int, shape (T, 3)
        See :func:`walk`.
    start, truth : ndarray, shape (S, A)
        `start` is the initial table. Errors are differences from `truth`.
    learning_rate : float, optional
        Above 0 and at most 1.

    Examples
    --------
    >>> from rrl.theory.mdp import solve
    >>> one = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.0)
    >>> both = np.ones((2, 2), dtype=bool)
    >>> path, q = np.array([[0, 1, 0]]), solve(one)
    >>> region_learning(one, both, path, np.zeros((1, 2)), truth=q, learning_rate=0.5).values
    array([[1.5, 1.5]])
    """
    if not 0 < learning_rate <= 1:
        raise ValueError(f"learning_rate must be above 0 and at most 1, got {learning_rate!r}")
    values = np.array(start, dtype=float)
    tables = (mdp.cost, mdp.transition, near, truth)
    errors = _learn(values, *tables, path, float(mdp.gamma), learning_rate)
    states, actions = values.shape
    cells = np.kron(np.eye(states), near) > 0  # a region stays within one state
    return Learning(errors, cover_ends(cells, actions * path[:, 0] + path[:, 1]), values)


@njit(cache=True)
def _learn(
    values: Floats,
    cost: Floats,
    transition: Floats,
    near: Bools,
    truth: Floats,
    path: Ints,
    gamma: float,
    learning_rate: float,
) -> Floats:
    """Do what :func:`region_learning` describes; `values` changes in place."""
    errors = np.empty(len(path) + 1)
    errors[0] = np.abs(values - truth).max()
    for t in range(len(path)):
        s, a = path[t, 0], path[t, 1]
        target = cost[s, a]
        for other in range(len(values)):
            target += gamma * transition[s, a, other] * values[other].min()
        for b in range(values.shape[1]):
            if near[a, b]:
                values[s, b] += learning_rate * (target - values[s, b])
        errors[t + 1] = np.abs(values - truth).max()
    return errors
