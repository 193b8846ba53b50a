"""Small Markov decision processes with exact solutions, and the effect of regions on them.

Costs are minimised, as everywhere in this package. All arrays may have further axes in front for a
batch of processes. So one call solves thousands of random processes. S is the number of states
(load levels), and A is the number of actions (configurations).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.space import Bools, Floats, Ints

TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process with discounted costs.

    Parameters
    ----------
    cost : ndarray, shape (..., S, A)
        This is the expected cost of each action in each state.
    transition : ndarray, shape (..., S, A, S)
        This is the probability of each next state. The last axis adds up to 1.
    gamma : float or ndarray, shape (...)
        This is the discount, at least 0 and below 1. The released code has the one-step case 0.

    Raises
    ------
    ValueError
        If the shapes disagree, a row does not add up to 1, or the discount is out of range.

    Examples
    --------
    >>> line = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.5)
    >>> solve(line)
    array([[2., 4.]])
    """

    cost: Floats
    transition: Floats
    gamma: float | Floats

    def __post_init__(self) -> None:
        states = self.cost.shape[-2]
        if self.transition.shape != (*self.cost.shape, states):
            raise ValueError(
                f"costs of shape {self.cost.shape} need transitions of shape "
                f"{(*self.cost.shape, states)}, got {self.transition.shape}"
            )
        if not (np.all(self.transition >= 0) and np.allclose(self.transition.sum(axis=-1), 1)):
            raise ValueError("transition probabilities must be at least 0 and add up to 1")
        if not (np.all(np.asarray(self.gamma) >= 0) and np.all(np.asarray(self.gamma) < 1)):
            raise ValueError(f"gamma must be at least 0 and below 1, got {self.gamma!r}")

    @property
    def size(self) -> int:
        """Number of state-action pairs, n = S A."""
        return self.cost.shape[-2] * self.cost.shape[-1]

    def backup(self, values: Floats) -> Floats:
        """Return cost plus discounted `values` (shape (..., S)) of the next state: (..., S, A)."""
        following = np.einsum("...ijk,...k->...ij", self.transition, values)
        return self.cost + np.asarray(self.gamma)[..., None, None] * following


def policy_values(mdp: MDP, policy: Ints) -> Floats:
    """Return the discounted cost of `policy` (shape (..., S)) from each state.

    Examples
    --------
    >>> line = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.5)
    >>> policy_values(line, np.array([1]))
    array([6.])
    """
    chosen = policy[..., None]
    cost = np.take_along_axis(mdp.cost, chosen, axis=-1)
    moves = np.take_along_axis(mdp.transition, chosen[..., None], axis=-2)[..., 0, :]
    gamma = np.asarray(mdp.gamma, dtype=float)[..., None, None]
    system = np.eye(moves.shape[-1]) - gamma * moves
    return np.asarray(np.linalg.solve(system, cost), dtype=float)[..., 0]


def solve(mdp: MDP) -> Floats:
    """Return Q*, shape (..., S, A), by policy iteration.

    An action replaces another only if it lowers the state's value by more than
    ``TOLERANCE (1 + |value|)``.

    References
    ----------
    Puterman, *Markov Decision Processes* (1994), section 6.4.

    Examples
    --------
    >>> cost, stay = np.array([[0.0, 1.0], [2.0, 3.0]]), np.eye(2)[:, None]
    >>> solve(MDP(cost, np.concatenate([stay, stay[::-1]], axis=1), gamma=0.5))
    array([[0. , 2.5],
           [3.5, 3. ]])
    """
    policy = mdp.cost.argmin(axis=-1)
    while True:
        values = policy_values(mdp, policy)
        q = mdp.backup(values)
        lower = q.min(axis=-1) < values - TOLERANCE * (1 + np.abs(values))
        if not lower.any():
            return q
        policy = np.where(lower, q.argmin(axis=-1), policy)


def blur(mdp: MDP, weights: Floats) -> MDP:
    """Return the process that region updates learn, with costs M c and transitions M P.

    Its Bellman operator is M T. So ``solve(blur(mdp, weights))`` is the fixed point of the
    aggregated operator.

    Parameters
    ----------
    mdp : MDP
    weights : ndarray, shape (..., A, A)
        This is M: the weights of all actions of a state, the same in every state. Each row adds
        up to 1. See :func:`mean_field`.

    References
    ----------
    Gordon, "Stable function approximation in dynamic programming", ICML 1995: an averager makes
    another Markov decision process.

    Examples
    --------
    >>> one = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.0)
    >>> blur(one, np.full((2, 2), 0.5)).cost
    array([[2., 2.]])
    """
    weights = weights[..., None, :, :]  # the same in every state
    cost = (weights @ mdp.cost[..., None])[..., 0]
    return MDP(cost, weights @ mdp.transition, mdp.gamma)


def mean_field(near: Bools, visiting: ArrayLike = 1.0) -> Floats:
    """Return M: each visited action's mean weight in the updates of a cell, under random visits.

    Parameters
    ----------
    near : ndarray of bool, shape (..., A, A)
        It is true for actions that share a region, see :func:`rrl.theory.cover.neighbours`.
    visiting : array_like, shape (..., A), optional
        This is the frequency of visits to each action, in any unit. By default all are equal.

    Returns
    -------
    ndarray, shape (..., A, A)
        Within the region, ``M[a, a'] = visiting[a'] / visiting(region of a)``. Outside it is 0.

    Examples
    --------
    >>> mean_field(np.array([[True, True, False], [True] * 3, [False, True, True]])).round(2)
    array([[0.5 , 0.5 , 0.  ],
           [0.33, 0.33, 0.33],
           [0.  , 0.5 , 0.5 ]])
    """
    weights = near * np.atleast_1d(np.asarray(visiting, dtype=float))[..., None, :]
    return weights / weights.sum(axis=-1, keepdims=True)


def greedy_loss(mdp: MDP, q: Floats) -> Floats:
    """Return the largest loss of the greedy policy of `q` over all states: shape (...).

    The loss is the policy's discounted cost above the optimum.

    Examples
    --------
    >>> one = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.0)
    >>> greedy_loss(one, np.array([[2.0, 1.9]]))
    np.float64(2.0)
    """
    best = solve(mdp).min(axis=-1)
    return (policy_values(mdp, q.argmin(axis=-1)) - best).max(axis=-1)


def random_mdps(
    rng: np.random.Generator, count: int, states: int = 3, actions: int = 6
) -> tuple[MDP, Bools]:
    """Draw processes with regions; their costs are smooth to rough, their discounts low to high.

    The actions lie at random in one to three dimensions, and the radius is random. A cost is a
    linear trend plus noise, in random proportion. Transitions are Dirichlet distributed, from
    nearly deterministic to nearly uniform. The discount is 0 for a tenth of the processes, and up
    to 0.95 for the others.

    Returns
    -------
    mdp : MDP
        It has a batch axis of length `count`.
    near : ndarray of bool, shape (count, actions, actions)

    Examples
    --------
    >>> mdp, near = random_mdps(np.random.default_rng(0), 5)
    >>> mdp.cost.shape, near.shape
    ((5, 3, 6), (5, 6, 6))
    """
    position = rng.random((count, actions, 3))
    position *= np.arange(3) < rng.integers(1, 4, count)[:, None, None]
    apart = np.linalg.norm(position[:, :, None] - position[:, None], axis=-1)
    near = apart <= rng.uniform(0, 1, count)[:, None, None]
    rough = rng.random(count)[:, None, None]
    slope = rng.normal(size=(count, states, 3))
    cost = (1 - rough) * np.einsum("bak,bsk->bsa", position, slope)
    cost += rough * rng.normal(size=cost.shape)
    concentration = 10.0 ** rng.uniform(-1.5, 1, count)[:, None, None, None]
    weight = rng.standard_gamma(np.broadcast_to(concentration, (*cost.shape, states))) + 1e-12
    gamma = np.where(rng.random(count) < 0.1, 0.0, rng.uniform(0, 0.95, count))
    return MDP(cost, weight / weight.sum(axis=-1, keepdims=True), gamma), near
