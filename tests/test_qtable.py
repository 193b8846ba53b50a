from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.exploration import action_probabilities, draw, fill_tree, mend_tree
from rrl.core.qtable import QTable
from rrl.core.region_update import update_region

costs = st.floats(1e-3, 1e3)
tables = st.lists(costs, min_size=1, max_size=40).map(np.array)
temperatures = st.sampled_from([0.005, 0.02, 0.1, 1.0])


def planted(values, temperature, floor=0.0):
    tree = np.zeros(2 << (len(values) - 1).bit_length())
    scale = (floor, float(values.min() + floor), temperature)
    fill_tree(tree, values, scale)
    return tree, scale


def test_the_released_update_is_a_mix_by_the_step():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    evidence = np.array([5.0, 5.0, 0.0, 0.0])
    update_region(
        values, evidence, np.array([1, 2]), np.array([10.0, 20.0]), np.array([1.0, 0.5]), 0.3, False
    )
    assert values == pytest.approx([1.0, 0.7 * 2 + 0.3 * 10, 0.85 * 3 + 0.15 * 20, 4.0])
    assert evidence.tolist() == [5.0, 6.0, 0.5, 0.0]


@given(st.lists(st.tuples(costs, st.floats(0.01, 1)), min_size=1, max_size=30))
def test_with_evidence_a_value_is_the_weighted_mean(measured):
    values, evidence, ball = np.array([123.0]), np.zeros(1), np.array([0])
    for cost, weight in measured:
        update_region(values, evidence, ball, np.array([cost]), np.array([weight]), 1e-12, True)
    known, weights = np.array(measured).T
    assert values[0] == pytest.approx(np.average(known, weights=weights), rel=1e-9)


def test_the_step_takes_over_from_the_mean():
    values, evidence, ball = np.array([0.0]), np.zeros(1), np.array([0])
    for _ in range(1000):
        update_region(values, evidence, ball, np.array([1.0]), np.ones(1), 0.25, True)
    update_region(values, evidence, ball, np.array([5.0]), np.ones(1), 0.25, True)
    assert values[0] == pytest.approx(2.0)


def test_a_weight_of_zero_says_nothing():
    values, evidence = np.array([7.0]), np.zeros(1)
    update_region(values, evidence, np.array([0]), np.array([1.0]), np.zeros(1), 0.3, True)
    assert (values[0], evidence[0]) == (7.0, 0.0)


@given(tables, temperatures)
def test_probabilities_follow_the_power_law(values, temperature):
    p = action_probabilities(values, temperature)
    assert p.sum() == pytest.approx(1)
    ratio = (values / values.min()) ** (-1 / temperature)
    assert p == pytest.approx(ratio / ratio.sum(), rel=1e-6, abs=1e-300)


@given(tables, temperatures, st.floats(1e-9, 1e9), st.floats(0, 1))
def test_the_unit_of_the_cost_does_not_matter(values, temperature, factor, floor):
    p = action_probabilities(values, temperature, floor)
    scaled = action_probabilities(factor * values, temperature, factor * floor)
    assert scaled == pytest.approx(p, rel=1e-6, abs=1e-200)


def test_probabilities_at_zero_cost():
    assert action_probabilities(np.zeros(4), 0.01).tolist() == [0.25] * 4
    assert action_probabilities(np.array([0.0, 1.0, 0.0]), 0.01).tolist() == [0.5, 0.0, 0.5]
    p = action_probabilities(np.array([0.0, 1.0]), 1.0, floor=1.0)
    assert p == pytest.approx([2 / 3, 1 / 3])


@given(tables, temperatures)
def test_the_tree_draws_by_the_probabilities(values, temperature):
    tree, _ = planted(values, temperature, floor=0.01)
    p = action_probabilities(values, temperature, floor=0.01)
    half = len(tree) // 2
    assert tree[half:][: len(values)] / tree[1] == pytest.approx(p, rel=1e-9, abs=1e-300)
    uniforms = (np.arange(200) + 0.5) / 200
    drawn = np.array([draw(tree, u) for u in uniforms])
    wide = np.cumsum(p)
    inside = (uniforms <= wide[drawn] + 1e-9) & (uniforms >= wide[drawn] - p[drawn] - 1e-9)
    assert inside.all()  # each draw is the inverse of the distribution function


@given(tables, st.data())
def test_a_mended_tree_equals_a_filled_one_to_the_last_bit(values, data):
    tree, scale = planted(values, 0.02)
    cells = st.integers(0, len(values) - 1)
    ball = np.array(sorted(data.draw(st.sets(cells, min_size=1))), dtype=np.int64)
    values[ball] = data.draw(st.lists(costs, min_size=len(ball), max_size=len(ball)))
    mend_tree(tree, values, ball, scale)
    again = np.zeros_like(tree)
    fill_tree(again, values, scale)
    assert tree.tobytes() == again.tobytes()


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_a_leaf_of_weight_zero_is_never_drawn(uniform):
    values = np.array([1e9, 1e9, 1.0, 1e9, 1e9])  # 1e9^(-1/0.01) is 0 in floating point
    tree, _ = planted(values, 0.01)
    assert draw(tree, uniform) == 2


def test_rounding_never_leads_past_the_last_leaf():
    values = np.random.default_rng(333).uniform(1, 3, 30)  # a case where sums round upwards
    tree = np.zeros(64)
    fill_tree(tree, values, (0.0, 1.0, 1.0))
    assert draw(tree, 1 - 2**-53) == 29


def measure(table, index, cost, ball=None):
    ball = np.array([index] if ball is None else ball)
    table.update(index, cost, ball, np.full(len(ball), cost), np.ones(len(ball)))


def test_the_first_measurement_fills_the_table():
    table = QTable(4)
    measure(table, 2, 0.5)
    measure(table, 2, 0.7)
    assert table.values == pytest.approx([0.5, 0.5, 0.6, 0.5])
    assert (table.visits.tolist(), table.means[2]) == ([0, 0, 2, 0], pytest.approx(0.6))


def test_costs_of_zero_are_uniform_then_preferred():
    table = QTable(4)
    assert [table.choose(u, 0.01) for u in (0.0, 0.3, 0.6, 0.99)] == [0, 1, 2, 3]
    measure(table, 0, 0.0)
    assert [table.choose(u, 0.01) for u in (0.0, 0.3, 0.6, 0.99)] == [0, 1, 2, 3]
    for index, cost in ((1, 1.0), (2, 0.5), (3, 0.1)):
        measure(table, index, cost)
    assert {table.choose(u, 0.01) for u in np.linspace(0, 0.999, 50)} == {0}


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_draws_survive_costs_that_change_by_orders_of_magnitude(factor):
    table = QTable(3)
    for index, cost in enumerate([1.0, 2.0, 4.0]):
        measure(table, index, cost)
    assert table.choose(0.5, 0.005) == 0  # the tree is planted at this scale
    for _ in range(100):
        for index, cost in enumerate([4.0, 1.0, 2.0]):
            measure(table, index, cost * factor)
    assert {table.choose(u, 0.005) for u in np.linspace(0.001, 0.999, 50)} == {1}


def test_recommendations():
    table = QTable(5)
    with pytest.raises(ValueError, match="tell the cost"):
        table.recommend()
    for cost in (1.0, 1.1, 1.05, 1.05):
        measure(table, 1, cost, ball=[0, 1, 2])
    measure(table, 3, 1.5, ball=[2, 3, 4])
    measure(table, 3, 0.98, ball=[3, 4])
    measure(table, 4, 1.4)
    table.values[0] = 0.5
    assert table.recommend("table") == 0  # never measured itself
    assert table.recommend("observed", shrinkage=1) == 1
    table.means[4] = 0.9  # one lucky episode, among neighbours that are not
    table.values[4] = 1.3
    assert table.recommend("observed", shrinkage=0) == 4
    assert table.recommend("observed", shrinkage=1) == 1
    with pytest.raises(ValueError, match="unknown recommendation 'best'"):
        table.recommend("best")


def test_a_successor_keeps_values_as_a_first_guess():
    table = QTable(3, trust=1.0)
    for cost in (1.0, 1.0, 1.0):
        measure(table, 0, cost)
    measure(table, 1, 2.0)
    new = table.successor()
    assert new.values.tolist() == table.values.tolist() == [1.0, 2.0, 1.0]
    assert new.recommend() == 0
    measure(new, 1, 8.0)  # as expected, four times as dear as a whole
    assert new.values.tolist() == pytest.approx([4.0, 8.0, 4.0], rel=0.03)
    measure(new, 0, 4.0)
    measure(new, 0, 12.0)  # one word of the other load, two of this one's own
    assert new.values[0] == pytest.approx((4.0 + 4.0 + 12.0) / 3, rel=0.03)
    assert table.values.tolist() == [1.0, 2.0, 1.0]


def test_a_table_hears_of_other_loads_where_it_has_not_spoken():
    table = QTable(3, trust=2.0)
    one, ball = np.ones(3), np.arange(3)
    table.hear(ball, 5 * one, one, scale=1.0)
    assert not table.values.any()  # nothing is known of this load: not even how dear it is
    measure(table, 1, 3.0)
    for _ in range(9):
        table.hear(ball, 8 * one, one, scale=2.0)  # a load that is twice as dear
    assert table.values.tolist() == [4.0, 3.0, 4.0]
    assert table.evidence.tolist() == [2.0, 1.0, 2.0]
    measure(table, 0, 1.0)
    assert table.values[0] == pytest.approx((2 * 4.0 + 1.0) / 3)


@given(st.lists(st.tuples(st.integers(0, 8), costs), max_size=30), st.booleans())
def test_state_survives_json_to_the_last_bit(measured, transferred):
    table, uniforms = QTable(9), np.random.default_rng(0).random(len(measured) + 1)
    for (index, cost), u in zip(measured, uniforms, strict=False):
        measure(table, index, cost, ball=sorted({max(index - 1, 0), index, min(index + 1, 8)}))
        table.choose(u, 0.02)
    table = table.successor() if transferred else table
    copy = QTable.from_state(json.loads(json.dumps(table.state())))
    for name in ("values", "evidence", "visits", "means"):
        assert getattr(copy, name).tobytes() == getattr(table, name).tobytes(), name
    assert copy.state() == table.state()
    assert copy.choose(uniforms[-1], 0.02) == table.choose(uniforms[-1], 0.02)


def test_a_damaged_state_is_refused():
    table = QTable(3)
    measure(table, 0, 1.0)
    state = table.state() | {"values": []}
    with pytest.raises(ValueError, match="1 cells but 0 values"):
        QTable.from_state(state)
