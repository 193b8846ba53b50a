"""Tables follow from the races."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl import ConfigSpace, Knob, Setting, Sweep
from rrl.recording.truth import late_fraction
from rrl.rivals.agents import SETTINGS
from rrl.studies import outcomes
from rrl.studies.goals import compared_with_mean, judging_requests, runs_by_goal
from rrl.studies.outcomes import medians
from rrl.studies.problems import open_scenario, surface
from rrl.studies.race import Race, score
from rrl.support.aggregates import holm, largest_interval, stratified_draws
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


def test_between_a_run_that_arrives_and_one_that_never_does_the_median_is_censored(rng):
    chosen = np.full((6, EPISODES), 1)
    chosen[:3] = 4
    results = {Setting(*PROBLEM, "half", 6, EPISODES): Race(chosen, chosen)}
    assert table_of(results)["first_within_5"].tolist() == [1] * 3 + [EPISODES + 1] * 3
    table = outcomes.medians(table_of(results), BY, outcomes.COMPARED, rng)
    (row,) = table.to_dict("records")
    assert [row[f"stays_within_5{end}"] for end in ("", "_low", "_high")] == [11, 1, 11]
    assert (row["deployed"], row["seeds"]) == (4.5, 6)
    rivals = {Setting(*PROBLEM, "rival", 6, EPISODES): Race(chosen, chosen)}
    duels = outcomes.duels(table_of(results | rivals), "half", rng).set_index("measure")
    assert duels.loc["stays_within_5", ["ours", "theirs"]].tolist() == [11, 11]


def test_a_table_of_runs_has_every_measure(rng):
    """So a new measure of `score` needs no other list."""
    results = races(ours=2, worse=1)
    table = table_of(results)
    assert set(score(SCENARIO, *races(any=1).values())) <= set(table)
    duels = outcomes.duels(table, "ours", rng, ["mean_cost_100"])
    assert duels["ratio"].tolist() == [4.0]


def test_duels_are_won_lost_and_tied(rng):
    results = races(ours=2, better=4, worse=1, same=3)
    table = outcomes.duels(table_of(results), "ours", rng)
    verdicts = table[table["measure"] == "mean_cost"].set_index("rival")["verdict"].to_dict()
    assert verdicts == {"better": "lost", "worse": "won", "same": "tied"}
    assert outcomes.tally(table).loc["mean_cost"].tolist() == [1, 1, 1]
    assert len(table) == 3 * len(outcomes.COMPARED)


@pytest.mark.parametrize(
    ("first", "second", "joint"),
    [
        ("won", "won", "won"),
        ("lost", "lost", "lost"),
        ("won", "lost", "tied"),
        ("tied", "won", "tied"),
    ],
)
def test_a_duel_on_a_recording_needs_both_halves(first, second, joint):
    """Other rivals, measures and loads have halves of their own."""
    rows = [
        *(("p 10/s", "a", "deployed", first), ("p/1 10/s", "a", "deployed", second)),
        *(("p 10/s", "a", "mean_cost", "won"), ("p/1 10/s", "a", "mean_cost", "won")),
        *(("p 10/s", "b", "deployed", "lost"), ("p/1 10/s", "b", "deployed", "lost")),
        *(("p 100/s", "a", "deployed", "tied"), ("gpu 10/s", "a", "deployed", "lost")),
    ]
    table = pd.DataFrame(rows, columns=["problem", "rival", "measure", "verdict"])
    expected = [joint, joint, "won", "won", "lost", "lost", "tied", "lost"]
    assert outcomes.agreed(table).to_list() == expected


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


# --- aggregates over runs and problems, and their intervals ---------------------------------------


def test_runs_are_drawn_within_their_problem_and_in_pairs():
    rng = np.random.default_rng(0)
    sample = np.array([[1.0, 2.0], [10.0, 20.0]])
    drawn = stratified_draws(lambda x: x, [sample], rng, resamples=50)
    assert set(drawn[:, 0].ravel()) == {1.0, 2.0}
    assert set(drawn[:, 1].ravel()) == {10.0, 20.0}

    def ratio(x, y):
        return (x / y).mean(axis=(-2, -1))

    assert set(stratified_draws(ratio, [sample, 2 * sample], rng, resamples=50)) == {0.5}


def test_the_largest_of_equals_is_held_by_its_interval_and_not_by_the_naive_one():
    """16 problems with the same true mean: the largest observed one is too large."""
    rng, held, naive = np.random.default_rng(2), 0, 0
    for _ in range(200):
        sample = rng.normal(50, 6, (16, 30))
        draws = stratified_draws(lambda x: x.mean(axis=-1), [sample], rng, resamples=300)
        low, high = largest_interval(sample.mean(axis=-1), draws)[1:]
        held += low <= 50 <= high
        naive += np.quantile(draws.max(axis=1), 0.025) <= 50
    assert held >= 180
    assert naive < 20


# --- Families and censored times ------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_raw_value_and_bonferroni(values):
    p, adjusted = np.array(values), holm(values)
    assert np.all((adjusted >= p) & (adjusted <= np.minimum(1, len(p) * p) + 1e-12))
    assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)


# --- what agents deploy if they are tuned for other goals than the mean ---------------------------


def test_recorded_requests_are_those_of_the_half_that_judges():
    problem = open_scenario("mobilenet_v2-threads", 115.0)
    requests, limits = judging_requests(problem), np.array([0.03, 0.06, 0.2])
    fractions = late_fraction(problem.server.profile, 115.0, 1, limits)
    for limit, fraction in zip(limits, fractions, strict=True):
        assert requests.late(limit) == pytest.approx(fraction)


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
