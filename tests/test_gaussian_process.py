"""The Gaussian process: it is the textbook's, and it finds what is there."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl.core.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    correlation,
    fit_hyperparameters,
)  # fmt: skip


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
    with pytest.raises(ValueError, match="read-only"):  # the next caller gets the same array
        found += 1.0


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
    mean, sd = process.posterior_at_measured()
    np.testing.assert_allclose(mean, centre + prior @ of_all @ (y - centre))
    np.testing.assert_allclose(sd**2, np.diag(prior - prior @ of_all @ prior), rtol=1e-6)


@pytest.mark.parametrize(("rough", "low", "high"), [(0.0, 0.0, 0.02), (0.3, 0.2, 0.45)])
def test_the_nugget_is_found(rough, low, high):
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 10, (80, 2))
    y = np.sin(x[:, 0] / 2) + rough * rng.standard_normal(80)
    process = partial(GaussianProcess, x, y, np.full(80, 1e-4))
    start = Hyperparameters(np.full(2, 3.0), 1.0)
    assert low <= fit_hyperparameters(process, start, start).nugget <= high
