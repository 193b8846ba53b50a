"""What was served, judged by the half of a recording that no agent replayed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rrl import AGENTS, ConfigSpace, Knob, tune
from rrl.recording.truth import judge_half, replay_best
from rrl.studies.other_half import (
    FIXED,
    ORACLE,
    READER,
    judging_errors,
    loads_met,
    ratio_errors,
    told_by_judge,
)
from rrl.studies.problems import open_scenario
from rrl.studies.race import race
from rrl.studies.settings import workload
from rrl.tuning.defaults import serving_default

BED, LOAD = "keyword-threads", ("Bursts", (450.0, 1275.0), (2.3, 1.15))
STAYS = "tf-serving-default"


@pytest.fixture(scope="module")
def scenario():
    return open_scenario(BED, workload(LOAD))


def test_the_loads_are_those_that_the_server_answered(scenario):
    agent = AGENTS["random"](scenario.space, np.random.default_rng(0))
    rng, requests = np.random.default_rng([3, 1]), scenario.requests
    run = tune(scenario.server, agent, scenario.workload, 40, rng, requests=requests)
    answered = [step.episode.info["rate_per_s"] for step in run]
    rates = np.array(scenario.server.profile.rates_per_s)
    assert len(set(answered)) > 1
    assert rates[loads_met(scenario, 3, 40)].tolist() == answered


@pytest.mark.parametrize("half", [0, 1])
def test_who_stays_and_the_references_cost_what_the_other_half_says_at_each_load(half):
    where = open_scenario(f"{BED}/{half}", workload(LOAD))
    default = where.space.index(serving_default(where.space))
    seeds = range(6, 9)
    runs = race(where, AGENTS[STAYS], seeds, 20)
    latency_s, _, answered = told_by_judge(where, seeds[0], {STAYS: runs.chosen})
    profile = where.server.profile
    rates = np.array(profile.rates_per_s)
    met = np.array([loads_met(where, seed, 20) for seed in seeds])
    assert np.array_equal(answered, rates[met])
    costs = np.array([judge_half(profile, rate, 1 - half).cost for rate in rates])
    read = np.array([replay_best(profile, rate, half) for rate in rates])
    expected = {STAYS: costs[met, default], ORACLE: costs.min(axis=1)[met],
                READER: costs[met, read[met]]}  # fmt: skip
    for agent, told_costs in expected.items():
        np.testing.assert_allclose(latency_s[agent], told_costs.mean(axis=1))
    fixed = min(costs[met, number].mean() for number in range(len(where.space)))
    assert latency_s[FIXED].mean() == pytest.approx(fixed)
    assert not np.allclose(latency_s[STAYS], runs.costs.mean(axis=1))  # what it was told


# --- How sure it is: this decides the claims about loads that change ------------------------------


def test_two_agents_are_compared_as_surely_as_they_differ():
    """What both serve at a load cancels out; the rest has the errors of its configurations."""
    load, (seeds, episodes) = ("Phases", (0,), (1 / 1275,), 20, 300), (2, 9)
    where = open_scenario(BED, workload(load))
    profile, default = where.server.profile, where.space.index(serving_default(where.space))
    costs, errors = judge_half(profile, 1275.0, 1).cost, ratio_errors(profile, 1275.0, 1)
    other = int(np.argmax(np.where(np.arange(len(costs)) == default, 0, errors)))
    both = np.where(np.arange(episodes) < 6, default, other)
    chosen = {STAYS: np.full(episodes, default), "rrl-gp": np.full(episodes, other), "random": both}
    everyone = {agent: np.tile(row, (seeds, 1)) for agent, row in chosen.items()}
    _, found, _ = told_by_judge(where, 0, everyone)
    whole = np.hypot(errors[default], errors[other])
    part = 3 * costs[other] / (6 * costs[default] + 3 * costs[other])  # of the time is another's
    assert whole > 0.01
    assert found[STAYS] == 0
    assert found["rrl-gp"] == pytest.approx(whole)
    assert found["random"] == pytest.approx(part * whole)


def made_up(passes, scatter, configurations=300):
    """A grid whose configurations and passes differ by known factors, with a known scatter."""
    rng, space = np.random.default_rng(0), ConfigSpace([Knob("x", range(configurations))])
    x, number = (one.ravel() for one in np.indices((configurations, passes)))
    logs = rng.normal(0, 1, configurations)[x] + 2.0 * number + rng.normal(0, scatter, len(x))
    columns = {"x": x, "pass": number, "repeat": 0, "rate_per_s": 9.0, "valid": 1}
    table = pd.DataFrame(columns | {"mean_s": np.exp(logs)})
    plan = {"plan": {"requests": 100}}
    return SimpleNamespace(
        table=table, grid=table, grid_passes=passes, knobs=["x"], space=space, description=plan
    )


def test_the_error_of_a_mean_is_the_scatter_of_its_episodes():
    found = judging_errors(made_up(passes=8, scatter=0.3), 9.0, half=1)
    assert found["error"] == pytest.approx(0.3 / np.sqrt(4), rel=0.1)
    assert set(found["requests"]) == {4 * 100}


def test_a_finalist_is_as_sure_as_its_limits_and_all_others_as_their_means(scenario):
    profile, rate = scenario.server.profile, 900.0
    truth, errors = judge_half(profile, rate, 1), ratio_errors(profile, rate, 1)
    final = np.isfinite(truth.high)  # a few took part in too few rounds for a limit
    np.testing.assert_allclose(  # 1.96 errors to each side
        np.exp(2 * 1.959964 * errors[final]), (truth.high / truth.low)[final], rtol=1e-6
    )
    rest = judging_errors(profile, rate, 1)["error"]
    assert np.array_equal(errors[~final], rest[~final])
    assert not final.all()
