"""Theorem 8: what exploration by the expected saving costs, if the posterior is right.

:class:`rrl.core.exploration.ExpectedSaving` tries a configuration only if its expected saving per
episode, times the horizon H, is at least its expected extra cost (its price). Savings are
differences of logarithms of costs. Prices are fractions of the incumbent's cost.

**Setting.** There is one load level. The costs of the configurations are drawn from a prior.
Without noise, a measurement shows the cost. The incumbent is the configuration with the lowest cost
so far, v_t. The posterior is right: the saving and the price of a trial are conditional
expectations, given all that was measured. The configuration of episode t is x_t, v_1 is the first
incumbent's cost, v_(T+1) that of the incumbent after T episodes, and c* is the lowest of all costs.

**Theorem 8.** For any number of episodes, the expected sum of all prices satisfies
``E sum of (c(x_t) / v_t - 1) <= H E ln(v_1 / v_(T+1)) <= H E ln(v_1 / c*)``.
In these units, exploration is paid back within H episodes, on average. Its price does not grow with
the number of episodes. It does not matter which of the trials that pay is chosen.

The proofs are in ``notebooks/06_theory_bound.ipynb``.

:func:`hardest_trials` attains the bound. The agent's own rule is more careful than the premise.
It takes a configuration that promises to cost less than the incumbent for one that promises to cost
as much, which makes the saving smaller and the price higher. (Its other limits, on sds and
exponents, only stop trials, as long as H is below 10^12.)

The theorem is about the price of trials. It does not say that the optimum is found. When no trial
pays, the expected saving of each is at most its price, divided by H.

**Proposition 9: noise.** With noise, one measurement does not show the cost. So the expected saving
is not realised at once, and it may be paid for again. This remains: if the sd is s, the price of a
trial is at most ``p(s) = min(H s / sqrt(2 pi), exp(u s + s^2 / 2) - 1)``. Here u solves
``u = H phi(u)``, and phi is the normal density. Let each of n configurations have a normal
posterior of its log cost, with the sd s_0 at first, and at most ``tau / sqrt(j)`` after j of its
own measurements. Then the prices of T episodes add up to at most
``n p(s_0) + n (p(tau / sqrt(1)) + ... + p(tau / sqrt(ceil(T / n))))``. If the posterior is right,
this bounds the expected extra cost, in fractions of the incumbent's value. It grows as
``2 u tau sqrt(n T)``. We have no bound that does not grow with T.

**If the posterior is wrong, there is no bound.** Two agents of this package show it, without noise:

* :func:`paying_without_end`: the agent serves a configuration that costs three times as much in
  every second episode, for ever. Nothing can be saved, so the right side of theorem 8 is 0.
* :func:`staying_stuck`: the recommended agent never finds a configuration at a tenth of the cost,
  although it is two steps away. It loses the same in every episode, for ever.

References
----------
Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box functions", Journal
of Global Optimization 13, 1998: expected improvement. Bull, "Convergence rates of efficient global
optimization algorithms", JMLR 12, 2011: with estimated parameters it may never find the optimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.exploration import ExpectedSaving
from rrl.core.knob import Knob
from rrl.core.qtable import QTable
from rrl.core.rrl import RRL, gp
from rrl.core.space import ConfigSpace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KNOWN = 1e-9  # the sd of a configuration whose cost is known


# --- The bounds --------------------------------------------------------------------------------


def price_bound(horizon: ArrayLike, saving: ArrayLike) -> Floats:
    """Theorem 8: all trials together cost at most the horizon times the saving that they find.

    The price is in fractions of the incumbent's cost. The saving is ``E ln(v_1 / v_(T+1))``.
    """
    return np.asarray(horizon) * np.asarray(saving)


def trial_price(horizon: float, sd: ArrayLike) -> Floats:
    """Proposition 9: bound the price of a trial, in fractions, if the log cost has this sd.

    Examples
    --------
    >>> trial_price(300.0, [0.01, 0.1, 1.0]).round(2)
    array([ 0.03,  0.32, 24.72])
    """
    from scipy.special import lambertw

    s = np.asarray(sd, dtype=float)
    widest = np.sqrt(lambertw(horizon**2 / (2 * np.pi)).real)  # solves u = H phi(u)
    return np.minimum(horizon * s / np.sqrt(2 * np.pi), np.expm1(widest * s + s * s / 2))


def noisy_price_bound(
    horizon: float, configurations: int, episodes: int, prior: float, noise: float
) -> float:
    """Proposition 9: bound the price of all trials, in fractions of the incumbent's value.

    Parameters
    ----------
    horizon : float
    configurations, episodes : int
        These are n and T.
    prior, noise : float
        These are the sds s_0 and tau of log costs.

    Examples
    --------
    >>> [round(noisy_price_bound(300.0, 10, episodes, 0.1, 0.1)) for episodes in (10**4, 10**6)]
    [176, 1742]
    """
    each = np.arange(1, -(-episodes // configurations) + 1)
    later = trial_price(horizon, noise / np.sqrt(each)).sum()
    return float(configurations * (trial_price(horizon, prior) + later))


# --- Worlds in which the posterior is right ----------------------------------------------------


def expected_price(
    low: Floats, high: Floats, chance: Floats, horizon: Floats
) -> tuple[Floats, Floats]:
    """Return the exact expected price of exploration, and the expected saving.

    The first configuration has the log cost 0. Each of n others has one of two log costs, and
    they are independent. The agent tries what gains most in relation to its cost, until nothing
    gains.

    Parameters
    ----------
    low, high, chance : ndarray, shape (worlds, n)
        These are the two log costs, and the probability of the low one.
    horizon : ndarray, shape (worlds,)

    Returns
    -------
    price, saving : ndarray, shape (worlds,)
        See :func:`price_bound`.

    Examples
    --------
    >>> one = np.array([[-1.0]]), np.array([[1.0]]), np.array([[0.5]])
    >>> price, saving = expected_price(*one, horizon=np.array([300.0]))
    >>> price.round(3), saving  # the mean of exp(-1) - 1 and exp(1) - 1; half of 1
    (array([0.543]), array([0.5]))
    """
    n = low.shape[1]
    is_low = (np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1
    low, high, chance = low[:, None], high[:, None], chance[:, None]
    weight = np.where(is_low, chance, 1 - chance).prod(axis=-1)
    truth = np.where(is_low, low, high)  # (worlds, 2^n, n): all that may turn out
    tried, best = np.zeros(truth.shape, dtype=bool), np.zeros(weight.shape)
    paid = np.zeros(weight.shape)
    for _ in range(n):
        now = best[..., None]
        saving = chance * np.maximum(now - low, 0) + (1 - chance) * np.maximum(now - high, 0)
        price = chance * np.expm1(low - now) + (1 - chance) * np.expm1(high - now)
        gain = np.where(tried, -np.inf, horizon[:, None, None] * saving - price)
        choice = (gain / (1 + price)).argmax(axis=-1)[..., None]
        pays = gain.max(axis=-1) > 0
        shown = np.take_along_axis(truth, choice, axis=-1)[..., 0]
        paid += np.where(pays, np.expm1(shown - best), 0)
        best = np.where(pays, np.minimum(best, shown), best)
        tried |= pays[..., None] & (np.arange(n) == choice)
    return (weight * paid).sum(axis=-1), -(weight * best).sum(axis=-1)


def high_cost(low: ArrayLike, chance: ArrayLike, price: ArrayLike) -> Floats:
    """Return the high log cost with which a first trial has this expected price.

    Examples
    --------
    >>> high_cost(-1.0, chance=0.5, price=0.543).round(3)
    np.float64(1.0)
    """
    low, chance = np.asarray(low), np.asarray(chance)
    return np.log((1 + np.asarray(price) - chance * np.exp(low)) / (1 - chance))


def hardest_trials(n: int, horizon: float, gap: float = 1e-9) -> tuple[float, float, float]:
    """Return the low and high log cost of n configurations that attain theorem 8, up to `gap`.

    The third number is the probability of the low one. The price of each trial is as high as the
    rule allows.

    Examples
    --------
    >>> low, high, chance = (np.full((1, 3), number) for number in hardest_trials(3, 10.0))
    >>> price, saving = expected_price(low, high, chance, np.array([10.0]))
    >>> bool(np.isclose(price[0], price_bound(10.0, saving[0])))
    True
    """
    low, chance = -1.0, 1 / (n + 1)
    return low, float(high_cost(low, chance, horizon * chance * (1 - gap))), chance


def explore(
    log_cost: Floats, expected: Floats, sd: Floats, horizon: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Let the agent's own rule explore independent costs without noise, until no trial pays.

    Parameters
    ----------
    log_cost : ndarray, shape (n,)
        These are the true log costs. That of the first configuration is known.
    expected, sd : ndarray, shape (n,)
        These are the means and standard deviations of the log costs that the agent assumes.
    horizon : float
    rng : numpy.random.Generator

    Returns
    -------
    price, saving : float
        See :func:`price_bound`; here they are what happened, not expectations.

    Examples
    --------
    >>> zeros, ones, rng = np.zeros(3), np.ones(3), np.random.default_rng(0)
    >>> price, saving = explore(np.array([0.0, 1.0, -0.5]), zeros, ones, 300.0, rng)
    >>> round(price, 2), saving  # exp(-0.5) - 1 for the last one, then exp(1.5) - 1
    (3.09, 0.5)
    """
    table = QTable(ConfigSpace([Knob("configuration", tuple(range(len(log_cost))))]))
    table.record(0, np.exp(log_cost[0]))
    table.values[:], table.sds[:] = np.exp(expected), sd
    rule, price, table.incumbent = ExpectedSaving(horizon), 0.0, 0
    table.values[0], table.sds[0] = table.means[0], KNOWN
    while (tried := rule.choose(table, None, rng)) != table.incumbent:
        price += np.expm1(log_cost[tried] - log_cost[table.incumbent])
        table.record(tried, np.exp(log_cost[tried]))
        table.values[tried], table.sds[tried] = table.means[tried], KNOWN
        table.incumbent = int(table.measured[table.means[table.measured].argmin()])
    return float(price), float(log_cost[0] - log_cost[table.incumbent])


# --- Agents whose posterior is wrong -----------------------------------------------------------


def paying_without_end(high: float = 3.0) -> tuple[RRL, Floats]:
    """Return an agent that pays for exploration for ever, and the costs of its configurations.

    It copies each measurement to its region, and it explores by the expected saving. There are two
    configurations, in one region. So their values are always equal. The one that was not measured
    last has the larger sd. So it is expected to save more, and it serves next.

    Examples
    --------
    >>> serve_without_noise(*paying_without_end(), 8)
    array([0, 1, 0, 1, 0, 1, 0, 1])
    """
    space = ConfigSpace([Knob("threads", (1, 2))])
    rng = np.random.default_rng(0)
    agent = RRL(space, rng, exploration=ExpectedSaving(), start=space[0])
    return agent, np.array([1.0, high])


def staying_stuck(wall: float = 5.0) -> tuple[RRL, Floats]:
    """Return the recommended agent and costs whose optimum lies behind a wall.

    It measures the wall on both sides of its start, and behind it on one side. All of them cost the
    same, so it expects that of the last configuration, too. No trial pays in the whole space.

    Examples
    --------
    >>> serve_without_noise(*staying_stuck(), 8)
    array([2, 3, 0, 1, 2, 2, 2, 2])
    """
    space = ConfigSpace([Knob("threads", (1, 2, 3, 4, 5))])
    agent = gp(space, np.random.default_rng(0), start=space[2])
    return agent, np.array([wall, wall, 1.0, wall, 0.1])


def serve_without_noise(agent: RRL, costs: Floats, episodes: int) -> Ints:
    """Let an agent serve without noise; return the number of each episode's configuration."""
    numbers = np.empty(episodes, dtype=np.int64)
    for t in range(episodes):
        configuration = agent.ask(load=1.0)
        numbers[t] = agent.space.index(configuration)
        agent.tell(configuration, costs[numbers[t]])
    return numbers
