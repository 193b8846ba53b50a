from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agent import AgentContract, true_cost
from test_space import spaces

from rrl.core.growing import GrowingRegion
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.tuning.default_agent import default_agent
from rrl.tuning.presets import paper_cpu


class TestDefaultAgent(AgentContract):
    def make(self, space, rng):
        return default_agent(space, rng)


def bowl(agent, episodes, seed=0, load=10.0, factor=1.0):
    rng = np.random.default_rng(seed)
    for _ in range(episodes):
        configuration = agent.ask(load)
        noise = max(rng.normal(1, 0.07), 0.1)
        agent.tell(configuration, factor * noise * true_cost(agent.space, configuration) ** 4)
        yield configuration


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**10, 1e-3, 7.0])
def test_the_unit_of_the_cost_changes_no_choice(factor):
    one, other = (GrowingRegion(paper_cpu(4), np.random.default_rng(3)) for _ in range(2))
    assert list(bowl(one, 40)) == list(bowl(other, 40, factor=factor))
    assert one.best(10.0) == other.best(10.0)


def test_renaming_knobs_changes_no_choice():
    names = {"inter_op": "z", "intra_op": "a", "batch_threads": "m"}
    space = paper_cpu(4)
    renamed = ConfigSpace([Knob(names[k.name], k.levels, k.positions) for k in space.knobs])
    plain = list(bowl(GrowingRegion(space, np.random.default_rng(3)), 40))
    other = list(bowl(GrowingRegion(renamed, np.random.default_rng(3)), 40))
    assert other == [{names[name]: level for name, level in c.items()} for c in plain]


@settings(max_examples=200, deadline=None)
@given(
    spaces(),
    st.lists(st.tuples(st.integers(0, 124), st.floats(0.1, 10)), min_size=1, max_size=8),
    st.integers(0, 1000),
)
def test_order_of_knobs_and_levels_changes_no_promise(space, told, seed):
    rng = np.random.default_rng(seed)
    permuted = []
    for k in rng.permutation(len(space.knobs)):
        knob = space.knobs[k]
        order = rng.permutation(len(knob.levels))
        permuted.append(
            Knob(knob.name, [knob.levels[i] for i in order], [knob.positions[i] for i in order])
        )
    rows = [[k.index(c[k.name]) for k in permuted] for c in space]
    promises = []
    for where in (space, ConfigSpace(permuted, available=np.array(rows))):
        agent = GrowingRegion(where, np.random.default_rng(0))
        agent.ask(10.0)
        for index, cost in told:
            agent.tell(space[index % len(space)], cost)
        region, gains = agent._gains(next(iter(agent.levels)))
        promises.append(
            {tuple(sorted(where[i].items())): g for i, g in zip(region, gains, strict=True)}
        )
    assert promises[1] == pytest.approx(promises[0], rel=1e-3, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_missing_configurations_are_never_chosen(space, seed):
    agent = GrowingRegion(space, np.random.default_rng(seed))
    assert all(configuration in space for configuration in bowl(agent, 12, seed))


class CliffServer:
    """Costs on the paper's grid at two loads; a cliff at few threads, the optimum moves."""

    def __init__(self):
        self.space = paper_cpu(6)
        self.x = self.space.positions - 1.0  # 0..5

    def truth(self, load):
        best = np.array([3.0, 1.0, 2.0]) if load < 20 else np.array([4.0, 1.0, 3.0])
        costs = 1 + 0.15 * ((self.x - best) ** 2).sum(axis=1)
        return costs * np.where(self.x[:, 0] < 1, 50.0, 1.0) * load


def serve(agent, server, load, episodes, rng):
    """Run an agent; the true relative costs of what served and of what it recommended."""
    truth = server.truth(load) / server.truth(load).min()
    served, deployed = [], []
    for _ in range(episodes):
        configuration = agent.ask(load * rng.lognormal(0, 0.1))
        cost = truth[server.space.index(configuration)]
        agent.tell(configuration, load * cost * rng.lognormal(0, 0.07))
        served.append(cost)
        deployed.append(truth[server.space.index(agent.best(load))])
    return np.array(served), np.array(deployed)


def test_it_settles_on_the_optimum_and_meets_the_cliff_at_most_seldom():
    server, ends, pains, cliffs = CliffServer(), [], [], []
    for seed in range(8):
        agent = GrowingRegion(server.space, np.random.default_rng(seed))
        served, deployed = serve(agent, server, 10.0, 80, np.random.default_rng([seed, 1]))
        ends.append(deployed[60:].max())
        pains.append((served - 1).sum())
        cliffs.append((served > 40).sum())
    assert np.median(ends) <= 1.05
    assert np.median(pains) < 15  # a random configuration alone costs more than 8 above the best
    assert np.median(cliffs) == 0


@pytest.mark.parametrize(("at_middle", "begins"), [(3.0, "now"), (1.1, "middle")])
def test_it_begins_with_what_serves_now_unless_that_is_hopeless(at_middle, begins):
    space = paper_cpu(10)
    now, middle = (dict.fromkeys(space.names, level) for level in (10, 6))
    agent = GrowingRegion(space, np.random.default_rng(0), start=now)
    for expected, cost in ((now, 10.0), (middle, at_middle)):
        assert agent.ask(10.0) == expected
        agent.tell(expected, cost)
    kept = {"now": now, "middle": middle}[begins]
    assert agent.best(10.0) == kept
    third = agent.ask(10.0)
    assert sum(third[name] != kept[name] for name in space.names) == 1  # a step away
    assert len(next(iter(agent.levels)).tally.rows) == (1 if begins == "now" else 2)


def test_the_first_look_survives_an_interruption():
    space = paper_cpu(4)
    now = dict.fromkeys(space.names, 0)
    whole, broken = (GrowingRegion(space, np.random.default_rng(5), start=now) for _ in range(2))
    runs = bowl(whole, 8), bowl(broken, 8)
    first = [(next(runs[0]), next(runs[1])) for _ in range(1)]
    again = GrowingRegion(space, np.random.default_rng(6), start=now)
    again.restore(broken.state())
    assert first[0][0] == first[0][1] == now
    assert again.ask(10.0) == whole.ask(10.0) == dict.fromkeys(space.names, 3)


def test_a_start_outside_the_space_is_refused():
    with pytest.raises(ValueError, match="level"):
        GrowingRegion(paper_cpu(2), np.random.default_rng(0), start={"inter_op": 1})


def test_a_new_load_starts_from_what_is_known_and_a_seen_one_is_not_forgotten():
    server, change, back, fresh = CliffServer(), [], [], []
    for seed in range(6):
        rng = np.random.default_rng([seed, 1])
        agent = GrowingRegion(server.space, np.random.default_rng(seed))
        serve(agent, server, 10.0, 60, rng)
        change.append((serve(agent, server, 30.0, 40, rng)[0] - 1).sum())
        back.append(serve(agent, server, 10.0, 10, rng)[1])
        new = GrowingRegion(server.space, np.random.default_rng(seed))
        fresh.append((serve(new, server, 30.0, 40, rng)[0] - 1).sum())
        assert len(agent.levels) == 2
    assert np.median(change) < 0.7 * np.median(fresh)
    assert np.median(back, axis=0).max() <= 1.1


def test_what_was_measured_at_the_nearest_load_is_within_reach_at_a_new_one():
    """A valley that no step of one level leads to, but which was nearly as good before."""
    agent = GrowingRegion(ConfigSpace([Knob("threads", range(9))]), np.random.default_rng(0))
    for threads, cost in 3 * [(0, 1.0), (8, 1.05)]:
        agent.ask(10.0)
        agent.tell({"threads": threads}, cost)
    tried = []
    for _ in range(3):
        tried.append(agent.ask(40.0)["threads"])
        agent.tell({"threads": tried[-1]}, 1.0 if tried[-1] == 8 else 10.0)
    assert tried[0] == 0
    assert 8 in tried


def test_one_strange_estimate_of_the_load_makes_no_level():
    agent = GrowingRegion(paper_cpu(2), np.random.default_rng(0))
    for load in (10.0, 10.0, 14.0, 10.0, 9.0, 7.2, 10.0):
        agent.tell(agent.ask(load), 1.0)
    assert len(agent.levels) == 1
    for load in (14.5, 14.0):  # twice in a row
        agent.tell(agent.ask(load), 1.0)
    assert len(agent.levels) == 2
    agent.tell(agent.ask(100.0), 1.0)  # far off
    assert len(agent.levels) == 3


def test_configurations_that_share_no_line_are_reached():
    diagonal = ConfigSpace(
        [Knob("a", range(6)), Knob("b", range(6))], available=np.eye(6, dtype=bool)
    )
    agent = GrowingRegion(diagonal, np.random.default_rng(0))
    for _ in range(40):
        configuration = agent.ask(10.0)
        agent.tell(configuration, 10.0 - configuration["a"])
    assert agent.best(10.0) == {"a": 5, "b": 5}


@pytest.mark.parametrize("knobs", [1, 2, 4, 6])
def test_any_number_of_knobs(knobs):
    space = ConfigSpace([Knob(f"k{i}", range(5)) for i in range(knobs)])
    agent, rng = GrowingRegion(space, np.random.default_rng(0)), np.random.default_rng(1)
    for _ in range(60):
        configuration = agent.ask(10.0)
        cost = 1 + sum((level - 1) ** 2 for level in configuration.values())
        agent.tell(configuration, cost * rng.lognormal(0, 0.05))
    assert agent.best(10.0) == {f"k{i}": 1 for i in range(knobs)}


def test_a_grid_of_a_million_costs_what_the_measured_part_costs():
    space = paper_cpu(100)
    agent = GrowingRegion(space, np.random.default_rng(0))
    for _ in range(12):
        configuration = agent.ask(10.0)
        agent.tell(configuration, 2.0 ** configuration["intra_op"])
    assert len(space) == 101**3
    assert len(agent._coordinates._known) <= 12 * 7
    assert agent.best(10.0)["intra_op"] < 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": "RRL"}, "agent 'RRL'"),
        ({"space": "00"}, "on space '00'"),
        ({"levels": [{}]}, "incomplete or damaged"),
        ({"levels": {"current": 9, "levels": []}}, "incomplete or damaged"),
        ({"prior": None}, "incomplete or damaged"),
    ],
)
def test_a_foreign_or_damaged_state_is_refused(change, message):
    agent = GrowingRegion(paper_cpu(2), np.random.default_rng(0))
    list(bowl(agent, 3))
    before = agent.state()
    with pytest.raises(ValueError, match=message):
        agent.restore(before | change)
    assert agent.state() == before


def test_tell_needs_an_ask_and_best_needs_a_tell():
    agent = GrowingRegion(paper_cpu(2), np.random.default_rng(0))
    with pytest.raises(ValueError, match="tell comes after ask"):
        agent.tell(agent.space[0], 1.0)
    agent.ask(10.0)
    with pytest.raises(ValueError, match="nothing to recommend"):
        agent.best(10.0)


@pytest.mark.parametrize("horizon", [0, -1.0, float("nan"), float("inf")])
def test_bad_horizon(horizon):
    with pytest.raises(ValueError, match="horizon must be a positive number"):
        GrowingRegion(paper_cpu(2), np.random.default_rng(0), horizon=horizon)
