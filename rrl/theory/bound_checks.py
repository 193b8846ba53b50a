"""Check every bound of `rrl.theory.bounds` on random instances: no observation may exceed it.

All observations are exact (linear systems, sums over subsets, whole learning runs). So a single
excess shows that the bound or the program is wrong. The exception is the bound on noisy means. It
may fail in a fraction delta of the instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rrl.core.space import Bools, Floats
from rrl.theory import bounds, exploration_price
from rrl.theory.cover import exact_cover_tail, exact_mean_cover
from rrl.theory.mdp import MDP, blur, greedy_loss, mean_field, random_mdps, solve
from rrl.theory.qlearning import region_learning

SLACK = 1e-8  # relative; linear systems and alternating sums have rounding errors


class Check(NamedTuple):
    """One bound and the observed values, both of shape (instances,).

    `allowed` is the fraction of instances in which the bound may fail.
    """

    name: str
    observed: Floats
    bound: Floats
    allowed: float = 0.0

    @property
    def violated(self) -> Bools:
        """Whether an observation exceeds the bound by more than rounding, per instance."""
        return self.observed > self.bound + SLACK * (1 + np.abs(self.bound))

    @property
    def holds(self) -> bool:
        """Whether the bound fails in at most the allowed fraction of the instances."""
        return bool(self.violated.mean() <= self.allowed)


def sweep(rng: np.random.Generator, count: int) -> list[Check]:
    """Check every bound in `count` random instances; a few are built to attain tight bounds.

    Examples
    --------
    >>> [check.name for check in sweep(np.random.default_rng(0), 20) if not check.holds]
    []
    """
    groups = (covers, learning, biases, exogenous, noisy, explored)
    return [check for group in groups for check in group(rng, count)]


def covers(rng: np.random.Generator, count: int) -> Iterator[Check]:
    """Theorem 1 (a): check cover times of independent visits and of visits that often repeat."""
    n = 7
    _, near = random_mdps(rng, count, states=1, actions=n)
    visiting = rng.dirichlet(np.ones(n), count)
    evenness = rng.random((count, 1))
    visiting = evenness / n + (1 - evenness) * visiting
    p, k = visiting.min(axis=-1), bounds.smallest_region(near)
    mean = exact_mean_cover(near, visiting)
    yield Check("mean cover", mean, bounds.mean_cover(n, k, p))
    by_cell = bounds.mean_cover_by_cell(near.sum(axis=-1), p)
    yield Check("mean cover, by cell", mean, by_cell)
    steps = rng.integers(1, np.maximum(2, 3 * mean.astype(np.int64)))
    tail = exact_cover_tail(near, visiting, steps)
    yield Check("cover tail", tail, bounds.cover_tail(steps, n, k, p))
    fresh = rng.uniform(0.05, 1, count)  # otherwise the last visit is repeated
    yield Check("mean cover, sticky", 1 + (mean - 1) / fresh, bounds.mean_cover(n, k, fresh * p))


def learning(rng: np.random.Generator, count: int) -> Iterator[Check]:
    """Theorem 1 (b): check the error after the cover with the largest ratio of error to bound."""
    mdps, nears = random_mdps(rng, count, states=2, actions=4)
    q, learning_rate = solve(mdps), rng.uniform(0.02, 1, count)
    scale = 10.0 ** rng.uniform(-2, 1, count)[:, None, None]
    start = q + scale * rng.normal(size=q.shape)
    path = rng.integers([2, 4, 2], size=(count, 60, 3))  # the bound holds on any path
    observed, bound = np.zeros(count), np.full(count, np.inf)
    b = bounds.bias(bounds.variation(q, nears), mdps.gamma)
    rate = bounds.contraction(learning_rate, mdps.gamma)
    for i in range(count):
        mdp = MDP(mdps.cost[i], mdps.transition[i], float(np.asarray(mdps.gamma)[i]))
        run = region_learning(
            mdp, nears[i], path[i], start[i], truth=q[i], learning_rate=learning_rate[i]
        )
        if len(run.covers):
            covers = np.arange(1, len(run.covers) + 1)
            allowed = bounds.error_after(covers, run.errors[0], b[i], rate[i])
            observed[i], bound[i] = _worst(run.errors[run.covers], allowed)
    yield Check("error after covers", observed, bound)


def _worst(observed: Floats, bound: Floats) -> tuple[float, float]:
    """Return the observation with the largest ratio to its bound, and this bound."""
    worst = (observed / bound).argmax()
    return observed[worst], bound[worst]


def _with_hardest(rng: np.random.Generator, count: int) -> tuple[MDP, Bools, Floats]:
    """Draw random processes, regions and weights; 1 in 100 comes from :func:`bounds.hardest`."""
    mdp, near = random_mdps(rng, count, states=2, actions=4)
    weights = mean_field(near, rng.dirichlet(np.full(4, 0.3), count) + 1e-9)
    gamma = np.asarray(mdp.gamma)
    gamma[0] = 0.0  # here theorems 2 and 3 agree, and both bounds are attained
    pairs = np.arange(4) // 2
    for i in range(0, count, 100):
        mdp.cost[i], mdp.transition[i], weights[i] = bounds.hardest(gamma[i])
        near[i] = pairs[:, None] == pairs
    return mdp, near, weights


def biases(rng: np.random.Generator, count: int) -> Iterator[Check]:
    """Theorems 2 and 3: check the fixed point of the blurred process and its greedy policy."""
    mdp, near, weights = _with_hardest(rng, count)
    q, blurred = solve(mdp), solve(blur(mdp, weights))
    eps, lost = bounds.variation(q, near), greedy_loss(mdp, blurred)
    averaged = np.abs((weights[:, None] @ q[..., None])[..., 0] - q).max(axis=(-2, -1))
    error = np.abs(blurred - q).max(axis=(-2, -1))
    yield Check("fixed point, by M Q*", error, bounds.bias(averaged, mdp.gamma))
    yield Check("fixed point", error, bounds.bias(eps, mdp.gamma))
    too_low = (q.min(axis=-1) - blurred.min(axis=-1)).max(axis=-1)
    yield Check("never too low", too_low, np.zeros(count))
    yield Check("greedy loss, general", lost, bounds.general_loss(eps, mdp.gamma))
    yield Check("greedy loss", lost, bounds.loss(eps, mdp.gamma))


def exogenous(rng: np.random.Generator, count: int) -> Iterator[Check]:
    """Theorem 4: check processes whose next state does not depend on the action."""
    mdp, near, weights = _with_hardest(rng, count)
    mdp.cost[::100] = bounds.hardest(0.0)[0][:1]  # the hardest single step, in every state
    mdp = MDP(mdp.cost, np.repeat(mdp.transition[:, :, :1], mdp.cost.shape[-1], 2), mdp.gamma)
    blurred = solve(blur(mdp, weights))
    bound = bounds.exogenous_loss(bounds.variation(mdp.cost, near), mdp.gamma)
    yield Check("greedy loss, exogenous", greedy_loss(mdp, blurred), bound)


def noisy(rng: np.random.Generator, count: int) -> Iterator[Check]:
    """Corollary 6: check means over regions of a line, with normal noise and uniform visits."""
    delta, n = 0.05, 12
    position = np.arange(n)
    cost = rng.uniform(-1, 1, (count, n)).cumsum(axis=1)  # Lipschitz with constant 1
    radius = rng.integers(1, 6, count)
    near = np.abs(position[:, None] - position) <= radius[:, None, None]
    kappa = bounds.smallest_region(near) / n / radius
    steps = np.ceil(
        bounds.needed_steps(radius, n, 1, kappa, delta) * 10 ** rng.uniform(0, 2, count)
    )
    sigma = 10 ** rng.uniform(-1, 1, count)
    error = np.abs(region_means(cost, near, steps, sigma[:, None], rng) - cost).max(axis=1)
    a = bounds.noise_scale(steps, n, kappa, sigma, delta)
    yield Check("noisy means (95 %)", error, bounds.noisy_error(radius, 1.0, a, 1), delta)


def explored(rng: np.random.Generator, count: int) -> Iterator[Check]:
    """Theorem 7: check the expected price of exploration, exactly, if the prior is right."""
    n = 4
    low, chance = -rng.exponential(1, (count, n)), rng.random((count, n))
    horizon = 10 ** rng.uniform(-1, 2.5, count)
    fraction = rng.uniform(0, 1.2, (count, n))  # of the highest price that is paid
    high = exploration_price.high_cost(low, chance, fraction * horizon[:, None] * chance * -low)
    for i in range(0, count, 100):
        low[i], high[i], chance[i] = exploration_price.hardest_trials(n, horizon[i])
    price, saving = exploration_price.expected_price(low, high, chance, horizon)
    yield Check("price of exploration", price, exploration_price.price_bound(horizon, saving))


def region_means(
    cost: Floats, near: Bools, steps: Floats | int, sigma: Floats | float, rng: np.random.Generator
) -> Floats:
    """Return the mean of all noisy measurements in each region, after uniform independent visits.

    Parameters
    ----------
    cost : ndarray, shape (..., n)
        These are the true means.
    near : ndarray of bool, shape (..., n, n)
    steps : int or ndarray, shape (...)
        This is the number of visits.
    sigma : float or ndarray, broadcast to (..., n)
        This is the standard deviation of the normal noise.

    Returns
    -------
    ndarray, shape (..., n)
        If a region was not visited, its value is the mean of all measurements.

    Examples
    --------
    >>> cost, alone = np.array([1.0, 3.0]), np.eye(2, dtype=bool)
    >>> region_means(cost, alone, 2, 0.0, np.random.default_rng(0))  # one visit each
    array([1., 3.])
    >>> region_means(cost, np.ones_like(alone), 2, 0.0, np.random.default_rng(0))
    array([2., 2.])
    """
    n = cost.shape[-1]
    visits = rng.multinomial(np.asarray(steps, dtype=np.int64), np.full(n, 1 / n)).astype(float)
    total = visits * cost + np.sqrt(visits) * sigma * rng.normal(size=cost.shape)
    weight = near.astype(float)

    def pooled(values: Floats) -> Floats:
        """Sum over each region; one matrix product is enough if all instances share regions."""
        return values @ weight.T if weight.ndim == 2 else (weight @ values[..., None])[..., 0]

    count, summed = pooled(visits), pooled(total)
    overall = total.sum(axis=-1, keepdims=True) / visits.sum(axis=-1, keepdims=True)
    return np.where(count > 0, summed / np.maximum(count, 1), overall)
