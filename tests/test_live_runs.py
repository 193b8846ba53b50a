"""Several runs on live servers, read and put together."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rrl.studies.side_by_side import (
    DESCRIPTION,
    STEPS,
    changes,
    geometric_mean_interval,
    over_runs,
    read_live_runs,
    run_ratios,
)
from rrl.support.errors import DataError


def steps(run=0, costs=(0.1, 0.3), base=(0.2, 0.2)):
    """Two contestants; "own" restarts in episode 0, and changes without a restart in episode 1."""
    rows = []
    for episode, (own_s, base_s) in enumerate(zip(costs, base, strict=True)):
        for name, mean_s in (("own", own_s), ("base", base_s)):
            rows.append(
                {
                    "run": run,
                    "contestant": name,
                    "episode": episode,
                    "switch_s": {"own": 4.0 - 3.0 * episode, "base": 0.0}[name],
                    "restarts": int(name == "own" and episode == 0),
                    "ended": "aborted" if name == "own" and episode else np.nan,
                    "mean_s": mean_s,
                }
            )
    return pd.DataFrame(rows)


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
    assert run_ratios(both, "base")["own"].tolist() == pytest.approx([1.0, 0.5])
    assert run_ratios(both, "base", since=1)["own"].tolist() == pytest.approx([1.5, 0.5])


def test_the_interval_is_over_runs():
    found = over_runs(pd.DataFrame({"own": [0.5, 0.501, 0.499], "other": [0.5, 1.0, 2.0]}))
    assert found["own"] == pytest.approx((0.5, 0.5, 0.5), rel=0.01)
    centre, low, high = found["other"]
    assert centre == pytest.approx(1.0)
    assert low < 0.5 < 2.0 < high, "three runs as different as these decide nothing"


def test_the_interval_contains_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [geometric_mean_interval(np.exp(rng.normal(0, 0.2, 5))) for _ in range(1000)]
    assert 0.93 < np.mean([low <= 1 <= high for _, low, high in found]) < 0.97


def test_a_single_run_has_no_interval():
    centre, low, high = geometric_mean_interval([0.8])
    assert centre == pytest.approx(0.8)
    assert np.isnan([low, high]).all()


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


def test_a_folder_without_a_complete_run_is_refused(tmp_path):
    stored(tmp_path, 0, complete=False)
    with pytest.raises(DataError, match="no complete run; record one"):
        read_live_runs(tmp_path)
