"""Agents in turns: the same arrivals, a run that is cut short, and several runs together."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL
from rrl.simulation.testbeds import testbed
from rrl.studies.live_phases import _begun, _is_complete, scaled_phases
from rrl.studies.side_by_side import (
    DESCRIPTION,
    STEPS,
    Contestant,
    changes,
    geometric_mean_interval,
    over_runs,
    read_live_runs,
    read_steps,
    record_side_by_side,
    run_ratios,
)
from rrl.support.errors import DataError
from rrl.tuning.defaults import serving_default
from rrl.tuning.guard import Guard

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
    run = record_side_by_side(folder, make, PHASES, EPISODES, 3, **settings)
    for number, _ in enumerate(run, 1):
        if number == stop:
            return


def rows(folder):
    _, table = read_steps(folder)
    return table.drop(columns=["started", "latency_s"]).to_dict("records")


def test_all_meet_the_same_arrivals_in_a_random_order(tmp_path):
    record(tmp_path / "run")
    description, table = read_steps(tmp_path / "run")
    assert description["complete"]
    assert len(table) == 2 * EPISODES
    by_episode = table.pivot_table(index="episode", columns="contestant", values="load_per_s")
    assert (by_episode["narrow"] == by_episode["wide"]).all()
    assert set(table.loc[table["order"] == 0, "contestant"]) == {"narrow", "wide"}
    assert all(len(latency) == REQUESTS for latency in table["latency_s"])


def test_a_run_that_was_stopped_begins_again(tmp_path):
    record(tmp_path / "whole")
    record(tmp_path / "cut", 5)
    assert len(rows(tmp_path / "cut")) == 2 * 5
    record(tmp_path / "cut")
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_another_run_in_the_folder_is_refused(tmp_path):
    record(tmp_path, 2)
    with pytest.raises(DataError, match="holds another run"):
        list(record_side_by_side(tmp_path, make, PHASES, EPISODES, seed=4))
    record(tmp_path)
    with pytest.raises(DataError, match="holds another run"):
        record(tmp_path)


def test_damaged_and_missing_runs(tmp_path):
    with pytest.raises(DataError, match="not found"):
        read_steps(tmp_path)
    record(tmp_path, 2)
    path = tmp_path / DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 9}))
    with pytest.raises(DataError, match="schema 9"):
        read_steps(tmp_path)
    (tmp_path / STEPS).write_text("")
    with pytest.raises(DataError, match="corrupt or truncated"):
        read_steps(tmp_path)


def test_a_run_that_goes_on_keeps_its_peak(tmp_path):
    """Measured anew, it would be another workload, and so another run."""
    assert _begun(tmp_path) is None
    rates = [round(1 / gap, 1) for gap in PHASES.gaps]
    notes = {"rates_per_s": rates}
    run = record_side_by_side(tmp_path / "0", make, PHASES, EPISODES, 3, notes=notes)
    next(run)
    assert _begun(tmp_path) == 120.0
    assert not _is_complete(tmp_path / "1")
    with pytest.raises(DataError, match="holds another run"):
        _is_complete(tmp_path / "0")
    (tmp_path / "0" / DESCRIPTION).write_text("{}")
    with pytest.raises(DataError, match="damaged; restore it, or remove"):
        _begun(tmp_path)


# --- Several runs together -----------------------------------------------------------------------


def steps(run=0, costs=(0.1, 0.3), base=(0.2, 0.2)):
    """Two contestants; "own" restarts in episode 0, and changes without a restart in episode 1."""
    names, n = ["own", "base"], len(costs)
    table = {
        "run": run, "contestant": names * n, "episode": np.repeat(np.arange(n), 2),
        "switch_s": [4.0, 0.0, 1.0, 0.0], "restarts": [1, 0, 0, 0],
        "ended": [np.nan, np.nan, "aborted", np.nan],
        "mean_s": np.column_stack([costs, base]).ravel(),
    }  # fmt: skip
    return pd.DataFrame(table)


def stored(folder, number, complete=True):
    run = folder / str(number)
    run.mkdir()
    table = steps(number).drop(columns="run").assign(latencies_us="1000 2000", knobs="{}")
    table.to_csv(run / STEPS, index=False)
    (run / DESCRIPTION).write_text(
        json.dumps({"schema": 1, "complete": complete, "number": number})
    )


def test_ratios_are_of_the_means_of_a_run_and_of_its_later_part():
    both = pd.concat([steps(0), steps(1, costs=(0.1, 0.1))])
    found = [run_ratios(both, "base", since)["own"].tolist() for since in (0, 1)]
    assert found == [pytest.approx([1.0, 0.5]), pytest.approx([1.5, 0.5])]


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
    assert own["changes"] == 1.0
    assert own["restarts"] == 0.0
    assert own["seconds"] == own["seconds without"] == 1.0
    assert np.isnan(own["seconds per restart"])
    assert own["ended by the guard"] == 1.0
    assert found.loc["base", ["changes", "seconds", "ended by the guard"]].tolist() == [0, 0, 0]


def test_complete_runs_are_read_in_order_and_others_left_out(tmp_path):
    for number, complete in ((10, True), (2, True), (3, False)):
        stored(tmp_path, number, complete)
    descriptions, table = read_live_runs(tmp_path)
    assert [one["number"] for one in descriptions] == [2, 10]
    assert table["run"].unique().tolist() == [2, 10]
    assert table["latency_s"].iloc[0].tolist() == [0.001, 0.002]
    stored(tmp_path / "3", 0, complete=False)
    with pytest.raises(DataError, match="no complete run; record one"):
        read_live_runs(tmp_path / "3")
