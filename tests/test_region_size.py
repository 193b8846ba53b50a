"""The radius that is learned: :class:`RegionSize` on its own, and the agent that uses it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agent import AgentContract, bowl
from test_space import spaces

from rrl.core.knob import Knob
from rrl.core.region_size import BLOCK, WINDOW, AdaptiveRRL, RegionSize, recommended_radius
from rrl.core.space import ConfigSpace
from rrl.tuning.presets import paper_cpu


class TestAdaptiveRRL(AgentContract):
    def make(self, space, rng):
        return AdaptiveRRL(space, rng)


def play(sizes, excess, blocks, rng, noise=0.05):
    """Let `sizes` choose while a radius costs `excess(radius, episode)`; return its choices."""
    chosen = []
    for _ in range(blocks):
        mean = excess(sizes.radius, sizes.episode)
        chosen.append(sizes.tell(rng.normal(mean, noise, sizes.due)))
    return np.array(chosen)


def test_the_recommended_radius_falls_as_theory_says():
    """By a factor of 2 whenever the age (beyond the onset) grows by 2^(d + 2)."""
    radii = [recommended_radius(4.0, 20.0 * (32.0**k - 1), 3) for k in range(4)]
    assert radii == pytest.approx([4.0, 2.0, 1.0, 0.5])


def test_without_news_it_follows_theory():
    sizes = RegionSize(3, start=3.0, widest=7.0)
    play(sizes, lambda radius, episode: 0.2, 30, np.random.default_rng(0))
    ratios = [radius / recommended_radius(3.0, episode, 3) for episode, radius in sizes.history]
    assert np.median(ratios) == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("best", [0.5, 4.0])
def test_what_is_observed_overrules_theory(best):
    def excess(radius, episode):
        return 0.5 * (np.log1p(radius) - np.log1p(best)) ** 2

    away = {}
    for name, cost in {"flat": lambda radius, episode: 0.0, "bowl": excess}.items():
        ends = []
        for seed in range(4):
            sizes = RegionSize(3, start=2.0, widest=6.0)
            ends.append(play(sizes, cost, 30, np.random.default_rng(seed))[-10:].mean())
        away[name] = abs(np.log1p(np.median(ends)) - np.log1p(best))
    assert away["bowl"] < 0.6 * away["flat"]


def test_a_drifting_best_radius_is_followed():
    """Three for 200 episodes, then a half: the old observations must not hold it back."""

    def excess(radius, episode):
        best = 3.0 if episode < 200 else 0.5
        return (np.log1p(radius) - np.log1p(best)) ** 2

    late = []
    for seed in range(4):
        sizes = RegionSize(3, start=3.0, widest=7.0)
        play(sizes, excess, 40, np.random.default_rng(seed))
        late.append(np.mean([radius for episode, radius in sizes.history if episode > 1000]))
    assert 0.2 < np.median(late) < 0.9


def test_blocks_grow_and_the_window_is_bounded():
    sizes = RegionSize(3, start=2.0, widest=5.0)
    lengths = []
    for _ in range(50):
        lengths.append(sizes.due)
        sizes.tell(np.zeros(sizes.due))
    assert lengths[0] == BLOCK
    assert lengths == sorted(lengths)
    assert sum(lengths) > 3000  # fifty fits for as many episodes
    assert len(sizes.blocks) == WINDOW
    assert all(0 <= radius <= 5.0 for _, radius in sizes.history)


@pytest.mark.parametrize("numbers", [(-1.0, 3.0), (4.0, 3.0), (1.0, np.inf), (np.nan, 3.0)])
def test_bad_radii(numbers):
    with pytest.raises(ValueError, match="need 0 <= start <= widest"):
        RegionSize(3, *numbers)


@pytest.mark.parametrize("factor", [2.0**-20, 1e-3, 7.0])
def test_the_unit_of_the_cost_changes_neither_choice_nor_radius(factor):
    space = paper_cpu(4)
    one, other = (AdaptiveRRL(space, np.random.default_rng(3)) for _ in range(2))
    assert list(bowl(one, 60)) == list(bowl(other, 60, factor=factor))
    assert one.sizes.history == other.sizes.history
    assert len(one.sizes.history) > 5


def test_renaming_knobs_changes_no_choice():
    names = {"inter_op": "z", "intra_op": "a", "batch_threads": "m"}
    space = paper_cpu(4)
    renamed = ConfigSpace([Knob(names[k.name], k.levels, k.positions) for k in space.knobs])
    plain = list(bowl(AdaptiveRRL(space, np.random.default_rng(3)), 60))
    other = list(bowl(AdaptiveRRL(renamed, np.random.default_rng(3)), 60))
    assert other == [{names[name]: level for name, level in c.items()} for c in plain]


@settings(max_examples=10, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_order_of_knobs_and_levels_changes_no_radius(space, seed):
    """Choices are drawn by number, so both are told the same costs of the same configurations."""
    rng = np.random.default_rng(seed)
    permuted = []
    for k in rng.permutation(len(space.knobs)):
        knob, order = space.knobs[k], rng.permutation(len(space.knobs[k].levels))
        levels, positions = ([what[i] for i in order] for what in (knob.levels, knob.positions))
        permuted.append(Knob(knob.name, levels, positions))
    rows = [[knob.index(c[knob.name]) for knob in permuted] for c in space]
    other = ConfigSpace(permuted, available=np.array(rows))
    agents = [AdaptiveRRL(where, np.random.default_rng(0)) for where in (space, other)]
    for index, cost in zip(rng.integers(len(space), size=35), rng.uniform(1, 2, 35), strict=True):
        for agent in agents:
            agent.ask(10.0)
            agent.tell(space[int(index)], cost)
    assert len(agents[0].sizes.history) == 4
    assert agents[1].sizes.history == agents[0].sizes.history
    assert agents[1].best(10.0) == agents[0].best(10.0)


@settings(max_examples=20, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_missing_configurations_are_never_chosen(space, seed):
    agent = AdaptiveRRL(space, np.random.default_rng(seed))
    assert all(configuration in space for configuration in bowl(agent, 30, seed))


def test_a_run_interrupted_inside_a_block_goes_on_identically():
    space = paper_cpu(4)
    agent, other = (AdaptiveRRL(space, np.random.default_rng(seed)) for seed in (1, 2))
    list(bowl(agent, 47))
    (_, _, block), *_ = agent.state()["sizes"]
    assert 0 < len(block) < agent.sizes.due
    other.restore(json.loads(json.dumps(agent.state())))
    assert list(bowl(other, 60, seed=5)) == list(bowl(agent, 60, seed=5))
    assert json.dumps(other.state()) == json.dumps(agent.state())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": "RRL"}, "agent 'RRL'"),
        ({"sizes": [[5, {"radius": 1.0}, []]]}, "incomplete or damaged: KeyError"),
        ({"sizes": [5]}, "incomplete or damaged: TypeError"),
    ],
)
def test_a_foreign_or_damaged_state_is_refused(change, message):
    agent = AdaptiveRRL(paper_cpu(2), np.random.default_rng(0))
    list(bowl(agent, 3))
    before = json.dumps(agent.state())
    with pytest.raises(ValueError, match=message):
        agent.restore(agent.state() | change)
    assert json.dumps(agent.state()) == before


def test_the_first_radius_follows_the_grid():
    grids = {levels: ConfigSpace([Knob(k, range(levels)) for k in "abc"]) for levels in (2, 11, 65)}
    first = {n: AdaptiveRRL(g, np.random.default_rng(0)).radius for n, g in grids.items()}
    assert first[2] == 1.25
    assert first[11] == pytest.approx(300**0.5 / 12)
    assert first[65] == 6.0
    assert AdaptiveRRL(grids[11], np.random.default_rng(0), radius=0.5, widest=2.0).radius == 0.5


def test_importing_it_loads_no_scikit_optimize():
    heavy = "{'skopt', 'sklearn'}"
    code = f"import sys, rrl.core.region_size; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
