"""What every similarity, region and exploration must keep to, and the rule of deployment.

A new part is checked by adding it to `SIMILARITIES`, `REGIONS` or `EXPLORATIONS`.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_space import spaces

from rrl.core.exploration import Boltzmann, ExpectedSaving
from rrl.core.knob import Knob
from rrl.core.learned_similarity import BESIDE_A_START, LearnedSimilarity
from rrl.core.qtable import QTable, Tables
from rrl.core.region import PART, FixedRadius, SelectedRadius, WholeSpace
from rrl.core.rrl import SURE, deploy, expected_cost
from rrl.core.similarity import Copy, NetworkSimilarity
from rrl.core.space import ConfigSpace
from rrl.rivals.variants import Within, WithoutMiddle
from rrl.tuning.presets import paper_cpu


class SmallNetwork(NetworkSimilarity):
    """A network that is fitted fast."""

    hidden, rounds = (8,), 5


SIMILARITIES = {
    "copy": Copy,
    "learned": LearnedSimilarity,
    "learned, beside a start": partial(LearnedSimilarity, BESIDE_A_START),
    "network": SmallNetwork,
}
REGIONS = {
    "fixed": lambda space: FixedRadius(1.5),
    "selected": SelectedRadius,
    "whole": lambda space: WholeSpace(),
    "without middle": lambda space: WithoutMiddle(),
    "within steps": lambda space: Within(2),
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
        region.learn(table, cost)
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


@pytest.mark.parametrize("make", SIMILARITIES.values(), ids=SIMILARITIES)
def test_a_prediction_changes_nothing_and_without_one_the_table_says_all(make):
    space, rng = paper_cpu(3), np.random.default_rng(0)
    (table, one), (twin, other) = ((QTable(space), make()) for _ in range(2))
    for index in rng.integers(64, size=9).tolist():
        cost, cells = 1.0 + rng.random(), space.ball(index, 2)
        found = measure(table, one, index, cost, cells)
        before = table.values.copy(), table.sds.copy()
        predicted = one.predict(table, cells).costs
        assert np.array_equal(table.values, before[0])
        assert np.array_equal(table.sds, before[1])
        if not isinstance(one, LearnedSimilarity):  # the table says all that is known
            assert np.array_equal(predicted, found.costs)
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
        region.learn(table, cost)
        if len(table.measured) > 2:
            assert table.incumbent in region.candidates(table)


def test_of_a_large_space_a_part_is_updated_and_each_episode_another_one():
    space = ConfigSpace([Knob(name, range(30)) for name in "abc"])
    table, region = QTable(space), WholeSpace()
    parts = []
    for index in (5, 13_000):
        table.record(index, 1.0)
        table.incumbent = 13_000
        parts.append(region.around(table, index))
    assert all(PART <= len(part) <= PART + 10 < len(space) for part in parts)
    assert {5, 13_000, *np.flatnonzero(space.steps(13_000) <= 1)} <= set(parts[1].tolist())
    assert len(np.setdiff1d(parts[1], parts[0])) > PART // 2


def test_trials_within_some_steps_reach_the_nearest_where_neighbours_are_missing():
    space = ConfigSpace([Knob("threads", range(7))], available=[[0], [3], [6]])
    table, region = QTable(space), Within(1)
    table.record(1, 1.0)
    table.update(region.around(table, 1), np.ones(3), np.ones(3), 1.0)
    table.record(1, 1.0)
    assert region.candidates(table).tolist() == [0, 1, 2]


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


# --- deployment -----------------------------------------------------------------------------------


@settings(max_examples=25)
@given(space=spaces(), measurements=told)
def test_only_what_was_measured_is_deployed(space, measurements):
    table = filled(space, measurements)
    noise, columns = table.noise, (table.values, table.sds, table.means, table.visits)
    expected = [expected_cost(*(x[c] for x in columns), noise) for c in table.measured]
    costs, sds = np.array(expected).T
    challenger = int(table.measured[(costs * np.exp(SURE * sds)).argmin()])
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
