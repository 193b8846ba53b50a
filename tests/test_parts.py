"""What every similarity, region and exploration must keep to, and the rule of deployment.

A new part is checked by adding it to `SIMILARITIES`, `REGIONS` or `EXPLORATIONS`.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agent import bowl
from test_space import spaces

from rrl.core.exploration import Boltzmann, action_probabilities
from rrl.core.knob import Knob
from rrl.core.qtable import NOISE, NOISE_WEIGHT, QTable, Tables, update_region
from rrl.core.region import (
    FixedRadius,
    Nearest,
    RadiusSelection,
    SelectedRadius,
    copying_errors,
    theoretical_radius,
)
from rrl.core.rrl import adaptive, deploy, expected_cost
from rrl.core.similarity import Copy, NetworkSimilarity
from rrl.core.space import ConfigSpace
from rrl.extension.expected_saving import ExpectedSaving
from rrl.extension.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    Posterior,
    correlation,
    fit_hyperparameters,
)
from rrl.extension.learned_similarity import LearnedSimilarity
from rrl.extension.prior import Prior
from rrl.extension.whole_space import PART, WholeSpace
from rrl.tuning.presets import paper_cpu


class SmallNetwork(NetworkSimilarity):
    """A network that is fitted fast."""

    hidden, rounds = (8,), 5


SIMILARITIES = {
    "copy": Copy,
    "learned": LearnedSimilarity,
    "learned, flat mean": partial(LearnedSimilarity, None),
    "network": SmallNetwork,
    "prior": Prior,
}
REGIONS = {
    "fixed": lambda space: FixedRadius(1.5),
    "nearest": lambda space: Nearest(5),
    "selected": SelectedRadius,
    "whole": lambda space: WholeSpace(),
}
EXPLORATIONS = {"boltzmann": Boltzmann, "saving": ExpectedSaving}
told = st.lists(
    st.tuples(st.integers(0, 124), st.integers(0, 9) | st.floats(1e-9, 1e6)), min_size=1, max_size=6
)  # a configuration's number, modulo the size of the space, and a cost


def measure(table, similarity, index, cost, cells):
    """One episode, as RRL takes it in."""
    table.record(index, cost)
    estimate = similarity.estimate(table, index, cost, cells)
    table.update(cells, *estimate, learning_rate=1.0)
    table.incumbent = deploy(table)
    return estimate


def filled(space, measurements):
    """A table after some measurements."""
    table, similarity, region = QTable(space), Copy(), FixedRadius(1.5)
    for number, cost in measurements:
        index = number % len(space)
        measure(table, similarity, index, cost, region.around(table, index))
        region.learn(table, index, cost)
    return table


# --- similarities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", SIMILARITIES.values(), ids=SIMILARITIES)
@settings(max_examples=15)
@given(space=spaces(), measurements=told)
def test_estimates_are_costs_with_a_standard_deviation(make, space, measurements):
    table, similarity = QTable(space), make()
    for number, cost in measurements:
        index = number % len(space)
        cells = space.ball(index, 2.0)
        costs, sds = measure(table, similarity, index, cost, cells)
        assert costs.shape == sds.shape == cells.shape
        assert costs.dtype == float
        assert np.all(np.isfinite(costs) & (costs >= 0))
        assert np.all(np.isfinite(sds) & (sds > 0))
        assert sds[cells == index][0] <= table.noise + 1e-12  # as sure as a measurement


def test_a_prediction_changes_nothing():
    space, rng = paper_cpu(3), np.random.default_rng(0)
    (table, one), (twin, other) = ((QTable(space), LearnedSimilarity()) for _ in range(2))
    for index in rng.integers(64, size=9).tolist():
        cost, cells = 1.0 + rng.random(), space.ball(index, 2)
        found = measure(table, one, index, cost, cells)
        before = table.values.copy(), table.sds.copy()
        one.predict(table, cells)
        assert np.array_equal(table.values, before[0])
        assert np.array_equal(table.sds, before[1])
        assert np.array_equal(measure(twin, other, index, cost, cells).costs, found.costs)


@pytest.mark.parametrize("make", [Copy, LearnedSimilarity])
def test_the_standard_deviation_covers_what_was_not_measured_yet(make):
    """Of true costs, 95 % should lie within two standard deviations; at least 85 % do."""
    space = ConfigSpace([Knob("a", range(9)), Knob("b", range(9))])
    truth, inside = np.exp(0.4 * np.sin(space.positions).sum(axis=1)), []
    for seed in range(4):
        table, similarity, rng = QTable(space), make(), np.random.default_rng(seed)
        for episode, index in enumerate(rng.choice(81, size=30, replace=False).tolist()):
            cells = space.ball(index, 1.5)
            kept = (table.visits[cells] == 0) & (cells != index) & (episode >= 10)
            found = measure(table, similarity, index, truth[index] * rng.lognormal(0, 0.1), cells)
            off = np.abs(np.log(found.costs / truth[cells]))
            inside += (off <= 2 * found.sds)[kept].tolist()
    assert np.mean(inside) >= 0.85


def test_a_network_is_less_sure_once_it_was_wrong():
    """Costs that no neighbour foretells, and the same cost everywhere."""
    space, sds = ConfigSpace([Knob("a", range(12))]), []
    for costs in (np.ones(12), np.tile([1.0, 20.0], 6)):
        table, similarity = QTable(space), SIMILARITIES["network"]()
        for index in range(12):
            estimate = measure(table, similarity, index, costs[index], np.arange(12))
        sds.append(float(np.median(measure(table, similarity, 0, 1.0, np.arange(12)).sds)))
        assert estimate.costs[11] == costs[11]
    assert sds[1] > 3 * sds[0]


@pytest.mark.parametrize(("steep", "apart"), [(0.02, 1), (0.5, 3)])
def test_a_copy_learns_how_much_neighbours_differ(steep, apart):
    """However far apart they are: what counts is the difference over the distance."""
    rows = apart * np.arange(30)[:, None]
    space = ConfigSpace([Knob("a", range(apart * 30))], available=rows)
    truth, similarity = np.exp(steep * np.arange(30.0)), Copy()
    table = QTable(space)
    for index in range(30):
        estimate = measure(table, similarity, index, truth[index], space.ball(index, apart))
    slope = np.sqrt(estimate.sds.max() ** 2 - table.noise**2)
    assert slope == pytest.approx(steep, rel=0.35, abs=0.1)


@settings(max_examples=30)
@given(space=spaces(), measurements=told, weak=st.booleans())
def test_copies_count_as_one_measurement_beside_those_of_the_configuration(
    space, measurements, weak
):
    """Every value from the list of all measurements, as the definition says."""
    table, similarity, region = QTable(space), Prior(), Nearest(2 if weak else 9)
    measured, unreached = [], 0.0
    for number, cost in measurements:
        index = number % len(space)
        reached = table.counts > 0
        unreached = table.values[reached].mean() if reached.any() else cost
        measure(table, similarity, index, cost, region.around(table, index))
        measured.append((index, float(cost), set(region.around(table, index).tolist())))
    for c in range(len(space)):
        copies = [cost for _, cost, cells in measured if c in cells]
        own = [cost for index, cost, _ in measured if index == c]
        expected = (np.mean(copies) + sum(own)) / (1 + len(own)) if copies else unreached
        scale = max(cost for _, cost, _ in measured)
        assert table.values[c] == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale)


# --- regions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", REGIONS.values(), ids=REGIONS)
@settings(max_examples=15)
@given(space=spaces(), measurements=told)
def test_regions_are_sorted_sets_that_hold_what_was_measured(make, space, measurements):
    region, table = make(space), QTable(space)
    for number, cost in measurements:
        index = number % len(space)
        cells = region.candidates(table)
        assert len(cells) > 0
        assert set(cells.tolist()) <= set(range(len(space)))
        table.record(index, cost)
        around = region.around(table, index)
        assert around.tolist() == sorted(set(around.tolist()))
        assert index in around
        table.update(around, *Copy().estimate(table, index, cost, around), 1.0)
        table.incumbent = deploy(table)
        region.learn(table, index, cost)
        if len(table.measured) > 2:
            assert table.incumbent in region.candidates(table)


def test_of_a_large_space_a_part_is_updated_which_moves_with_the_incumbent_and_in_time():
    space = ConfigSpace([Knob(name, range(30)) for name in "abc"])
    table, region, parts = QTable(space), WholeSpace(), []
    for incumbent, index in ((13_000, 5), (13_000, 13_000), (7, 7), *[(7, 7)] * 80):
        table.record(index, 1.0)
        table.incumbent = incumbent
        parts.append(region.around(table, index))
        near = np.flatnonzero(space.steps(incumbent) <= 1)
        assert {5, index, *near.tolist()} <= set(parts[-1].tolist())
    assert all(PART <= len(part) <= PART + 20 < len(space) for part in parts)
    assert len({part.tobytes() for part in parts}) < len(parts) / 2  # the posterior grows meanwhile
    assert len(np.setdiff1d(parts[-1], parts[3])) > PART // 2


# --- explorations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EXPLORATIONS.values(), ids=EXPLORATIONS)
@settings(max_examples=15)
@given(space=spaces(), measurements=told, data=st.data())
def test_only_candidates_are_chosen(make, space, measurements, data):
    table, rng = filled(space, measurements), np.random.default_rng(0)
    numbers = st.sets(st.integers(0, len(space) - 1), min_size=1)
    cells = np.array(sorted(data.draw(numbers)), dtype=np.int64)
    exploration = make()
    assert all(exploration.choose(table, cells, rng) in cells for _ in range(5))


@pytest.mark.parametrize("make", EXPLORATIONS.values(), ids=EXPLORATIONS)
def test_an_empty_table_gives_every_configuration_a_chance(make):
    table, rng, exploration = QTable(paper_cpu(1)), np.random.default_rng(0), make()
    cells = np.arange(8)
    assert {exploration.choose(table, cells, rng) for _ in range(200)} == set(range(8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedRadius(-1.0), "radius must be a number that is at least 0, got -1"),
        (lambda: FixedRadius(np.nan), "radius must be a number that is at least 0, got nan"),
        (lambda: Nearest(0), "a region needs at least 1 configuration, got 0"),
        (lambda: Boltzmann(start=0.01, end=0.02), "need 0 < end <= start"),
        (lambda: ExpectedSaving(0.0), "horizon must be a positive number of episodes"),
        (lambda: Tables(paper_cpu(1), ratio=1.0), "ratio of load levels must be above 1"),
    ],
)
def test_a_number_that_no_part_can_have_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- deployment -----------------------------------------------------------------------------------


@settings(max_examples=25)
@given(space=spaces(), measurements=told)
def test_only_what_was_measured_is_deployed(space, measurements):
    table = filled(space, measurements)
    noise, columns = table.noise, (table.values, table.sds, table.means, table.visits)
    expected = [expected_cost(*(x[c] for x in columns), noise) for c in table.measured]
    costs, sds = np.array(expected).T
    challenger = int(table.measured[(costs * np.exp(2 * sds)).argmin()])
    for incumbent in table.measured.tolist():
        table.incumbent = incumbent
        assert deploy(table) in (incumbent, challenger)
    table.incumbent = int(table.measured[0])
    beside_first = deploy(table)
    table.incumbent = None  # then the one that was measured first counts as it
    assert deploy(table) == beside_first


def test_a_cost_of_zero_replaces_any_other_but_not_another_zero():
    table = QTable(ConfigSpace([Knob("threads", (1, 2, 4))]))
    for index, cost in enumerate((1.0, 0.0, 0.0)):
        table.record(index, cost)
    table.incumbent = 0
    first = deploy(table)
    assert first in (1, 2)
    table.incumbent = 2
    assert deploy(table) == 2


def test_a_network_tells_the_loads_of_one_table_apart():
    space = ConfigSpace([Knob("threads", (1, 2, 4))])

    def learned(last):
        tables, network = Tables(space, np.inf), NetworkSimilarity()
        for load, index in ((10.0, 0), (100.0, 0), (10.0, 1), (100.0, 1), (last, 2)):
            table, cost = tables.at(load), 1.0 if load < 50 else 3.0
            table.record(index, cost)
            estimate = network.estimate(table, index, cost, np.arange(3))
        return estimate.costs

    assert (learned(100.0) > 2 * learned(10.0)).all()


# --- the radius that is selected ------------------------------------------------------------------


def observed(step, noise, episodes=300, seed=0):
    """Return the radius after some episodes on a line, whose neighbours differ by a step."""
    selection, rng = RadiusSelection(3, start=2.0), np.random.default_rng(seed)
    for episode in range(1, episodes + 1):
        copies = np.maximum(episode / 20 * (1 + selection.radii) ** 3, 1)
        known = noise / np.sqrt(copies) * rng.standard_normal(len(copies))
        selection.tell(noise * rng.standard_normal() + known - step * selection.radii)
    return selection.radius


def test_without_observations_the_radius_is_that_of_theory():
    selection = RadiusSelection(3, start=3.0)
    for _ in range(200):
        selection.tell(None)
    for (begin, radius), (end, _) in pairwise(selection.history[1:]):
        assert radius == pytest.approx(theoretical_radius(3.0, (begin + end) / 2, 3))


def test_the_radius_falls_sooner_where_neighbours_differ_more():
    rough, smooth = (np.mean([observed(step, 0.1, seed=k) for k in range(4)]) for step in (0.3, 0))
    assert rough == 0 < smooth


def test_more_noise_keeps_the_region_wider():
    radii = [np.mean([observed(0.1, noise, seed=k) for k in range(4)]) for noise in (0.05, 0.8)]
    assert radii[0] < radii[1]


def test_errors_of_a_scale_or_a_digit_more_select_the_same_radius():
    errors = np.abs(np.random.default_rng(0).normal(0, 0.3, (100, 5)))
    both = []
    for factor in (1.0, 1 + 1e-12):
        selection = RadiusSelection(2, start=2.0)
        for row in errors * factor:
            selection.tell(row)
        both.append(selection.history)
    assert both[0] == both[1]


@given(st.integers(0, 99), st.integers(5, 60))
@settings(max_examples=20)
def test_copying_errors_are_those_of_means_of_all_earlier_costs(seed, episodes):
    rng, space = np.random.default_rng(seed), ConfigSpace([Knob(n, range(4)) for n in "ab"])
    table, radii = QTable(space), np.array([0.0, 1.0, 1.5, 9.0])
    told: list[tuple[int, float]] = []
    for _ in range(episodes):
        index, cost = int(rng.integers(len(space))), float(rng.lognormal())
        table.record(index, cost)
        errors = copying_errors(table, index, cost, radii)
        near = [
            [earlier for i, earlier in told if space.distances(index)[i] <= radius + 1e-9]
            for radius in radii
        ]
        told.append((index, cost))
        if not near[0]:
            assert errors is None
            continue
        means = np.array([np.mean(costs) for costs in near])
        expected = np.log((cost + table.floor) / (means + table.floor))
        np.testing.assert_allclose(errors, expected, rtol=1e-6, atol=1e-9)


def test_costs_of_zero_tell_nothing_about_the_radius():
    table = QTable(ConfigSpace([Knob("threads", (1, 2, 4))]))
    for _ in range(2):
        table.record(0, 0.0)
    assert copying_errors(table, 0, 0.0, np.array([0.0, 1.0])) is None


def test_each_load_level_has_its_own_radius():
    agent = adaptive(paper_cpu(4), np.random.default_rng(0))
    bowl(agent, 60)
    narrow = agent.region.selections[0].radius
    bowl(agent, 5, loads=(40.0,))
    assert agent.region.selections[1].radius == agent.region.selections[0].start != narrow
    assert agent.region.selections[0].radius == narrow


# --- the Gaussian process of the learned similarity: the textbook's, and it finds what is there ---


@given(st.integers(1, 150), st.integers(1, 5), st.integers(0, 2), st.integers(0, 99))
@settings(max_examples=30)
def test_the_correlation_is_the_formula(points, others, columns, seed):
    """The package computes it from scalar products."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 9, (points, columns)), rng.uniform(0, 9, (others, columns))
    b[0] = a[-1]  # rounding must not make a distance of 0 negative
    lengths = np.array([0.7, 3.0])[:columns]
    r = np.sqrt(5) * np.linalg.norm((a[:, None] - b) / lengths, axis=2)
    expected = (1 + r + r**2 / 3) * np.exp(-r)
    found = correlation(a, b, lengths)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_the_posterior_is_that_of_the_textbook():
    """Rasmussen & Williams, equations 2.25 and 2.26, with an unknown mean put in."""
    rng, assumed = np.random.default_rng(5), Hyperparameters(np.array([2.0, 4.0]), 0.7, 0.1)
    x, elsewhere = rng.uniform(0, 10, (90, 2)), rng.uniform(0, 10, (200, 2))
    y, variance = np.sin(x[:, 0]), rng.uniform(0.001, 0.02, 90)
    process = GaussianProcess(x, y, variance, assumed)
    prior = 0.49 * correlation(x, x, assumed.length_scales) + 0.01 * np.eye(90)
    cross = 0.49 * correlation(elsewhere, x, assumed.length_scales)
    of_all = np.linalg.inv(prior + np.diag(variance))
    centre = of_all.sum(axis=0) @ y / of_all.sum()
    mean, sd = process.posterior(elsewhere)
    np.testing.assert_allclose(mean, centre + cross @ of_all @ (y - centre))
    left = 0.49 + 0.01 - np.einsum("ij,jk,ik->i", cross, of_all, cross)
    np.testing.assert_allclose(sd, np.sqrt(left))
    grown = Posterior(np.concatenate([x, elsewhere]), assumed, x[:1], np.array([0]), variance[:1])
    for number in range(1, 90):  # one measurement after the other
        grown.add(number, variance[number])
    means, sds = grown.given(y)
    np.testing.assert_allclose(means[90:], mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(sds[90:], sd, rtol=1e-7)
    np.testing.assert_allclose(means[:90], centre + prior @ of_all @ (y - centre), atol=1e-9)
    np.testing.assert_allclose(sds[:90] ** 2, np.diag(prior - prior @ of_all @ prior), rtol=1e-6)


def test_a_repeated_measurement_counts_as_a_mean_of_both():
    assumed, points = Hyperparameters(np.array([2.0]), 0.7, 0.1), np.arange(5.0)[:, None]
    one = Posterior(points, assumed, points[[1]], np.array([1]), np.array([0.04]))
    one.add(1, 0.04)
    other = Posterior(points, assumed, points[[1]], np.array([1]), np.array([0.02]))
    prior = (0.5, 1.2)
    for found, expected in zip(
        one.given(np.array([0.0, 1.0]), prior), other.given(np.array([0.5]), prior), strict=True
    ):
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("rough", "low", "high"), [(0.0, 0.0, 0.02), (0.3, 0.2, 0.45)])
def test_the_nugget_is_found(rough, low, high):
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 10, (80, 2))
    y = np.sin(x[:, 0] / 2) + rough * rng.standard_normal(80)

    def likelihood(one):
        return GaussianProcess(x, y, np.full(80, 1e-4), one).log_likelihood

    start = Hyperparameters(np.full(2, 3.0), 1.0)
    assert low <= fit_hyperparameters(likelihood, start, start).nugget <= high


@pytest.mark.parametrize("noise", [0.03, 0.3])
def test_the_noise_is_learned_from_what_is_repeated_and_from_what_is_not(noise):
    """Without a repeat, what no smooth function explains is noise or nugget."""
    space, found = ConfigSpace([Knob("a", range(9)), Knob("b", range(9))]), []
    truth = np.exp(0.2 * np.sin(space.positions).sum(axis=1))
    for repeats in (1, 3):
        table, similarity, rng = QTable(space), LearnedSimilarity(), np.random.default_rng(0)
        for index in rng.choice(81, size=33, replace=False).tolist() * repeats:
            cost = truth[index] * rng.lognormal(0, noise)
            measure(table, similarity, index, cost, np.arange(81))
        found.append((table.noise, similarity.hyperparameters.nugget))
    assert found[1][0] == pytest.approx(noise, rel=0.4)
    assert np.hypot(*found[0]) == pytest.approx(noise, rel=0.5)


@pytest.mark.parametrize(("cliff", "low", "high"), [(0.0, 0.0, 1.2), (3.0, 2.0, np.inf)])
def test_the_process_says_how_wrong_it_was(cliff, low, high):
    """The costs are smooth; then every second one is e^3 times as high."""
    space = ConfigSpace([Knob("a", range(40))])
    table, similarity, rng = QTable(space), LearnedSimilarity(), np.random.default_rng(0)
    assert np.isnan(similarity.calibration)
    for index in range(30):
        cost = np.exp(0.1 * np.sin(index / 4) + cliff * (index >= 20) * (index % 2))
        measure(table, similarity, index, cost * rng.lognormal(0, 0.05), np.arange(40))
    assert low < similarity.calibration < high


def test_measurements_one_by_one_give_the_posterior_of_all():
    space, rng = paper_cpu(3), np.random.default_rng(0)
    table, similarity, cells = QTable(space), LearnedSimilarity(), np.arange(64)
    for index in rng.integers(64, size=30).tolist():
        estimate = measure(table, similarity, index, rng.lognormal(0, 0.5), cells)
        again = similarity.predict(table, cells)
    similarity._known = None
    table.values[:], table.sds[:] = again  # the incumbent's value is the reference
    fresh = similarity.predict(table, cells)
    np.testing.assert_allclose(fresh.sds, estimate.sds, rtol=1e-6)


# --- the table, and which load level a load belongs to --------------------------------------------


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


def note(table, index, cost):
    table.record(index, cost)
    table.update(np.array([index]), np.array([cost]), np.array([0.2]), 0.3)


@given(st.lists(st.tuples(st.integers(0, 4), costs), min_size=1, max_size=40))
def test_counts_means_and_noise_are_those_of_the_measurements(measured):
    table = QTable(line(5))
    for index, cost in measured:
        note(table, index, cost)
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
        note(table, 0, cost)
    note(table, 1, 2.0)
    new = tables.at(100.0)
    note(new, 1, 8.0)  # as expected, but four times as high
    assert new.counts.tolist() == [2.0, 2.0, 0.0]
    assert new.values.tolist() == pytest.approx([4.0, 8.0, 4.0], rel=0.03)
    note(new, 0, 4.0)
    note(new, 0, 12.0)  # the inherited value counts as two measurements
    assert new.values[0] == pytest.approx((2 * 4.0 + 4.0) / 3 * 0.7 + 12 * 0.3, rel=0.03)
    assert table.values.tolist() == [1.0, 2.0, 1.0]


def test_a_value_of_an_own_measurement_is_not_scaled_by_what_others_cost():
    tables = Tables(line(2))
    for load, index, cost in ((10.0, 0, 1.0), (10.0, 1, 1.0), (100.0, 0, 4.0), (100.0, 1, 16.0)):
        note(tables.at(load), index, cost)
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
