"""What every agent must keep to: :class:`AgentContract`.

Another test module checks its agents by ``from test_agent import AgentContract`` and a subclass
``class TestMine(AgentContract)`` whose `make` builds the agent.
"""

from __future__ import annotations

import json
from math import inf, nan

import numpy as np
import pytest

from rrl.core.agent import restore_rng, rng_state
from rrl.core.from_table import from_table
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
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


def random_part(knobs, share):
    """A grid of which only a random share is available."""
    whole = ConfigSpace(knobs)
    part = np.random.default_rng(0).permutation(len(whole))[: round(share * len(whole))]
    return ConfigSpace(knobs, available=whole.level_indices[part])


ODD = {
    "category": ConfigSpace([Knob("malloc", ("je", "tc", "glibc")), Knob("batch", (1, 8, 64, 65))]),
    "flags": random_part([Knob(f"flag_{k}", (0, 1)) for k in range(8)], 0.5),
    "sparse": random_part([Knob(f"knob_{k}", range(3 + k % 3)) for k in range(6)], 0.1),
    "line": ConfigSpace([Knob("inter_op", (1, 2, 4, 8, 16), (0, 1, 2, 3, 4))]),
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

    @pytest.mark.parametrize("odd", sorted(ODD))
    def test_keeps_to_it_in_odd_spaces(self, odd):
        agent = self.agent(ODD[odd])
        chosen = run(agent, self.episodes)
        other = self.agent(ODD[odd], seed=99)
        other.restore(json.loads(json.dumps(agent.state())))
        assert all(configuration in ODD[odd] for configuration in chosen)
        assert run(other, self.episodes, look=True) == run(agent, self.episodes)
        assert other.best(10.0) == agent.best(10.0)

    @pytest.mark.parametrize("odd", sorted(ODD))
    def test_costs_of_zero_are_costs_in_odd_spaces(self, odd):
        agent = self.agent(ODD[odd])
        for cost in np.repeat([0.0, 1.0, 0.0], self.episodes // 3 + 1).tolist():
            agent.tell(agent.ask(10.0), cost)
        assert agent.ask(10.0) in ODD[odd]
        assert agent.best(10.0) in ODD[odd]

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
