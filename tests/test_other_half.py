"""What was served, judged by the half of a recording that no agent replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from rrl import AGENTS, ConfigSpace, Knob, tune
from rrl.core.similarity import Copy, Estimate
from rrl.recording.profile import read_profile
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
from rrl.studies.problems import SurfaceServer, open_scenario, surface
from rrl.studies.race import race
from rrl.studies.settings import workload
from rrl.studies.side_by_side import (
    DESCRIPTION,
    STEPS,
    changes,
    geometric_mean_interval,
    judge_live,
    read_live_runs,
)
from rrl.studies.similarity_error import GlobalMean, error_again, region_errors
from rrl.support.errors import DataError
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


# --- what C1 rests on: errors of estimates, and of a second measurement ---------------------------


SPACE = ConfigSpace([Knob("x", range(5)), Knob("y", range(4))])
COST = np.exp(0.1 * SPACE.value_indices.sum(axis=1))  # a step costs 10 % more, in logs


def test_measuring_again_errs_by_the_noise_of_an_episode():
    """Half of normal numbers are within 0.6745 standard deviations."""
    space = ConfigSpace([Knob("x", range(4000))])
    noisy = surface("flat", space, np.ones(4000), noise=0.1)
    assert error_again(noisy, np.random.default_rng(0)) == pytest.approx(0.06745, rel=0.05)
    exact = error_again(without_noise(), np.random.default_rng(0))
    assert exact == pytest.approx(0, abs=1e-12)


def without_noise():
    problem = surface("steps", SPACE, COST)
    return replace(problem, server=SurfaceServer(SPACE, COST, noise=0.0))


class Knows(GlobalMean):
    """An estimator that knows the true costs."""

    def estimate(self, table, index, cost, cells):
        return Estimate(COST[cells], np.full(len(cells), 0.1))


def test_an_error_is_that_of_the_neighbours_and_not_of_the_measured_configuration():
    estimators = {"copy": Copy, "knows": Knows}
    errors = region_errors(without_noise(), estimators, 20, 1.0, np.random.default_rng(0))
    copy, knows = (errors[errors["estimator"] == name] for name in estimators)
    assert set(errors["distance"]) == {1}
    assert copy["error"].to_numpy() == pytest.approx(0.1)  # it says that they cost the same
    assert knows["error"].to_numpy() == pytest.approx(0)
    assert len(copy) == len(knows) <= 10 * 4, "the first half of the measurements is not judged"


def test_all_estimators_are_told_the_same():
    alone, both = (
        region_errors(surface("s", SPACE, COST), those, 20, 1.0, np.random.default_rng(0))
        for those in ({"mean": GlobalMean}, {"copy": Copy, "mean": GlobalMean})
    )
    rest = both[both["estimator"] == "mean"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, rest)


# --- agents in turns: the same arrivals, a run that is cut short, and several runs together -------


DATA = Path(__file__).parent.parent / "data"
LIVE = yaml.safe_load((DATA / "claims.yaml").read_text(encoding="utf-8"))["live"]


def test_latencies_are_read_in_seconds_and_a_damaged_run_or_none_is_named(tmp_path):
    with pytest.raises(DataError, match="no run; restore it"):
        read_live_runs(tmp_path)
    stored(tmp_path, 0)
    _, table = read_live_runs(tmp_path)
    assert table["latency_s"].iloc[0].tolist() == [0.001, 0.002]
    for name, text in ((STEPS, ""), (DESCRIPTION, "{}")):
        (tmp_path / "0" / name).write_text(text)
        with pytest.raises(DataError, match=f"{tmp_path / '0'}: damaged"):
            read_live_runs(tmp_path)


def test_the_runs_are_those_that_are_registered():
    descriptions, steps = read_live_runs(DATA / LIVE["recording"])
    seeds = [one["what"]["seed"] for one in descriptions]
    assert seeds == [100 + number for number in range(LIVE["runs"])], "none was chosen"
    assert len({one["what"]["workload"] for one in descriptions}) == 1
    whole = steps.loc[steps["ended"].isna(), "latency_s"]
    assert {len(one) for one in whole} == {LIVE["requests"]}
    assert all(one["best"]["fixed"] == LIVE["fixed"] for one in descriptions)
    counts = steps.groupby("run")["contestant"].value_counts().unstack()
    assert set(counts) == {LIVE["base"], *LIVE["contestants"]}
    assert (counts == LIVE["rounds"]).all(axis=None)


def test_the_fixed_configuration_is_the_one_that_the_recordings_name():
    profile = read_profile(DATA / "mobilenet_v2-joint-279")
    halves = product(profile.rates_per_s, (0, 1))
    costs = [judge_half(profile, rate, half).cost for rate, half in halves]
    assert profile.space[int(np.log(costs).mean(axis=0).argmin())] == LIVE["fixed"]


# --- Several runs together -----------------------------------------------------------------------


def steps(run=0, costs=(0.1, 0.3), base=(0.2, 0.2)):
    """Two contestants; "own" starts in episode 0, and changes in episode 1."""
    names, n = ["own", "base"], len(costs)
    table = {
        "run": run, "contestant": names * n, "episode": np.repeat(np.arange(n), 2),
        "switch_s": [4.0, 0.0, 1.0, 0.0],
        "ended": [np.nan, np.nan, "aborted", np.nan],
        "mean_s": np.column_stack([costs, base]).ravel(),
    }  # fmt: skip
    return pd.DataFrame(table)


def stored(folder, number):
    run = folder / str(number)
    run.mkdir()
    table = steps(number).drop(columns="run").assign(latencies_us="1000 2000", knobs="{}")
    table.to_csv(run / STEPS, index=False)
    (run / DESCRIPTION).write_text(json.dumps({"schema": 1, "number": number}))


COSTS = {"faster": (0.1, 0.15), "slower": (0.3, 0.25), "not decided": (0.05, 0.22)}


@pytest.mark.parametrize("verdict", COSTS)
def test_a_verdict_needs_the_whole_run_and_both_halves(verdict):
    costs = np.array(COSTS[verdict])
    runs = pd.concat([steps(i, costs=costs * (1 + i / 100)) for i in range(3)])
    best = [{"own": {"threads": 1 + i // 2}, "base": {"threads": 1}} for i in range(3)]
    found = judge_live([{"best": one} for one in best], runs, "base")
    assert found["part"].tolist() == ["whole run", "first half", "second half"]
    ratios = np.array([costs.mean(), *costs]) * 1.01 / 0.2  # on average over the runs
    assert found["ratio"].to_numpy() == pytest.approx(ratios, rel=1e-3)
    assert set(found["verdict"]) == {verdict}
    assert set(found["kept"]) == {2}
    assert set(found["runs"]) == {3}


def test_one_run_has_no_interval():
    assert np.isnan(geometric_mean_interval([0.8])[1:]).all()


def test_changes_are_counted_without_the_first_start():
    found = changes(pd.concat([steps(0), steps(1)]))
    own = found.loc["own"]
    assert own["changes"] == own["seconds"] == own["seconds per change"] == 1.0
    assert own["ended by the guard"] == 1.0
    assert found.loc["base", ["changes", "seconds", "ended by the guard"]].tolist() == [0, 0, 0]
