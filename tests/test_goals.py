"""What agents deploy if they are tuned for other goals than the mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rrl import Setting, Sweep
from rrl.recording.truth import late_fraction
from rrl.studies.goals import compared_with_mean, judging_requests, runs_by_goal
from rrl.studies.outcomes import medians
from rrl.studies.problems import open_scenario
from rrl.tuning.defaults import serving_default


def test_recorded_requests_are_those_of_the_half_that_judges():
    problem = open_scenario("mobilenet_v2-threads", 115.0)
    requests, limits = judging_requests(problem), np.array([0.03, 0.06, 0.2])
    fractions = late_fraction(problem.server.profile, 115.0, 1, limits)
    for limit, fraction in zip(limits, fractions, strict=True):
        assert requests.late(limit) == pytest.approx(fraction)


def test_simulated_requests_are_like_new_episodes():
    """The fraction above the p90 of one sample, in another sample."""
    problem = open_scenario("cpu2", 115.0)
    one, other = (judging_requests(problem, replications=60, seed=seed) for seed in (0, 1))
    p90, space = one.percentile(90), problem.space
    for i in (int(one.mean.argmin()), space.index(serving_default(space))):
        assert one.late(p90[i])[i] == pytest.approx(0.1, abs=1e-3)
        assert 0.04 < other.late(p90[i])[i] < 0.2
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
    duels = compared_with_mean(deployed, rng).set_index("goal")
    assert duels.index.tolist() == ["p99", "slo:0.06"]
    assert duels["agent"].unique().tolist() == ["coordinate-descent"]
    finals = {setting.objective: p99[run.recommended[:, -1]] for setting, run in runs.items()}
    for goal, row in duels.iterrows():
        assert row["ratio"] == pytest.approx(np.median(finals[goal] / finals["mean"]))
        middles = [np.median(finals[name]) * reference_s for name in ("mean", goal)]
        assert row[["ours", "theirs"]].tolist() == pytest.approx(middles)


def test_a_sweep_knows_the_fewest_cpus(tmp_path):
    setting = Setting("cpu10-cores", 8.3, "random", 2, 6, "cpus with p99<1s")
    (run,) = Sweep([setting], build=tmp_path, workers=1, costs=True).run().values()
    space = open_scenario("cpu10-cores", 8.3).space
    for chosen, cost in zip(run.chosen.ravel(), run.costs.ravel(), strict=True):
        cpus = space[chosen]["cpus"]
        assert cost > 1 or cpus - 0.5 - 1e-5 <= 10 * cost <= cpus + 1e-5
