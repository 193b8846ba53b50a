"""The Gaussian process and the learned similarity: that they find what is there."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parts import measure
from test_space import spaces

from rrl.core.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    correlation,
    fit_hyperparameters,
)  # fmt: skip
from rrl.core.knob import Knob
from rrl.core.learned_similarity import LearnedSimilarity
from rrl.core.qtable import QTable
from rrl.core.space import ConfigSpace


def surface(x):
    """Steep along the first coordinate, flat along the second."""
    return 0.3 * x[:, 0] + 0.01 * x[:, 1]


@given(st.integers(1, 150), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_correlation_is_the_formula(points, others, seed):
    """Compiled code computes it from scalar products."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0, 9, (points, 2)), rng.uniform(0, 9, (others, 2))
    b[0] = a[-1]  # rounding must not make a distance of 0 negative
    lengths = np.array([0.7, 3.0])
    r = np.sqrt(5) * np.linalg.norm((a[:, None] - b) / lengths, axis=2)
    expected = (1 + r + r**2 / 3) * np.exp(-r)
    np.testing.assert_allclose(correlation(a, b, lengths), expected, rtol=1e-6, atol=1e-12)


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
    mean, sd = process.posterior_at_measured(np.arange(90))
    np.testing.assert_allclose(mean, centre + prior @ of_all @ (y - centre))
    np.testing.assert_allclose(sd**2, np.diag(prior - prior @ of_all @ prior), rtol=1e-6)


def test_a_knob_that_does_not_matter_gets_the_longest_length_scale():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 10, (40, 2))
    y = np.sin(x[:, 0])
    process = partial(GaussianProcess, x, y, np.full(40, 1e-3))
    start = Hyperparameters(np.full(2, 3.0), 1.0)
    found = fit_hyperparameters(process, start, start)
    assert found.length_scales[1] > 3 * found.length_scales[0]
    assert process(found).log_likelihood > process(start).log_likelihood


@pytest.mark.parametrize(("rough", "low", "high"), [(0.0, 0.0, 0.02), (0.3, 0.2, 0.45)])
def test_the_nugget_is_found(rough, low, high):
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 10, (80, 2))
    y = np.sin(x[:, 0] / 2) + rough * rng.standard_normal(80)
    process = partial(GaussianProcess, x, y, np.full(80, 1e-4))
    start = Hyperparameters(np.full(2, 3.0), 1.0)
    assert low <= fit_hyperparameters(process, start, start).nugget <= high


def test_learning_beats_copying_away_from_the_measurement():
    """Relative error over the neighbourhood of the last of 40 measurements on a known slope."""
    space = ConfigSpace([Knob("a", range(11)), Knob("b", range(11))])
    truth, rng = np.exp(surface(space.positions)), np.random.default_rng(3)
    table, learned, errors = QTable(space), LearnedSimilarity(), []
    for index in rng.integers(121, size=40).tolist():
        cells = space.ball(index, 3)
        cost = truth[index] * (1 + 0.05 * rng.standard_normal())
        costs, _ = measure(table, learned, index, cost, cells)
        errors.append([np.abs(np.log(guess / truth[cells])).mean() for guess in (costs, cost)])
    ours, copied = np.mean(errors[20:], axis=0)
    assert ours < copied / 3


def test_what_was_learned_at_one_load_counts_at_another():
    space = ConfigSpace([Knob("a", range(11))])
    similarity, truth = LearnedSimilarity(), np.exp(0.3 * np.arange(11.0))
    table, near = QTable(space, level=1), QTable(space)
    table.log_load, near.log_load, table.near = np.log(11.0), np.log(10.0), near
    for index in range(0, 11, 2):
        measure(near, similarity, index, truth[index], np.arange(11))
    costs, _ = measure(table, similarity, 0, 2 * truth[0], np.arange(11))
    assert costs == pytest.approx(2 * truth, rel=0.2)
    alone, _ = measure(QTable(space), LearnedSimilarity(), 0, 2 * truth[0], np.arange(11))
    assert np.abs(np.log(alone / truth / 2)).max() > 1  # the same without the other load


@settings(max_examples=30, deadline=None)
@given(spaces(), st.floats(0.1, 100), st.floats(-50, 50))
def test_the_unit_of_the_positions_does_not_matter(space, scale, shift):
    moved = [Knob(k.name, k.values, [p * scale + shift for p in k.positions]) for k in space.knobs]
    other = ConfigSpace(moved, available=space.value_indices)
    assert other.scaled_positions == pytest.approx(space.scaled_positions, abs=1e-6)
