"""Verdicts that hold their level: exact for few rounds, and valid with a look after every one."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rrl.operating.sequential import budget, first_decisions, symmetric_interval
from rrl.operating.verdict import judge_costs

numbers = st.integers(-1000, 1000).map(lambda n: n / 64)  # scaling by a power of 2 is exact
samples = st.lists(numbers, min_size=1, max_size=20).map(np.array)
# Most of these values are above 0, so that there is often a decision.
clear = st.lists(numbers, min_size=8, max_size=20).map(lambda values: np.array(values) + 10)


def decision(values):
    return int(first_decisions(np.reshape(values, (1, -1)))[0])


# --- the level ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes", [np.ones(11), np.arange(1.0, 12.0), 10.0 ** -np.arange(11), [3, 0, 1, 0] * 2 + [5] * 3]
)
def test_of_all_signs_no_more_than_the_budget_decide_by_any_round(sizes):
    """An exact count: given the sizes, the signs are fair coins."""
    signs = np.array([*product((-1.0, 1.0), repeat=11)])
    first = abs(first_decisions(signs * sizes))
    for n in range(1, 12):
        assert np.mean((first > 0) & (first <= n)) <= budget(n)
    if 11.0 in sizes:  # then there are many places, and the budget is used but for a few walks
        assert np.mean(first > 0) > 0.8 * budget(11)


# --- the decision ---------------------------------------------------------------------------------


@settings(max_examples=15)
@given(clear, st.integers(-8, 8))
def test_exchanging_the_two_turns_the_decision_around_in_any_unit(values, power):
    factor = -(2.0**power)
    assert decision(values * factor) == -decision(values)
    centre, low, high = symmetric_interval(values)
    assert symmetric_interval(values * factor) == pytest.approx(
        (centre * factor, high * factor, low * factor), abs=1e-6 * 2.0**power
    )


@settings(max_examples=20)
@given(st.lists(st.integers(-30, 300), min_size=9, max_size=20).map(np.array), st.data())
def test_a_sign_that_turns_towards_the_decision_does_not_delay_it(values, data):
    first = decision(values)
    assume(first)
    turned = values.copy()
    i = data.draw(st.integers(0, len(values) - 1))
    turned[i] = np.sign(first) * abs(values[i])
    assert 0 < decision(turned) * np.sign(first) <= abs(first)


@settings(max_examples=25)
@given(clear, samples)
def test_later_values_do_not_change_a_decision(values, later):
    first = decision(values)
    both = decision(np.concatenate([values, later]))
    assert both == first if first else abs(both) > len(values) or both == 0


# --- the interval ---------------------------------------------------------------------------------


@settings(max_examples=20)
@given(samples | clear)
@example(np.array([1.4, 0.9, 0.5, 2.1, 1.3, 0.5, 2.7, -0.5, 1.0]))  # only 0 itself is that low
def test_the_interval_contains_its_centre_and_agrees_with_the_decision(values):
    """So the interval misses the centre as seldom as there is a false verdict."""
    centre, low, high = symmetric_interval(values)
    assert low <= centre <= high
    if not np.isfinite(low):
        return
    assert (low, high) == pytest.approx((max(low, values.min()), min(high, values.max())))
    assert (low > 0 or high < 0) == (decision(values) != 0)
    for end in (low, high):
        assert decision(values - end) == 0  # an end is not excluded itself
    assert decision(values - (low - 0.1)) > 0 > decision(values - (high + 0.1))


def test_values_that_contradict_one_another_show_nothing():
    centre, low, high = symmetric_interval([1.0] * 12 + [-1.0] * 60)
    assert (centre, low, high) == (-1.0, -np.inf, np.inf)


# --- in the result of `rrl tune` ------------------------------------------------------------------


def costs(ours, theirs):
    """The costs of rounds; None is the cost of a recommendation that was stopped."""
    pairs = zip(ours, theirs, strict=True)
    return [{"default": b} if a is None else {"default": b, "recommended": a} for a, b in pairs]


@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_any_number_of_rounds_has_a_result(count):
    result = judge_costs(costs([0.5] * count, [1.0] * count))
    end = 0.5 if count >= 8 else None
    assert result["ratio"] == {"median": 0.5, "low": end, "high": end}
    assert result["verdict"] == ("better" if count >= 8 else "no difference shown")
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([0.0] * 8, [0.01] * 8, "better"),
        ([0.01] * 8, [0.0] * 8, "worse"),
        ([0.0] * 15, [0.0] * 15, "no difference shown"),
        ([0.0, 0.2] * 4, [0.2, 0.0] * 4, "no difference shown"),
        ([0.0, 0.1] * 4, [0.0, 0.2] * 4, "no difference shown"),  # four rounds say nothing
        ([0.0, 0.0, 0.0, None], [0.0] * 4, "no difference shown"),  # and warn of nothing
    ],
)
def test_costs_of_zero_have_a_verdict_but_no_ratio(ours, theirs, verdict):
    result = judge_costs(costs(ours, theirs))
    assert (result["verdict"], result["ratio"]) == (verdict, None)
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("ratios", "verdict", "median"),
    [
        ([0.5, None] * 9, "no difference shown", 0.5),  # whole ones alone would be "better"
        ([None] * 3 + [0.5] * 8, "no difference shown", 0.5),
        ([0.5] * 8 + [None], "better", 0.5),  # a decision is final
        ([0.8, 1.25] * 4 + [None], "no difference shown", 1.0),  # one round decides nothing
        ([None] * 7, "no difference shown", None),
        ([1.01, 1.03, 1.02, 1.05, 1.04, 1.07, 1.06, None], "no difference shown", 1.04),
        ([1.01, 1.03, 1.02, 1.05, 1.04, 1.07, 1.06, 1.04, None], "worse", 1.04),
    ],
)
def test_a_round_without_a_cost_counts_as_lost(ratios, verdict, median):
    result = judge_costs(costs(ratios, [1.0] * len(ratios)))
    assert result["verdict"] == verdict
    assert (result["ratio"] or {}).get("median") == pytest.approx(median)
    assert (result["ratio"] or {"low": None})["low"] is None, "the whole ones are a selection"
