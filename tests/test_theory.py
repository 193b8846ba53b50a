"""The bounds hold, are as tight as claimed, and the checks would notice if they were false."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl import Knob
from rrl.core.region import FixedRadius
from rrl.core.space import ConfigSpace
from rrl.studies.problems import surface
from rrl.theory import bounds
from rrl.theory.bound_checks import biases, covers, exogenous, learning, noisy, sweep
from rrl.theory.convergence import (
    UNIFORM,
    cover_ends,
    slope_interval,
    watch_table,
)
from rrl.theory.cover import (
    cover_times,
    exact_cover_tail,
    exact_mean_cover,
    harmonic_mean_cover,
    neighbours,
)
from rrl.theory.mdp import (
    MDP,
    blur,
    greedy_loss,
    mean_field,
    policy_values,
    random_mdps,
    solve,
)
from rrl.theory.qlearning import region_learning, walk
from rrl.tuning.presets import paper_cpu

INSTANCES = 1_000  # the notebook takes more


def line(n: int, radius: float) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= radius


def groups(count: int, size: int) -> np.ndarray:
    return np.kron(np.eye(count), np.ones((size, size))) > 0


@pytest.fixture(scope="module")
def checks():
    return sweep(np.random.default_rng(0), INSTANCES)


# --- No bound is ever exceeded, and a false one would be noticed --------------------------------


def test_no_bound_is_violated_in_any_instance(checks):
    assert {
        check.name: len(check.observed) for check in checks if len(check.observed) < INSTANCES
    } == {}
    assert [check.name for check in checks if not check.holds] == []
    exact = [check for check in checks if check.allowed == 0]
    assert len(exact) == len(checks) - 1
    assert sum(check.violated.sum() for check in exact) == 0


def test_the_instances_are_not_trivial(checks):
    """A sweep of empty regions or constant costs would pass whatever the bounds say."""
    for check in checks:
        if check.bound.any():
            assert np.median(check.observed / np.maximum(check.bound, 1e-12)) > 0.03, check.name


def scaled(factor):
    return lambda true: lambda *how: factor * true(*how)


MUTATIONS = {
    "K": ("smallest_region", lambda true: lambda near: 2 * (true(near) + 1), covers, "mean cover"),
    "K, tail": ("smallest_region", lambda true: lambda near: true(near) + 1, covers, "cover tail"),
    "mean without + 1/q": (
        "mean_cover",
        lambda true: lambda n, k, p: true(n, k, p) - 1 / (np.asarray(k) * p) - 1,
        covers,
        "mean cover",
    ),
    "by cell, 10 % off": ("mean_cover_by_cell", scaled(0.9), covers, "mean cover, by cell"),
    "rate without gamma": (
        "contraction",
        lambda true: lambda learning_rate, gamma: true(learning_rate, 0.0),
        learning,
        "error after covers",
    ),
    "b, 1 % off": ("bias", scaled(0.99), biases, "fixed point"),
    "general loss, 1 % off": ("general_loss", scaled(0.99), biases, "greedy loss, general"),
    "loss, 1 % off": ("loss", scaled(0.99), biases, "greedy loss"),
    "exogenous, 1 % off": ("exogenous_loss", scaled(0.99), exogenous, "greedy loss, exogenous"),
    "noisy error, a third": ("noisy_error", scaled(1 / 3), noisy, "noisy means (95 %)"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_false_bound_is_noticed(mutation, monkeypatch):
    name, change, part, caught = MUTATIONS[mutation]
    monkeypatch.setattr(bounds, name, change(getattr(bounds, name)))
    checks = part(np.random.default_rng(0), 500)
    assert caught in {check.name for check in checks if not check.holds}


def test_a_cover_begins_where_the_one_before_ended():
    one = MDP(np.array([[1.0, 3.0]]), np.ones((1, 2, 1)), gamma=0.0)
    path = np.array([[0, action, 0] for action in (0, 1, 1, 1, 0, 0, 1)])
    run = region_learning(one, line(2, 0), path, np.zeros((1, 2)), truth=solve(one))
    assert run.covers.tolist() == [2, 5, 7]


# --- Exact where it is exact --------------------------------------------------------------------


def test_covers_of_a_partition_are_the_coupon_collectors():
    times = cover_times(groups(12, 5), 2000, np.random.default_rng(5))
    error = times.std(ddof=1) / len(times) ** 0.5
    assert abs(times.mean() - harmonic_mean_cover(12)) < 3 * error
    exact = exact_mean_cover(groups(6, 2), np.full(12, 1 / 12))
    assert exact == pytest.approx(harmonic_mean_cover(6))


def test_simulated_covers_agree_with_the_exact_formulas_where_regions_overlap():
    near = line(10, 2)
    times = cover_times(near, 5000, np.random.default_rng(0))
    error = times.std(ddof=1) / len(times) ** 0.5
    assert abs(times.mean() - exact_mean_cover(near, np.full(10, 0.1))) < 3 * error
    tail = exact_cover_tail(near, np.full(10, 0.1), 8)
    assert abs((times > 8).mean() - tail) < 3 * (tail * (1 - tail) / 5000) ** 0.5


def test_long_learning_stays_at_the_fixed_point_of_the_aggregated_operator():
    rng = np.random.default_rng(3)
    mdp = MDP(rng.uniform(0, 1, (2, 4)), rng.dirichlet(np.ones(2), (2, 4)), 0.6)
    near, truth = line(4, 1), solve(mdp)
    fixed = solve(blur(mdp, mean_field(near)))
    how = {"truth": truth, "learning_rate": 0.002}
    runs = np.array(
        [region_learning(mdp, near, walk(mdp, 20_000, rng), fixed, **how).values for _ in range(16)]
    )
    off = (runs.mean(axis=0) - fixed) / (runs.std(axis=0, ddof=1) / 16**0.5)
    assert np.abs(off).max() < 3.2  # eight cells at once: 99 %
    assert (np.abs(runs.mean(axis=0) - truth) > 0.05).any()  # and it is not Q*


def test_the_fixed_point_is_one_of_m_t_and_the_solver_finds_the_best_policy():
    rng = np.random.default_rng(5)
    mdp, near = random_mdps(rng, 50, states=2, actions=3)
    weights = mean_field(near, rng.uniform(0.1, 1, (50, 3)))
    fixed = solve(blur(mdp, weights))
    applied = weights[:, None] @ mdp.backup(fixed.min(axis=-1))[..., None]
    np.testing.assert_allclose(applied[..., 0], fixed, atol=1e-9)
    policies = np.stack(np.meshgrid(range(3), range(3)), axis=-1).reshape(-1, 2)
    every = [policy_values(mdp, np.broadcast_to(policy, (50, 2))) for policy in policies]
    np.testing.assert_allclose(solve(mdp).min(axis=-1), np.min(every, axis=0), atol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_the_bounds_of_bias_and_loss_are_attained(gamma):
    cost, transition, weights = bounds.hardest(gamma)
    mdp = MDP(cost, transition, gamma)
    learned = solve(blur(mdp, weights))
    assert np.abs(learned - solve(mdp)).max() == pytest.approx(bounds.bias(1.0, gamma))
    assert greedy_loss(mdp, learned) == pytest.approx(bounds.loss(1.0, gamma), rel=1e-6)


def test_without_influence_on_the_load_the_greedy_choice_does_not_depend_on_the_discount():
    rng = np.random.default_rng(0)
    cost, moves = rng.uniform(0.1, 1, (3, 9)), rng.dirichlet(np.ones(3), (3, 1)).repeat(9, axis=1)
    blurred = [blur(MDP(cost, moves, gamma), mean_field(line(9, 1))) for gamma in (0.0, 0.5, 0.95)]
    choices = [solve(mdp).argmin(axis=-1).tolist() for mdp in blurred]
    assert choices[0] == choices[1] == choices[2]


# --- Speed and radius ---------------------------------------------------------------------------


def test_the_speedup_grows_at_least_like_k():
    radii, space = (0, 1, 2, 3), paper_cpu()
    near = [neighbours(space, radius) for radius in radii]
    k = np.array([regions.sum(axis=1).min() for regions in near])
    rng = np.random.default_rng(0)
    times = np.array([cover_times(regions, 40, rng) for regions in near])
    slope, low, high = slope_interval(k, times[0] / times, rng)
    assert 1 < low <= slope <= high < 1.5
    bound = [bounds.mean_cover(len(space), least, 1 / len(space)) for least in k]
    by_cell = [bounds.mean_cover_by_cell(regions.sum(axis=1), 1 / 1331) for regions in near]
    assert (times.mean(axis=1) < by_cell * np.array(1.05)).all()
    assert (np.array(by_cell) < bound).all()


@given(st.floats(0.1, 10), st.floats(0.01, 10), st.integers(1, 4))
def test_the_best_radius_is_where_the_bound_is_smallest(lipschitz, a, d):
    best = bounds.best_radius(lipschitz, a, d)
    least = bounds.noisy_error(best, lipschitz, a, d)
    assert least == pytest.approx((1 + 2 / d) * lipschitz * best)
    for factor in (0.9, 1.1):
        assert bounds.noisy_error(best * factor, lipschitz, a, d) > least


# --- The running system -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched():
    space = ConfigSpace([Knob("inter_op", tuple(range(1, 9)))])
    cost = np.array([4.0, 3.0, 2.0, 1.0, 1.5, 2.5, 3.5, 5.0])
    flat = surface("line", space, cost, noise=0.02)
    return (
        {
            radius: watch_table(
                flat.server,
                10.0,
                cost,
                12,
                100,
                region=FixedRadius(radius),
                exploration=UNIFORM,
            )
            for radius in (0, 1)
        },
        space,
        cost,
    )


def test_the_table_converges_and_the_blur_stays(watched):
    runs, space, cost = watched
    blurred = mean_field(neighbours(space, 1)) @ cost
    assert np.median(runs[0].worst[:, -1]) < 0.3
    assert np.median(runs[1].worst[:, -1]) > 0.5 * np.abs(blurred - cost).max()
    assert np.median(runs[0].greedy[:, -1]) == 0


def test_the_running_systems_first_cover_is_the_collectors(watched):
    runs, space, _ = watched
    near = neighbours(space, 0)
    times = np.array([min(cover_ends(near, run)) for run in runs[0].chosen])
    error = times.std(ddof=1) / len(times) ** 0.5
    assert abs(times.mean() - harmonic_mean_cover(8)) < 3 * error


# --- Wrong arguments, figures -------------------------------------------------------------------


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="shape"):
        MDP(np.zeros((2, 3)), np.ones((2, 3, 3)) / 3, 0.5)
    with pytest.raises(ValueError, match="add up to 1"):
        MDP(np.zeros((1, 3)), np.ones((1, 3, 1)) / 2, 0.5)
    with pytest.raises(ValueError, match="gamma"):
        MDP(np.zeros((1, 3)), np.ones((1, 3, 1)), 1.0)
    with pytest.raises(ValueError, match="cover_times"):
        exact_mean_cover(np.eye(17, dtype=bool), np.full(17, 1 / 17))
    with pytest.raises(ValueError, match="no cover ends"):
        cover_times(line(3, -1), 1, np.random.default_rng(0))
    one = MDP(np.ones((1, 2)), np.ones((1, 2, 1)), 0.5)
    with pytest.raises(ValueError, match="learning_rate"):
        region_learning(one, line(2, 1), walk(one, 3, np.random.default_rng(0)), np.ones((1, 2)),
                        truth=np.ones((1, 2)), learning_rate=0.0)  # fmt: skip
