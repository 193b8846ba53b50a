from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.exploration import action_probabilities
from rrl.core.knob import Knob
from rrl.core.qtable import NOISE, NOISE_WEIGHT, QTable, Tables, update_region
from rrl.core.space import ConfigSpace

costs = st.floats(1e-3, 1e3)
tables = st.lists(costs, min_size=1, max_size=40).map(np.array)
temperatures = st.sampled_from([0.005, 0.02, 0.1, 1.0])


def line(size):
    return ConfigSpace([Knob("threads", range(size))])


def update(values, sds, counts, cost, learning_rate):
    """Take in an estimate of the only configuration."""
    estimate = np.array([0]), np.array([cost]), np.array([0.2])
    update_region(values, sds, counts, *estimate, learning_rate, True)


@given(st.lists(costs, min_size=1, max_size=30))
def test_a_value_is_the_mean_of_its_estimates_until_the_learning_rate_takes_over(measured):
    values, sds, counts = np.array([123.0]), np.array([np.inf]), np.zeros(1)
    for cost in measured:
        update(values, sds, counts, cost, learning_rate=1e-12)
    assert values[0] == pytest.approx(np.mean(measured), rel=1e-9)
    assert sds[0] == pytest.approx(0.2)
    update(values, sds, counts, 5.0, learning_rate=0.25 + 1e-9)
    gain = max(0.25, 1 / (len(measured) + 1))
    assert values[0] == pytest.approx((1 - gain) * np.mean(measured) + gain * 5.0, rel=1e-6)


@given(tables, temperatures)
def test_probabilities_follow_the_power_law(values, temperature):
    p = action_probabilities(values, temperature)
    assert p.sum() == pytest.approx(1)
    ratio = (values / values.min()) ** (-1 / temperature)
    assert p == pytest.approx(ratio / ratio.sum(), rel=1e-6, abs=1e-300)


def test_probabilities_at_zero_cost():
    assert action_probabilities(np.array([0.0, 1.0, 0.0]), 0.01).tolist() == [0.5, 0.0, 0.5]
    p = action_probabilities(np.array([0.0, 1.0]), 1.0, floor=1.0)
    assert p == pytest.approx([2 / 3, 1 / 3])


def measure(table, index, cost):
    table.record(index, cost)
    table.update(np.array([index]), np.array([cost]), np.array([0.2]), 0.3)


@given(st.lists(st.tuples(st.integers(0, 4), costs), min_size=1, max_size=40))
def test_counts_means_and_noise_are_those_of_the_measurements(measured):
    table = QTable(line(5))
    for index, cost in measured:
        measure(table, index, cost)
    scatter, repeats = NOISE_WEIGHT * NOISE**2, NOISE_WEIGHT
    for index in range(5):
        seen = np.array([cost for i, cost in measured if i == index])
        assert table.visits[index] == len(seen)
        if len(seen):
            assert table.means[index] == pytest.approx(seen.mean())
            scatter += ((seen - seen.mean()) ** 2).sum() / seen.mean() ** 2
            repeats += len(seen) - 1
    assert table.noise == pytest.approx((scatter / repeats) ** 0.5, rel=1e-6)
    assert table.measured.tolist() == list(dict.fromkeys(index for index, _ in measured))


def test_a_new_load_level_inherits_values_and_finds_their_scale():
    tables = Tables(line(3))
    table = tables.at(10.0)
    for cost in (1.0, 1.0, 1.0):
        measure(table, 0, cost)
    measure(table, 1, 2.0)
    new = tables.at(100.0)
    measure(new, 1, 8.0)  # as expected, but four times as high
    assert new.counts.tolist() == [2.0, 2.0, 0.0]
    assert new.values.tolist() == pytest.approx([4.0, 8.0, 4.0], rel=0.03)
    measure(new, 0, 4.0)
    measure(new, 0, 12.0)  # the inherited value counts as two measurements
    assert new.values[0] == pytest.approx((2 * 4.0 + 4.0) / 3 * 0.7 + 12 * 0.3, rel=0.03)
    assert table.values.tolist() == [1.0, 2.0, 1.0]


def test_a_value_of_an_own_measurement_is_not_scaled_by_what_others_cost():
    tables = Tables(line(2))
    for load, index, cost in ((10.0, 0, 1.0), (10.0, 1, 1.0), (100.0, 0, 4.0), (100.0, 1, 16.0)):
        measure(tables.at(load), index, cost)
    assert tables[1].values[0] == pytest.approx(4.0, rel=0.03)


# --- which load level a load belongs to -----------------------------------------------------------


def entered(loads):
    """Return the tables after an episode at each of some loads."""
    tables = Tables(line(2))
    for load in loads:
        tables.at(load).record(0, 1.0)
    return tables


def test_noise_of_an_estimate_makes_no_load_level():
    """An estimate from 100 Poisson arrivals has a standard error of 10 %."""
    for seed in range(5):
        (table,) = entered(11.4 / np.random.default_rng(seed).gamma(99, 1 / 99, size=1000))
        assert table.log_load == pytest.approx(math.log(11.4), abs=0.05)


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=30), st.floats(0.1, 1e4))
def test_a_load_level_is_near_its_loads(loads, load):
    tables = entered(loads)
    before = [table.log_load for table in tables]
    table = tables.at(load)
    assert abs(table.log_load - math.log(load)) <= 2 * tables.width + 1e-9
    if table.level == len(before):  # a new level is for a load that is unlike all others
        assert all(abs(other - math.log(load)) > tables.width for other in before)
