"""What a half of a profile says, and that it is apart from what the other half learned from."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from test_recording import PLAN, Scripted, recorded

from rrl.recording.evidence import agreement, usual_settings
from rrl.recording.profile import EPISODES, episodes_hash, read_profile
from rrl.recording.truth import judge_half, late_fraction, replay_best, rows_of_half
from rrl.tuning.objective import FAILURE_S

RATE = 20.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    recorded(folder, Scripted(late=(5,)), finals=True).finish()
    return folder


@pytest.fixture(scope="module")
def profile(folder):
    return read_profile(folder)


@pytest.fixture(scope="module")
def no_finals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("passes")
    recorded(folder)
    return read_profile(folder)


def test_a_half_has_its_own_passes_and_its_own_finals(profile):
    rows = [rows_of_half(profile, RATE, half) for half in (0, 1)]
    assert not set(rows[0].index) & set(rows[1].index)
    assert len(rows[0]) + len(rows[1]) == (profile.table["rate_per_s"] == RATE).sum()
    assert {int(p) % 2 for p in rows[0]["pass"]} == {0}
    assert not set(rows[0]["arrival_seed"]) & set(rows[1]["arrival_seed"])


def test_a_half_does_not_change_with_the_other(folder, profile, tmp_path):
    before = judge_half(profile, RATE, 0)
    path = tmp_path / EPISODES
    with (folder / EPISODES).open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if int(row["pass"]) % 2:
            row["mean_s"] = "9.5"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    description = json.loads((folder / "profile.json").read_text())
    (tmp_path / "profile.json").write_text(
        json.dumps({**description, "sha256": episodes_hash(path)})
    )
    after = judge_half(read_profile(tmp_path), RATE, 0)
    for name, values in before._asdict().items():
        np.testing.assert_array_equal(values, getattr(after, name))


@pytest.mark.parametrize("half", [0, 1])
def test_the_good_are_those_that_are_surely_within_five_percent(profile, half):
    truth, space = judge_half(profile, RATE, half), profile.space
    met = ~np.isnan(truth.ratio)
    assert 3 <= met.sum() < len(space)
    for index in np.flatnonzero(truth.good):  # by the script, off and one thread differ by 1 %
        assert space[index]["inter_op"] == 1
        assert space[index]["batch_threads"] in (0, 1)
    assert truth.good.any()
    assert (truth.good <= truth.possible).all()
    assert not truth.possible[~met].any()  # who was no finalist is not good
    assert (truth.high[truth.good] <= 1.05).all()


def test_costs_are_on_one_scale(profile):
    truth = judge_half(profile, RATE, 0)
    best = np.nanmin(truth.cost)
    assert best == pytest.approx(0.01, rel=0.05)
    slow = profile.space.index(
        {
            "inter_op": 2,
            "intra_op": 1,
            "batch_threads": 2,
            "max_batch_size": 4,
            "batch_timeout_micros": 1000,
        }
    )
    assert np.isnan(truth.ratio[slow])
    assert truth.cost[slow] / best == pytest.approx(2.6, rel=0.1)


def test_finalists_are_scaled_to_the_passes(profile):
    truth, rows = judge_half(profile, RATE, 0), rows_of_half(profile, RATE, 0)
    passes = rows[rows["pass"] < profile.grid_passes]
    grid = passes.groupby(profile.space.indices(passes))["mean_s"].mean()
    met = np.flatnonzero(~np.isnan(truth.ratio))
    scale = np.median(grid[met] / truth.ratio[met])
    np.testing.assert_allclose(truth.cost[met], scale * truth.ratio[met], rtol=1e-3)
    assert truth.ratio[met].max() > 1.1  # a wrong sign would show


def test_a_fast_answer_that_is_a_failure_is_not_good(profile, tmp_path):
    fastest = replay_best(profile, RATE, 0)
    server = Scripted(failing=dict(profile.space[fastest]))
    recorder = recorded(tmp_path, server, finals=True)
    recorder.finish()
    means = [mean for _, _, index, mean in recorder.means(0) if index == fastest]
    assert min(means) >= FAILURE_S / 2
    failed = read_profile(tmp_path)
    for half in (0, 1):
        truth = judge_half(failed, RATE, half)
        assert truth.cost[fastest] > 100 * np.nanmin(truth.cost)
        assert not truth.good[fastest]


def test_without_finals_nobody_is_good_and_everybody_may_be(no_finals):
    truth = judge_half(no_finals, RATE, 0)
    assert not truth.good.any()
    assert truth.possible.all()
    assert np.isfinite(truth.cost).all()


def test_late_requests_are_counted_by_a_half(profile):
    fraction = late_fraction(profile, RATE, 0, np.array([0.0, 0.015, 10.0]))
    assert (fraction[0] == 1).all()
    assert (fraction[2] == 0).all()
    slow = np.array([c["inter_op"] == 2 for c in profile.space])
    assert fraction[1][slow].min() > fraction[1][~slow].max() == 0


def test_a_perfect_reader_deploys_the_best_of_the_replayed_half(profile):
    for half in (0, 1):
        rows = rows_of_half(profile, RATE, half)
        grid = rows[rows["pass"] < profile.grid_passes]
        means = grid.groupby(profile.knobs)["mean_s"].mean()
        best = dict(zip(profile.knobs, means.idxmin(), strict=True))
        assert profile.space[replay_best(profile, RATE, half)] == best


def test_the_agreement_of_the_halves_is_counted(profile):
    table = agreement(profile).set_index("rate_per_s")
    assert list(table.index) == list(PLAN.rates_per_s)
    row = table.loc[RATE]
    both = [judge_half(profile, RATE, half) for half in (0, 1)]
    assert row["good_0"] == both[0].good.sum() > 0
    assert row["ceiling_0"] >= 1
    assert row["best_over_1"] == pytest.approx(1 / np.nanmin(both[1].low))
    assert row["best_over_1"] >= 1
    assert row["judged_0"] == both[1].good[replay_best(profile, RATE, 0)]
    assert 0.8 < row["rank_correlation"] <= 1


def test_usual_settings_stand_over_the_best_with_limits(profile):
    table = usual_settings(profile)
    assert set(table["setting"]) == {"default", "guide", "adaptive"}
    assert len(table) == 3 * 2 * len(PLAN.rates_per_s)
    adaptive = table[table["setting"] == "adaptive"]
    assert (adaptive["low"] <= adaptive["ratio"]).all()
    assert adaptive["ratio"].to_numpy() == pytest.approx(0.9, rel=0.1)  # by the script
