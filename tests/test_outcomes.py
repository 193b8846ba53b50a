"""Tables and claims follow from the races, and a claim can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rrl import ConfigSpace, Knob
from rrl.plotting import experiments as draw
from rrl.studies import claim_table, claims, outcomes, savings
from rrl.studies.problems import surface
from rrl.studies.race import Race
from rrl.studies.scenario import SLO_FACTORS, Truth
from rrl.studies.settings import Setting
from rrl.support.errors import DataError

DATA = Path(__file__).parent.parent / "data"
SPACE = ConfigSpace([Knob("batch_threads", (0, 1, 2)), Knob("inter_op", (1, 2))])
COST = [4.0, 8.0, 2.0, 2.0, 1.0, 3.0]  # the default is (0, 1)
PROBLEM = ("cpu2", 10.0)
SCENARIO = surface("cpu2 10/s", SPACE, COST)
EPISODES = 10


def races(**final: int) -> dict[Setting, Race]:
    """Agents that always serve and recommend one configuration, six seeds each."""
    found = {}
    for agent, index in final.items():
        chosen = np.full((6, EPISODES), index)
        runs = Race(chosen, chosen, 0.0, np.full(chosen.shape, COST[index]))
        found[Setting(*PROBLEM, agent, 6, EPISODES)] = runs
    return found


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_standings_are_censored_at_the_horizon(rng):
    table = outcomes.standings(races(good=4, poor=1), {PROBLEM: SCENARIO}, rng).set_index("agent")
    assert table.loc["good", ["E5", "deployed", "price", "pain"]].tolist() == [1, 1, 1, 0]
    assert table.loc["poor", ["E5", "deployed", "price", "pain"]].tolist() == [11, 8, 8, 70]
    assert set(table["kind"]) == {"simulated"}


def test_standings_say_how_late_the_last_recommendation_is(rng):
    scenario = replace(SCENARIO, violations=np.arange(6) / 10)
    table = outcomes.standings(races(good=4, poor=1), {PROBLEM: scenario}, rng)
    assert table["late"].tolist() == [0.4, 0.1]


def test_duels_are_won_lost_and_tied(rng):
    results = races(ours=2, better=4, worse=1, same=3)
    table = outcomes.duels(results, {PROBLEM: SCENARIO}, "ours", rng)
    price = table[table["measure"] == "price"].set_index("rival")["verdict"].to_dict()
    assert price == {"better": "lost", "worse": "won", "same": "tied"}
    assert outcomes.tally(table).loc["price"].tolist() == [1, 1, 1]
    assert len(table) == 3 * len(outcomes.DUELS)


def test_reductions_are_shares_of_the_reference(rng):
    late = np.tile(np.array([0.5, 0.9, 0.1, 0.1, 0.0, 0.2]), (len(SLO_FACTORS), 1))
    late[-1] = 0
    truths = {PROBLEM: Truth(np.array(COST), late)}
    table = savings.reductions(races(ours=2), truths, {PROBLEM: SCENARIO}, "ours", rng)
    default = table[table["reference"] == "default"].set_index("metric")["reduction"]
    base = table.loc[0, "reference_value"]
    assert default["mean latency (s)"] == pytest.approx(100 * (1 - 2 / base))
    assert np.isnan(default["late at 10x"]), "never late: nothing to reduce"


def test_late_requests_are_those_of_the_last_recommendation(rng):
    late = np.arange(6) / 10 * np.arange(1.0, 0.0, -0.2)[:, None]  # the laxer, the fewer
    truths = {PROBLEM: Truth(np.array(COST), late)}
    table = savings.late(races(good=4, poor=1), truths, rng)
    by = table.pivot(index="agent", columns="factor", values="late")
    assert by.loc["good"].tolist() == pytest.approx(late[:, 4])
    assert by.loc["poor"].tolist() == pytest.approx(late[:, 1])
    assert table["best"].to_numpy() == pytest.approx(np.tile(late[:, 4], 2)), "4 is the cheapest"


def test_what_was_served_is_compared_seed_by_seed(rng):
    table = outcomes.served(races(ours=4, base=2), "base", rng).set_index("agent")
    assert table["ratio"].to_dict() == {"ours": 0.5, "base": 1.0}


def test_tables_are_written_the_same_way_every_time(tmp_path, rng):
    table = pd.DataFrame({"a": [1 / 3], "b": ["x"]})
    outcomes.write_table(table, "t", tmp_path / "new")
    assert (tmp_path / "new" / "t.csv").read_bytes() == b"a,b\n0.33333,x\n"


def saving(reduction, kind="recorded", reference_value=1.0, metric="mean latency (s)"):
    row = {
        "problem": "p",
        "kind": kind,
        "requests": 100,
        "metric": metric,
        "reference_value": reference_value,
        "value": 0.1,
        "reduction": reduction,
        "reduction_low": reduction - 1,
        "reduction_high": reduction + 1,
    }
    return pd.DataFrame([row | {"reference": name} for name in ("default", "heuristic")])


def static_table(**columns):
    agents = ["ours", "peer", "rrl-boltzmann-wide", "q-learning", "rrl-adaptive", "rrl-boltzmann"]
    table = pd.DataFrame({"problem": "p", "kind": "recorded", "agent": agents, "seeds": 30})
    table["judged"] = True
    for name, values in columns.items():
        for end in ("", "_low", "_high"):
            table[name + end] = values
    return table


@pytest.mark.parametrize(
    ("reduction", "kind", "word"),
    [(95.0, "recorded", "reproduced"), (50.0, "recorded", "partly"),
     (95.0, "simulated", "partly"), (-5.0, "recorded", "not")],
)  # fmt: skip
def test_the_verdict_on_latency_follows_from_the_number(reduction, kind, word, rng):
    static = static_table(deployed=[1.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    claim = claims.latency(saving(reduction, kind), static, "ours", rng)
    assert (claim.verdict, claim.value) == (word, reduction)
    assert "against the best other agent 50 " in claim.why


def test_a_reduction_from_next_to_nothing_does_not_count(rng):
    late = "late at 2x"
    table = pd.concat([saving(100.0, metric=late, reference_value=0.01), saving(60.0, metric=late)])
    claim = claims.violations(
        table, static_table(late=[0.05, 0.02, 0.1, 0.1, 0.1, 0.1]), "ours", rng
    )
    assert claim.value == 60.0
    assert "the best other agent 3 [3, 3] percentage points" in claim.why


def speed_rows(q, deep, low=None, kind="recorded"):
    """Factors on two loads; each rival is slowest on one of them."""
    rows = [
        {"problem": problem, "kind": kind, "judged": True, "rival": rival, "measure": measure,
         "ratio": ratio,
         "low": ratio if low is None else low, "high": ratio, "ours": 8.0, "theirs": 8 * ratio}
        for rival, ratios in (("q-learning", (q, 1.0)), ("deep-q-network", (1.0, deep)))
        for problem, ratio in zip(("a", "b"), ratios, strict=True)
        for measure in ("E5_first", "E5")
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("q", "deep", "word"), [(9, 12, "reproduced"), (20, 3, "partly"), (1, 1, "not")]
)
def test_speed_must_be_reached_against_either_rival_on_some_load(q, deep, word):
    rows = speed_rows(q, deep)
    claim = claims.speed(rows, rows.assign(rival="hill-climbing", ratio=2.0), "ours")
    assert (claim.verdict, claim.value) == (word, min(q, deep))
    assert "toughest rival hill-climbing: 2 times (median over 2 problems)" in claim.why
    if q > 1:
        assert f"q-learning {q} times (a, {8 * q} episodes against 8" in claim.why


def test_speed_that_is_unsure_or_simulated_is_not_reproduced():
    for rows, word in ((speed_rows(9, 9, low=0.5), "not"), (speed_rows(9, 9, kind="s"), "partly")):
        assert claims.speed(rows, rows.assign(rival="random"), "ours").verdict == word


def test_regions_must_be_quick_and_lose_to_be_reproduced():
    first, deployed = [5, 5, 10, 80, 5, 5], [1.0, 1.0, 1.2, 1.0, 1.0, 1.0]
    found = claims.regions(static_table(E5_first=first, deployed=deployed))
    assert (found.value, found.verdict) == (8.0, "reproduced")
    found = claims.regions(static_table(E5_first=first, deployed=[1.0] * 6))
    assert found.verdict == "partly"
    with pytest.raises(DataError, match="no agent 'rrl-boltzmann-wide'"):
        claims.regions(static_table(E5_first=first).iloc[:1])


def test_a_load_that_cannot_judge_says_nothing_of_speed():
    rows = speed_rows(9, 12)
    unjudged = rows.assign(problem="c", judged=False, ratio=100.0, low=100.0)
    duels = rows.assign(rival="hill-climbing", ratio=2.0)
    claim = claims.speed(pd.concat([rows, unjudged]), duels, "ours")
    assert claim.value == 9
    assert not claim.testbed.startswith("c:")


def test_loads_that_change_are_judged_over_all_of_them():
    rows = [
        {"problem": f"m {n}", "kind": "recorded", "agent": "ours", "ratio": r, "ratio_low": r - 0.1,
         "ratio_high": r + 0.1} for n, r in (("Phases", 0.5), ("Bursts", 0.8))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    assert claims.dynamic(table, "ours").verdict == "reproduced"
    table.loc[1, ["ratio", "ratio_low", "ratio_high"]] = [1.3, 1.2, 1.4]
    assert claims.dynamic(table, "ours").verdict == "partly"


def test_similarity_compares_with_a_random_configuration(rng):
    flat = surface("flat", SPACE, [1.0, 1.01, 1.0, 1.01, 1.0, 1.01])
    rough = surface("rough", SPACE, [1.0, 9.0, 5.0, 1.0, 9.0, 2.0])
    assert claims.similarity([flat], rng).value < 2
    assert claims.similarity([rough], rng).verdict != "reproduced"


def test_claims_are_written_twice_from_the_same_numbers(tmp_path):
    claim = claims.prototype(DATA)
    assert claim.value > 1000
    claim_table.write_claims([claim], tmp_path)
    (row,) = json.loads((tmp_path / "claims.json").read_text())
    line = (tmp_path / "claims.md").read_text().splitlines()[-1]
    assert row["id"] == "C8"
    assert claim.measured in line
    with pytest.raises(DataError, match=r"experiments-static\.csv: not found"):
        claim_table.read_tables(tmp_path)


def test_figures_show_every_row(rng):
    results = races(ours=2, better=4, worse=1)
    table = outcomes.standings(results, {PROBLEM: SCENARIO}, rng)
    ax = draw.plot_standings(table, "price")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["worse", "better", "ours"]
    plt.figure()
    duels = outcomes.duels(results, {PROBLEM: SCENARIO}, "ours", rng)
    texts = [text.get_text() for text in draw.plot_duels(duels).texts]
    assert len(texts) == len(duels) + 1
    plt.figure()
    ax = draw.plot_speedups(duels[duels["measure"] == "price"], 8)
    assert ax.get_legend_handles_labels()[1] == ["better", "worse"]
    plt.figure()
    ax = draw.plot_phases({"a": np.ones((3, 40))}, (0, 20), {"best": np.ones(2)}, 10)
    assert ax.lines[0].get_ydata().tolist() == [1000.0] * 4
    plt.close("all")


def test_recorded_peers_are_taken_whole_or_not_at_all(tmp_path):
    from rrl.studies.peer_runs import record_path

    def keep(agent, scenario, seeds, episodes):
        path = record_path(agent, scenario, tmp_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        runs = np.arange(seeds * episodes, dtype=np.int32).reshape(seeds, episodes)
        np.savez(path, chosen=runs, recommended=runs, seconds=0.1, about="{}")

    problems = [("cpu2", 60.0), ("gpu", 500.0)]
    keep("optuna-tpe", "cpu2 60", 4, 10)
    assert outcomes.recorded_peers(problems, 3, 10, tmp_path) == {}
    keep("optuna-tpe", "gpu 500", 2, 10)  # interrupted
    assert outcomes.recorded_peers(problems, 3, 10, tmp_path) == {}
    keep("optuna-tpe", "gpu 500", 3, 10)
    found = outcomes.recorded_peers(problems, 3, 10, tmp_path)
    assert [(s.testbed, s.agent, s.seeds) for s in found] == [
        ("cpu2", "optuna-tpe", 3),
        ("gpu", "optuna-tpe", 3),
    ]
    assert found[Setting("cpu2", 60.0, "optuna-tpe", 3, 10)].chosen.shape == (3, 10)
    assert outcomes.recorded_peers(problems, 3, 11, tmp_path) == {}
