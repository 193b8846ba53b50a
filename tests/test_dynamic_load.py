"""The load changes: what was learned at one load helps at the next, and none is learned twice."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.knob import Knob
from rrl.core.qtable import Tables
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.studies.problems import with_truth
from rrl.tuning.loop import tune
from rrl.workloads.workload import Phases

SEEDS = range(10)
GPU = Phases(starts=(0, 100, 145), gaps=(1 / 200, 1 / 900, 1 / 200), episodes=170)
PAPER = Phases(starts=(0, 100, 150, 200, 250), episodes=300)  # the paper's loads, in fewer episodes


@cache
def truth(testbed, gap):
    return with_truth(testbed, 1 / gap, replications=40).cost


@cache
def recommended(testbed, phases):
    """True cost of what would be deployed after each episode, over the optimum's; by phase."""
    runs = []
    server = with_truth(testbed, 1 / phases.gaps[0], replications=40).server
    for seed in SEEDS:
        agent = RRL(server.space, np.random.default_rng([seed, 0]))
        rng = np.random.default_rng([seed, 1])
        run = tune(server, agent, phases, phases.episodes, rng, requests=phases.requests)
        runs.append([server.space.index(c) for c in run.recommended])
    parts = np.split(np.array(runs), phases.starts[1:], axis=1)
    costs = [truth(testbed, gap) for gap in phases.gaps]
    return [cost[part] / cost.min() for cost, part in zip(costs, parts, strict=True)]


def episodes_until_good(ratios):
    """First episode, from 1, that is within 10 % of the best, and so are 9 in 10 of the next 20."""
    found = np.full(len(ratios), np.inf)
    for seed, good in enumerate(ratios <= 1.1):
        stays = (t for t in np.flatnonzero(good) if good[t : t + 20].mean() >= 0.9)
        found[seed] = next(stays, np.inf) + 1
    return found


def typically(ratios):
    return float(np.median(episodes_until_good(ratios)))


def fresh(testbed, phases, phase):
    alone = Phases((0,), (phases.gaps[phase],), episodes=45)
    return typically(recommended(testbed, alone)[0])


def test_a_new_load_takes_a_share_of_a_fresh_start_and_an_old_one_three_episodes():
    """The GPU's optimum moves: the best at 200 requests/s costs 39 % more than that at 900."""
    before, cost = truth("gpu", 1 / 200), truth("gpu", 1 / 900)
    assert cost[before.argmin()] > 1.3 * cost.min()
    _, new, back = recommended("gpu", GPU)
    assert typically(new) <= fresh("gpu", GPU, 1) / 4
    assert typically(back) <= 3


@pytest.mark.long
def test_the_loads_of_the_paper():
    phases = recommended("cpu10", PAPER)
    for number, ratios in enumerate(phases[1:], 1):
        seen = PAPER.gaps[number] in PAPER.gaps[:number]
        limit = 3 if seen else max(1, fresh("cpu10", PAPER, number) / 4)
        assert typically(ratios) <= limit, f"phase {number}"


# --- which load level a load belongs to -----------------------------------------------------------


def levels():
    return Tables(ConfigSpace([Knob("threads", (1, 2))]))


def entered(tables, loads):
    numbers = []
    for load in loads:
        table = tables.at(load)
        tables.record(0, 1.0)
        numbers.append(table.level)
    return numbers


def log_loads(tables):
    return [table.log_load for table in tables]


def test_noise_of_an_estimate_makes_no_load_level():
    """An estimate from 100 Poisson arrivals has a standard error of 10 %."""
    for seed in range(5):
        tables, rng = levels(), np.random.default_rng(seed)
        entered(tables, 11.4 / rng.gamma(99, 1 / 99, size=1000))
        assert log_loads(tables) == [pytest.approx(math.log(11.4), abs=0.05)]


@pytest.mark.parametrize("factor", [0.5, 2.0, 3.0])
def test_a_load_that_changes_much_is_noticed_at_once(factor):
    assert entered(levels(), [10.0] * 20 + [10.0 * factor, 10.0]) == [0] * 20 + [1, 0]


def test_one_strange_estimate_makes_no_load_level_but_a_second_one_does():
    tables = levels()
    assert entered(tables, (10.0, 10.0, 14.0, 10.0, 9.0, 7.2, 10.0)) == [0] * 7
    usual = np.log([10.0, 10.0, 10.0, 9.0, 10.0])  # the other two do not count
    assert log_loads(tables) == pytest.approx([usual.mean()])
    assert entered(tables, (14.5, 14.0)) == [0, 1]
    assert entered(tables, (10.0, 14.2, 100.0)) == [0, 1, 2]


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=30))
def test_a_load_level_is_near_its_loads(loads):
    tables = levels()
    for load in loads:
        before = log_loads(tables)
        table = tables.at(load)
        assert abs(table.log_load - math.log(load)) <= 2 * tables.width + 1e-9
        if table.level == len(before):  # a new level is for a load that is unlike all others
            assert all(abs(other - math.log(load)) > tables.width for other in before)
        tables.record(0, 1.0)
