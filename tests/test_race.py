"""Races: measured against a truth that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rrl import ConfigSpace, Knob, Phases, tune
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import judge_half, rows_of_half
from rrl.rivals.agents import AGENTS
from rrl.studies.problems import FINE, SURFACES, open_scenario, surface, with_truth
from rrl.studies.race import Race, race, score
from rrl.studies.scenario import find_truth
from rrl.support.errors import DataError, UsageError

LINE = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])


def runs_of(*recommended: int, chosen=None) -> Race:
    made = np.array([recommended], dtype=np.int32)
    return Race(np.array([chosen or recommended], dtype=np.int32), made)


def test_a_run_that_is_never_within_five_percent_counts_with_one_more_than_its_episodes():
    found = score(LINE, runs_of(0, 2, 2))
    assert found["first_within_5"].tolist() == found["stays_within_5"].tolist() == [4]


def test_the_mean_cost_is_about_what_served_and_the_regret_about_what_is_deployed():
    found = score(LINE, runs_of(1, 1, 2, chosen=[0, 2, 1]))
    assert found["mean_cost"][0] == pytest.approx((3 + 2 + 1) / 3)
    assert found["simple_regret"][0] == pytest.approx(1.0)


def test_a_run_of_a_race_is_a_tuning_from_its_own_seed():
    runs = race(LINE, AGENTS["rrl"], [3, 4], 15)
    agent = AGENTS["rrl"](LINE.space, np.random.default_rng([4, 0]))  # it draws from its own
    straight = tune(LINE.server, agent, LINE.workload, 15, np.random.default_rng([4, 1]),
                    requests=LINE.requests)  # fmt: skip
    assert runs.costs[1].tolist() == straight.costs
    assert not np.array_equal(runs.costs[0], runs.costs[1])


@pytest.mark.parametrize("half", [0, 1])
def test_no_agent_is_judged_by_what_it_replays(half):
    """What is replayed and what is true come from episodes that share nothing."""
    scenario = with_truth(f"keyword-threads/{half}", 900.0)
    server, profile = scenario.server, scenario.server.profile
    replayed = profile.table.loc[[row for rows in server._rows.values() for row in rows]]
    judging = rows_of_half(profile, 900.0, 1 - half)
    assert not set(replayed.index) & set(judging.index)
    assert not set(replayed["arrival_seed"]) & set(judging["arrival_seed"])
    truth = judge_half(profile, 900.0, 1 - half)
    np.testing.assert_array_equal(scenario.cost, truth.cost)
    np.testing.assert_array_equal(scenario.good, truth.good)
    assert 0 < scenario.good.sum() <= truth.possible.sum() < len(scenario.space)
    assert scenario.ceiling >= 1


def test_what_leaves_nothing_to_judge_by_or_has_no_load_is_refused():
    problem = open_scenario("keyword-threads", 900.0)
    whole = replace(problem, server=RecordedServer("data/keyword-threads", 900.0))
    with pytest.raises(ValueError, match="nothing is left to judge by"):
        find_truth(whole)
    with pytest.raises(DataError, match="no load of 901/s"):
        with_truth("keyword-threads", 901.0)
    with pytest.raises(UsageError, match="cpu2 needs a load"):
        open_scenario("cpu2")


def test_a_cost_within_five_percent_is_not_good_if_it_is_uncertain():
    cost = np.array([3.0, 1.0, 1.04, 1.06])
    line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4, 8))]), cost)
    measured = score(replace(line, good=cost <= 1.0), runs_of(0, 2, 1, 1))
    assert measured["first_within_5"] == measured["stays_within_5"] == 3


def test_a_recorded_load_that_changes_weighs_the_loads_by_how_often_they_answer():
    problem = open_scenario("keyword-threads", Phases((0, 5), (1 / 300, 1 / 2500), 20, 300))
    truth = find_truth(problem, episodes=20)
    low, high = (with_truth("keyword-threads", rate).cost for rate in (450.0, 1275.0))
    assert truth.cost == pytest.approx(0.25 * low + 0.75 * high)


def test_a_load_that_stays_is_known_as_well_however_short_the_race():
    """The smallest of many means of one episode is far below the optimum."""
    problem = open_scenario("cpu2", 165.0)
    short, long = (find_truth(problem, replications=10, episodes=n) for n in (1, 500))
    np.testing.assert_array_equal(short.cost, long.cost)


def test_the_finer_surface_agrees_where_both_have_a_configuration():
    coarse, fine = (open_scenario(name) for name in (SURFACES[0], FINE))
    assert fine.cost.min() == pytest.approx(coarse.cost.min())
    assert len(fine.space) == 41**3
