"""The learned similarity and the network's: contract, and that they learn what is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agent import AgentContract
from test_space import spaces

from rrl.core.gaussian_process import OWN, Belief, Prior, compress, correlation, learn
from rrl.core.knob import Knob
from rrl.core.learned_similarity import EXPECTED_NOISE, Coordinates, LearnedSimilarity, Tally
from rrl.core.released_network import NetworkSimilarity
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.tuning.presets import paper_cpu

SMALL = {"hidden": (8,), "rounds": 5}


class TestRRLWithLearnedSimilarity(AgentContract):
    def make(self, space, rng):
        return RRL(space, rng, radius=min(2.0, space.diameter), similarity=LearnedSimilarity())


class TestRRLWithNetwork(AgentContract):
    episodes = 13

    def make(self, space, rng):
        return RRL(
            space, rng, radius=min(2.0, space.diameter), similarity=NetworkSimilarity(**SMALL)
        )


@pytest.mark.parametrize("make", [LearnedSimilarity, lambda: NetworkSimilarity(**SMALL)])
@settings(max_examples=15, deadline=None)
@given(space=spaces(), costs=st.lists(st.floats(0, 1e6), min_size=1, max_size=5), data=st.data())
def test_every_estimator_is_sure_of_what_was_measured(make, space, costs, data):
    similarity = make()
    for cost in costs:
        index = data.draw(st.integers(0, len(space) - 1))
        ball = space.ball(index, 2.0)
        estimate = similarity.estimate(space, index, cost, ball, load=10.0)
        assert estimate.costs[ball == index].tolist() == [cost]
        assert estimate.weights[ball == index].tolist() == [1.0]
        assert np.all((estimate.weights >= 0) & (estimate.weights <= 1))
        assert np.all(np.isfinite(estimate.costs) & (estimate.costs >= 0))


@pytest.mark.parametrize("make", [LearnedSimilarity, lambda: NetworkSimilarity(**SMALL)])
def test_a_restored_estimator_says_the_same(make):
    space, one, other = paper_cpu(3), make(), make()
    rng = np.random.default_rng(0)
    for index in rng.integers(64, size=9).tolist():
        one.estimate(space, index, 1.0 + rng.random(), space.ball(index, 2), load=10.0)
    other.restore(json.loads(json.dumps(one.state())))
    results = [s.estimate(space, 5, 1.5, space.ball(5, 2), load=20.0) for s in (one, other)]
    assert np.array_equal(results[0].costs, results[1].costs)
    assert np.array_equal(results[0].weights, results[1].weights)
    with pytest.raises(ValueError, match=r"incomplete|no measurements"):
        other.restore({})


def surface(x):
    """Steep along the first coordinate, flat along the second."""
    return 0.3 * x[:, 0] + 0.01 * x[:, 1]


def test_a_knob_that_does_not_matter_gets_the_longest_length():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 10, (40, 2))
    y = np.sin(x[:, 0])
    start = Prior(np.full(2, 3.0), 1.0)
    learnt = learn(x, y, np.full(40, 1e-3), start, start)
    assert learnt.lengths[1] > 3 * learnt.lengths[0]
    before, after = (Belief(x, y, np.full(40, 1e-3), p).log_likelihood for p in (start, learnt))
    assert after > before


@pytest.mark.parametrize(("rough", "low", "high"), [(0.0, 0.0, 0.02), (0.3, 0.2, 0.45)])
def test_how_much_is_a_configurations_own_is_learned(rough, low, high):
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 10, (80, 2))
    y = np.sin(x[:, 0] / 2) + rough * rng.standard_normal(80)
    start = Prior(np.full(2, 3.0), 1.0)
    assert low <= learn(x, y, np.full(80, 1e-4), start, start).own <= high


def test_the_belief_is_calibrated_on_functions_drawn_from_its_prior():
    rng, prior = np.random.default_rng(2), Prior(np.array([2.0, 4.0]), 0.7)
    x = rng.uniform(0, 10, (60, 2))
    covariance = 0.49 * correlation(x, x, prior.lengths) + OWN**2 * np.eye(60)
    surprises = []
    for _ in range(60):
        truth = rng.multivariate_normal(np.zeros(60), covariance)
        seen = truth[:30] + 0.1 * rng.standard_normal(30)
        belief = Belief(x[:30], seen, np.full(30, 0.01), prior)
        mean, deviation = belief(x[30:])
        surprises.append((truth[30:] - mean) / deviation)
        surprises.append((truth[:30] - belief.means()) / belief.deviations(np.arange(30)))
    assert np.std(surprises) == pytest.approx(1.0, abs=0.06)


def test_learning_beats_copying_away_from_the_measurement():
    """Relative error over the neighbourhood of the last of 40 measurements on a known slope."""
    space = ConfigSpace([Knob("a", range(11)), Knob("b", range(11))])
    truth, rng = np.exp(surface(space.positions)), np.random.default_rng(3)
    learned, errors = LearnedSimilarity(), []
    for index in rng.integers(121, size=40).tolist():
        ball = space.ball(index, 3)
        cost = truth[index] * (1 + 0.05 * rng.standard_normal())
        costs, _ = learned.estimate(space, index, cost, ball, load=10.0)
        errors.append([np.abs(np.log(guess / truth[ball])).mean() for guess in (costs, cost)])
    ours, copied = np.mean(errors[20:], axis=0)
    assert ours < copied / 3


def test_what_was_learned_at_one_load_counts_at_another():
    space = ConfigSpace([Knob("a", range(11))])
    similarity, truth = LearnedSimilarity(), np.exp(0.3 * np.arange(11.0))
    for index in range(0, 11, 2):
        similarity.estimate(space, index, truth[index], np.arange(11), load=10.0)
    costs, _ = similarity.estimate(space, 0, truth[0], np.arange(11), load=11.0)
    assert costs == pytest.approx(truth, rel=0.2)


def test_the_noise_is_that_of_the_repeats():
    rng, tally = np.random.default_rng(4), Tally()
    tally.add(0, 1.0)
    assert tally.noise == EXPECTED_NOISE
    for _ in range(200):
        tally.add(0, 1 + 0.3 * rng.standard_normal())
        tally.add(1, 50 * (1 + 0.3 * rng.standard_normal()))
    assert tally.noise == pytest.approx(0.3, rel=0.1)
    assert Tally(json.loads(json.dumps(tally.rows))).noise == tally.noise


@given(st.lists(st.floats(-5, 50), min_size=2, max_size=9))
def test_compressing_keeps_the_order_and_what_is_low(values):
    values = np.sort(values)
    squeezed = compress(values)
    assert np.all(np.diff(squeezed) >= 0)
    assert np.array_equal(squeezed[values <= 2], values[values <= 2])


@settings(max_examples=30, deadline=None)
@given(spaces(), st.floats(0.1, 100), st.floats(-50, 50))
def test_the_unit_of_the_positions_does_not_matter(space, scale, shift):
    moved = [Knob(k.name, k.levels, [p * scale + shift for p in k.positions]) for k in space.knobs]
    other = ConfigSpace(moved, available=space.level_indices)
    everything = list(range(len(space)))
    assert Coordinates(other)(everything) == pytest.approx(Coordinates(space)(everything), abs=1e-6)
