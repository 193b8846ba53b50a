"""The reach that Bayesian optimisation selects: what it observes, and that it follows it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.knob import Knob
from rrl.core.qtable import QTable
from rrl.core.region_size import BLOCK
from rrl.core.selected_reach import SelectedReach
from rrl.core.space import ConfigSpace

SPACE = ConfigSpace([Knob("a", range(9)), Knob("b", range(9))])


def fresh(space=SPACE):
    """A table whose first configuration is deployed, with a value of 1."""
    table, reach = QTable(space), SelectedReach(space)
    table.record(0, 1.0)
    table.incumbent = 0
    reach.learn(table, 1.0)
    return table, reach


def told(reach):
    """The mean loss of the first block."""
    return reach.sizes[0].blocks[0][2]


def test_what_a_trial_costs_above_what_is_deployed_is_a_loss():
    table, reach = fresh()
    for _ in range(BLOCK - 1):
        reach.learn(table, 1.5)
    assert told(reach) == pytest.approx((BLOCK - 1) / BLOCK * math.log(1.5), rel=0.05)


def test_a_better_configuration_is_a_gain_and_a_better_estimate_is_none():
    table, reach = fresh()
    for _ in range(BLOCK - 1):
        table.values[0] *= 0.9
        reach.learn(table, float(table.values[0]))
    assert told(reach) == pytest.approx(0.0, abs=1e-6)
    table, reach = fresh()
    for number in range(1, BLOCK):
        table.values[number], table.incumbent = 0.999**number, number
        reach.learn(table, float(table.values[number]))
    saved = (BLOCK - 1) / BLOCK * reach.horizon * -math.log(0.999)
    assert told(reach) == pytest.approx(-saved, rel=0.02)


@given(
    costs=st.lists(st.just(0.0) | st.floats(1e-12, 1e12), min_size=BLOCK, max_size=3 * BLOCK),
    units=st.floats(1e-6, 1e6),
)
def test_no_loss_is_above_one_and_the_reach_stays_in_the_space(costs, units):
    table, reach = fresh()
    for number, cost in enumerate(costs):
        index = number % len(SPACE)
        table.record(index, units * cost)
        table.values[index], table.incumbent = units * cost, index
        reach.learn(table, units * cost)
        assert 1 <= reach(table, SPACE.widest) <= SPACE.widest
    assert all(abs(loss) <= 1 for _, _, loss, _ in reach.sizes[0].blocks)


@pytest.mark.parametrize("best", [1.0, 4.0, 12.0])
def test_the_reach_with_the_lowest_loss_is_found(best):
    ends = []
    for seed in range(4):
        (table, reach), rng = fresh(), np.random.default_rng(seed)
        for _ in range(600):
            away = math.log(reach(table, SPACE.widest) / best)
            reach.learn(table, math.exp(0.3 * away**2 + 0.1 * rng.standard_normal()))
        ends.append(np.median([1 + radius for _, radius in reach.sizes[0].history[-10:]]))
    assert abs(math.log(np.median(ends) / best)) < 0.6


def test_a_restored_reach_goes_on_inside_a_block():
    table, one = fresh()
    for number in range(BLOCK + 3):
        one.learn(table, 1.0 + number / 10)
    other = SelectedReach(SPACE)
    other.restore(json.loads(json.dumps(one.state())))
    for cost in np.linspace(1, 2, 2 * BLOCK):
        for reach in (one, other):
            reach.learn(table, float(cost))
    assert other.state() == one.state()
    assert len(one.sizes[0].blocks) == 3
    with pytest.raises(KeyError):
        other.restore({})
    assert other.state() == one.state()


def test_a_space_of_one_configuration_has_one_reach():
    space = ConfigSpace([Knob("a", (1,))])
    table, reach = fresh(space)
    for _ in range(3 * BLOCK):
        reach.learn(table, 1.0)
    assert reach(table, space.widest) == 1


@pytest.mark.parametrize("horizon", [0, -1.0, math.nan, math.inf])
def test_bad_horizon(horizon):
    with pytest.raises(ValueError, match="horizon must be a positive number"):
        SelectedReach(SPACE, horizon)
