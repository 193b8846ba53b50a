"""Exploration by the expected saving: its price if the posterior is right, and if it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl import Knob
from rrl.core.exploration import ExpectedSaving, expected_improvement
from rrl.core.qtable import QTable
from rrl.core.space import ConfigSpace
from rrl.theory import exploration_price
from rrl.theory.bound_checks import explored
from rrl.theory.exploration_price import (
    expected_price,
    hardest_trials,
    paying_without_end,
    price_bound,
    serve_without_noise,
    staying_stuck,
)

# --- The posterior is right ---------------------------------------------------------------------


def test_a_bound_that_is_one_per_cent_lower_is_noticed(monkeypatch):
    monkeypatch.setattr(exploration_price, "price_bound", lambda h, s: 0.99 * price_bound(h, s))
    (check,) = explored(np.random.default_rng(0), 500)
    assert not check.holds


@pytest.mark.parametrize("horizon", [0.5, 10.0, 300.0])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_price_of_exploration_is_attained(n, horizon):
    world = (np.full((1, n), number) for number in hardest_trials(n, horizon))
    price, saving = expected_price(*world, np.array([horizon]))
    assert price[0] == pytest.approx(price_bound(horizon, saving[0]), rel=1e-6)
    assert saving[0] == pytest.approx(1 - (1 - 1 / (n + 1)) ** n)  # no good one was left out


def test_a_trial_is_priced_by_what_is_served_then():
    """A sure saving comes first; the trial after it costs more than what has been found."""
    low, high, chance = (np.array([pair]) for pair in ((-1.0, -3.0), (0.0, 0.0), (1.0, 0.1)))
    price, saving = expected_price(low, high, chance, np.array([300.0]))
    second = 0.1 * np.expm1(-2.0) + 0.9 * np.expm1(1.0)
    assert price[0] == pytest.approx(np.expm1(-1.0) + second)
    assert saving[0] == pytest.approx(1.0 + 0.1 * 2.0)


KNOWN = 1e-9  # the sd of a configuration whose cost is known


def explore(log_cost, expected, sd, horizon, rng):
    """Price and saving of the agent's own rule without noise, until no trial pays."""
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


def worlds(bias: float, horizon: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Price less the bound of the agent's own rule, in worlds that cost more than expected."""
    excess = []
    for _ in range(count):
        sd = np.r_[KNOWN, np.exp(rng.uniform(-3, 0, 5))]
        expected = np.r_[0, rng.normal(0.3, 0.5, 5)]
        truth = expected + sd * (bias + rng.normal(size=6))
        truth[0] = 0
        price, saving = explore(truth, expected, sd, horizon, rng)
        excess.append(price - price_bound(horizon, saving))
    return np.array(excess)


@pytest.mark.parametrize("horizon", [1.0, 300.0])
def test_the_agents_own_rule_keeps_the_bound_if_the_posterior_is_right(horizon):
    excess = worlds(0, horizon, 300, np.random.default_rng(0))
    assert excess.mean() < -3 * excess.std(ddof=1) / len(excess) ** 0.5


def test_the_same_rule_breaks_it_if_everything_costs_more_than_expected():
    excess = worlds(2, 1.0, 300, np.random.default_rng(0))
    assert excess.mean() > 3 * excess.std(ddof=1) / len(excess) ** 0.5


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1000))
def test_what_is_tried_is_expected_to_save_its_price(seed, horizon):
    """This is the premise of the theorem, for the gaps as they are: also for negative ones."""
    rng = np.random.default_rng(seed)
    table = QTable(ConfigSpace([Knob("a", tuple(range(8)))]))
    table.record(0, 1.0)
    table.incumbent = 0
    table.values[:] = np.exp(rng.normal(0, 0.5, 8))
    table.sds[:] = np.exp(rng.uniform(-5, 0.7, 8))
    tried = ExpectedSaving(horizon).choose(table, None, rng)
    if tried != 0:
        gap = np.log(table.values[tried] / table.values[0])
        sd = table.sds[tried]
        price = np.expm1(gap + sd**2 / 2)
        assert price <= horizon * expected_improvement(gap, sd) + 1e-9


# --- The posterior is wrong ---------------------------------------------------------------------


def test_an_agent_that_forgets_pays_for_ever():
    agent, costs = paying_without_end()
    numbers = serve_without_noise(agent, costs, 1000)
    assert costs.argmin() == 0
    assert [(part == 1).sum() for part in np.split(numbers, 5)] == [100] * 5
    assert agent.best(load=1.0) == agent.space[0]  # it knows which one is better
    price = (costs[numbers] - 1).cumsum()
    possible = np.log(costs[0] / costs.min())
    assert price[-1] == 1000 > price_bound(300.0, possible) == 0


def test_the_recommended_agent_can_stay_stuck():
    agent, costs = staying_stuck()
    numbers = serve_without_noise(agent, costs, 200)
    assert 4 not in numbers
    assert set(numbers[10:]) == {2}
    assert (costs[numbers[10:]] - costs.min()).sum() == pytest.approx(0.9 * 190)
    lower = serve_without_noise(*staying_stuck(wall=1.2), 50)
    assert set(lower[10:]) == {4}  # a lower wall is no obstacle
