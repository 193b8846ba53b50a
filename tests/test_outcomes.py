"""Tables follow from the races."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import gmean

from rrl import ConfigSpace, Knob, Setting, Sweep
from rrl.recording.truth import rows_of_half
from rrl.studies import outcomes
from rrl.studies.goals import compared_with_mean, judging_requests, runs_by_goal
from rrl.studies.outcomes import medians
from rrl.studies.problems import open_scenario, surface
from rrl.studies.race import Race, score
from rrl.tuning.defaults import serving_default
from rrl.workloads.workload import cut_into_episodes

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


def test_a_table_of_runs_has_every_measure():
    """So a new measure of `score` needs no other list."""
    table = table_of(races(ours=2, worse=1))
    assert set(score(SCENARIO, *races(any=1).values())) <= set(table)
    assert table["excess"].tolist() == [1.0] * 6 + [7.0] * 6


def test_beside_a_mean_stands_the_share_of_the_runs_that_are_stuck(rng):
    chosen = np.full((6, EPISODES), 4)
    chosen[:2] = 1
    results = {Setting(*PROBLEM, "half", 6, EPISODES): Race(chosen, chosen)}
    (row,) = outcomes.what_clients_pay(table_of(results), BY, rng).to_dict("records")
    assert row["excess"] == row["level"] == pytest.approx(7 / 3)
    assert row["excess_low"] < row["excess"] < row["excess_high"]
    assert (row["seeds"], row["stuck"]) == (6, pytest.approx(1 / 3))


def test_agents_are_compared_on_the_problems_that_both_have(rng):
    columns = ["problem", "agent", "excess", "stuck"]
    rows = [(problem, "ours", 0.1, 0.0) for problem in "pqr"]
    rows += [("p", "slow", 0.1, 0.0), ("q", "slow", 0.4, 1.0)]
    table = outcomes.beside(pd.DataFrame(rows, columns=columns), "ours", rng)
    assert table["problems"].to_dict() == {"ours": 3, "slow": 2}
    assert table.loc["ours", ["ratio", "low", "high"]].tolist() == [1.0, 1.0, 1.0]
    assert table["ratio"]["slow"] == pytest.approx(2.0, rel=1e-3)
    assert table["stuck"]["slow"] == 0.5


def test_runs_that_no_column_tells_apart_are_refused():
    one = Setting("cpu2", ("Bursts", (1.0, 2.0), (9.0, 1.0)), "one", 6, EPISODES)
    other = one._replace(load=("Bursts", (1.0, 3.0), (9.0, 1.0)))
    results = dict.fromkeys((one, other), *races(one=4).values())
    scenarios = {setting.problem: SCENARIO for setting in results}
    with pytest.raises(ValueError, match="two runs of one on cpu2 Bursts from seed 0: make a tab"):
        outcomes.runs_table(results, scenarios)


# --- what agents deploy if they are tuned for other goals than the mean ---------------------------


def test_recorded_requests_are_those_of_the_half_that_judges():
    problem = open_scenario("mobilenet_v2-threads", 115.0)
    requests, profile = judging_requests(problem), problem.server.profile
    rows = rows_of_half(profile, 115.0, 1)
    index = profile.space.indices(rows)
    for number in (0, len(problem.space) - 1):
        latency = np.array([profile.latencies(row) for row in rows.index[index == number]])
        for limit in (0.03, 0.06, 0.2):
            assert requests.late(limit)[number] == pytest.approx((latency > limit).mean())


def test_simulated_requests_are_like_new_episodes():
    """The fraction above the p90 of one sample, in episodes that the server serves."""
    problem, rng = open_scenario("cpu2", 115.0), np.random.default_rng(1)
    one = judging_requests(problem, replications=60)
    stretch = problem.workload.arrivals(60 * problem.requests, rng)
    p90, space = one.percentile(90), problem.space
    for i in (int(one.mean.argmin()), space.index(serving_default(space))):
        assert one.late(p90[i])[i] == pytest.approx(0.1, abs=1e-3)
        parts = cut_into_episodes(stretch, problem.requests)
        served = [problem.server.measure(space[i], part, rng).latency for part in parts]
        assert 0.04 < np.mean(np.array(served) > p90[i]) < 0.2
    reference = one.percentile(99)[one.mean.argmin()]
    assert one.target_s(2.0) == pytest.approx(2 * reference, rel=5e-3)


def test_what_is_deployed_is_looked_up_in_the_judging_requests(tmp_path):
    problem, goals = ("cpu2", 115.0), ("mean", "p99", "slo:0.06")
    settings = [Setting(*problem, "coordinate-descent", 3, 12, goal) for goal in goals]
    runs = Sweep(settings, build=tmp_path, workers=1).run()
    scenario = open_scenario(*problem)
    judged = {problem: judging_requests(scenario, replications=20)}
    rng = np.random.default_rng(0)
    targets = {problem: {"tight": 0.06}}
    deployed = runs_by_goal(runs, {problem: scenario}, judged, targets)
    table = medians(deployed, ["agent", "goal"], ["p99", "kept tight"], rng)
    table = table.set_index(["agent", "goal"])
    lacks = deployed.drop(columns="kept tight").assign(agent="of another target")
    both = medians(pd.concat([lacks, deployed]), ["agent", "goal"], ["kept tight"], rng)
    kept = both.set_index(["agent", "goal"])["kept tight"].dropna()
    assert kept.to_dict() == table["kept tight"].to_dict()
    reference_s = judged[problem].reference_s
    p99 = judged[problem].percentile(99) / reference_s
    for setting, run in runs.items():
        row = table.loc[(setting.agent, setting.objective)]
        assert row["p99"] == pytest.approx(np.median(p99[run.recommended[:, -1]]))
        assert row["p99_low"] <= row["p99"] <= row["p99_high"]
        deployed_p99 = reference_s * p99[run.recommended[:, -1]]
        assert row["kept tight"] == np.mean(deployed_p99 <= 0.06)
    index = scenario.space.index(serving_default(scenario.space))
    assert table.loc[("default", "none")]["p99"] == pytest.approx(p99[index])
    compared = compared_with_mean(deployed, rng).set_index("goal")
    assert compared.index.tolist() == ["p99", "slo:0.06"]
    assert compared["agent"].unique().tolist() == ["coordinate-descent"]
    finals = {setting.objective: p99[run.recommended[:, -1]] for setting, run in runs.items()}
    for goal, row in compared.iterrows():
        assert row["ratio"] == pytest.approx(gmean(finals[goal]) / gmean(finals["mean"]))


def test_a_sweep_knows_the_fewest_cpus(tmp_path):
    setting = Setting("cpu10-cores", 8.3, "random", 2, 6, "cpus with p99<1s")
    (run,) = Sweep([setting], build=tmp_path, workers=1, costs=True).run().values()
    space = open_scenario("cpu10-cores", 8.3).space
    for chosen, cost in zip(run.chosen.ravel(), run.costs.ravel(), strict=True):
        cpus = space[chosen]["cpus"]
        assert cost > 1 or cpus - 0.5 - 1e-5 <= 10 * cost <= cpus + 1e-5
