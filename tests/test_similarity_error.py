"""Errors of estimates, and of a second measurement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rrl import ConfigSpace, Knob
from rrl.core.similarity import Copy, Estimate
from rrl.studies.problems import SurfaceServer, surface
from rrl.studies.similarity_error import GlobalMean, error_again, region_errors

SPACE = ConfigSpace([Knob("x", range(5)), Knob("y", range(4))])
COST = np.exp(0.1 * SPACE.value_indices.sum(axis=1))  # a step costs 10 % more, in logs


def test_measuring_again_errs_by_the_noise_of_an_episode():
    """Half of normal numbers are within 0.6745 standard deviations."""
    space = ConfigSpace([Knob("x", range(4000))])
    noisy = surface("flat", space, np.ones(4000), noise=0.1)
    assert error_again(noisy, np.random.default_rng(0)) == pytest.approx(0.06745, rel=0.05)
    exact = error_again(without_noise(), np.random.default_rng(0))
    assert exact == pytest.approx(0, abs=1e-12)


def without_noise():
    problem = surface("steps", SPACE, COST)
    return replace(problem, server=SurfaceServer(SPACE, COST, noise=0.0))


class Knows(GlobalMean):
    """An estimator that knows the true costs."""

    def estimate(self, table, index, cost, cells):
        return Estimate(COST[cells], np.full(len(cells), 0.1))


def test_an_error_is_that_of_the_neighbours_and_not_of_the_measured_configuration():
    estimators = {"copy": Copy, "knows": Knows}
    errors = region_errors(without_noise(), estimators, 20, 1.0, np.random.default_rng(0))
    copy, knows = (errors[errors["estimator"] == name] for name in estimators)
    assert set(errors["distance"]) == {1}
    assert copy["error"].to_numpy() == pytest.approx(0.1)  # it says that they cost the same
    assert knows["error"].to_numpy() == pytest.approx(0)
    assert len(copy) == len(knows) <= 10 * 4, "the first half of the measurements is not judged"


def test_all_estimators_are_told_the_same():
    alone, both = (
        region_errors(surface("s", SPACE, COST), those, 20, 1.0, np.random.default_rng(0))
        for those in ({"mean": GlobalMean}, {"copy": Copy, "mean": GlobalMean})
    )
    rest = both[both["estimator"] == "mean"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, rest)
