"""RRL as a whole: the recommended parts and the paper's, under one contract."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_agent import SPACES, contract, true_cost
from test_parts import SmallNetwork
from test_space import spaces

from rrl.core.exploration import action_probabilities
from rrl.core.knob import Knob
from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL, adaptive, released
from rrl.core.space import ConfigSpace
from rrl.extension.learned_similarity import LearnedSimilarity
from rrl.extension.prior import prior
from rrl.extension.recommended import recommended
from rrl.extension.whole_space import WholeSpace
from rrl.tuning.presets import paper_cpu

TestRecommended = contract(recommended, tuple(SPACES))
TestPaper = contract(RRL, tuple(SPACES))
TestPrior = contract(prior, tuple(SPACES))
TestAdaptive = contract(adaptive)
TestReleased = contract(
    lambda space, rng: released(space, rng, similarity=SmallNetwork()), episodes=13
)
OTHER = {"region": FixedRadius(2.0), "learning_rate": 1.0}  # in no named agent
TestOtherParts = contract(
    lambda space, rng: RRL(space, rng, similarity=LearnedSimilarity(), **OTHER)
)


def permuted(space, rng):
    """The same space with its knobs, and the values of each, in another order."""
    knobs = []
    for k in rng.permutation(len(space.knobs)):
        knob, order = space.knobs[k], rng.permutation(len(space.knobs[k].values))
        values, positions = ([what[i] for i in order] for what in (knob.values, knob.positions))
        knobs.append(Knob(knob.name, values, positions))
    rows = [[knob.index(c[knob.name]) for knob in knobs] for c in space]
    return ConfigSpace(knobs, available=np.array(rows))


# --- what must not matter ------------------------------------------------------------------------


def by_values(space, numbers, cells):
    return {tuple(sorted(space[int(c)].items())): x for c, x in zip(cells, numbers, strict=True)}


def chances(agent, table):
    return action_probabilities(table.values, 0.02, table.floor), range(len(agent.space))


def savings(agent, table):
    cells = agent.region.candidates(table)
    return agent.exploration.net_savings(table, cells)[0], cells


@pytest.mark.parametrize(
    ("make", "read", "rel"),
    [
        (RRL, chances, 1e-6),
        (prior, chances, 1e-6),
        (adaptive, chances, 1e-6),
        (recommended, savings, 1e-3),
    ],
)
@settings(max_examples=30)
@given(
    space=spaces(),
    told=st.lists(st.tuples(st.integers(0, 124), st.floats(0.1, 10)), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
)
def test_the_order_of_knobs_and_values_changes_nothing(make, read, rel, space, told, seed):
    """Choices are random, so what must agree is what they are drawn by, and the recommendation."""
    found, best = [], []
    for where in (space, permuted(space, np.random.default_rng(seed))):
        agent = make(where, np.random.default_rng(0), start=space[0])
        agent.ask(10.0)
        for index, cost in told:
            agent.tell(space[index % len(space)], cost)
        (table,) = agent.tables
        found.append(by_values(where, *read(agent, table)))
        best.append(agent.best(10.0))
    assert found[1] == pytest.approx(found[0], rel=rel, abs=1e-99 if read is chances else rel)
    if read is chances:  # of equal estimates of the process, the first is deployed
        assert best[0] == best[1]


# --- who asks writes nothing ----------------------------------------------------------------------


def contents(agent):
    """All numbers of all tables with measurements, apart from what `ask` remembers of a load."""
    return [
        {
            name: x.tobytes() if isinstance(x, np.ndarray) else x
            for name, x in vars(table).items()
            if name not in ("last_log_load", "outlier")
        }
        for table in agent.tables
        if table.episodes
    ]


@pytest.mark.parametrize("candidates", ["some", "all"])
def test_ask_and_best_write_no_value(candidates):
    """Also where the load changes, so that values are predicted, and if asked again."""
    region = WholeSpace() if candidates == "some" else FixedRadius()
    agent = recommended(paper_cpu(4), np.random.default_rng(0), region=region)
    rng = np.random.default_rng(1)
    for episode in range(60):
        load = (10.0, 40.0, 160.0)[(episode // 4) % 3]
        before = contents(agent)
        configuration = agent.ask(load)
        agent.ask(load * 30)
        agent.ask(load)
        if before:
            agent.best(load)
        assert contents(agent) == before
        agent.tell(configuration, true_cost(agent.space, configuration) * rng.lognormal(0, 0.05))
    assert len(contents(agent)) >= 3


# --- where it starts ------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [0, 2])
def test_it_begins_with_what_serves_now_and_then_measures_the_middle(refused):
    """A guard may let the present configuration serve again before it admits another one."""
    space = paper_cpu(10)
    now, middle = (dict.fromkeys(space.names, value) for value in (10, 6))
    agent = recommended(space, np.random.default_rng(0), start=now)
    assert agent.ask(10.0) == now
    agent.tell(now, 10.0)
    for _ in range(refused):
        assert agent.ask(10.0) == middle
        agent.tell(now, 10.0)
    assert agent.ask(10.0) == middle
    agent.tell(middle, 1.0)
    assert agent.best(10.0) == middle


def test_far_from_all_measurements_costs_are_expected_to_be_higher():
    """After two equal costs, one step is expected to cost the same, and the far end more."""
    space = ConfigSpace([Knob("threads", range(40))])
    agent = recommended(space, np.random.default_rng(0), start=space[0])
    for index in (0, 1):
        agent.ask(10.0)
        agent.tell(space[index], 1.0)
    values = agent.tables[0].values
    assert values[2] < 1.1
    assert values[39] == pytest.approx(values[38], rel=0.01)
    assert values[39] > 1.5


# --- loads ----------------------------------------------------------------------------------------


def test_what_was_measured_at_the_nearest_load_is_within_reach_at_a_new_one():
    """A valley that no single step leads to, but which was nearly as good before."""
    agent = recommended(ConfigSpace([Knob("threads", range(9))]), np.random.default_rng(0))
    for threads, cost in 3 * [(0, 1.0), (8, 1.05)]:
        agent.ask(10.0)
        agent.tell({"threads": threads}, cost)
    tried = []
    for _ in range(5):
        tried.append(agent.ask(40.0)["threads"])
        agent.tell({"threads": tried[-1]}, 1.0 if tried[-1] == 8 else 10.0)
    assert tried[0] == 0
    assert 8 in tried


@pytest.mark.parametrize(("there", "back"), [(10.0, 40.0), (40.0, 10.0)])
def test_what_was_measured_meanwhile_at_another_load_counts_when_a_load_comes_back(there, back):
    agent = recommended(ConfigSpace([Knob("threads", range(9))]), np.random.default_rng(0))
    for load, threads, cost in [(10.0, 0, 1.0), (40.0, 0, 1.0), *[(there, 8, 0.1)] * 3]:
        agent.ask(load)
        agent.tell({"threads": threads}, cost)
    assert agent.ask(back) == {"threads": 8}


def test_all_that_was_measured_is_up_to_date_when_a_load_comes_back():
    """Also outside the region that was updated last."""
    space = ConfigSpace([Knob("threads", range(9))])
    agent = recommended(space, np.random.default_rng(0), region=FixedRadius(0.0))
    meanwhile = [(40.0, 0, 1.0), *[(40.0, 8, 0.1)] * 3]
    values = []
    for load, threads, cost in [(10.0, 8, 1.0), (10.0, 0, 1.0), *meanwhile, (10.0, 0, 1.0)]:
        agent.ask(load)
        agent.tell({"threads": threads}, cost)
        values.append(agent.tables[0].values[8])
    assert values[-1] != values[-2]


# --- costs that are far apart ---------------------------------------------------------------------


far_apart = st.sampled_from([0.0, 1e-320, 1e-30, 1e-15, 1.0, 2.0, 9e29, 1e30])


@pytest.mark.parametrize(
    ("make", "read"),
    [(RRL, chances), (prior, chances), (adaptive, chances), (recommended, savings)],
)
@given(told=st.lists(st.tuples(st.sampled_from([10.0, 1000.0]), far_apart), min_size=1))
@example(told=[(10.0, 0.0)] * 9 + [(1000.0, 0.0)] * 9)
@example(told=[(10.0, 1e-30), (10.0, 1e30)] * 12)  # two blocks of a selected radius
def test_costs_as_far_apart_as_can_be_leave_numbers(make, read, told):
    agent = make(paper_cpu(2), np.random.default_rng(0))
    for load, cost in told:
        agent.tell(agent.ask(load), cost)
    for table in agent.tables:
        assert np.isfinite(table.values).all()
        assert np.isfinite(table.noise)
        assert np.isfinite(read(agent, table)[0]).all()
    assert agent.ask(1000.0) in agent.space


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_prior_leaves_a_good_start_for_better_neighbours_only(factor):
    """What no measurement has reached is expected to cost the mean, at each load on its own."""
    space = paper_cpu()
    away = ((space.positions - 5) ** 2).sum(axis=1)
    agent = prior(space, np.random.default_rng(0), start=space[int(np.argmin(away))])
    for load in (10.0, 30.0):
        chosen = []
        for _ in range(60):
            chosen.append(agent.ask(load))
            cost = (1 + away[space.index(chosen[-1])]) * (factor if load > 20 else 1.0)
            agent.tell(chosen[-1], cost)
        trials = {tuple(configuration.values()) for configuration in chosen}
        assert len(trials) < 30
        assert agent.best(load) == space[int(np.argmin(away))]
    bold = RRL(space, np.random.default_rng(0), start=space[int(np.argmin(away))])
    tried = set()
    for _ in range(60):
        configuration = bold.ask(10.0)
        tried.add(tuple(configuration.values()))
        bold.tell(configuration, 1 + away[space.index(configuration)])
    assert len(tried) > 50  # whatever was not measured yet looks as good as the start
