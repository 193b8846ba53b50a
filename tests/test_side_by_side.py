"""Agents in turns: the same arrivals, and a run that is cut short begins again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL
from rrl.simulation.testbeds import testbed
from rrl.studies.live_phases import _begun, _is_complete, scaled_phases
from rrl.studies.side_by_side import (
    DESCRIPTION,
    STEPS,
    Contestant,
    read_steps,
    record_side_by_side,
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
    settings = {"requests": REQUESTS, "live": False, "notes": {"starts": PHASES.starts}}
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
        list(record_side_by_side(tmp_path, make, PHASES, EPISODES, seed=4, live=False))
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
    run = record_side_by_side(tmp_path / "0", make, PHASES, EPISODES, 3, live=False, notes=notes)
    next(run)
    assert _begun(tmp_path) == 120.0
    assert not _is_complete(tmp_path / "1")
    with pytest.raises(DataError, match="holds another run"):
        _is_complete(tmp_path / "0")
    (tmp_path / "0" / DESCRIPTION).write_text("{}")
    with pytest.raises(DataError, match="damaged; restore it, or remove"):
        _begun(tmp_path)
