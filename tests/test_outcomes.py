"""Tables follow from the races."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rrl import ConfigSpace, Knob
from rrl.rivals.agents import SETTINGS
from rrl.studies import outcomes
from rrl.studies.problems import surface
from rrl.studies.race import Race
from rrl.studies.settings import Setting

SPACE = ConfigSpace([Knob("batch_threads", (0, 1, 2)), Knob("inter_op", (1, 2))])
COST = [4.0, 8.0, 2.0, 2.0, 1.0, 3.0]  # the default is (0, 1)
PROBLEM = ("cpu2", 10.0)
SCENARIO = surface("cpu2 10/s", SPACE, COST)
EPISODES = 10
BY = ["problem", "agent"]


def races(**final: int) -> dict[Setting, Race]:
    """Agents that always serve and recommend one configuration, six seeds each."""
    found = {}
    for agent, index in final.items():
        chosen = np.full((6, EPISODES), index)
        runs = Race(chosen, chosen, np.full(chosen.shape, COST[index]))
        found[Setting(*PROBLEM, agent, 6, EPISODES)] = runs
    return found


def table_of(results):
    return outcomes.runs_table(results, {PROBLEM: SCENARIO})


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_between_a_run_that_arrives_and_one_that_never_does_the_median_is_censored(rng):
    chosen = np.full((6, EPISODES), 1)
    chosen[:3] = 4
    results = {Setting(*PROBLEM, "half", 6, EPISODES): Race(chosen, chosen)}
    table = outcomes.medians(table_of(results), BY, outcomes.COMPARED, rng)
    (row,) = table.to_dict("records")
    assert [row[f"stays_within_5{end}"] for end in ("", "_low", "_high")] == [11, 1, 11]
    assert (row["deployed"], row["seeds"]) == (4.5, 6)
    rivals = {Setting(*PROBLEM, "rival", 6, EPISODES): Race(chosen, chosen)}
    duels = outcomes.duels(table_of(results | rivals), "half", rng).set_index("measure")
    assert duels.loc["stays_within_5", ["ours", "theirs"]].tolist() == [11, 11]


def test_duels_are_won_lost_and_tied(rng):
    results = races(ours=2, better=4, worse=1, same=3)
    table = outcomes.duels(table_of(results), "ours", rng)
    verdicts = table[table["measure"] == "mean_cost"].set_index("rival")["verdict"].to_dict()
    assert verdicts == {"better": "lost", "worse": "won", "same": "tied"}
    assert outcomes.tally(table).loc["mean_cost"].tolist() == [1, 1, 1]
    assert len(table) == 3 * len(outcomes.COMPARED)


def test_duels_are_fought_seed_by_seed(rng):
    """A rival that does the same in every run is as good, however much the runs differ."""
    chosen = np.tile(np.array([[4], [1], [0], [3], [5], [1]]), EPISODES)
    runs = Race(chosen, chosen)
    results = {Setting(*PROBLEM, agent, 6, EPISODES): runs for agent in ("ours", "theirs")}
    table = outcomes.duels(table_of(results), "ours", rng)
    assert (table[["ratio", "low", "high"]] == 1).all(axis=None)
    turned = Race(chosen[::-1], chosen[::-1])
    other = {s: turned if s.agent == "theirs" else run for s, run in results.items()}
    table = outcomes.duels(table_of(other), "ours", rng).set_index("measure")
    assert table.loc["mean_cost", "low"] < 1 < table.loc["mean_cost", "high"]


def test_runs_that_no_column_tells_apart_are_refused():
    one = Setting("cpu2", ("Bursts", (1.0, 2.0), (9.0, 1.0)), "one", 6, EPISODES)
    other = one._replace(load=("Bursts", (1.0, 3.0), (9.0, 1.0)))
    results = dict.fromkeys((one, other), *races(one=4).values())
    scenarios = {setting.problem: SCENARIO for setting in results}
    with pytest.raises(ValueError, match="two runs of one on cpu2 Bursts from seed 0: make a tab"):
        outcomes.runs_table(results, scenarios)


def test_the_rivals_have_the_settings_that_the_log_names():
    log = pd.read_csv("data/choosing/rivals.csv")
    assert log["problem"].nunique() == 29
    aims = ("mean_cost", "first_within_5")
    cost, speed = (outcomes.best_settings(log, aim) for aim in aims)
    kept = {"rrl", "rrl-adaptive"}  # those with which the claims were registered
    for agent in sorted(set(log["agent"]) - kept):
        assert SETTINGS[agent] == json.loads(cost[agent]), agent
    for agent in ("q-learning", "deep-q-network"):
        assert SETTINGS[f"{agent}-for-speed"] == json.loads(speed[agent]), agent
