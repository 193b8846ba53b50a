"""The rivals that learn about regions: zooming, and Bayesian optimisation."""

from __future__ import annotations

import numpy as np
import pytest
from test_agent import ODD, true_cost
from test_baselines import chosen, rng

from rrl import Knob, paper_cpu
from rrl.core.space import ConfigSpace
from rrl.rivals.bayesian import GPEI, Surrogate
from rrl.rivals.unit_cube import UnitCube
from rrl.rivals.zooming import Zooming

LEARNERS = [Zooming, GPEI]


@pytest.mark.parametrize("make", LEARNERS)
def test_a_bowl_is_learned(make):
    """Late episodes are far better than random ones, and the recommendation is better still."""
    space = paper_cpu()
    costs = np.array([true_cost(space, c) ** 4 for c in space])
    agent = make(space, rng())
    late = chosen(agent, 120, noise=0.05)[-30:]
    assert np.median(costs[late]) < np.quantile(costs, 0.1)
    assert costs[space.index(agent.best(10.0))] < np.quantile(costs, 0.05)


@pytest.mark.parametrize("make", LEARNERS)
@pytest.mark.parametrize("space", ["flags", "category"])
def test_the_unit_of_the_cost_does_not_matter(make, space):
    first, second = make(ODD[space], rng(1)), make(ODD[space], rng(1))
    costs = rng(2).gamma(4.0, size=len(ODD[space]))
    for _ in range(30):
        configuration = first.ask(10.0)
        assert second.ask(10.0) == configuration
        cost = costs[first.space.index(configuration)]
        first.tell(configuration, cost)
        second.tell(configuration, 1024 * cost)


def test_a_first_cost_of_zero_hides_no_later_difference():
    """Fractions of late requests are often 0 at first; they were then the only reference."""
    space = ConfigSpace([Knob("threads", tuple(range(30)))])
    agent, costs = Zooming(space, np.random.default_rng(0)), 0.02 * np.arange(1, 31)
    agent.tell(agent.ask(10.0), 0.0)
    agent.tell(agent.ask(10.0), 0.6)
    served = []
    for _ in range(150):
        chosen = agent.ask(10.0)
        served.append(costs[space.index(chosen)])
        agent.tell(chosen, served[-1])
    assert np.mean(served[-50:]) < 0.05  # the mean of all is 0.31


# The unit cube


def test_categories_are_equally_far_from_each_other_and_positions_keep_their_ratios():
    knobs = [Knob("malloc", ("je", "tc", "glibc")), Knob("batch", (1, 2, 8), (0, 1, 3))]
    space = ConfigSpace([*knobs, Knob("fixed", (7,))])
    cube = UnitCube(space)
    index = {tuple(list(c.values())[:2]): space.index(c) for c in space}
    away = cube.distances(index["je", 1])
    assert away[index["tc", 1]] == away[index["glibc", 1]] == pytest.approx(1)
    assert away[index["je", 2]] == pytest.approx(1 / 3)
    assert away[index["je", 8]] == pytest.approx(1)
    assert cube.points.shape == (9, 4)


# Zooming


def test_zooming_activates_only_what_is_not_covered():
    space = paper_cpu(4)
    agent = Zooming(space, rng(), lipschitz=0.5, confidence=0.15)
    cube = UnitCube(space)
    radius = {}
    counts = np.zeros(len(space), dtype=int)
    for episode in range(150):
        configuration = agent.ask(10.0)
        index = space.index(configuration)
        covered = np.zeros(len(space), dtype=bool)
        for active, reach in radius.items():
            covered |= cube.distances(active) <= reach
        if episode and not covered.all():
            assert not covered[index]
        elif episode:
            assert index in radius
        agent.tell(configuration, true_cost(space, configuration))
        counts[index] += 1
        radius[index] = 0.3 * np.sqrt(2 * np.log(300) / (counts[index] + 1))


@pytest.mark.parametrize("bad", [{"lipschitz": 0.0}, {"confidence": -1.0}, {"horizon": 1}])
def test_constants_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="need lipschitz > 0, confidence > 0 and horizon > 1"):
        Zooming(paper_cpu(2), rng(), **bad)


# Bayesian optimisation


def test_a_lucky_episode_is_not_recommended():
    """One low cost between two neighbours that were measured often is noise."""
    space = ConfigSpace([Knob("a", tuple(range(21)))])
    agent = GPEI(space, rng())
    noise = rng(5).normal(1, 0.1, 300)
    told = [*np.repeat(np.arange(21), 4), 9, 9, 9, 9]
    for k, index in enumerate(told):
        agent.ask(10.0)
        agent.tell(space[index], (1 + ((index - 10) / 5) ** 2) * noise[k])
    agent.ask(10.0)
    agent.tell(space[14], 0.5)
    assert abs(agent.best(10.0)["a"] - 10) <= 2


def test_a_large_space_is_scanned_in_part():
    space = paper_cpu(30)
    agent = GPEI(space, rng(), most=50)
    assert len(set(chosen(agent, 15))) > 8
    with pytest.raises(ValueError, match="need initial >= 1 and most >= 1"):
        GPEI(space, rng(), most=0)
    with pytest.raises(ValueError, match="need length > 0, got -1"):
        GPEI(space, rng(), length=-1)


def test_a_length_is_the_expected_one():
    space = ConfigSpace([Knob("a", tuple(range(41)))])
    narrow, wide = (Surrogate(UnitCube(space), [[0, 1.0]], None, s) for s in (0.1, 2.0))
    assert narrow.hyperparameters.length_scales == pytest.approx([0.1])
    assert wide.hyperparameters.length_scales == pytest.approx([2.0])
