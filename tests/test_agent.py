"""What every agent must keep to (:class:`AgentContract`), and what is RRL's own.

Another test module checks its agents by ``from test_agent import AgentContract`` and a subclass
``class TestMine(AgentContract)`` whose `make` builds the agent.
"""

from __future__ import annotations

import json
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_space import spaces

from rrl.core.agent import restore_rng, rng_state
from rrl.core.exploration import Temperature, action_probabilities
from rrl.core.knob import Knob
from rrl.core.rrl import RRL
from rrl.core.similarity import Copy, DistanceWeighted
from rrl.core.space import ConfigSpace, from_table
from rrl.tuning.presets import paper_cpu

LOADS = (10.0, 10.5, 40.0, 9.0)

SPACES = {
    "paper": paper_cpu(3),
    "single": ConfigSpace([Knob("inter_op", (4,))]),
    "names": ConfigSpace([Knob("device", ("cpu", "gpu")), Knob("batch", (1, 8, 64), (0, 3, 6))]),
    "missing": ConfigSpace(
        [Knob("inter_op", (0, 1, 2, 4)), Knob("batch_threads", (1, 2, 4, 8))],
        available=np.indices((4, 4)).sum(axis=0) % 3 != 1,
    ),
    "table": from_table({"a": [1, 2, 3, 3], "b": [10, 20, 20, 40]}, ["a", "b"], "value"),
}


def true_cost(space, configuration):
    """A bowl with its lowest point in the middle of the grid; between 1 and 2."""
    away = space.positions[space.index(configuration)] - space.positions.mean(axis=0)
    span = max(float(np.ptp(space.positions, axis=0).max()), 1.0)
    return 1.0 + float((away**2).mean()) / span**2


def run(agent, episodes, seed=0, look=False):
    """Let an agent tune a noisy bowl under changing loads; return what it chose."""
    noise, chosen = np.random.default_rng(seed).normal(1, 0.05, size=episodes), []
    for episode in range(episodes):
        load = LOADS[(episode // 5) % len(LOADS)]
        configuration = agent.ask(load)
        agent.tell(configuration, load * noise[episode] * true_cost(agent.space, configuration))
        if look:
            agent.best(load)
        chosen.append(dict(configuration))
    return chosen


class AgentContract:
    """What every agent must keep to. Subclasses say how to make one."""

    episodes = 23  # of one run; an agent whose decisions are slow may take fewer

    def make(self, space, rng):
        raise NotImplementedError

    @pytest.fixture(params=sorted(SPACES))
    def space(self, request):
        return SPACES[request.param]

    def agent(self, space, seed=1):
        agent = self.make(space, np.random.default_rng(seed))
        agent.space = space
        return agent

    def test_chooses_only_what_is_available(self, space):
        agent = self.agent(space)
        chosen = run(agent, self.episodes)
        assert all(configuration in space for configuration in chosen)
        assert all(agent.best(load) in space for load in LOADS)

    def test_same_seed_same_run(self, space):
        assert run(self.agent(space), self.episodes) == run(self.agent(space), self.episodes)

    @pytest.mark.parametrize("at", [0, 1, 11])
    def test_goes_on_from_a_saved_state_as_if_never_interrupted(self, space, at):
        agent = self.agent(space)
        run(agent, at)
        saved = json.dumps(agent.state())
        rest = run(agent, self.episodes, seed=7)
        other = self.agent(space, seed=99)
        run(other, 3, seed=5)  # what it was before must not matter
        other.restore(json.loads(saved))
        assert json.dumps(other.state()) == saved
        assert run(other, self.episodes, seed=7) == rest
        assert json.dumps(other.state()) == json.dumps(agent.state())
        assert other.best(10.0) == agent.best(10.0)

    def test_a_state_taken_between_ask_and_tell_continues_too(self, space):
        agent = self.agent(space)
        run(agent, 4)
        configuration = agent.ask(10.0)
        other = self.agent(space, seed=99)
        other.restore(json.loads(json.dumps(agent.state())))
        for one in (agent, other):
            one.tell(configuration, 3.0)
        assert run(agent, 5) == run(other, 5)

    def test_a_saved_state_does_not_change_later(self, space):
        agent = self.agent(space)
        run(agent, 4)
        state = agent.state()
        before = json.dumps(state)
        run(agent, 4)
        assert json.dumps(state) == before

    def test_looking_at_the_best_changes_nothing(self, space):
        looked = run(self.agent(space), self.episodes, look=True)
        assert looked == run(self.agent(space), self.episodes)

    @pytest.mark.parametrize("cost", [-1e-9, nan, inf, -inf])
    def test_refuses_a_cost_that_is_none(self, space, cost):
        agent = self.agent(space)
        run(agent, 4)
        configuration = agent.ask(10.0)
        before = json.dumps(agent.state())
        with pytest.raises(ValueError, match="cost"):
            agent.tell(configuration, cost)
        assert json.dumps(agent.state()) == before

    @pytest.mark.parametrize("load", [0, -1.0, nan, inf])
    def test_refuses_a_load_that_is_none(self, space, load):
        agent = self.agent(space)
        run(agent, 2)
        before = json.dumps(agent.state())
        for method in (agent.ask, agent.best):
            with pytest.raises(ValueError, match="load"):
                method(load)
        assert json.dumps(agent.state()) == before

    def test_refuses_a_configuration_that_is_not_in_the_space(self, space):
        agent = self.agent(space)
        configuration = dict(agent.ask(10.0))
        before = json.dumps(agent.state())
        for wrong in (configuration | {space.names[0]: "none"}, configuration | {"threads": 1}, {}):
            with pytest.raises(ValueError, match=r"level|knob"):
                agent.tell(wrong, 1.0)
        assert json.dumps(agent.state()) == before

    def test_costs_of_zero_are_costs(self, space):
        agent = self.agent(space)
        for cost in (0.0, 0.0, 1.0, 0.0, 0.5, 0.0):
            agent.tell(agent.ask(10.0), cost)
        assert agent.ask(10.0) in space
        assert agent.best(10.0) in space

    def test_leaves_global_randomness_alone(self, space):
        before = np.random.get_state()[1].tolist()  # noqa: NPY002
        run(self.agent(space), self.episodes, look=True)
        assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


class TestRRL(AgentContract):
    def make(self, space, rng):
        return RRL(space, rng)


class TestRRLWide(AgentContract):
    def make(self, space, rng):
        radius = min(2.0, space.diameter)
        return RRL(
            space, rng, radius=radius, similarity=DistanceWeighted(), load_bins=(9.5, 20.0, 80.0)
        )


class TestRRLAsReleased(AgentContract):
    def make(self, space, rng):
        return RRL.as_released(space, rng, radius=min(3.0, space.diameter))


# What follows is RRL's own.


def bowl(agent, episodes, seed=0, load=10.0, factor=1.0):
    rng = np.random.default_rng(seed)
    for _ in range(episodes):
        configuration = agent.ask(load)
        noise = max(rng.normal(1, 0.07), 0.1)
        agent.tell(configuration, factor * noise * true_cost(agent.space, configuration) ** 4)
        yield configuration


def probabilities(agent, load=10.0):
    """Chance of each configuration at the next ask, by its levels in the order of their names."""
    table = agent.tables[agent.level(load)]
    p = action_probabilities(table.values, agent.temperature(table.episodes), table.floor)
    return {tuple(sorted(c.items())): chance for c, chance in zip(agent.space, p, strict=True)}


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**10, 1e-3, 7.0])
def test_the_unit_of_the_cost_changes_no_choice(factor):
    space = paper_cpu(4)
    one, other = (RRL(space, np.random.default_rng(3)) for _ in range(2))
    assert list(bowl(one, 60)) == list(bowl(other, 60, factor=factor))
    assert one.best(10.0) == other.best(10.0)


def test_renaming_knobs_changes_no_choice():
    names = {"inter_op": "z", "intra_op": "a", "batch_threads": "m"}
    space = paper_cpu(4)
    renamed = ConfigSpace([Knob(names[k.name], k.levels, k.positions) for k in space.knobs])
    plain = list(bowl(RRL(space, np.random.default_rng(3)), 60))
    other = list(bowl(RRL(renamed, np.random.default_rng(3)), 60))
    assert other == [{names[name]: level for name, level in c.items()} for c in plain]


@settings(max_examples=60)
@given(
    spaces(),
    st.lists(st.tuples(st.integers(0, 124), st.floats(0.1, 10)), min_size=1, max_size=12),
    st.sampled_from([Copy(), DistanceWeighted(1.0)]),
    st.integers(0, 1000),
)
def test_order_of_knobs_and_levels_changes_no_chance(space, told, similarity, seed):
    """Choices are random, so what must agree is their probabilities, and the recommendation."""
    rng = np.random.default_rng(seed)
    permuted = []
    for k in rng.permutation(len(space.knobs)):
        knob = space.knobs[k]
        order = rng.permutation(len(knob.levels))
        permuted.append(
            Knob(knob.name, [knob.levels[i] for i in order], [knob.positions[i] for i in order])
        )
    grid = ConfigSpace(permuted)
    rows = [[k.index(c[k.name]) for k in permuted] for c in space]
    other = ConfigSpace(grid.knobs, available=np.array(rows))
    agents = []
    for where in (space, other):
        radius = min(1.5, space.diameter)
        agent = RRL(where, np.random.default_rng(0), radius=radius, similarity=similarity)
        agent.ask(10.0)
        for index, cost in told:
            agent.tell(space[index % len(space)], cost)
        agents.append(agent)
    assert probabilities(agents[1]) == pytest.approx(probabilities(agents[0]), rel=1e-6, abs=1e-99)
    assert agents[1].best(10.0) == agents[0].best(10.0)


@settings(max_examples=40)
@given(spaces(), st.integers(0, 1000))
def test_missing_configurations_are_never_chosen(space, seed):
    agent = RRL(space, np.random.default_rng(seed), radius=min(2.0, space.diameter))
    assert all(configuration in space for configuration in bowl(agent, 30, seed))


def test_a_wide_region_is_updated_as_in_the_released_code():
    space = paper_cpu(order="paper")
    agent = RRL.as_released(space, np.random.default_rng(0))
    agent.ask(14.0)
    agent.tell(space[0], 2.0)  # the first measurement: Q = 2 everywhere
    agent.tell(space[665], 1.0)
    (table,) = agent.tables.values()
    inside = space.distances(665) <= 3
    assert inside.sum() == 123
    assert table.values[inside] == pytest.approx(0.7 * 2 + 0.3 * 1)
    assert set(table.values[~inside]) == {2.0}


def test_regions_find_the_bottom_of_the_bowl_on_the_papers_grid():
    """27 of 1331 configurations are within 5 %; 150 episodes with 7 % noise."""
    space = paper_cpu()
    costs = np.array([true_cost(space, c) ** 4 for c in space])
    near = costs <= 1.05 * costs.min()
    assert near.sum() == 27
    wide = {"radius": 2.0, "similarity": DistanceWeighted()}
    hits = []
    for settings_ in ({}, wide, {"radius": 0.0}):
        agents = [RRL(space, np.random.default_rng(seed), **settings_) for seed in range(20)]
        for seed, agent in enumerate(agents):
            assert len(list(bowl(agent, 150, seed))) == 150
        hits.append(sum(near[space.index(agent.best(10.0))] for agent in agents))
    assert min(hits[:2]) >= 16
    assert hits[2] <= 10  # a table without regions


def test_loads_have_tables_of_their_own():
    agent = RRL(paper_cpu(4), np.random.default_rng(0), load_bins=(5.0, 20.0))
    assert [agent.level(load) for load in (1, 4.9, 5, 19.9, 20, 500)] == [0, 0, 1, 1, 2, 2]
    good = {"inter_op": 1, "intra_op": 1, "batch_threads": 1}
    bad = {"inter_op": 4, "intra_op": 4, "batch_threads": 4}
    for load, low, high in ((1.0, good, bad), (50.0, bad, good)):
        agent.ask(load)
        for _ in range(3):  # the second load has to unlearn what the first one said
            agent.tell(low, 1.0)
            agent.tell(high, 9.0)
    assert (agent.best(2.0), agent.best(100.0)) == (good, bad)
    assert agent.best(10.0) in (good, bad)  # nothing known there: that of the nearest load


def test_logarithmic_load_levels():
    agent = RRL(paper_cpu(2), np.random.default_rng(0), load_bins=2.0)
    levels = [agent.level(load) for load in (0.3, 0.6, 1.1, 1.9, 2.1, 4.1, 1000)]
    assert levels == [-2, -1, 0, 0, 1, 2, 9]
    one = RRL(paper_cpu(2), np.random.default_rng(0), load_bins=inf)
    assert {one.level(load) for load in (1e-9, 1.0, 1e9)} == {0}


@pytest.mark.parametrize("transfer", [True, False])
def test_a_new_load_starts_from_the_nearest_one(transfer):
    space = paper_cpu(4)
    agent = RRL(space, np.random.default_rng(0), transfer=transfer)
    for _ in bowl(agent, 150, load=10.0):
        pass
    known = agent.tables[agent.level(10.0)].values
    first = [true_cost(space, agent.ask(40.0)) for _ in range(100)]
    new = agent.tables[agent.level(40.0)]
    assert np.array_equal(new.values, known if transfer else np.zeros(len(space)))
    by_chance = np.mean([true_cost(space, configuration) for configuration in space]) - 1
    if transfer:
        assert np.mean(first) - 1 < by_chance / 2
    else:
        assert np.mean(first) - 1 == pytest.approx(by_chance, rel=0.2)


def test_radius_may_change_between_episodes():
    agent = RRL(paper_cpu(4), np.random.default_rng(0), radius=2.0)
    agent.ask(10.0)
    agent.tell(agent.space[0], 2.0)
    agent.radius = 0.0
    agent.tell(agent.space[7], 1.0)
    (table,) = agent.tables.values()
    assert np.flatnonzero(table.values == 1.0).tolist() == [7]


def test_temperature_falls_in_halves_to_its_end():
    cool = Temperature(0.08, 0.01, half_life=5)
    assert [cool(e) for e in (0, 4, 5, 10, 14, 15, 10**9)] == [0.08, 0.08, 0.04, 0.02, 0.02] + [
        0.01
    ] * 2


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_any_generator_can_be_saved(kind):
    make = getattr(np.random, kind)
    rng = np.random.Generator(make(5))
    rng.random(7)
    saved = json.loads(json.dumps(rng_state(rng)))
    other = np.random.Generator(make(6))
    restore_rng(other, saved)
    assert other.random(5).tolist() == rng.random(5).tolist()


def test_another_kind_of_generator_is_refused():
    saved = rng_state(np.random.Generator(np.random.MT19937(1)))
    with pytest.raises(ValueError, match="MT19937 generator"):
        restore_rng(np.random.default_rng(1), saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": "DQN"}, "agent 'DQN'"),
        ({"space": "00"}, "on space '00'"),
        ({"tables": [[0, {}]]}, "incomplete or damaged: KeyError"),
        ({"radius": 99.0}, "beyond the grid"),
        ({"similarity": {"weights": []}}, "learns nothing"),
    ],
)
def test_a_foreign_or_damaged_state_is_refused(change, message):
    agent = RRL(paper_cpu(2), np.random.default_rng(0))
    run(agent, 3)
    with pytest.raises(ValueError, match=message):
        agent.restore(agent.state() | change)
    with pytest.raises(ValueError, match="incomplete or damaged"):
        agent.restore({key: value for key, value in agent.state().items() if key != "rng"})


def test_tell_needs_an_ask_and_best_needs_a_tell():
    agent = RRL(paper_cpu(2), np.random.default_rng(0))
    with pytest.raises(ValueError, match="tell comes after ask"):
        agent.tell(agent.space[0], 1.0)
    agent.ask(10.0)
    with pytest.raises(ValueError, match="nothing to recommend"):
        agent.best(10.0)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"radius": -1}, "radius must be"),
        ({"radius": nan}, "radius must be"),
        ({"radius": 4.0}, "beyond the grid: choose at most 3.4641"),
        ({"step": 0}, "step must be"),
        ({"step": 1.1}, "step must be"),
        ({"shrinkage": -1}, "shrinkage must be"),
        ({"recommend": "best"}, "use 'observed' or 'table'"),
        ({"load_bins": 1.0}, "must exceed 1"),
        ({"load_bins": (5.0, 5.0)}, "must be positive, finite and rise"),
        ({"load_bins": (0.0, 5.0)}, "must be positive, finite and rise"),
        ({"load_bins": (5.0, inf)}, "must be positive, finite and rise"),
    ],
)
def test_bad_settings(settings_, message):
    with pytest.raises(ValueError, match=message):
        RRL(paper_cpu(2), np.random.default_rng(0), **settings_)


@pytest.mark.parametrize("numbers", [(0.0, 0.0, 1), (0.01, 0.02, 1), (0.1, 0.01, 0), (inf, 1, 1)])
def test_bad_temperature(numbers):
    with pytest.raises(ValueError, match="need 0 < end <= start"):
        Temperature(*numbers)
