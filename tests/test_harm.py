"""The study of what learning does to the requests that are served meanwhile."""

from __future__ import annotations

import pandas as pd
import pytest

from rrl.recording.plans import KEPT
from rrl.studies.harm import GRIDS, limit_of, main
from rrl.studies.problems import with_truth
from rrl.tuning.defaults import serving_default


def test_a_guard_keeps_its_budget_on_a_recorded_grid(tmp_path, capsys):
    out = tmp_path / "harm.csv"
    grid = "mobilenet_v2-threads 165"
    main(["--grids", grid, "--agents", "random", "--seeds", "3", "--out", str(out)])
    without, guarded = pd.read_csv(out).to_dict("records")
    assert (without["guard"], guarded["guard"]) == ("no", "300 requests")
    assert without["over"] == 3  # random search serves badly in every run
    assert guarded["over"] == 0
    assert guarded["worst_run"] < without["late"] / 2
    assert grid in capsys.readouterr().out


def test_hardly_a_request_of_the_default_is_late():
    scenario = with_truth("mobilenet_v2-threads 60")
    default = serving_default(scenario.space)
    late_s, own = limit_of(scenario, default)
    mean_s = scenario.cost[scenario.space.index(default)]
    assert late_s > 2 * mean_s
    assert own <= 0.01


def test_every_recorded_profile_of_the_standings_is_among_the_grids():
    assert {name.split()[0] for name in GRIDS} == set(KEPT) - {
        "mobilenet_v2-joint",  # is still being recorded
        "mobilenet_v2-overload",  # its load is no problem of the standings
    }


@pytest.mark.parametrize(("option", "value"), [("--agents", "nobody"), ("--seeds", "0")])
def test_a_mistake_is_refused_before_anything_runs(option, value, tmp_path):
    assert main([option, value, "--out", str(tmp_path / "harm.csv")]) == 2
    assert not list(tmp_path.iterdir())
