"""Runs of several agents in turns on live servers: read, compared and judged together."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rrl.recording.profile import read_profile
from rrl.recording.truth import judge_half
from rrl.studies.side_by_side import (
    DESCRIPTION,
    STEPS,
    changes,
    geometric_mean_interval,
    judge_live,
    read_live_runs,
)
from rrl.support.errors import DataError

DATA = Path(__file__).parent.parent / "data"
FIXED = {"inter_op": 2, "intra_op": 1, "batch_threads": 0}
FIXED |= {"max_batch_size": 1, "batch_timeout_micros": 0}


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


def test_the_runs_are_those_that_were_planned():
    """Fifteen runs were planned before the first of them, with seeds in a row."""
    descriptions, steps = read_live_runs(DATA / "live-changing")
    seeds = [one["what"]["seed"] for one in descriptions]
    assert seeds == [*range(100, 115)], "none was chosen"
    assert len({one["what"]["workload"] for one in descriptions}) == 1
    whole = steps.loc[steps["ended"].isna(), "latency_s"]
    assert {len(one) for one in whole} == {100}
    assert all(one["best"]["fixed"] == FIXED for one in descriptions)
    counts = steps.groupby("run")["contestant"].value_counts().unstack()
    assert set(counts) == {"tf-serving-default", "fixed", "rrl", "rrl-gp", "coordinate-descent"}
    assert (counts == 36).all(axis=None)


def test_the_fixed_configuration_is_the_one_that_the_recordings_name():
    profile = read_profile(DATA / "mobilenet_v2-joint-279")
    halves = product(profile.rates_per_s, (0, 1))
    costs = [judge_half(profile, rate, half).cost for rate, half in halves]
    assert profile.space[int(np.log(costs).mean(axis=0).argmin())] == FIXED


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
