"""What was served, judged by the half of a recording that no agent replayed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rrl import AGENTS, tune
from rrl.recording.truth import judge_half
from rrl.studies.days import Day, run_days
from rrl.studies.other_half import loads_met, rejudged
from rrl.studies.problems import open_scenario
from rrl.studies.race import Race, race
from rrl.studies.settings import Setting, workload
from rrl.tuning.defaults import serving_default

BED, LOAD = "keyword-threads", ("Bursts", (450.0, 1275.0), (2.3, 1.15))
STAYS = "tf-serving-default"


@pytest.fixture(scope="module")
def scenario():
    return open_scenario(BED, workload(LOAD))


def test_the_loads_are_those_that_the_server_answered(scenario):
    answered = []

    class Watched:
        space = scenario.space

        def measure(self, *given, **named):
            episode = scenario.server.measure(*given, **named)
            answered.append(episode.info["rate_per_s"])
            return episode

    agent = AGENTS["random"](scenario.space, np.random.default_rng(0))
    tune(Watched(), agent, scenario.workload, 40, np.random.default_rng([3, 1]))
    rates = np.array(scenario.server.profile.rates_per_s)
    met = loads_met(scenario.server, scenario.workload, 100, 3, 40)
    assert len(set(answered)) > 1
    assert rates[met].tolist() == answered


def costs_of_the_default(scenario):
    """By the second half, which nobody replays: one number per load."""
    profile = scenario.server.profile
    default = scenario.space.index(serving_default(scenario.space))
    return np.array([judge_half(profile, rate, 1).cost[default] for rate in profile.rates_per_s])


def rows(problem, agent, seeds):
    return pd.DataFrame(
        {"problem": problem, "agent": agent, "seed": np.arange(seeds), "latency_s": np.nan}
    )


def test_an_agent_that_stays_costs_what_the_other_half_says_at_each_load(scenario):
    setting = Setting(BED, LOAD, STAYS, 2, 5)
    runs = race(scenario, AGENTS[STAYS], range(2), 5)
    simulated = Setting("gpu", ("Bursts", (200.0, 900.0), (1.4, 0.7)), STAYS, 2, 5)
    served = pd.concat([rows(f"{BED} Bursts", STAYS, 2), rows("gpu Bursts", STAYS, 2)])
    found = rejudged(served, {setting: runs, simulated: runs}, {}, "data")
    assert found["problem"].tolist() == [f"{BED} Bursts"] * 2  # what is simulated has its truth
    costs = costs_of_the_default(scenario)
    requests = scenario.requests
    met = [loads_met(scenario.server, scenario.workload, requests, seed, 5) for seed in range(2)]
    np.testing.assert_allclose(found["latency_s"], [costs[one].mean() for one in met])
    told = runs.costs.mean(axis=1)
    assert not np.allclose(found["latency_s"], told)  # which is of the half that is replayed


def test_a_race_is_judged_by_the_arrivals_of_its_own_seeds(scenario, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "rrl.studies.other_half.loads_met",
        lambda server, load, requests, seed, episodes: (
            seen.append(seed) or loads_met(server, load, requests, seed, episodes)
        ),
    )
    setting = Setting(BED, LOAD, STAYS, 2, 3, first_seed=7)
    runs = Race(*np.zeros((2, 2, 3), dtype=np.int32), 0.0)
    rejudged(rows("", STAYS, 2)[:0], {setting: runs}, {}, "data")
    assert seen == [7, 8]


def test_a_day_is_judged_by_its_own_requests_and_seeds(scenario):
    day = Day(BED, 900.0, STAYS, 2, 2000, 0.05, length_s=60.0, first_seed=7)
    arrays = run_days(day, range(7, 9), "data")
    name = f"{BED} 900/s, day"
    found = rejudged(rows(name, STAYS, 2), {}, {day: arrays}, "data")["latency_s"]
    costs = costs_of_the_default(scenario)
    assert (found >= costs.min()).all()
    assert (found <= costs.max()).all()
    assert len(set(found)) == 2  # two seeds, two days
