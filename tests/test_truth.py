"""What a half of a profile says, apart from what the other half learned from, and its finals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_recording import PLAN, Scripted, recorded

from rrl.recording.evidence import usual_settings
from rrl.recording.profile import ADAPTIVE, Profile, read_profile
from rrl.recording.truth import (
    TOLERANCE,
    judge,
    judge_half,
    late_fraction,
    replay_best,
    rows_of_half,
)
from rrl.tuning.objective import FAILURE_S

RATE = 20.0


def configuration(*values):
    return dict(zip(PLAN.knobs, values, strict=True))


#: As fast as the good ones, but every second request fails.
FAILING = configuration(1, 1, 1, 4, 1000)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    return read_profile(recorded(folder, Scripted(late=(5,), failing=FAILING)))


def test_a_half_does_not_change_with_the_other_nor_with_late_measurements(profile):
    table = profile.table
    other = table.assign(mean_s=table["mean_s"].where(table["pass"] % 2 == 0, 9.5))
    late = table.assign(mean_s=9.5, valid=0)
    before = judge_half(profile, RATE, 0)
    after = judge_half(Profile(profile.description, pd.concat([other, late])), RATE, 0)
    for one, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("half", [0, 1])
def test_the_good_are_those_that_are_surely_within_five_percent(profile, half):
    truth, space = judge_half(profile, RATE, half), profile.space
    met = ~np.isnan(truth.ratio)
    assert 3 <= met.sum() < len(space)
    for index in np.flatnonzero(truth.good):  # by the script, off and one thread differ by 1 %
        assert space[index]["inter_op"] == 1
        assert space[index]["batch_threads"] in (0, 1)
    assert truth.good.any()
    assert (truth.good <= truth.possible).all()
    assert not truth.possible[~met].any()  # who was no finalist is not good
    assert (truth.high[truth.good] <= 1.05).all()


def test_costs_are_on_one_scale(profile):
    truth = judge_half(profile, RATE, 0)
    best = np.nanmin(truth.cost)
    assert best == pytest.approx(0.01, rel=0.05)
    slow = profile.space.index(configuration(2, 1, 2, 4, 1000))
    assert np.isnan(truth.ratio[slow])
    assert truth.cost[slow] / best == pytest.approx(2.6, rel=0.1)


def test_a_fast_answer_that_is_a_failure_is_not_good(profile):
    failing = profile.space.index(FAILING)
    assert profile.surface(RATE)[failing] < 1.2 * np.nanmin(profile.surface(RATE))
    for half in (0, 1):
        truth = judge_half(profile, RATE, half)
        assert truth.cost[failing] >= FAILURE_S / 2
        assert np.isnan(truth.ratio[failing])  # so it was no finalist
        assert not truth.good[failing]


def test_without_finals_nobody_is_good_and_everybody_may_be(profile):
    truth = judge_half(Profile(profile.description, profile.grid), RATE, 0)
    assert not truth.good.any()
    assert truth.possible.all()
    assert np.isfinite(truth.cost).all()


def test_late_requests_are_counted_by_a_half(profile):
    fraction = late_fraction(profile, RATE, 0, np.array([0.0, 0.015, 10.0]))
    assert (fraction[0] == 1).all()
    assert (fraction[2] == 0).all()
    slow = np.array([c["inter_op"] == 2 for c in profile.space])
    failing = profile.space.index(FAILING)
    assert fraction[1][failing] == 0.6  # three of five requests
    slow[failing] = True
    assert fraction[1][slow].min() > fraction[1][~slow].max() == 0


def test_a_perfect_reader_deploys_the_best_of_the_replayed_half(profile):
    for half in (0, 1):
        rows = rows_of_half(profile, RATE, half)
        grid = rows[rows["pass"] < profile.grid_passes]
        means = grid.groupby(profile.knobs)["mean_s"].mean()
        best = dict(zip(profile.knobs, means.idxmin(), strict=True))
        assert profile.space[replay_best(profile, RATE, half)] == best


def test_usual_settings_stand_over_the_best_with_limits(profile):
    """Recordings may also have TensorFlow's adaptive scheduler; here it is a bit faster."""
    best = int(np.nanargmin(judge_half(profile, RATE, 0).ratio))
    own = profile.table[profile.space.indices(profile.table) == best]
    adaptive = own.assign(batch_threads=ADAPTIVE, mean_s=0.9 * own["mean_s"])
    table = usual_settings(Profile(profile.description, pd.concat([profile.table, adaptive])))
    assert set(table["setting"]) == {"default", "guide", "adaptive"}
    assert len(table) == 3 * 2 * len(PLAN.rates_per_s)
    adaptive = table[(table["setting"] == "adaptive") & (table["rate_per_s"] == RATE)]
    assert (adaptive["low"] <= adaptive["ratio"]).all()
    assert adaptive["ratio"].to_numpy() == pytest.approx(0.9, rel=0.1)


def test_the_half_that_judges_usual_settings_has_not_chosen_them():
    whole = read_profile("data/mobilenet_v2-batching")
    table, mean_s = usual_settings(whole), whole.table["mean_s"]
    for half in (0, 1):
        own = (whole.table["pass"] < whole.grid_passes) & (whole.table["pass"] % 2 == half)
        turned = whole.table.assign(mean_s=mean_s.where(~own, 1 / mean_s))
        again = usual_settings(Profile(whole.description, turned))
        assert again[again["half"] == half].equals(table[table["half"] == half])


# --- Judging finalists --------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(0.001, 0.2))
def test_judging_does_not_depend_on_units_or_order(seed, noise):
    rng = np.random.default_rng(seed)
    means = np.exp(rng.normal(scale=noise, size=(8, 5))) * np.linspace(1, 1.3, 5)
    best, ratios = judge(means)
    order = rng.permutation(5)
    best_again, permuted = judge(1000 * means[:, order])
    assert order[best_again] == best
    np.testing.assert_allclose(permuted, ratios[order])


@pytest.mark.parametrize(("true_ratio", "level"), [(1.05, 0.025), (1.0, 0.05)])
def test_judging_errs_at_the_stated_rate(true_ratio, level):
    """Who costs 5 % more is seldom good; of equals, either may seem better, and surely so."""
    rng = np.random.default_rng(1)
    wrong, tries = 0, 120
    for _ in range(tries):
        noise = rng.standard_t(3, size=(20, 2)) * 0.03  # heavy tails, as neighbours make them
        best, ratios = judge(np.exp(noise) * np.array([1.0, true_ratio]))
        _, low, high = ratios[1 - best]
        wrong += low > 1 if true_ratio == 1.0 else high <= 1 + TOLERANCE
    assert wrong <= level * tries + 3 * np.sqrt(level * tries)


def test_a_disturbed_episode_does_not_decide():
    means = np.exp(np.random.default_rng(2).normal(scale=0.02, size=(20, 2))) * [1.0, 1.2]
    means[3:5, 0] *= 30  # a neighbour slowed the best one down
    best, ratios = judge(means)
    assert best == 0
    assert 1 < ratios[1, 1] < ratios[1, 0] == pytest.approx(1.2, rel=0.05)


def test_a_finalist_that_was_dropped_early_is_compared_fairly():
    """It met slow episodes only; its own mean says nothing, its ratios do."""
    rng = np.random.default_rng(3)
    slow = np.repeat([3.0, 1.0], 10)[:, None]
    means = slow * np.exp(rng.normal(scale=0.01, size=(20, 3))) * [1.0, 1.1, 0.9]
    means[10:, 2] = np.nan
    assert judge(means)[0] == 2
