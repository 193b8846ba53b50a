"""A radius that shrinks by the schedule: false versions of the theorem are noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.region import ONSET, recommended_radius
from rrl.theory import shrinking
from rrl.theory.bound_checks import chosen, shrunk
from rrl.theory.shrinking import (
    Epoch,
    centre_deviation,
    complete_epochs,
    cover_centres,
    epochs,
    error_rate,
    simple_regret,
    table_error,
    table_in_turn,
)


def line(n: int) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))).astype(float)


# --- False versions of the theorem are noticed --------------------------------------------------

FALSE = {
    "no bias": (shrunk, "table_error", lambda true: lambda L, radius, deviation: deviation),
    "half the bias": (shrunk, "table_error", lambda true: lambda L, r, dev: true(L, r / 2, dev)),
    "no deviation": (shrunk, "table_error", lambda true: lambda L, r, dev: true(L, r, 0)),
    "half the deviation": (shrunk, "centre_deviation", lambda true: lambda *a: true(*a) / 2),
    "no union bound": (
        shrunk,
        "centre_deviation",
        lambda true: lambda length, centres, k, sigma, delta: (
            sigma * np.sqrt(2 * np.log(2 / delta) / (length // centres))
        ),
    ),
    "the radius of the next epoch": (
        shrunk,
        "table_error",
        lambda true: lambda L, radius, dev: true(L, np.append(radius[1:], 0), dev),
    ),
    "a fourth of the rate": (shrunk, "error_rate", lambda true: lambda T, **h: true(T, **h) / 4),
    "an eighth of the regret": (shrunk, "simple_regret", lambda true: lambda e: true(e) / 8),
    "any choice, no bias": (chosen, "table_error", lambda true: lambda L, r, deviation: deviation),
    "any choice, a third": (
        chosen,
        "any_choice_deviation",
        lambda true: lambda *a: true(*a) / 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("false", FALSE)
def test_a_false_theorem_is_noticed(false, monkeypatch):
    part, name, change = FALSE[false]
    assert all(check.holds for check in part(np.random.default_rng(0), 500))
    monkeypatch.setattr(shrinking, name, change(getattr(shrinking, name)))
    assert not all(check.holds for check in part(np.random.default_rng(0), 500))


# --- The agent of the theorem -------------------------------------------------------------------


@given(st.integers(1, 10**6), st.integers(1, 1000))
def test_epochs_double_and_follow_each_other(episodes, first):
    count, begun = 0, 0
    while begun + first * 2**count <= episodes:
        begun, count = begun + first * 2**count, count + 1
    assert complete_epochs(episodes, first) == count
    assert begun == first * (2**count - 1)


@given(st.integers(0, 2**32 - 1), st.floats(0, 2), st.integers(1, 3))
def test_the_centres_are_a_cover_and_not_too_many(seed, radius, d):
    position = np.random.default_rng(seed).random((40, d))
    apart = np.linalg.norm(position[:, None] - position, axis=-1)
    centres = cover_centres(apart, radius)
    assert (apart[:, centres].min(axis=1) <= radius).all()
    assert (apart[np.ix_(centres, centres)][~np.eye(len(centres), dtype=bool)] > radius).all()
    if radius > 0.01:
        assert len(centres) <= (1 + d**0.5 / radius) ** d


def test_an_epoch_has_the_schedules_radius_and_measures_every_centre():
    run = epochs(line(30), 6.0, first=40, episodes=5000, d=1)
    begins = np.cumsum([0] + [epoch.length for epoch in run])
    assert begins[-1] <= 5000 < begins[-1] + 2 * run[-1].length
    np.testing.assert_array_equal(
        [epoch.radius for epoch in run], recommended_radius(6.0, begins[:-1], 1)
    )
    for epoch in run:
        assert epoch.visits.sum() == epoch.length
        assert epoch.visits.min() >= epoch.length // len(epoch.centres) > 0


def test_the_bias_is_attained():
    """One centre updates a configuration at the distance of the radius."""
    apart, cost = line(2), np.array([0.0, 3.0])
    table = table_in_turn(Epoch(10, 1.0, cover_centres(apart, 1.0)), cost, apart)
    assert np.abs(table - cost).max() == table_error(3.0, 1.0, 0.0) == 3.0


def test_the_regret_is_attained():
    """The worst seems best: its only centre costs less, and that of the optimum costs more."""
    position, cost = (
        np.array([3.5, 2.5, 1.0, 0.0]),
        np.array([2.0, 1.0, 1.0, 0.0]) - [1e-9, 1e-9, 0, 0],
    )
    apart = np.abs(np.subtract.outer(position, position))
    assert (np.abs(np.subtract.outer(cost, cost)) <= apart + 1e-15).all()  # L is 1
    table = table_in_turn(Epoch(10, 1.0, np.array([1, 2])), cost, apart)
    regret = cost[table.argmin()] - cost.min()
    assert regret == pytest.approx(simple_regret(table_error(1.0, 1.0, 0.0))) == 2


# --- The rate -----------------------------------------------------------------------------------

positive = st.floats(0.01, 100)


@given(positive, positive, positive, st.integers(20, 500), st.floats(1, 1e6), st.integers(1, 4))
def test_the_rate_is_never_below_the_bound_that_it_comes_from(L, sigma, start, first, more, d):
    episodes = int(first * more)
    length = first * 2 ** np.arange(complete_epochs(episodes, first))
    radius = recommended_radius(start, length - first, d)
    cover = ONSET * start**d  # then no epoch has more centres than episodes
    centres = np.maximum(np.floor(cover / radius**d * (1 - 1e-9)), 1)
    k = np.arange(len(length))
    bound = table_error(L, radius, centre_deviation(length, centres, k, sigma))
    how = {"start": start, "first": first, "lipschitz": L, "sigma": sigma, "cover": cover, "d": d}
    assert bound[-1] <= error_rate(episodes, **how) * (1 + 1e-9)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_rate_falls_by_the_exponent_up_to_a_logarithm(d):
    how = {"start": 3.0, "first": 50, "sigma": 1.0, "cover": 50.0, "d": d}
    times = np.array([1e6, 1e9])
    early, late = error_rate(times, lipschitz=0.1, **how) * times ** (1 / (d + 2))
    assert early < late < early * 1.5
    early, late = error_rate(times, lipschitz=1e9, **how) * times ** (1 / (d + 2))
    assert early == pytest.approx(late)  # without noise there is no logarithm


def test_a_first_epoch_that_is_too_short_is_refused():
    how = {"start": 3.0, "lipschitz": 0.1, "sigma": 1.0, "cover": 9.0, "d": 1}
    with pytest.raises(ValueError, match="first"):
        error_rate(1e4, first=int(ONSET) - 1, **how)
    with pytest.raises(ValueError, match="episodes"):
        error_rate([1e4, 30], first=31, **how)
