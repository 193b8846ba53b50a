"""The radius that is learned: :class:`RadiusSelection` on its own, and the region that uses it."""

from __future__ import annotations

import numpy as np
import pytest
from test_agent import bowl

from rrl.core.qtable import HIGHEST, LOWEST, QTable
from rrl.core.region import (
    BLOCK,
    WINDOW,
    RadiusSelection,
    SelectedRadius,
    _threads,
    theoretical_radius,
)
from rrl.core.rrl import adaptive
from rrl.tuning.presets import paper_cpu


def play(selection, excess, blocks, rng, noise=0.05):
    """Let `selection` choose while a radius costs `excess(radius, episode)`; return its choices."""
    chosen = []
    for _ in range(blocks):
        mean = excess(selection.radius, selection.episode)
        chosen.append(selection.tell(rng.normal(mean, noise, selection.due)))
    return np.array(chosen)


def test_without_news_it_follows_theory():
    selection = RadiusSelection(3, start=3.0, widest=7.0)
    play(selection, lambda radius, episode: 0.2, 30, np.random.default_rng(0))
    ratios = [radius / theoretical_radius(3.0, episode, 3) for episode, radius in selection.history]
    assert np.median(ratios) == pytest.approx(1.0, rel=0.15)


def test_a_drifting_best_radius_is_followed():
    """Three for 200 episodes, then a half: the old observations must not hold it back."""

    def excess(radius, episode):
        best = 3.0 if episode < 200 else 0.5
        return (np.log1p(radius) - np.log1p(best)) ** 2

    late = []
    for seed in range(2):
        selection = RadiusSelection(3, start=3.0, widest=7.0)
        play(selection, excess, 40, np.random.default_rng(seed))
        late.append(np.mean([radius for episode, radius in selection.history if episode > 1000]))
        assert len(selection.blocks) == WINDOW
        assert selection.blocks[-1][1] > selection.history[-2][0], "the newest ones are remembered"
    assert 0.2 < np.median(late) < 0.9


def test_the_libraries_are_looked_for_once():
    """A look takes a millisecond, and a radius is selected in as much."""
    assert _threads() is _threads()


def test_each_load_level_has_its_own_radius():
    agent = adaptive(paper_cpu(4), np.random.default_rng(0))
    bowl(agent, 60)
    narrow = agent.region.selections[0].radius
    bowl(agent, 5, loads=(40.0,))
    assert agent.region.selections[1].radius == agent.region.start != narrow
    assert agent.region.selections[0].radius == narrow


def test_a_block_whose_costs_are_as_far_apart_as_can_be_ends_with_a_radius():
    table, region = QTable(paper_cpu(1)), SelectedRadius(paper_cpu(1))
    for index, cost in enumerate((LOWEST, HIGHEST)):
        table.record(index, cost)
    for incumbent in (0, 1):
        table.incumbent = incumbent  # its mean is what costs are compared with
        for cost in (LOWEST, HIGHEST) * (BLOCK // 2):
            region.learn(table, cost)
    (selection,) = region.selections.values()
    assert len(selection.history) == 3
    assert 0 <= selection.radius <= selection.widest
