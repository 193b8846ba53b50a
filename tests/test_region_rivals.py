"""The rivals that learn regions: zooming, HOO, and Bayesian optimisation with or without one."""

from __future__ import annotations

import numpy as np
import pytest
from test_agent import ODD, true_cost
from test_baselines import chosen, rng

from rrl import Knob, paper_cpu
from rrl.core.space import ConfigSpace
from rrl.rivals.bayesian import GPEI, Surrogate
from rrl.rivals.metric_bandits import HOO, Zooming
from rrl.rivals.trust_region import FIRST, LONGEST, TuRBO
from rrl.rivals.unit_cube import UnitCube
from rrl.tuning.defaults import serving_default

LEARNERS = [Zooming, HOO, GPEI, TuRBO]


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


@pytest.mark.parametrize("make", [Zooming, HOO])
def test_a_first_cost_of_zero_hides_no_later_difference(make):
    """Fractions of late requests are often 0 at first; they were then the only reference."""
    space = ConfigSpace([Knob("threads", tuple(range(30)))])
    agent, costs = make(space, np.random.default_rng(0)), 0.02 * np.arange(1, 31)
    agent.tell(agent.ask(10.0), 0.0)
    agent.tell(agent.ask(10.0), 0.6)
    served = []
    for _ in range(150):
        chosen = agent.ask(10.0)
        served.append(costs[space.index(chosen)])
        agent.tell(chosen, served[-1])
    assert np.mean(served[-50:]) < 0.05  # the mean of all is 0.31


@pytest.mark.parametrize("make", LEARNERS)
def test_the_first_configuration_is_what_serves(make):
    space = paper_cpu(3)
    agent = make(space, rng())
    assert agent.ask(10.0) == serving_default(space)
    agent.tell(space[40], 1.0)
    assert agent.ask(100.0) == space[40]


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


# Zooming and HOO


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


@pytest.mark.parametrize("space", sorted(ODD))
def test_the_tree_partitions_the_space_and_its_bounds_are_those_of_the_paper(space):
    space = ODD[space]
    agent = HOO(space, rng(), lipschitz=2.0, confidence=0.1)
    costs = rng(3).gamma(4.0, size=len(space))
    numbers = []
    for _ in range(60):
        configuration = agent.ask(10.0)
        numbers.append(space.index(configuration))
        agent.tell(configuration, costs[numbers[-1]])
    points = UnitCube(space).points
    rewards = np.log(costs[numbers[0]] / costs[numbers])
    depth_of_leaves = []

    def check(cell, inside, depth):
        """Cells below the first that an episode enters do not count that episode."""
        own = rewards[inside]
        assert (cell.count, cell.mean) == (len(inside), pytest.approx(own.mean()))
        diameter = 2.0 * np.linalg.norm(np.ptp(points[cell.members], axis=0))
        bound = own.mean() + 0.1 * np.sqrt(2 * np.log(300) / len(own)) + diameter
        if cell.children:
            below = np.concatenate([child.members for child in cell.children])
            assert sorted(below) == sorted(cell.members)
            bound = min(bound, max(child.bound for child in cell.children))
            rest = inside[1:]  # the first one made this cell
            for child in cell.children:
                mine = rest[np.isin(np.array(numbers)[rest], child.members)]
                if len(mine):
                    check(child, mine, depth + 1)
                else:
                    assert child.bound == np.inf
        else:
            assert len(cell.members) == 1
            depth_of_leaves.append(depth)
        assert cell.bound == pytest.approx(bound)

    check(agent.searches[0].cache.root, np.arange(60), 0)
    assert max(depth_of_leaves, default=0) <= 60


@pytest.mark.parametrize("make", [Zooming, HOO])
@pytest.mark.parametrize("bad", [{"lipschitz": 0.0}, {"confidence": -1.0}, {"horizon": 1}])
def test_constants_that_make_no_sense_are_refused(make, bad):
    with pytest.raises(ValueError, match="need lipschitz > 0, confidence > 0 and horizon > 1"):
        make(paper_cpu(2), rng(), **bad)


# Bayesian optimisation


def test_functions_are_drawn_from_the_posterior():
    space = ConfigSpace([Knob("a", tuple(range(9)))])
    history = [[index, np.exp(index / 4)] for index in (0, 3, 4, 8, 8)]
    known = Surrogate(UnitCube(space), history)
    drawn = np.array([known.drawn(np.arange(9), rng(seed)) for seed in range(3000)])
    mean, sd = known.posterior(np.arange(9))
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.03)
    assert drawn.std(axis=0) == pytest.approx(sd, rel=0.1, abs=0.01)


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
    with pytest.raises(ValueError, match=r"need margin >= 0 and length > 0, got 0\.0 and -1"):
        GPEI(space, rng(), length=-1)


def test_a_margin_explores_more_and_a_length_is_the_expected_one():
    space = ConfigSpace([Knob("a", tuple(range(41)))])
    tried = []
    for margin in (0.0, 1.0):
        agent = GPEI(space, rng(), margin=margin)
        for _ in range(40):
            configuration = agent.ask(10.0)
            agent.tell(configuration, 1 + (configuration["a"] - 9) ** 2)
        tried.append(len(agent.searches[0].table.measured))
    assert tried[0] < tried[1]
    narrow, wide = (Surrogate(UnitCube(space), [[0, 1.0]], None, s) for s in (0.1, 2.0))
    assert narrow.hyperparameters.length_scales == pytest.approx([0.1])
    assert wide.hyperparameters.length_scales == pytest.approx([2.0])


def sides(agent, costs):
    """Tell costs after the first configurations; the side of the region after each episode."""
    found = []
    for cost in costs:
        agent.tell(agent.ask(10.0), cost)
        found.append(agent.searches[0].memory["side"])
    return found


def test_the_trust_region_grows_with_successes_and_halves_with_failures():
    agent = TuRBO(paper_cpu(), rng(), initial=4)
    assert sides(agent, [10.0] * 4) == [FIRST] * 4
    better = 0.9 ** np.arange(1, 7)
    assert sides(agent, 10 * better) == [FIRST, FIRST, *[LONGEST] * 4]
    assert sides(agent, [9.0] * 4) == [LONGEST, LONGEST, LONGEST, FIRST]
    assert sides(agent, [9.0, 9.0, 9.0, 1.0, 9.0]) == [FIRST] * 5  # a success counts anew


def test_the_counts_and_the_first_side_of_the_trust_region_can_be_set():
    agent = TuRBO(paper_cpu(), rng(), initial=4, side=0.4, successes=2, failures=5)
    assert sides(agent, [10.0] * 4) == [0.4] * 4
    assert sides(agent, [9.0, 8.0, *[8.0] * 5]) == [0.4, *[0.8] * 5, 0.4]
    with pytest.raises(ValueError, match=r"successes >= 1 and failures >= 1, got 0\.8, 0 and 4"):
        TuRBO(paper_cpu(), rng(), successes=0)
    with pytest.raises(ValueError, match=r"<= side <= 1\.6"):
        TuRBO(paper_cpu(), rng(), side=2.0)


def test_the_search_starts_anew_when_the_region_holds_one_configuration():
    agent = TuRBO(paper_cpu(), rng(), initial=4)
    found = sides(agent, [1.0] * 40)
    again = found.index(FIRST, found.index(FIRST / 2))
    assert min(found) >= 0.05  # values are a tenth of a knob's range apart
    assert found[again : again + 4] == [FIRST] * 4
    assert agent.searches[0].memory["since"] >= again
    assert len(agent.searches[0].table.measured) > 20


def test_the_region_is_longer_along_a_knob_that_matters_less():
    space = paper_cpu()
    agent = TuRBO(space, rng(), initial=40)
    for _ in range(60):
        configuration = agent.ask(10.0)
        agent.tell(configuration, 1.0 + (configuration["inter_op"] - 5) ** 2)
    search = agent.searches[0]
    region = space.value_indices[agent._region(agent._known(search), 0.2)]
    spans = np.ptp(region, axis=0)
    assert spans[0] < min(spans[1], spans[2])


def test_regions_reach_categories_and_flags():
    for name in ("category", "flags", "line"):
        agent = TuRBO(ODD[name], rng())
        agent.tell(agent.ask(10.0), 1.0)
        search = agent.searches[0]
        sizes = [len(agent._region(agent._known(search), side)) for side in (1.6, 0.8, 0.01)]
        assert sizes[0] >= sizes[1] > sizes[2] == 1
