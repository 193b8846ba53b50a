"""The radius that is learned: :class:`RegionSize` on its own, and the region that uses it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rrl import bowl, permuted
from test_space import spaces

from rrl.core.region import BLOCK, WINDOW, RegionSize, recommended_radius
from rrl.core.rrl import adaptive
from rrl.tuning.presets import paper_cpu


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


def test_what_is_observed_overrules_theory():
    """A radius of 4 is best; where nothing is observed, the radius falls as theory says."""

    def away(steepness):
        ends = []
        for seed in range(2):
            sizes = RegionSize(3, start=2.0, widest=6.0)
            chosen = play(
                sizes,
                lambda radius, episode: steepness * (np.log1p(radius) - np.log1p(4.0)) ** 2,
                30,
                np.random.default_rng(seed),
            )
            ends.append(chosen[-10:].mean())
        return abs(np.log1p(np.mean(ends)) - np.log1p(4.0))

    assert away(0.5) < 0.6 * away(0.0)


def test_a_drifting_best_radius_is_followed():
    """Three for 200 episodes, then a half: the old observations must not hold it back."""

    def excess(radius, episode):
        best = 3.0 if episode < 200 else 0.5
        return (np.log1p(radius) - np.log1p(best)) ** 2

    late = []
    for seed in range(2):
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


def radii(agent):
    """The episode and the radius of each block at the first load level."""
    return agent.region.sizes[0].history


@settings(max_examples=8)
@given(spaces(), st.integers(0, 1000))
def test_order_of_knobs_and_values_changes_no_radius(space, seed):
    """Choices are drawn by number, so both are told the same costs of the same configurations."""
    rng = np.random.default_rng(seed)
    other = permuted(space, rng)
    agents = [adaptive(where, np.random.default_rng(0)) for where in (space, other)]
    for index, cost in zip(rng.integers(len(space), size=35), rng.uniform(1, 2, 35), strict=True):
        for agent in agents:
            agent.ask(10.0)
            agent.tell(space[int(index)], cost)
    assert len(radii(agents[0])) == 4
    assert radii(agents[1]) == radii(agents[0])


def test_each_load_level_has_its_own_radius():
    agent = adaptive(paper_cpu(4), np.random.default_rng(0))
    list(bowl(agent, 60, load=10.0))
    narrow = agent.region.sizes[0].radius
    list(bowl(agent, 5, load=40.0))
    assert agent.region.sizes[1].radius == agent.region.start != narrow
    assert agent.region.sizes[0].radius == narrow
