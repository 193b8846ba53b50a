"""What every agent must keep to: ``TestMine = contract(Mine)`` checks another one."""

from __future__ import annotations

from copy import deepcopy
from math import inf, nan

import numpy as np
import pytest

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.recording.table import from_table
from rrl.tuning.presets import paper_cpu

LOADS = (10.0, 10.5, 40.0, 9.0)

SPACES = {
    "paper": paper_cpu(3),
    "single": ConfigSpace([Knob("inter_op", (4,))]),
    "missing": ConfigSpace(
        [Knob("inter_op", (0, 1, 2, 4), (3, 0, 1, 2)), Knob("batch_threads", (1, 2, 4, 8))],
        available=np.argwhere(np.indices((4, 4)).sum(axis=0) % 3 != 1),
    ),
    "table": from_table({"a": [1, 2, 3, 3], "b": [10, 20, 20, 40]}, ["a", "b"]),
}


def random_part(knobs, fraction):
    """A grid of which only a random fraction is available."""
    whole = ConfigSpace(knobs)
    part = np.random.default_rng(0).permutation(len(whole))[: round(fraction * len(whole))]
    return ConfigSpace(knobs, available=whole.value_indices[part])


SPACES |= {
    "category": ConfigSpace(
        [Knob("malloc", ("je", "tc", "glibc")), Knob("batch", (1, 8, 64, 65), (3, 0, 1, 2))]
    ),
    "sparse": random_part([Knob(f"knob_{k}", range(3 + k % 3)) for k in range(6)], 0.1),
}
HARD = ("category", "missing", "sparse")  # those that have most to get wrong


def true_cost(space, configuration):
    """A bowl with its lowest point in the middle of the grid; between 1 and 2."""
    away = space.positions[space.index(configuration)] - space.positions.mean(axis=0)
    span = max(float(np.ptp(space.positions, axis=0).max()), 1.0)
    return 1.0 + float((away**2).mean()) / span**2


def bowl(agent, episodes, loads=(10.0,), noise=0.07, factor=1.0, look=False):
    """Let an agent tune a steep bowl, five episodes at each load in turn; return what it chose."""
    rng, chosen = np.random.default_rng(0), []
    for episode in range(episodes):
        load = loads[(episode // 5) % len(loads)]
        configuration = agent.ask(load)
        cost = load * max(rng.normal(1, noise), 0.1) * true_cost(agent.space, configuration) ** 4
        agent.tell(configuration, factor * cost)
        if look:
            agent.best(load)
        chosen.append(dict(configuration))
    return chosen


def global_state():
    """The numbers of NumPy's global generator, and its place in them, which each draw moves."""
    _, numbers, place, *_ = np.random.get_state()  # noqa: NPY002
    return numbers.tolist(), place


def contract(make, spaces=HARD, episodes=23):
    """The contract for agents that `make` builds from a space and a generator: a class of tests.

    An agent whose decisions are slow takes fewer episodes.
    """

    @pytest.fixture(params=spaces)
    def space(self, request):
        return SPACES[request.param]

    what = {"make": staticmethod(make), "space": space, "episodes": episodes}
    return type("Kept", (AgentContract,), what)


class AgentContract:
    """What every agent must keep to."""

    def agent(self, space, seed=1):
        agent = self.make(space, np.random.default_rng(seed))
        agent.space = space
        return agent

    def test_a_seed_decides_what_is_chosen_and_looking_at_the_best_changes_nothing(self, space):
        before = global_state()
        agent, other = self.agent(space), self.agent(space)
        chosen = bowl(agent, self.episodes, LOADS)
        assert all(configuration in space for configuration in chosen)
        assert bowl(other, self.episodes, LOADS, look=True) == chosen
        best = [agent.best(load) for load in LOADS]
        assert all(configuration in space for configuration in best)
        assert [other.best(load) for load in LOADS] == best
        assert global_state() == before

    def test_costs_of_zero_are_costs(self, space):
        agent = self.agent(space)
        for cost in np.repeat([0.0, 1.0, 0.0], self.episodes // 3 + 1).tolist():
            agent.tell(agent.ask(10.0), cost)
        assert agent.ask(10.0) in space
        assert agent.best(10.0) in space

    def test_tell_needs_an_ask_and_best_needs_a_tell(self):
        agent = self.agent(SPACES["paper"])
        with pytest.raises(ValueError, match="tell comes after ask"):
            agent.tell(agent.space[0], 1.0)
        agent.ask(10.0)
        with pytest.raises(ValueError, match="nothing to recommend"):
            agent.best(10.0)

    def test_refuses_costs_loads_and_configurations_that_are_none(self):
        """And is the same afterwards as its copy; pickling takes the same way as copying."""
        agent = self.agent(SPACES["missing"])
        bowl(agent, 4, LOADS)
        asked = agent.ask(10.0)
        twin = deepcopy(agent)
        for cost in (-1e-9, 1e31, nan, inf, -inf, np.float32(inf), np.float16(inf), "few"):
            with pytest.raises(ValueError, match=r"cost|few"):
                agent.tell(asked, cost)
        for load in (0, -1.0, nan, inf):
            for method in (agent.ask, agent.best):
                with pytest.raises(ValueError, match="load"):
                    method(load)
        for wrong in (asked | {"inter_op": "none"}, asked | {"threads": 1}, {}):
            with pytest.raises(ValueError, match=r"value|knob"):
                agent.tell(wrong, 1.0)
        for one in (agent, twin):
            one.tell(asked, 1.5)
        assert bowl(agent, self.episodes, LOADS) == bowl(twin, self.episodes, LOADS)
        assert agent.best(10.0) == twin.best(10.0)
