"""Theorem 7: what exploration by the expected saving costs, if the posterior is right.

:class:`rrl.extension.expected_saving.ExpectedSaving` tries a configuration only if its expected
saving per episode, times the horizon, is at least its expected extra cost (its price). Savings
are differences of logarithms of costs. Prices are fractions of the incumbent's cost. The horizon
never falls, and H is that of the last episode, T: the larger of 60 and T / 4.

**Setting.** There is one load level. The costs of the configurations are drawn from a prior.
Without noise, a measurement shows the cost. The incumbent is the configuration with the lowest cost
so far, v_t. The posterior is right: the saving and the price of a trial are conditional
expectations, given all that was measured. The configuration of episode t is x_t, v_1 is the first
incumbent's cost, v_(T+1) that of the incumbent after T episodes, and c* is the lowest of all costs.

**Theorem 7.** For any number of episodes, the expected sum of all prices satisfies
``E sum of (c(x_t) / v_t - 1) <= H E ln(v_1 / v_(T+1)) <= H E ln(v_1 / c*)``.
In these units, exploration is paid back within H episodes, on average. So what all trials cost is
at most the fraction ``max(60 / T, 1 / 4) E ln(v_1 / c*)`` of T episodes of the incumbent. It does
not matter which of the trials that pay is chosen.

The proofs are in ``notebooks/04_theory_bound.ipynb``.

:func:`hardest_trials` attains the bound. The agent's own rule is more careful than the premise.
It takes a configuration that promises to cost less than the incumbent for one that promises to cost
as much, which makes the saving smaller and the price higher. (Its other limits, on sds and
exponents, only stop trials, as long as H is below 10^12.)
One trial of `rrl-gp` does not follow from the rule: an agent that begins elsewhere measures the
middle of the grid second (:class:`rrl.extension.whole_space.WholeSpace`). The theorem is about the
episodes after it.

The theorem is about the price of trials. It does not say when the optimum is found. When no trial
pays, the expected saving of each is at most its price, divided by H. As H grows for ever, each
configuration is tried at some time.

**If the posterior is wrong, the theorem is false, and the agent may find the optimum late.**
Two agents of this package show one of these each, without noise:

* :func:`paying_without_end`: the agent serves a configuration that costs three times as much in
  every second episode, for ever. Nothing can be saved, so the right side of theorem 7 is 0.
* :func:`finding_late`: the recommended agent finds a configuration at a tenth of the cost only
  after 393 episodes, although it is four steps away.

References
----------
Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box functions", Journal
of Global Optimization 13, 1998: expected improvement. Bull, "Convergence rates of efficient global
optimization algorithms", JMLR 12, 2011: with estimated parameters it may never find the optimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Knob
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.extension.expected_saving import ExpectedSaving
from rrl.extension.recommended import recommended


def price_bound(horizon: ArrayLike, saving: ArrayLike) -> Floats:
    """Theorem 7: all trials together cost at most the horizon times the saving that they find.

    The price is in fractions of the incumbent's cost. The saving is ``E ln(v_1 / v_(T+1))``.
    """
    return np.asarray(horizon) * np.asarray(saving)


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


def hardest_trials(n: int, horizon: float) -> tuple[float, float, float]:
    """Return the low and high log cost of n configurations that nearly attain theorem 7.

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
    return low, float(high_cost(low, chance, horizon * chance * (1 - 1e-9))), chance


# --- Agents whose posterior is wrong -----------------------------------------------------------


def paying_without_end() -> tuple[RRL, Floats]:
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
    return agent, np.array([1.0, 3.0])


def finding_late(wall: float = 3.0) -> tuple[RRL, Floats]:
    """Return the recommended agent and costs whose optimum lies behind a wall.

    It measures the wall on both sides of its start. All of its measurements cost the same, so it
    expects that of the others, too, and no trial pays. The horizon grows, and from some episode on
    the most distant trial pays.

    Examples
    --------
    >>> numbers = serve_without_noise(*finding_late(), 400)
    >>> numbers[:8], int(np.flatnonzero(numbers == 8)[0])
    (array([4, 5, 1, 3, 4, 4, 4, 4]), 393)
    """
    space = ConfigSpace([Knob("threads", tuple(range(1, 10)))])
    agent = recommended(space, np.random.default_rng(0), start=space[4])
    costs = np.full(9, wall)
    costs[4], costs[8] = 1.0, 0.1
    return agent, costs


def serve_without_noise(agent: RRL, costs: Floats, episodes: int) -> Ints:
    """Let an agent serve without noise; return the number of each episode's configuration."""
    numbers = np.empty(episodes, dtype=np.int64)
    for t in range(episodes):
        configuration = agent.ask(load=1.0)
        numbers[t] = agent.space.index(configuration)
        agent.tell(configuration, costs[numbers[t]])
    return numbers
