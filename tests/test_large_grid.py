"""From the rows of a large grid to a profile, and its replay with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from rrl import ConfigSpace, Knob
from rrl.recording.large_grid import has_ended, main, quality, read_plan, read_visits
from rrl.recording.profile import read_profile
from rrl.recording.replay import NoisyReplay, RecordedServer, shrunken_levels
from rrl.recording.truth import judge_half
from rrl.studies.problems import with_truth
from rrl.tuning.presets import effective_space

PLAN = yaml.safe_load(
    (Path(__file__).parent.parent / "data" / "plans" / "keyword-joint.yaml").read_text("utf-8")
)
PLAN["finals"] |= {"rounds": 30}
PLAN |= {"knobs": {"inter_op": [1, 2, 3, 4], "batch_threads": [0, 1, 2, 3, 4, 8]}}
SPACE = effective_space(PLAN["knobs"])
NOISE, ROUNDS = 0.1, PLAN["finals"]["rounds"]
FINALISTS, AGAIN = (3, 4, 9), (0, 3, 4, 9, 20)
LEVELS = (np.arange(50) + 0.5) / 50
RATE = float(PLAN["rate_per_s"])
TRUTH = 0.005 * (1 + 0.1 * np.abs(np.arange(len(SPACE)) - 7))  # seconds


def visits(rng, truth=TRUTH, of_draw=1.0):
    """What the recorder would have written on a machine that is half as fast after a stop.

    In the first draw of half A, all is slower by a factor. The quantiles leave out a tenth.
    """
    stages = ("pass", 1, range(len(SPACE))), ("draw", 2, AGAIN), ("final", ROUNDS, FINALISTS)
    order = [
        (stage, half, draw, index)
        for stage, draws, cells in stages
        for draw in range(draws)
        for half in "AB"
        for index in rng.permutation(cells)
    ]
    slow = np.where(np.arange(len(order)) < 100, 1.0, 2.0)
    began = pd.Timestamp("2026-11-30T10:00:00+00:00")
    for number, ((stage, half, draw, index), factor) in enumerate(zip(order, slow, strict=True)):
        mean_s = truth[index] * factor * np.exp(NOISE * rng.normal())
        mean_s *= of_draw if (stage, half, draw) == ("draw", "A", 0) else 1.0
        quantiles = 0.9 * 1e6 * mean_s * (0.5 + LEVELS)
        started = began + pd.Timedelta(6 * number + 1200 * (number >= 100), "s")
        yield {
            **SPACE[index],
            **{"stage": stage, "half": half, "draw": draw, "order": number},
            **{"started": started.isoformat(), "arrival_seed": 7, "visit_s": 36.0},
            **{"start_s": 1.0, "reference_before_s": 0.006 * factor},
            **{"reference_after_s": 0.006 * factor, "foreign": 0.01, "slip": 0.01},
            **{"mean_s": mean_s, "failed": 3 * (index == 20)},
            "quantiles_us": " ".join(f"{value:.0f}" for value in quantiles),
        }


def recorded(place, rows):
    """Write the rows of a recording and their plan, and make the profile if it has ended."""
    folder = place / "rows"
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "episodes.csv", index=False)
    start = {"processor": "one", "cpus": 2, "versions": "rrl=0.1.0 numpy=2.4.6", "accepted": 1}
    starts = [start, start | {"accepted": 0, "cpus": 9}]
    pd.DataFrame(starts).to_csv(folder / "starts.csv", index=False)
    (place / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    assert main([str(folder), str(place / "plan.yaml"), "--out", str(place / "keyword-joint")]) == 0
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The rows of a recording, beside its plan and its profile."""
    return recorded(tmp_path_factory.mktemp("grid"), visits(np.random.default_rng(1)))


def test_division_by_the_reference_takes_the_drift_out(folder, capsys):
    rows = read_visits(folder / "rows" / "episodes.csv", PLAN)
    assert np.allclose(rows["slow"] / rows["slow"][0], [1.0] * 100 + [2.0] * (len(rows) - 100))
    found = quality(rows)
    assert found.loc["divided", "repeats"] == pytest.approx(NOISE, rel=0.5)
    assert found.loc["divided", "repeats"] < found.loc["measured", "repeats"]
    assert found.loc["divided", "halves"] == pytest.approx(NOISE, rel=0.5)
    assert found.loc["divided", "rank_correlation"] > 0.5
    capsys.readouterr()
    assert main([str(folder / "rows"), str(folder / "plan.yaml")]) == 0
    assert found.loc["divided", "drift"] < 0.3 * found.loc["measured", "drift"]
    assert "final     180         0   1.80" in capsys.readouterr().out


def test_nobody_reads_a_latency_before_the_finals_have_ended(tmp_path, capsys):
    recorded(tmp_path, list(visits(np.random.default_rng(1)))[:-1])
    said = capsys.readouterr().out
    assert "not ended" in said
    assert "rank_correlation" not in said
    assert not (tmp_path / "keyword-joint").exists()
    plan = read_plan(tmp_path / "plan.yaml")
    found = read_visits(tmp_path / "rows" / "episodes.csv", plan)
    assert [has_ended(found, plan, hours) for hours in (1.99, 2.0)] == [False, True]


def test_the_profile_has_the_halves_and_the_finals_of_the_recording(folder):
    profile = read_profile(folder / "keyword-joint")
    assert profile.space == SPACE
    assert profile.description["machine"]["cpus"] == 2, "of the start that was accepted"
    passes = profile.table.groupby("pass").size()
    assert passes.tolist() == [len(SPACE)] * 2 + [len(AGAIN)] * 4 + [len(FINALISTS)] * 2 * ROUNDS
    assert profile.grid["pass"].max() == 5
    for half in (0, 1):
        truth = judge_half(profile, RATE, half)
        assert np.flatnonzero(np.isfinite(truth.ratio)).tolist() == list(FINALISTS)
        away = np.delete(np.log(truth.cost / TRUTH), 20)  # there, failures are charged
        assert np.ptp(away) < 6 * NOISE
    row = int(np.flatnonzero(profile.space.indices(profile.table) == 20)[0])
    latency, status = profile.latencies(row), profile.statuses(row)
    assert len(latency) == len(status) == PLAN["requests"]
    assert (status != 0).sum() == 3
    mean_s = profile.table["mean_s"][row]
    assert latency.mean() == pytest.approx(mean_s, rel=1e-3), "the last quantile has the rest"
    assert latency[:100].mean() == pytest.approx(mean_s, rel=0.4), "not in order of size"


def test_a_configuration_without_a_pass_in_a_half_is_left_out(tmp_path):
    rows = [row for row in visits(np.random.default_rng(1))
            if (row["half"], row["stage"], SPACE.index({k: row[k] for k in PLAN["knobs"]}))
            != ("B", "pass", 5)]  # fmt: skip
    recorded(tmp_path, rows)
    assert len(read_profile(tmp_path / "keyword-joint").space) == len(SPACE) - 1


@pytest.mark.parametrize("text", ["model: keyword\n", "- 1\n", "a: [\n"])
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, capsys):
    (tmp_path / "plan.yaml").write_text(text)
    assert main([str(tmp_path), str(tmp_path / "plan.yaml")]) == 3
    assert "no plan of a large grid" in capsys.readouterr().err


def test_rows_of_another_plan_are_refused(folder, tmp_path, capsys):
    other = PLAN | {"knobs": {"inter_op": [1, 2], "batch_threads": [0, 1]}}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(other, sort_keys=False))
    assert read_plan(tmp_path / "plan.yaml") == other
    assert main([str(folder / "rows"), str(tmp_path / "plan.yaml")]) == 3
    assert "episodes.csv: no visits of this plan" in capsys.readouterr().err


# --- the replay with noise ------------------------------------------------------------------------


def test_the_same_configuration_costs_another_number_each_time(folder):
    problem = with_truth("keyword-joint", RATE, folder)
    server, rng = problem.server, np.random.default_rng(0)
    assert isinstance(server, NoisyReplay)
    assert problem.requests == PLAN["requests"]
    assert problem.replay_best == server.best(RATE)
    arrivals = np.arange(1, problem.requests + 1) / RATE
    rows = server.profile.grid[server.profile.grid["pass"] % 2 == 0]
    logs = np.log(rows["mean_s"]).groupby(server.space.indices(rows)).mean()
    for index, single in ((3, False), (11, True)):
        drawn = [server.measure(server.space[index], arrivals, rng).latency.mean()
                 for _ in range(300)]  # fmt: skip
        assert len({round(x, 9) for x in drawn}) > 3, "more than the episodes that were recorded"
        assert np.log(drawn).std() == pytest.approx(NOISE, rel=0.6)
        if not single:
            assert np.log(drawn).mean() == pytest.approx(logs[index], abs=0.03)


def test_what_a_pass_shares_is_neither_noise_nor_level(folder, tmp_path):
    recorded(tmp_path, visits(np.random.default_rng(1), of_draw=1.5))
    usual, other = (
        NoisyReplay(place / "keyword-joint", RATE, half=0) for place in (folder, tmp_path)
    )
    pools = [np.sort(server._residuals[0]) for server in (usual, other)]
    np.testing.assert_allclose(*pools, atol=1e-3)
    assert np.ptp(usual._levels[0] - other._levels[0]) < 1e-3


def test_equal_seeds_draw_equal_episodes_with_the_recorded_proportions(folder):
    noisy, plain = (
        kind(folder / "keyword-joint", RATE, 1) for kind in (NoisyReplay, RecordedServer)
    )
    arrivals = np.arange(1, 1501) / RATE
    first, again, recorded = (
        server.measure(SPACE[4], arrivals, np.random.default_rng(5))
        for server in (noisy, noisy, plain)
    )
    assert np.array_equal(first.latency, again.latency)
    assert np.ptp(first.latency / recorded.latency) == pytest.approx(0, abs=1e-9)


LINE = ConfigSpace([Knob("x", range(200))])


@pytest.mark.parametrize(("noise", "better"), [(0.3, 0.9), (0.001, 1.001)])
def test_single_episodes_are_shrunken_as_far_as_they_are_noise(noise, better):
    """On a smooth surface a noisy mean gets nearer to the truth; a precise one stays."""
    rng, truth = np.random.default_rng(1), np.sin(np.arange(200) / 15.0)
    logs = {i: truth[i] + rng.normal(0, noise, 1 if i % 10 else 2) for i in range(200)}
    plain = np.array([own.mean() for own in logs.values()])
    levels = shrunken_levels(LINE, logs)
    assert np.array_equal(levels[::10], plain[::10]), "two episodes are not shrunken"
    errors = [np.sqrt(np.mean((values - truth) ** 2)) for values in (levels, plain)]
    assert errors[0] < better * errors[1]


def test_without_a_second_episode_nothing_is_shrunken():
    logs = {i: np.array([0.1 * i]) for i in range(200)}
    np.testing.assert_allclose(shrunken_levels(LINE, logs), 0.1 * np.arange(200))


def test_what_was_not_measured_has_no_level():
    levels = shrunken_levels(LINE, {3: np.array([1.0]), 4: np.array([2.0, 2.0])})
    assert np.flatnonzero(np.isfinite(levels)).tolist() == [3, 4]
