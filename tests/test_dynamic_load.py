"""The load changes: what was learned at one load helps at the next, and none is learned twice."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.load_levels import LoadLevels
from rrl.core.region_size import AdaptiveRRL
from rrl.core.rrl import RRL
from rrl.studies.load_change import deployed, episodes_until_good
from rrl.studies.race import Race
from rrl.studies.scenario import simulated
from rrl.tuning.experiments import tune
from rrl.tuning.presets import paper_cpu
from rrl.workloads.workload import Phases

SEEDS = range(30)
GPU = Phases(starts=(0, 100, 145), gaps=(1 / 200, 1 / 900, 1 / 200), episodes=170)
PAPER = Phases(starts=(0, 100, 150, 200, 250), episodes=300)  # the paper's loads, in fewer episodes


@cache
def truth(testbed, gap):
    return simulated(testbed, 1 / gap, replications=40).cost


@cache
def recommended(testbed, phases, kind, **settings):
    """True cost of what would be deployed after each episode, over the optimum's; by phase."""
    runs = []
    server = simulated(testbed, 1 / phases.gaps[0], replications=40).server
    for seed in SEEDS:
        agent = kind(server.space, np.random.default_rng([seed, 0]), **settings)
        rng = np.random.default_rng([seed, 1])
        run = tune(server, agent, phases, phases.episodes, rng, requests=phases.requests)
        runs.append([server.space.index(c) for c in run.recommended])
    race = Race(np.array(runs), np.array(runs), math.nan)
    return deployed(race, [truth(testbed, gap) for gap in phases.gaps], phases.starts)


def typically(ratios):
    return float(np.median(episodes_until_good(ratios)))


def fresh(testbed, phases, phase, kind):
    alone = Phases((0,), (phases.gaps[phase],), episodes=45)
    return typically(recommended(testbed, alone, kind)[0])


@pytest.mark.parametrize(("kind", "share"), [(RRL, 1 / 4), (AdaptiveRRL, 1 / 2)])
def test_a_new_load_takes_a_share_of_a_fresh_start_and_an_old_one_three_episodes(kind, share):
    """The GPU's optimum moves: the best at 200 requests/s costs 39 % more than that at 900.

    AdaptiveRRL has narrowed its regions by then, so it knows less of what lies around.
    """
    before, cost = truth("gpu", 1 / 200), truth("gpu", 1 / 900)
    assert cost[before.argmin()] > 1.3 * cost.min()
    _, new, back = recommended("gpu", GPU, kind)
    assert typically(new) <= share * fresh("gpu", GPU, 1, kind)
    assert typically(back) <= 3


def test_the_loads_of_the_paper():
    phases = recommended("cpu10", PAPER, RRL)
    for number, ratios in enumerate(phases[1:], 1):
        seen = PAPER.gaps[number] in PAPER.gaps[:number]
        limit = 3 if seen else max(1, fresh("cpu10", PAPER, number, RRL) / 4)
        assert typically(ratios) <= limit, f"phase {number}"


# --- which level a load belongs to ---------------------------------------------------------------


def test_noise_at_the_edge_of_a_level_rarely_changes_the_table():
    """A load of 11.4 requests/s is on an edge: the estimates fall on both sides of it."""
    levels, rng = LoadLevels(1.5, noise=0.1), np.random.default_rng(0)
    loads = 1.5**6 / rng.gamma(99, 1 / 99, size=1000)
    changes = {
        name: np.count_nonzero(np.diff([place(load) for load in loads]))
        for name, place in {"raw": levels.level, "settled": levels.settle}.items()
    }
    assert changes["raw"] > 400
    assert changes["settled"] < 10


@pytest.mark.parametrize("factor", [0.5, 1.6, 3.0])
def test_a_changed_load_is_noticed_at_once(factor):
    levels = LoadLevels(1.5, noise=0.1)
    for _ in range(20):
        levels.settle(10.0)
    assert levels.settle(10.0 * factor) == levels.level(10.0 * factor)
    assert levels.place.count == 1


def test_a_slow_drift_is_followed():
    levels = LoadLevels(1.5, noise=0.1)
    loads = 10.0 * 1.01 ** np.arange(300)
    places = [levels.settle(load) for load in loads]
    assert places == sorted(places)
    assert abs(places[-1] - levels.level(loads[-1])) <= 1
    assert levels.place.count == 300  # nothing that would count as a change


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=20), st.floats(0.1, 1e4))
def test_a_guess_changes_nothing_and_is_what_settling_gives(loads, last):
    levels = LoadLevels(1.5, noise=0.1)
    for load in loads:
        levels.settle(load)
    before = levels.state()
    guess = levels.guess(last)
    assert levels.state() == before
    assert levels.settle(last) == guess


def test_edges_are_taken_at_their_word():
    levels = LoadLevels((9.5, 20.0), noise=0.1)
    assert [levels.settle(load) for load in (9.4, 9.6, 9.4, 21.0)] == [0, 1, 0, 2]


def test_bad_noise():
    with pytest.raises(ValueError, match="load_noise must be"):
        RRL(paper_cpu(2), np.random.default_rng(0), load_noise=-0.1)


# --- regions reach across loads ------------------------------------------------------------------


@pytest.mark.parametrize(("reach", "heard"), [(1.0, True), (0.0, False)])
def test_a_neighbouring_load_hears_less_the_further_it_is(reach, heard):
    space = paper_cpu(4)
    agent = RRL(space, np.random.default_rng(0), load_bins=2.0, load_noise=0.0, reach=reach)
    for load in (10.0, 20.0, 40.0, 80.0, 160.0):
        agent.ask(load)
        agent.tell(space[0], 1.0)  # no load is dearer than another
    agent.ask(10.0)
    before = {level: table.values.copy() for level, table in agent.tables.items()}
    agent.tell(space[-1], 9.0)
    moved = [agent.tables[level].values[-1] - before[level][-1] for level in sorted(before)]
    assert moved[0] > 0
    assert (moved[1] > 0) == heard
    assert moved[3:] == [0.0, 0.0]  # three levels away and more: out of reach
    evidence = [agent.tables[level].evidence[-1] for level in sorted(before)]
    assert evidence[:3] == pytest.approx(
        [1.0, math.exp(-0.5), math.exp(-2)] if heard else [1, 0, 0]
    )


def test_what_a_load_has_measured_itself_is_not_overruled():
    space = paper_cpu(4)
    agent = RRL(space, np.random.default_rng(0), load_bins=2.0, load_noise=0.0)
    agent.ask(10.0)
    agent.tell(space[0], 1.0)
    kept = agent.tables[agent.level(10.0)].values[0]
    agent.ask(20.0)
    for _ in range(50):
        agent.tell(space[0], 5.0)
    assert agent.tables[agent.level(10.0)].values[0] == kept
