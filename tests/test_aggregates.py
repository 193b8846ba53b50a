"""Aggregates over runs and problems have known values, and their intervals hold what they say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rrl.support.aggregates import holm, largest_interval, stratified_draws


def test_runs_are_drawn_within_their_problem_and_in_pairs():
    rng = np.random.default_rng(0)
    sample = np.array([[1.0, 2.0], [10.0, 20.0]])
    drawn = stratified_draws(lambda x: x, [sample], rng, resamples=50)
    assert set(drawn[:, 0].ravel()) == {1.0, 2.0}
    assert set(drawn[:, 1].ravel()) == {10.0, 20.0}

    def ratio(x, y):
        return (x / y).mean(axis=(-2, -1))

    assert set(stratified_draws(ratio, [sample, 2 * sample], rng, resamples=50)) == {0.5}


def test_the_largest_of_equals_is_held_by_its_interval_and_not_by_the_naive_one():
    """16 problems with the same true mean: the largest observed one is too large."""
    rng, held, naive = np.random.default_rng(2), 0, 0
    for _ in range(200):
        sample = rng.normal(50, 6, (16, 30))
        draws = stratified_draws(lambda x: x.mean(axis=-1), [sample], rng, resamples=300)
        low, high = largest_interval(sample.mean(axis=-1), draws)[1:]
        held += low <= 50 <= high
        naive += np.quantile(draws.max(axis=1), 0.025) <= 50
    assert held >= 180
    assert naive < 20


# --- Families and censored times ------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_raw_value_and_bonferroni(values):
    p, adjusted = np.array(values), holm(values)
    assert np.all((adjusted >= p) & (adjusted <= np.minimum(1, len(p) * p) + 1e-12))
    assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)
