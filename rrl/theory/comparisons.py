"""Observed values beside their bounds: errors and losses.

:mod:`rrl.theory.bound_checks` asks whether a bound ever fails. The functions here show how far a
bound is from what happens on one process.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rrl.theory import bounds
from rrl.theory.mdp import MDP, blur, greedy_loss, mean_field, solve
from rrl.theory.qlearning import Learning, region_learning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


def learn_beside_bound(
    mdp: MDP, near: Mask, path: Ints, *, learning_rate: float = 0.3, first_error: float = 10.0
) -> tuple[Learning, Floats]:
    """Learn along a path with expected targets, and bound the error by theorem 1 (b).

    Parameters
    ----------
    mdp : MDP
    near : ndarray of bool, shape (A, A)
    path : ndarray of int, shape (T, 3)
        See :func:`rrl.theory.qlearning.walk`.
    learning_rate : float, optional
        Above 0 and at most 1.
    first_error : float, optional
        Every cell starts above Q* by this number times the largest absolute value of Q*.

    Returns
    -------
    run : Learning
    bound : ndarray, shape (covers + 1,)
        This bounds the error after 0, 1, 2, ... covers.

    Examples
    --------
    >>> one = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.0)
    >>> path = np.array([[0, 0, 0], [0, 1, 0]])
    >>> run, bound = learn_beside_bound(one, np.eye(2, dtype=bool), path, learning_rate=0.5)
    >>> run.errors, run.covers, bound
    (array([30., 30., 15.]), array([2]), array([30., 15.]))
    """
    truth = solve(mdp)
    start = truth + first_error * np.abs(truth).max()
    run = region_learning(mdp, near, path, start, truth=truth, learning_rate=learning_rate)
    b = bounds.bias(bounds.variation(truth, near), mdp.gamma)
    rate = bounds.contraction(learning_rate, float(mdp.gamma))
    return run, bounds.error_after(np.arange(len(run.covers) + 1), run.errors[0], b, rate)


def bias_and_loss(mdp: MDP, near: Mask, weights: Floats | None = None) -> dict[str, float]:
    """Return the error and the loss of the exact fixed point of M T, beside theorems 2 to 4.

    Parameters
    ----------
    mdp : MDP
    near : ndarray of bool, shape (A, A)
    weights : ndarray, shape (A, A), optional
        This is M. By default all visits are equally likely.

    Returns
    -------
    dict of str to float
        Theorem 4 is NaN if actions influence the next state. "V*" is the lowest value.

    Examples
    --------
    >>> two = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.5)
    >>> found = bias_and_loss(two, np.ones((2, 2), dtype=bool))
    >>> found["error"], found["error bound"]
    (2.0, 4.0)
    """
    truth = solve(mdp)
    learned = solve(blur(mdp, mean_field(near) if weights is None else weights))
    eps = bounds.variation(truth, near)
    exogenous = bool((mdp.transition == mdp.transition[:, :1]).all())
    return {
        "error": float(np.abs(learned - truth).max()),
        "error bound": float(bounds.bias(eps, mdp.gamma)),
        "loss": float(greedy_loss(mdp, learned)),
        "theorem 2": float(bounds.general_loss(eps, mdp.gamma)),
        "theorem 3": float(bounds.loss(eps, mdp.gamma)),
        "theorem 4": float(bounds.exogenous_loss(eps, mdp.gamma)) if exogenous else np.nan,
        "V*": float(truth.min()),
    }
