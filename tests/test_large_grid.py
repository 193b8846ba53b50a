"""The recorder of large grids: halves, stages, caps, and what is lost by a stop."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from itertools import islice, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from half_plus import build_half_plus

from rrl.recording import large_grid
from rrl.recording.large_grid import (
    EPISODES,
    HALVES,
    REJECTED,
    STAGES,
    STARTS,
    GridPlan,
    GridRecorder,
    Stand,
    Visit,
    summary,
)
from rrl.recording.steadiness import Others
from rrl.support.errors import UnstableError, UsageError
from rrl.tuning.episode import Episode

DATA = Path(__file__).parent.parent / "data"
PLAN, RECORDED = DATA / "plans" / "keyword-joint.yaml", DATA / "recording" / "keyword-joint"


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch):
    monkeypatch.setattr(large_grid, "LOOK_S", 0.05)


@pytest.fixture(scope="module")
def whole():
    return GridPlan.read(PLAN)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return build_half_plus(tmp_path_factory.mktemp("model"), 1, plus=2.0)


@pytest.fixture
def small(whole):
    """Two configurations, short episodes, and limits that a busy machine keeps."""
    knobs = {"inter_op": (1, 2), "batch_threads": (0,)}
    reference = dict(whole.reference) | {"look_s": 0.05, "looks": 2, "slowest": 1e6, "fastest": 0.0}
    return replace(
        whole,
        knobs=knobs,
        rate_per_s=100.0,
        requests=20,
        reference=reference,
        limits={"slip": 1e6, "steal": 2.0, "foreign": 2.0},
        draws={"each": 1, "within": 1e6, "fraction": 0.5},
        finals={"best": 1, "rounds": 1},
    )


def test_the_plan_is_the_grid_of_the_papers_size(whole):
    assert len(whole.space) == 1296
    assert len(whole.levels) == 50
    visits = list(whole.passes())
    assert [visit.half for visit in visits] == ["A"] * 1296 + ["B"] * 1296
    assert sorted(visit.number for visit in visits[:1296]) == list(range(1296))
    assert [v.number for v in visits[:1296]] != [v.number for v in visits[1296:]]


def test_halves_stages_and_draws_have_arrivals_of_their_own_and_configurations_share_them(whole):
    visits = (Visit(*what, 0) for what in product(STAGES, HALVES, (0, 1)))
    assert len({whole.arrivals(visit)[0] for visit in visits}) == 12
    one, other = (whole.arrivals(Visit("pass", "A", 0, index))[1] for index in (3, 700))
    assert np.array_equal(one, other)
    assert len(one) == 1500


def test_further_draws_begin_with_the_best_of_each_half_and_finals_with_both(whole):
    n = len(whole.space)
    means = {"A": np.full(n, 1.0), "B": np.full(n, 1.0)}
    means["A"][[5, 6]], means["B"][900] = (0.2, 0.25), 0.1
    visits = list(whole.further(means))
    assert [(v.half, v.number) for v in visits[:2]] == [("A", 5), ("B", 900)]
    per_half = len(visits) / 4  # two draws in each half
    assert per_half < 65 + 30
    assert {v.draw for v in visits} == {0, 1}
    finals = list(whole.last(means))
    indices = {visit.number for visit in finals}
    assert {5, 6, 900} <= indices
    assert len(finals) == 12 * 2 * len(indices)
    first = finals[: len(indices)]
    assert {visit.half for visit in first} == {"A"}


def test_smoothing_is_an_average_with_the_direct_neighbours(whole):
    means = np.full(len(whole.space), np.e)
    means[7] = 1.0
    near = whole.space.steps(7) <= 1
    smoothed = np.log(whole.smoothed(means))
    assert smoothed[7] == pytest.approx(0.5 * (1 - 1 / near.sum()))
    assert np.isnan(whole.smoothed(np.where(near, means, np.nan))[~near]).all()


class Scripted:
    """Servers whose latency follows from the configuration."""

    def __init__(self, plan):
        self.plan = plan

    def look(self):
        return 0.01

    def visit(self, index, arrivals, beside):
        latency, info = np.full(len(arrivals), 0.01 * (1 + index)), {"slip_share": 0.0}
        episode = Episode(self.plan.space[index], arrivals, latency, 0 * latency, info=info)
        looks = dict.fromkeys(("reference_before_s", "reference_after_s"), "0.010000")
        return {"start_s": "0.1", "steal": "0.0", **looks, **summary(episode, self.plan.levels)}


def test_a_recording_is_stopped_continued_and_ended(small, tmp_path):
    said, stand = [], Scripted(small)
    with closing(GridRecorder(small, tmp_path, said.append)) as recorder:
        assert len(list(islice(recorder.run(stand), 3))) == 3
        with pytest.raises(UsageError, match="another run uses it"):
            GridRecorder(small, tmp_path)
    text = (tmp_path / EPISODES).read_text()
    (tmp_path / EPISODES).write_text(text + "1,0,pass,B,0,")  # a kill in the middle of a row
    with closing(GridRecorder(small, tmp_path, said.append)) as recorder:
        assert len(recorder.rows) == 3
        stages = [stage for stage, _, _ in recorder.run(stand)]
        rows = recorder.rows
    finalists = {row["inter_op"] for row in rows if row["stage"] == "final"}
    assert stages == ["pass"] + ["draw"] * 4 + ["final"] * 2 * len(finalists)
    assert not (tmp_path / REJECTED).exists()
    assert len((tmp_path / STARTS).read_text().splitlines()) == 3
    assert said == []
    keys = [(row["stage"], row["half"], row["draw"], row["inter_op"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_a_cap_ends_a_stage_and_what_is_missing_is_said(small, tmp_path):
    said = []
    capped = replace(small, hours={"pass": 1e-9, "draw": 0.0, "final": 0.0})
    with closing(GridRecorder(capped, tmp_path, said.append)) as recorder:
        assert len(list(recorder.run(Scripted(capped)))) == 1
    assert said[0] == "pass: 3 of 4 visits are missing"


def test_a_visit_outside_the_limits_does_not_count(small, base, tmp_path, monkeypatch):
    """On real servers."""
    monkeypatch.setattr(large_grid, "TRIES", 1)
    busy = replace(
        small,
        knobs={"inter_op": (1,), "batch_threads": (0,)},
        limits={"slip": -1.0, "steal": 2.0, "foreign": 2.0},
    )
    with (
        closing(Stand(busy, base)) as stand,
        closing(GridRecorder(busy, tmp_path, lambda line: None)) as recorder,
        pytest.raises(UnstableError, match="2 visits of stage 'pass' did not count"),
    ):
        list(recorder.run(stand))
    rows = pd.read_csv(tmp_path / REJECTED)
    assert set(rows["why"]) == {"slip"}
    seconds = ["start_s", "reference_before_s", "reference_after_s", "mean_s"]
    assert (rows[seconds] > 0).all(axis=None)
    assert [len(text.split()) for text in rows["quantiles_us"]] == [50, 50]
    assert not (tmp_path / EPISODES).exists()


def test_another_machine_is_refused_and_noted(small, base, tmp_path):
    slow = replace(small, reference=dict(small.reference) | {"slowest": 1e-9})
    with (
        closing(Stand(slow, base)) as stand,
        closing(GridRecorder(slow, tmp_path)) as recorder,
        pytest.raises(UnstableError, match="this machine is another one, or busy"),
    ):
        next(recorder.run(stand))
    assert (tmp_path / STARTS).read_text().rstrip().endswith(",0")


def test_own_work_is_not_that_of_others():
    others, began = Others(), time.process_time()
    own_s = others._used()[0]
    while time.process_time() < began + 0.2:
        sum(i * i for i in range(1000))
    assert others._used()[0] - own_s > 0.1  # the clock of processes has ticks of 0.01 s


def test_what_was_recorded_so_far_follows_the_plan(whole):
    """Any part of the recording passes: only rows that are there are looked at."""
    rows = pd.read_csv(RECORDED / EPISODES)
    knobs = [knob.name for knob in whole.space.knobs]
    rows["index"] = whole.space.indices(rows[knobs])
    assert not rows.duplicated(["stage", "half", "draw", "index"]).any()
    assert rows["order"].tolist() == list(range(len(rows)))
    for limit, most in whole.limits.items():
        assert (rows[limit] <= most).all(), limit
    assert set(rows["commit"]) == {"recorder-2"}
    for (stage, half, draw), part in rows.groupby(["stage", "half", "draw"]):
        assert set(part["arrival_seed"]) == {whole.arrivals(Visit(stage, half, draw, 0))[0]}
    first = rows[rows["stage"] == "pass"]
    planned = [(visit.half, visit.number) for visit in whole.passes()]
    assert set(zip(first["half"], first["index"], strict=True)) <= set(planned)
    assert (rows["quantiles_us"].str.split().str.len() == whole.quantiles).all()
    starts = pd.read_csv(RECORDED / STARTS)
    assert (starts["accepted"] == 1).any()
