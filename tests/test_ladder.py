"""The first rung of the ladder is the method: it chooses what RRL chooses."""

from __future__ import annotations

import ast
import inspect
from functools import cache

import numpy as np
import pytest

from rrl import ladder
from rrl.core.rrl import RRL
from rrl.recording.replay import RecordedServer
from rrl.simulation.testbeds import testbed
from rrl.studies.problems import SurfaceServer
from rrl.studies.surfaces import cube, made_surface
from rrl.workloads.workload import Poisson

SOURCE = inspect.getsource(ladder)
EPISODES = 300
PROBLEMS = {
    "recording": (lambda: RecordedServer("data/mobilenet_v2-threads"), 165.0),
    "simulated grid": (lambda: testbed("gpu"), 500.0),
    "made surface": (lambda: SurfaceServer(cube()[0], made_surface("ridge", 0.15, 1)), 10.0),
}


@cache
def problem(name):
    make, load = PROBLEMS[name]
    return make(), load


def same_choices(kind, name, seed):
    """Let RRL and an agent of `kind` serve side by side; return how many choices are the same."""
    server, load = problem(name)
    space, (draws, arrivals) = server.space, np.random.default_rng(seed).spawn(2)
    agent = RRL(space, np.random.default_rng(seed))
    rung = kind(space.positions, np.random.default_rng(seed))
    for episode in range(EPISODES):
        configuration, chosen = agent.ask(load), rung.ask()
        if space[chosen] != configuration:
            return episode
        times = Poisson(load).arrivals(100, arrivals)
        cost = float(server.measure(configuration, times, draws).latency.mean())
        agent.tell(configuration, cost)
        rung.tell(chosen, cost)
    return EPISODES


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_makes_the_choices_of_the_method(name):
    found = [same_choices(ladder.RegionAgent, name, seed) for seed in range(20)]
    assert found == [EPISODES] * 20


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("<= self.radius", "< self.radius"),
        ("self.values[:] = cost", "self.values[chosen] = cost"),
        ("self.updates[region] += 1", "self.updates[region] += 2"),
        ("np.maximum(self.learning_rate", "np.minimum(self.learning_rate"),
        ("rate * (cost - self.values[region])", "rate * (self.values[region] - cost)"),
        ("** (-1 / temperature)", "** (-1 / first)"),
        ("self.episodes // half_life", "self.episodes / half_life"),
        ("0.01 * cost", "0.02 * cost"),
    ],
)
def test_no_line_can_be_another(line, changed):
    assert SOURCE.count(line) == 1
    mutant = {"__name__": ladder.__name__}
    exec(SOURCE.replace(line, changed), mutant)
    found = (same_choices(mutant["RegionAgent"], "made surface", seed) for seed in range(20))
    assert any(episodes < EPISODES for episodes in found)


def test_it_fits_on_a_screen_and_needs_numpy_alone():
    assert len(SOURCE.splitlines()) <= 60
    imported = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Import)]
    others = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.ImportFrom)]
    assert [alias.name for node in imported for alias in node.names] == ["numpy"]
    assert {node.module for node in others} == {"__future__", "dataclasses"}
