"""Bounds on region updates: how much time they save, and how much quality they lose.

Z is the set of state-action pairs (load level, configuration), and n is their number. A visit of z
updates every cell of the ball B(z) of a given radius. A ball stays within one state. K is the size
of the smallest ball. `gamma` is the discount. Costs are minimised, and errors are in the maximum
norm. The proofs are in ``notebooks/04_theory_bound.ipynb``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.space import Bools, Floats, Ints

# --- Speed (theorem 1) -------------------------------------------------------------------------


def smallest_region(near: Bools) -> Ints:
    """Return K, the number of cells in the smallest region: shape (...).

    Examples
    --------
    >>> from rrl.theory.cover import neighbours
    >>> from rrl import paper_cpu
    >>> [int(smallest_region(neighbours(paper_cpu(), radius))) for radius in (0, 1, 2, 3)]
    [1, 4, 11, 29]
    """
    return near.sum(axis=-1).min(axis=-1)


def cover_tail(steps: ArrayLike, n: ArrayLike, k: ArrayLike, p: ArrayLike) -> Floats:
    """Theorem 1 (a): P(a cover takes more than t steps) is at most ``n (1 - K p)^t``.

    The bound holds if every step visits each cell with probability at least p, whatever happened
    before. It is the probability that one cell is missed, times n (union bound).

    Examples
    --------
    >>> cover_tail(50, n=10, k=2, p=0.1).round(6)
    np.float64(0.000143)
    """
    k_p = np.asarray(k, dtype=float) * p
    return np.minimum(1.0, np.asarray(n) * (1 - k_p).clip(0) ** steps)


def mean_cover(n: ArrayLike, k: ArrayLike, p: ArrayLike) -> Floats:
    """Theorem 1 (a): a cover takes at most ``(1 + ln n) / (K p) + 1`` steps on average.

    It uses the sum of :func:`cover_tail` from step ``ceil(ln n / (K p))`` on. For single cells,
    :func:`rrl.theory.cover.harmonic_mean_cover` gives the exact value.

    Examples
    --------
    >>> mean_cover(1331, k=1, p=1 / 1331).round(), mean_cover(1331, k=11, p=1 / 1331).round()
    (np.float64(10907.0), np.float64(992.0))
    """
    k_p = np.asarray(k, dtype=float) * np.asarray(p, dtype=float)
    return (1 + np.log(np.asarray(n, dtype=float))) / k_p + 1


def mean_cover_by_cell(sizes: ArrayLike, p: ArrayLike) -> Floats:
    """Theorem 1 (a) with a sharper bound: each cell has its own probability of being missed.

    The mean is at most the sum over t of ``min(1, sum over z of (1 - p |B(z)|)^t)``. If most
    regions are larger than the smallest one, this is far below :func:`mean_cover`.

    Parameters
    ----------
    sizes : array_like, shape (..., n)
        These are the numbers of cells in the regions.
    p : array_like, shape (...)
        Each step visits each cell with at least this probability. It is above 0.

    Examples
    --------
    >>> mean_cover_by_cell(np.ones(1331), 1 / 1331).round(), mean_cover(1331, 1, 1 / 1331).round()
    (np.float64(10902.0), np.float64(10907.0))
    """
    hit = np.minimum(np.asarray(sizes) * np.asarray(p, dtype=float)[..., None], 1.0)

    def missed(t: Floats) -> Floats:
        return (1 - hit) ** t[..., None]

    # Bisection finds the first t with a sum of at most 1: the terms from there on are geometric.
    high = np.ceil(np.log(hit.shape[-1]) / hit.min(axis=-1))
    low = np.full_like(high, -1.0)
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        small = missed(middle).sum(axis=-1) <= 1
        high, low = np.where(small, middle, high), np.where(small, low, middle)
    return high + (missed(high) / hit).sum(axis=-1)


def contraction(learning_rate: ArrayLike, gamma: ArrayLike) -> Floats:
    """Theorem 1 (b): each cover multiplies the excess of the error over the bias by this factor.

    The factor is ``1 - a (1 - gamma)`` with the learning rate a. For single cells and expected
    targets it is the factor of asynchronous value iteration (Bertsekas and Tsitsiklis,
    *Neuro-Dynamic Programming*, 1996, section 2.2).
    """
    return 1 - np.asarray(learning_rate) * (1 - np.asarray(gamma))


def error_after(
    covers: ArrayLike, start: ArrayLike, bias_bound: ArrayLike, rate: ArrayLike
) -> Floats:
    """Theorem 1 (b): bound the error after a number of covers, with expected targets.

    Parameters
    ----------
    covers : array_like
        This is the number of complete covers so far.
    start : array_like
        This is the initial error.
    bias_bound : array_like
        This is b, see :func:`bias`.
    rate : array_like
        See :func:`contraction`.

    Examples
    --------
    >>> error_after([0, 1, 50], start=9.0, bias_bound=1.0, rate=0.5)
    array([9., 5., 1.])
    """
    b = np.asarray(bias_bound, dtype=float)
    excess = np.maximum(np.asarray(start, dtype=float) - b, 0)
    return b + np.asarray(rate, dtype=float) ** np.asarray(covers, dtype=float) * excess


# --- Price (theorems 2 to 4) -------------------------------------------------------------------


def variation(values: Floats, near: Bools) -> Floats:
    """Return eps, the largest difference between a cell and another in its region: shape (...).

    Parameters
    ----------
    values : ndarray, shape (..., S, A)
        This is Q*.
    near : ndarray of bool, shape (..., A, A)

    Examples
    --------
    >>> near = np.array([[True, True, False], [True] * 3, [False, True, True]])
    >>> variation(np.array([[1.0, 2.0, 5.0]]), near)
    np.float64(3.0)
    """
    inside = near[..., None, :, :]
    highest = np.where(inside, values[..., None, :], -np.inf).max(axis=-1)
    lowest = np.where(inside, values[..., None, :], np.inf).min(axis=-1)
    return np.maximum(highest - values, values - lowest).max(axis=(-2, -1))


def bias(eps: ArrayLike, gamma: ArrayLike) -> Floats:
    """Theorem 2: the fixed point of M T is within ``b = eps / (1 - gamma)`` of Q*.

    A process attains this bound, see :func:`hardest`.

    References
    ----------
    Tsitsiklis and Van Roy, "Feature-based methods for large scale dynamic programming", Machine
    Learning 22, 1996, theorem 3, for partitions.
    """
    return np.asarray(eps) / (1 - np.asarray(gamma))


def general_loss(eps: ArrayLike, gamma: ArrayLike) -> Floats:
    """Theorem 2: the greedy policy loses at most ``2 eps / (1 - gamma)^2``.

    References
    ----------
    Singh and Yee, "An upper bound on the loss from approximate optimal-value functions", Machine
    Learning 16, 1994.
    """
    return 2 * bias(eps, gamma) / (1 - np.asarray(gamma))


def loss(eps: ArrayLike, gamma: ArrayLike) -> Floats:
    """Theorem 3: regions within one state lose at most ``(2 - gamma) eps / (1 - gamma)^2``.

    Such a region never makes a state look better than it is. This saves up to half of
    :func:`general_loss`. A process attains this bound, see :func:`hardest`.

    Examples
    --------
    >>> gamma = np.array([0.0, 0.5, 0.9])
    >>> loss(1.0, gamma), general_loss(1.0, gamma)
    (array([  2.,   6., 110.]), array([  2.,   8., 200.]))
    """
    return (2 - np.asarray(gamma)) * bias(eps, gamma) / (1 - np.asarray(gamma))


def exogenous_loss(eps: ArrayLike, gamma: ArrayLike) -> Floats:
    """Theorem 4: if no action influences the next state, the loss is at most 2 eps / (1 - gamma).

    In this case Q* varies within a region as much as the cost of one step. The greedy action of
    the blurred process does not depend on the discount.
    """
    return 2 * bias(eps, gamma)


def hardest(gamma: float) -> tuple[Floats, Floats, Floats]:
    """Build a process with regions that attains :func:`bias` and nearly :func:`loss` for eps = 1.

    The process has two states. In the first one, action 0 is the best and costs nothing, but it
    learns only from its neighbour 1, which has a higher cost. Action 2 is the worst, but it learns
    only from its neighbour 3, which has a lower cost.

    Returns
    -------
    cost : ndarray, shape (2, 4)
    transition : ndarray, shape (2, 4, 2)
    weights : ndarray, shape (4, 4)
        This is M for :func:`rrl.theory.mdp.blur`. It results from visits to actions 1 and 3 only.

    Examples
    --------
    >>> from rrl.theory.mdp import MDP, blur, greedy_loss, solve
    >>> cost, transition, weights = hardest(0.5)
    >>> mdp = MDP(cost, transition, 0.5)
    >>> greedy_loss(mdp, solve(blur(mdp, weights))).round(6), loss(1.0, 0.5)
    (np.float64(6.0), np.float64(6.0))
    """
    b, gap = float(bias(1.0, gamma)), 1e-9
    cost = np.array([[0.0, 1.0, b + 1.0 - gap, b - gap], [0.0] * 4])
    transition = np.zeros((2, 4, 2))
    transition[0, :3, 0] = transition[0, 3, 1] = transition[1, :, 1] = 1.0
    return cost, transition, np.eye(4)[[1, 1, 3, 3]]


# --- The best radius (corollary 6) -------------------------------------------------------------


def noise_scale(
    t: ArrayLike, n: int, kappa: float | Floats, sigma: float | Floats, delta: float = 0.05
) -> Floats:
    """Return a: noise changes means over regions of radius rho by at most ``a rho^(-d/2)``.

    This holds with a probability of at least 1 - delta for
    ``a = 2 sigma sqrt(ln(4 n / delta) / (kappa t))``. The visits are independent and uniform, and
    the noise is sigma-sub-Gaussian. A region of radius rho must contain at least a fraction
    ``kappa rho^d`` of all cells, and the number of visits t must satisfy
    ``t kappa rho^d >= 8 ln(2 n / delta)``.

    References
    ----------
    Chernoff's bound on the visits of a region, Hoeffding's on their mean, a union bound on
    cells; cf. Kleinberg, Slivkins and Upfal, "Multi-armed bandits in metric spaces", STOC 2008.
    """
    return 2 * sigma * np.sqrt(np.log(4 * n / delta) / (kappa * np.asarray(t, dtype=float)))


def needed_steps(radius: ArrayLike, n: int, d: int, kappa: float | Floats, delta: float) -> Floats:
    """Return the smallest number of steps for which :func:`noise_scale` holds at a radius."""
    return 8 * np.log(2 * n / delta) / (kappa * np.asarray(radius, dtype=float) ** d)


def noisy_error(radius: ArrayLike, lipschitz: float, a: ArrayLike, d: int) -> Floats:
    """Corollary 6: region means err by at most ``L rho + a rho^(-d/2)``.

    This holds with a probability of at least 1 - delta. `lipschitz` is L, the largest change of the
    cost per unit of distance.
    """
    rho = np.asarray(radius, dtype=float)
    return lipschitz * rho + np.asarray(a, dtype=float) * rho ** (-d / 2)


def best_radius(lipschitz: float, a: ArrayLike, d: int) -> Floats:
    """Corollary 6: :func:`noisy_error` is smallest at the radius ``(d a / 2 L)^(2 / (d + 2))``.

    Because a falls as t^(-1/2), this radius and the error at it fall as ``t^(-1/(d+2))``.

    Examples
    --------
    >>> a = noise_scale([1e3, 1e6], n=1331, kappa=1e-3, sigma=0.1)
    >>> radius = best_radius(1.0, a, d=3)
    >>> np.log(radius[0] / radius[1]) / np.log(1e3)  # 1 / (d + 2)
    np.float64(0.2)
    """
    return (d * np.asarray(a) / (2 * lipschitz)) ** (2 / (d + 2))
