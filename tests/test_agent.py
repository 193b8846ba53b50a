"""What every agent must keep to: :class:`AgentContract`.

Another test module checks its agents by ``from test_agent import AgentContract`` and a subclass
``class TestMine(AgentContract)`` whose `make` builds the agent.
"""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest

from rrl.core.knob import Knob
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


def random_part(knobs, fraction):
    """A grid of which only a random fraction is available."""
    whole = ConfigSpace(knobs)
    part = np.random.default_rng(0).permutation(len(whole))[: round(fraction * len(whole))]
    return ConfigSpace(knobs, available=whole.value_indices[part])


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


def assert_alike(agent, twin, asked):
    """Two agents that were asked for the same configuration go on alike."""
    for one in (agent, twin):
        one.tell(asked, 1.5)
    assert run(agent, 5) == run(twin, 5)
    assert agent.best(10.0) == twin.best(10.0)


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
        chosen, other = run(agent, self.episodes), self.agent(ODD[odd])
        assert all(configuration in ODD[odd] for configuration in chosen)
        assert run(other, self.episodes, look=True) == chosen
        assert other.best(10.0) == agent.best(10.0)

    @pytest.mark.parametrize("odd", sorted(ODD))
    def test_costs_of_zero_are_costs_in_odd_spaces(self, odd):
        agent = self.agent(ODD[odd])
        for cost in np.repeat([0.0, 1.0, 0.0], self.episodes // 3 + 1).tolist():
            agent.tell(agent.ask(10.0), cost)
        assert agent.ask(10.0) in ODD[odd]
        assert agent.best(10.0) in ODD[odd]

    def test_looking_at_the_best_changes_nothing(self, space):
        looked = run(self.agent(space), self.episodes, look=True)
        assert looked == run(self.agent(space), self.episodes)

    @pytest.mark.parametrize("cost", [-1e-9, nan, inf, -inf])
    def test_refuses_a_cost_that_is_none(self, space, cost):
        agent = self.agent(space)
        twin = self.agent(space)
        for one in (agent, twin):
            run(one, 4)
            configuration = one.ask(10.0)
        with pytest.raises(ValueError, match="cost"):
            agent.tell(configuration, cost)
        assert_alike(agent, twin, configuration)

    @pytest.mark.parametrize("load", [0, -1.0, nan, inf])
    def test_refuses_a_load_that_is_none(self, space, load):
        agent = self.agent(space)
        twin = self.agent(space)
        for one in (agent, twin):
            run(one, 2)
            configuration = one.ask(10.0)
        for method in (agent.ask, agent.best):
            with pytest.raises(ValueError, match="load"):
                method(load)
        assert_alike(agent, twin, configuration)

    def test_refuses_a_configuration_that_is_not_in_the_space(self, space):
        agent = self.agent(space)
        configuration, twin = dict(agent.ask(10.0)), self.agent(space)
        twin.ask(10.0)
        for wrong in (configuration | {space.names[0]: "none"}, configuration | {"threads": 1}, {}):
            with pytest.raises(ValueError, match=r"value|knob"):
                agent.tell(wrong, 1.0)
        assert_alike(agent, twin, configuration)

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
