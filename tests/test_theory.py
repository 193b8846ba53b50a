"""The bounds hold, are as tight as claimed, and the checks would notice if they were false."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl import Knob
from rrl.core.qtable import QTable
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.extension.expected_saving import ExpectedSaving, expected_improvement
from rrl.studies.problems import surface
from rrl.theory import bounds, convergence, exploration_price
from rrl.theory.bound_checks import biases, covers, exogenous, explored, learning, noisy, sweep
from rrl.theory.convergence import slope_interval, watch_table
from rrl.theory.cover import cover_times, exact_cover_tail, exact_mean_cover
from rrl.theory.exploration_price import expected_price, finding_late, serve_without_noise
from rrl.theory.mdp import (
    MDP,
    blur,
    mean_field,
    policy_values,
    random_mdps,
    solve,
)
from rrl.theory.qlearning import region_learning, walk
from rrl.tuning.loop import tune

INSTANCES = 1_000  # the notebook takes more


def line(n: int, radius: float) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= radius


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
    "price, 1 % off": ("price_bound", scaled(0.99), explored, "price of exploration"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_false_bound_is_noticed(mutation, monkeypatch):
    name, change, part, caught = MUTATIONS[mutation]
    owner = bounds if hasattr(bounds, name) else exploration_price
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    checks = part(np.random.default_rng(0), 500)
    assert caught in {check.name for check in checks if not check.holds}


# --- Exact where it is exact --------------------------------------------------------------------


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


# --- Speed and radius ---------------------------------------------------------------------------


@given(st.floats(0.1, 10), st.floats(0.01, 10), st.integers(1, 4))
def test_the_best_radius_is_where_the_bound_is_smallest(lipschitz, a, d):
    best = bounds.best_radius(lipschitz, a, d)
    least = bounds.noisy_error(best, lipschitz, a, d)
    assert least == pytest.approx((1 + 2 / d) * lipschitz * best)
    for factor in (0.9, 1.1):
        assert bounds.noisy_error(best * factor, lipschitz, a, d) > least


def test_a_slope_is_that_of_mean_times_and_paired_runs_make_it_precise():
    k = np.array([1.0, 2.0, 8.0])
    spread = 1 + np.outer([0.0, 0.4, 0.8], [-1, -0.5, 0, 0.5, 1])  # each row has the mean 1
    slope, low, high = slope_interval(k, spread / k[:, None], np.random.default_rng(0))
    assert slope == pytest.approx(-1)
    assert low < -1 < high
    paired = slope_interval(k, spread[2] / k[:, None], np.random.default_rng(0))
    assert paired == pytest.approx((-1, -1, -1))


# --- The running system -------------------------------------------------------------------------


def test_one_table_is_watched_however_much_the_load_estimates_scatter(monkeypatch):
    """From two arrivals, the estimate of a steady load is often wrong by a factor of ten."""
    agents = []

    def make(*given, **settings):
        agents.append(RRL(*given, **settings))
        return agents[-1]

    monkeypatch.setattr(convergence, "tune", partial(tune, requests=2))
    line = surface("line", ConfigSpace([Knob("inter_op", (1, 2, 4))]), [3.0, 1.0, 2.0])
    curves = watch_table(line.server, 10.0, line.cost, 1, 40, make)
    (table,) = agents[0].tables
    assert table.episodes == 40
    off, greedy = np.abs(table.values - line.cost), line.cost[table.values.argmin()]
    last = [curve[0, -1] for curve in (curves.worst, curves.typical, curves.greedy)]
    assert last == [off.max(), np.median(off / line.cost), greedy / line.cost.min() - 1]


# --- The price of exploration -------------------------------------------------------------------


def test_a_trial_is_priced_by_what_is_served_then():
    """A sure saving comes first; the trial after it costs more than what has been found."""
    low, high, chance = (np.array([pair]) for pair in ((-1.0, -3.0), (0.0, 0.0), (1.0, 0.1)))
    price, saving = expected_price(low, high, chance, np.array([300.0]))
    second = 0.1 * np.expm1(-2.0) + 0.9 * np.expm1(1.0)
    assert price[0] == pytest.approx(np.expm1(-1.0) + second)
    assert saving[0] == pytest.approx(1.0 + 0.1 * 2.0)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1000))
def test_what_is_tried_is_expected_to_save_its_price(seed, horizon):
    """This is the premise of the theorem, for the gaps as they are: also for negative ones."""
    rng = np.random.default_rng(seed)
    table = QTable(ConfigSpace([Knob("a", tuple(range(500)))]))
    table.record(0, 1.0)
    table.incumbent = 0
    table.values[:] = np.exp(rng.normal(0, 0.5, 500))
    table.sds[:] = np.exp(rng.uniform(-5, 0.7, 500))
    rule, cells = ExpectedSaving(horizon), np.arange(500)
    pays = rule.net_savings(table, cells)[0] > 0
    gap, sd = np.log(table.values / table.values[0]), table.sds
    price, saving = np.expm1(gap + sd**2 / 2), horizon * expected_improvement(gap, sd)
    assert (price <= saving + 1e-9)[pays & (cells > 0)].all()
    assert pays[rule.choose(table, cells, rng)] or not pays.any()


def test_the_recommended_agent_may_find_the_optimum_late_but_finds_it():
    agent, costs = finding_late()
    numbers = serve_without_noise(agent, costs, 500)
    late = int(np.flatnonzero(numbers == 8)[0])
    assert late > 300
    assert set(numbers[10:late]) == {4}
    assert set(numbers[-50:]) == {8}
    soon = serve_without_noise(*finding_late(wall=1.2), 50)
    assert 8 in soon  # a lower wall is no obstacle


# --- Wrong arguments ----------------------------------------------------------------------------


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="need transitions of shape"):
        MDP(np.zeros((1, 3)), np.ones((1, 2, 1)), 0.5)
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
