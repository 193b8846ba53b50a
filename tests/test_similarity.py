from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_space import radii, spaces

from rrl.core.similarity import Copy, DistanceWeighted
from rrl.tuning.presets import paper_cpu


@pytest.mark.parametrize("similarity", [Copy(), DistanceWeighted(), DistanceWeighted(3.0)])
@given(space=spaces(), radius=radii, cost=st.floats(0, 1e6), data=st.data())
def test_every_estimator_is_sure_of_what_was_measured(similarity, space, radius, cost, data):
    index = data.draw(st.integers(0, len(space) - 1))
    ball = space.ball(index, radius)
    costs, weights = similarity.estimate(space, index, cost, ball, load=10.0)
    assert costs.shape == weights.shape == ball.shape
    assert costs[ball == index].tolist() == [cost]
    assert weights[ball == index].tolist() == [1.0]
    assert np.all((weights >= 0) & (weights <= 1))


def test_copy_is_the_released_code_without_its_network():
    space = paper_cpu()
    costs, weights = Copy().estimate(space, 0, 0.25, space.ball(0, 3), load=10.0)
    assert set(costs) == {0.25}
    assert set(weights) == {1.0}


@given(space=spaces(), length=st.floats(0.1, 10), data=st.data())
def test_weights_fall_with_distance_as_a_gaussian(space, length, data):
    index = data.draw(st.integers(0, len(space) - 1))
    ball = space.ball(index, 20)
    _, weights = DistanceWeighted(length).estimate(space, index, 1.0, ball, load=10.0)
    away = space.distances(index)[ball] / length
    assert weights == pytest.approx(np.exp(-(away**2) / 2), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("length", [0, -1, float("nan"), float("inf")])
def test_bad_length(length):
    with pytest.raises(ValueError, match="length must be a positive number"):
        DistanceWeighted(length)


@pytest.mark.parametrize("similarity", [Copy(), DistanceWeighted()])
def test_what_learns_nothing_refuses_what_was_learned(similarity):
    similarity.restore(similarity.state())
    with pytest.raises(ValueError, match=r"learns nothing.*\['weights'\]"):
        similarity.restore({"weights": [1]})
