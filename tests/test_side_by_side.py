"""Agents in turns: the same arrivals, a run that is cut short, and several runs together."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL
from rrl.recording.profile import read_profile
from rrl.recording.truth import judge_half
from rrl.simulation.testbeds import testbed
from rrl.studies.days import DEFAULT
from rrl.studies.live_phases import FIRST_SEED, FIXED, LEARNERS, peak_of, scaled_phases
from rrl.studies.side_by_side import (
    DESCRIPTION,
    STEPS,
    Contestant,
    changes,
    geometric_mean_interval,
    judge_live,
    over_runs,
    read_live_runs,
    record_side_by_side,
    run_ratios,
)
from rrl.support.errors import DataError, UsageError
from rrl.tuning.defaults import serving_default
from rrl.tuning.guard import Guard

DATA = Path(__file__).parent.parent / "data"
EPISODES, REQUESTS = 12, 20
PHASES = scaled_phases(120.0, EPISODES, REQUESTS)


def make():
    server = testbed("cpu2")
    default = serving_default(server.space)

    def one(number, radius, guard=None):
        rng = np.random.default_rng(number)
        return Contestant(server, RRL(server.space, rng, region=FixedRadius(radius)), guard)

    guard = Guard(server.space, default, budget=5, late_s=0.03)
    return {"narrow": one(0, 1.0), "wide": one(1, 2.0, guard)}


def record(folder, stop=None):
    settings = {"requests": REQUESTS, "notes": {"starts": PHASES.starts}}
    run = record_side_by_side(folder, make(), PHASES, EPISODES, 3, **settings)
    for number, _ in enumerate(run, 1):
        if number == stop:
            return


def test_all_meet_the_same_arrivals_in_a_random_order(tmp_path):
    for name in ("0", "1"):
        record(tmp_path / name)
    (description, _), both = read_live_runs(tmp_path)
    assert description["starts"] == list(PHASES.starts)
    table = both[both["run"] == 0]
    assert len(table) == 2 * EPISODES
    by_episode = table.pivot_table(index="episode", columns="contestant", values="load_per_s")
    assert (by_episode["narrow"] == by_episode["wide"]).all()
    assert set(table.loc[table["order"] == 0, "contestant"]) == {"narrow", "wide"}
    assert all(len(latency) == REQUESTS for latency in table["latency_s"])
    again = both[both["run"] == 1]["latency_s"]
    assert [one.tolist() for one in again] == [one.tolist() for one in table["latency_s"]]


def test_a_run_that_was_stopped_is_none(tmp_path):
    record(tmp_path / "0", 5)
    assert peak_of(tmp_path, EPISODES) is None
    with pytest.raises(DataError, match="no run; record one"):
        read_live_runs(tmp_path)


def test_a_damaged_run_is_named(tmp_path):
    stored(tmp_path, 0)
    for name, text in ((STEPS, ""), (DESCRIPTION, "{}")):
        (tmp_path / "0" / name).write_text(text)
        with pytest.raises(DataError, match=f"{tmp_path / '0'}: damaged"):
            read_live_runs(tmp_path)


def test_the_runs_are_those_that_are_registered():
    live = yaml.safe_load((DATA / "claims.yaml").read_text(encoding="utf-8"))["live"]
    assert (live["base"], live["fixed"]) == (DEFAULT, FIXED)
    assert live["contestants"] == ["fixed", *LEARNERS]
    descriptions, steps = read_live_runs(DATA / live["recording"])
    seeds = [one["what"]["seed"] for one in descriptions]
    assert seeds == [FIRST_SEED + number for number in range(live["runs"])], "none was chosen"
    assert len({one["what"]["workload"] for one in descriptions}) == 1
    whole = steps.loc[steps["ended"].isna(), "latency_s"]
    assert {len(one) for one in whole} == {live["requests"]}
    counts = steps.groupby("run")["contestant"].value_counts().unstack()
    assert set(counts) == {live["base"], *live["contestants"]}
    assert (counts == live["rounds"]).all(axis=None)


def test_the_fixed_configuration_is_the_one_that_the_recordings_name():
    profile = read_profile(DATA / "mobilenet_v2-joint-279")
    halves = product(profile.rates_per_s, (0, 1))
    costs = [judge_half(profile, rate, half).cost for rate, half in halves]
    assert profile.space[int(np.log(costs).mean(axis=0).argmin())] == FIXED


def test_further_runs_have_the_peak_of_the_first(tmp_path):
    """Measured anew, it would be another workload."""
    notes = {"rates_per_s": [round(1 / gap, 1) for gap in PHASES.gaps]}
    list(record_side_by_side(tmp_path / "0", make(), PHASES, EPISODES, 3, notes=notes))
    assert peak_of(tmp_path, EPISODES) == 120.0
    with pytest.raises(UsageError, match=f"--episodes {EPISODES}; choose this"):
        peak_of(tmp_path, EPISODES + 1)


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


def test_ratios_are_of_the_means_of_a_run():
    both = pd.concat([steps(0), steps(1, costs=(0.1, 0.1))])
    assert run_ratios(both, "base")["own"].tolist() == pytest.approx([1.0, 0.5])


COSTS = {"faster": (0.1, 0.15), "slower": (0.3, 0.25), "not decided": (0.05, 0.22)}


@pytest.mark.parametrize("verdict", COSTS)
def test_a_verdict_needs_the_whole_run_and_both_halves(verdict):
    costs = np.array(COSTS[verdict])
    runs = pd.concat([steps(i, costs=costs * (1 + i / 100)) for i in range(3)])
    best = [{"own": {"threads": 1 + i // 2}, "base": {"threads": 1}} for i in range(3)]
    found = judge_live([{"best": one} for one in best], runs, "base")
    assert found["part"].tolist() == ["whole run", "first half", "second half"]
    assert found["ratio"].to_numpy() == pytest.approx([costs.mean() / 0.2, *costs / 0.2], rel=0.02)
    assert set(found["verdict"]) == {verdict}
    assert set(found["kept"]) == {2}
    assert set(found["runs"]) == {3}


def test_the_interval_is_over_runs_and_contains_the_truth_as_often_as_it_says():
    found = over_runs(pd.DataFrame({"own": [0.5, 0.501, 0.499], "other": [0.5, 1.0, 2.0]}))
    assert found["own"] == pytest.approx((0.5, 0.5, 0.5), rel=0.01)
    assert found["other"][0] == pytest.approx(1.0)
    assert found["other"][1] < 0.5 < 2.0 < found["other"][2], "they decide nothing"
    rng = np.random.default_rng(0)
    drawn = [geometric_mean_interval(np.exp(rng.normal(0, 0.2, 5))) for _ in range(500)]
    assert 0.93 < np.mean([low <= 1 <= high for _, low, high in drawn]) < 0.97
    assert np.isnan(geometric_mean_interval([0.8])[1:]).all(), "one run has no interval"


def test_changes_are_counted_without_the_first_start():
    found = changes(pd.concat([steps(0), steps(1)]))
    own = found.loc["own"]
    assert own["changes"] == own["seconds"] == own["seconds per change"] == 1.0
    assert own["ended by the guard"] == 1.0
    assert found.loc["base", ["changes", "seconds", "ended by the guard"]].tolist() == [0, 0, 0]


def test_runs_are_read_in_order(tmp_path):
    for number in (10, 2):
        stored(tmp_path, number)
    descriptions, table = read_live_runs(tmp_path)
    assert [one["number"] for one in descriptions] == [2, 10]
    assert table["run"].unique().tolist() == [2, 10]
    assert table["latency_s"].iloc[0].tolist() == [0.001, 0.002]
