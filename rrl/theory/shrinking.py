"""Theorem 6: the error of a table whose regions shrink while it is learned.

**Setting.** The configurations lie in d dimensions. The mean cost c changes by at most L per unit
of distance. A measurement of z is c(z) plus noise. The noises are independent, have the mean 0 and
the known variance proxy sigma^2: ``E exp(s noise) <= exp(s^2 sigma^2 / 2)`` for every s.

**Agent.** Epoch k = 0, 1, ... has ``m_k = m 2^k`` episodes and begins after ``t_k = m (2^k - 1)``.

* Its radius is ``rho_k = rho_0 (1 + t_k / O)^(-1/(d+2))`` throughout, with O = `ONSET`.
* It begins with an empty table and a cover: M_k centres, such that each configuration is within
  rho_k of a centre. The centres are measured in turn.
* Each measurement updates all configurations within rho_k. A value Q_k(z) is the mean of its
  updates. So nothing but the schedule carries over from one epoch to the next.

After T episodes the agent uses the table of the last complete epoch, and it chooses the
configuration with the lowest value.

**Theorem 6.** With probability at least ``1 - delta``, (a) and (b) hold for every epoch with
``m_k >= M_k``, and so at every T. Here ``delta_k = delta / ((k+1)(k+2))``.

(a) Every value errs by at most
``e_k = L rho_k + sigma sqrt(2 ln(2 M_k / delta_k) / floor(m_k / M_k))``.

(b) The choice costs at most ``2 e_k`` more than the optimum (simple regret).

(c) If also ``m >= O`` and ``M_k <= C rho_k^(-d)``, then ``e_k <= A T^(-1/(d+2))`` at every T >= m.
Here ``A = 4^(1/(d+2)) [L rho_0 m^(1/(d+2)) + 2 sigma sqrt(C l / rho_0^d) O^(-d/(2(d+2)))]`` and
``l = ln(2 T (k+1)(k+2) / delta)``. The rate is T^(-1/(d+2)), up to the root of a logarithm.

The proof, and where its constant is loose, are in ``notebooks/06_theory_bound.ipynb``.

**On a grid the rate ends.** Once the radius is below the spacing, a region is a single cell: its
bias is 0, M_k = n, and its deviation falls as T^(-1/2). On the paper's grid a radius of 3 has
fallen to the spacing of 1 after 4840 episodes.

**Proposition 7: any choice.** In one epoch of m episodes let the choices depend in any way on what
was measured before. With probability at least ``1 - delta``, after every episode and for every
configuration z of n with ``N(z) >= 1`` updates, Q(z) errs by at most
``L rho + sigma sqrt(2 ln(2 n m / delta) / N(z))``.

The agent that runs, `rrl-adaptive` (:func:`rrl.core.rrl.adaptive`), is another one: the notebook
says in what. Theorem 6 says why a radius should shrink, and how fast. It promises nothing of
`rrl-adaptive`.

References
----------
Kleinberg, Slivkins and Upfal, "Multi-armed bandits in metric spaces", STOC 2008: bias against
deviation. Besson and Kaufmann, "What doubling tricks can and can't do for multi-armed bandits",
2018: epochs that double. Boucheron, Lugosi and Massart, *Concentration Inequalities* (2013),
sections 2.3 to 2.6.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from rrl.core.region import ONSET, recommended_radius

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Epoch(NamedTuple):
    """An epoch: its number of episodes, its radius, and the numbers of its centres."""

    length: int
    radius: float
    centres: Ints

    @property
    def visits(self) -> Ints:
        """How often each centre is measured."""
        count = len(self.centres)
        return self.length // count + (np.arange(count) < self.length % count)


def complete_epochs(episodes: ArrayLike, first: ArrayLike) -> NDArray[np.int64]:
    """Return how many epochs are complete after some episodes; the first one has `first` episodes.

    Examples
    --------
    >>> complete_epochs([19, 20, 59, 60, 139, 140], first=20)
    array([0, 1, 1, 2, 2, 3])
    """
    return np.frexp(np.asarray(episodes) // np.asarray(first) + 1)[1].astype(np.int64) - 1


def epochs(apart: Floats, start: float, first: int, episodes: int, d: int) -> list[Epoch]:
    """Return the complete epochs of the agent of theorem 6.

    Parameters
    ----------
    apart : ndarray, shape (n, n)
        These are the distances between configurations.
    start : float
        This is rho_0, the first radius.
    first : int
        This is m, the number of episodes in the first epoch.
    episodes : int
        This is T.
    d : int
        This is the number of dimensions.

    Examples
    --------
    >>> place = np.arange(9.0)
    >>> for epoch in epochs(np.abs(place[:, None] - place), 3.0, first=20, episodes=2000, d=1):
    ...     print(epoch.length, round(epoch.radius, 2), epoch.centres)
    20 3.0 [0 4 8]
    40 2.38 [0 3 6]
    80 1.89 [0 2 4 6 8]
    160 1.5 [0 2 4 6 8]
    320 1.19 [0 2 4 6 8]
    640 0.94 [0 1 2 3 4 5 6 7 8]
    """
    lengths = first * 2 ** np.arange(int(complete_epochs(episodes, first)))
    radii = recommended_radius(start, lengths - first, d)
    return [
        Epoch(int(length), float(radius), cover_centres(apart, float(radius)))
        for length, radius in zip(lengths, radii, strict=True)
    ]


@njit(cache=True)
def cover_centres(apart: Floats, radius: float) -> Ints:
    """Choose centres greedily, such that each configuration is within the radius of a centre.

    Any two centres are further apart than the radius. So in a box with sides s_i there are at most
    ``(1 + s_1 sqrt(d) / radius) ... (1 + s_d sqrt(d) / radius)``: in a cube with the side
    radius / sqrt(d) there is only one.

    Examples
    --------
    >>> place = np.arange(9.0)
    >>> cover_centres(np.abs(place[:, None] - place), 1.0)
    array([0, 2, 4, 6, 8])
    """
    covered, centres = np.zeros(len(apart), dtype=np.bool_), np.empty(len(apart), dtype=np.int64)
    count = 0
    for i in range(len(apart)):
        if not covered[i]:
            centres[count], count = i, count + 1
            covered |= apart[i] <= radius
    return centres[:count]


def table_in_turn(epoch: Epoch, cost: Floats, apart: Floats, noise: ArrayLike = 0.0) -> Floats:
    """Return the table Q_k at the end of an epoch: shape (n,); infinite where nothing is measured.

    Parameters
    ----------
    epoch : Epoch
    cost : ndarray, shape (n,)
        These are the true means.
    apart : ndarray, shape (n, n)
    noise : array_like, broadcast to the number of centres
        This is the mean noise of each centre.

    Examples
    --------
    >>> place = np.arange(5.0)
    >>> apart = np.abs(place[:, None] - place)
    >>> table_in_turn(Epoch(21, 1.0, cover_centres(apart, 1.0)), place, apart)
    array([0., 1., 2., 3., 4.])
    """
    weight = (apart[:, epoch.centres] <= epoch.radius) * epoch.visits
    total = weight.sum(axis=1)
    means = weight @ (cost[epoch.centres] + np.asarray(noise)) / np.maximum(total, 1)
    return np.where(total > 0, means, np.inf)


def centre_deviation(
    length: ArrayLike, centres: ArrayLike, epoch: ArrayLike, sigma: ArrayLike, delta: float = 0.05
) -> Floats:
    """Theorem 6 (a): bound the mean noise of every centre; infinite if some are not measured.

    The arrays have one entry per epoch: its length, its number of centres and its number k.

    Examples
    --------
    >>> centre_deviation([20, 40, 80], [3, 3, 30], [0, 1, 2], sigma=1.0).round(2)
    array([1.35, 1.01, 3.09])
    """
    visits, k = np.asarray(length) // np.asarray(centres), np.asarray(epoch)
    logarithm = np.log(2 * np.asarray(centres) * (k + 1) * (k + 2) / delta)
    with np.errstate(divide="ignore"):
        return np.asarray(sigma) * np.sqrt(2 * logarithm / visits)


def any_choice_deviation(
    updates: ArrayLike, n: int, length: int, sigma: ArrayLike, delta: float = 0.05
) -> Floats:
    """Proposition 7: bound the mean noise of each value, whatever chose the configurations.

    It depends on how many updates each of the n values has had, and is infinite without any.

    Examples
    --------
    >>> any_choice_deviation([0, 1, 100], n=9, length=100, sigma=1.0).round(2)
    array([ inf, 4.58, 0.46])
    """
    with np.errstate(divide="ignore"):
        spread = np.sqrt(2 * np.log(2 * n * length / delta) / np.asarray(updates))
    return np.asarray(sigma) * spread


def table_error(lipschitz: ArrayLike, radius: ArrayLike, deviation: ArrayLike) -> Floats:
    """Theorem 6 (a) and proposition 7: bound the error of the values by bias and deviation."""
    return np.asarray(lipschitz) * np.asarray(radius) + np.asarray(deviation)


def simple_regret(error: ArrayLike) -> Floats:
    """Theorem 6 (b): bound what the greedy choice costs above the optimum."""
    return 2 * np.asarray(error)


def error_rate(
    episodes: ArrayLike,
    *,
    start: float,
    first: int,
    lipschitz: float,
    sigma: float,
    cover: float,
    d: int,
    delta: float = 0.05,
) -> Floats:
    """Theorem 6 (c): bound the error after T episodes by ``A T^(-1/(d+2))``.

    Parameters
    ----------
    episodes : array_like
        This is T, at least `first`.
    start : float
        This is rho_0.
    first : int
        This is m. It is at least `ONSET`, and no epoch has more centres than episodes.
    lipschitz, sigma : float
        These are L, and the root of the variance proxy.
    cover : float
        This is C: at a radius rho there are at most ``C rho^(-d)`` centres.
    d : int
    delta : float, optional
        The bound may fail with this probability.

    Raises
    ------
    ValueError
        If the first epoch is shorter than `ONSET` or not complete.

    Examples
    --------
    >>> how = {"start": 3.0, "first": 20, "lipschitz": 0.1, "sigma": 0.2, "cover": 9.0, "d": 1}
    >>> error_rate([1e3, 1e6], **how).round(3)
    array([0.379, 0.045])
    """
    episodes = np.asarray(episodes, dtype=float)
    if first < ONSET or (episodes < first).any():
        raise ValueError(f"need {ONSET:g} <= first <= episodes, got first={first!r}")
    k, power = complete_epochs(episodes, first) - 1, 1 / (d + 2)
    logarithm = np.log(2 * episodes * (k + 1) * (k + 2) / delta)
    bias = lipschitz * start * first**power
    noise = 2 * sigma * np.sqrt(cover * logarithm / start**d) * ONSET ** (-d * power / 2)
    return (bias + noise) * (4 / episodes) ** power
