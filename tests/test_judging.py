"""Judging finalists: which is the best, which are separated from it or tied."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.recording.finals_summary import paired_scatter
from rrl.recording.profile import Profile, read_profile
from rrl.recording.truth import _medians, judge

DATA = Path(__file__).parent.parent / "data"


@given(st.integers(0, 10**6), st.floats(0.001, 0.2))
def test_judging_does_not_depend_on_units_or_order(seed, noise):
    rng = np.random.default_rng(seed)
    means = np.exp(rng.normal(scale=noise, size=(8, 5))) * np.linspace(1, 1.3, 5)
    best, verdicts = judge(means)
    order = rng.permutation(5)
    best_again, permuted = judge(1000 * means[:, order])
    assert order[best_again] == best
    assert [verdicts[i].word for i in order] == [verdict.word for verdict in permuted]
    ratios = [verdict.ratio for verdict in permuted]
    assert [verdicts[i].ratio for i in order] == pytest.approx(ratios)


@pytest.mark.parametrize(("true_ratio", "wrong_word"), [(1.05, "tied"), (1.0, "separated")])
def test_judging_errs_at_the_stated_rate(true_ratio, wrong_word):
    """At the edge of what a word means, it is wrong in 2.5 % of the cases and not more."""
    rng = np.random.default_rng(1)
    wrong, tries = 0, 200
    for _ in range(tries):
        noise = rng.standard_t(3, size=(20, 2)) * 0.03  # heavy tails, as neighbours make them
        best, verdicts = judge(np.exp(noise) * np.array([1.0, true_ratio]))
        wrong += verdicts[1 - best].word == wrong_word
    allowed = (0.025 if wrong_word == "tied" else 0.05) * tries  # either may seem the better one
    assert wrong <= allowed + 3 * np.sqrt(allowed)


def test_a_disturbed_episode_does_not_decide():
    rng = np.random.default_rng(2)
    means = np.exp(rng.normal(scale=0.02, size=(20, 2))) * np.array([1.0, 1.2])
    means[3, 0] *= 30  # a neighbour slowed the best one down
    best, verdicts = judge(means)
    assert best == 0
    assert verdicts[1].word == "separated"
    assert verdicts[1].ratio == pytest.approx(1.2, rel=0.05)


def test_a_finalist_that_was_dropped_early_is_compared_fairly():
    """It met slow episodes only; its own mean says nothing, its ratios do."""
    rng = np.random.default_rng(3)
    slow = np.repeat([3.0, 1.0], 10)[:, None]
    means = slow * np.exp(rng.normal(scale=0.01, size=(20, 3))) * [1.0, 1.1, 0.9]
    means[10:, 2] = np.nan
    assert judge(means)[0] == 2


def test_a_guest_may_be_faster_and_is_neither_the_best_nor_tied_with_it():
    rounds = np.linspace(1, 2, 8)[:, None] * [1.0, 1.2, 0.8]
    best, verdicts = judge(rounds, contenders=2)
    assert best == 0
    assert [verdict.word for verdict in verdicts] == ["best", "separated", "undecided"]
    assert verdicts[2].ratio == pytest.approx(0.8)


@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([0, 1]))
def test_medians_are_those_of_numpy(seed, missing, axis):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=tuple(rng.integers(1, 9, 2)))
    values[rng.random(values.shape) < missing] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row of nothing but NaN
        expected = np.nanmedian(values, axis=axis, keepdims=True)
    np.testing.assert_array_equal(_medians(values, axis), expected)


def test_further_passes_of_the_good_ones_are_no_finals():
    profile = read_profile(DATA / "mobilenet_v2-threads")
    plan = profile.description["plan"]
    assert (plan["passes"], plan.get("again", 0)) == (2, 0)
    further = profile.description | {"plan": plan | {"passes": 1, "again": 1}}
    expected = paired_scatter(profile, 165.0)
    assert paired_scatter(Profile(further, profile.table), 165.0) == expected
