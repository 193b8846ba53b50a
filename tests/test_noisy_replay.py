"""The replay of single episodes with their noise."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from rrl import ConfigSpace, Knob
from rrl.recording.profile import COLUMNS, DESCRIPTION, EPISODES, episodes_hash, read_profile
from rrl.recording.replay import NoisyReplay, RecordedServer, shrunken_levels
from rrl.studies.problems import with_truth
from rrl.tuning.presets import effective_space

KNOBS = {"inter_op": [1, 2, 3, 4], "batch_threads": [0, 1, 2, 3, 4, 8]}
SPACE = effective_space(KNOBS)
RATE, REQUESTS, QUANTILES, NOISE = 550.0, 1500, 50, 0.1
AGAIN, FINALISTS = (0, 3, 4, 9, 20), (3, 4, 9)
PASSES = [range(len(SPACE)), *[AGAIN] * 2, *[FINALISTS] * 4]  # what each pass of a half measures
TRUTH = 0.005 * (1 + 0.1 * np.abs(np.arange(len(SPACE)) - 7))  # seconds
ANY = dict.fromkeys(COLUMNS, 0) | {"started": "", "statuses": ""}


def recorded(place, *, of_draw=1.0):
    """Write a profile like that of the large grid: once all, then some of them again.

    In the third pass all is slower by a factor.
    """
    folder, rng, rows = place / "keyword-joint", np.random.default_rng(1), []
    for number, cells in enumerate(cells for cells in PASSES for _half in "AB"):
        for index in rng.permutation(cells):
            mean_s = TRUTH[index] * np.exp(NOISE * rng.normal()) * (of_draw if number == 2 else 1.0)
            micros = 1e6 * mean_s * (0.5 + (np.arange(QUANTILES) + 0.5) / QUANTILES)
            row = {"rate_per_s": RATE, "pass": number, "valid": 1, "mean_s": mean_s}
            row |= {"latencies_us": " ".join(f"{value:.0f}" for value in micros)}
            rows.append(SPACE[index] | ANY | row)
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / EPISODES, index=False)
    plan = {"knobs": KNOBS, "requests": REQUESTS, "quantiles": QUANTILES, "passes": 2, "again": 4}
    about = {"schema": 3, "complete": True, "machine": {"cpus": 2}, "plan": plan}
    about |= {"sha256": episodes_hash(folder / EPISODES)}
    (folder / DESCRIPTION).write_text(json.dumps(about))
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("grid"))


def test_a_quantile_stands_for_several_requests_in_no_order(folder):
    profile = read_profile(folder / "keyword-joint")
    assert profile.grid["pass"].max() == 5, "the further draws belong to the grid"
    latency = profile.latencies(0)
    assert len(latency) == REQUESTS
    assert len(set(latency)) == QUANTILES
    assert latency[:100].mean() == pytest.approx(latency.mean(), rel=0.2), "not in order of size"


def test_the_same_configuration_costs_another_number_each_time(folder):
    problem = with_truth("keyword-joint", RATE, folder)
    server, rng = problem.server, np.random.default_rng(0)
    assert isinstance(server, NoisyReplay)
    assert problem.requests == REQUESTS
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
    recorded(tmp_path, of_draw=1.5)
    usual, other = (
        NoisyReplay(place / "keyword-joint", RATE, half=0) for place in (folder, tmp_path)
    )
    pools = [np.sort(server._noise[0][0]) for server in (usual, other)]
    np.testing.assert_allclose(*pools, atol=1e-3)
    assert np.ptp(usual._noise[0][1] - other._noise[0][1]) < 1e-3


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


def test_without_a_second_episode_nothing_is_shrunken_and_without_any_there_is_no_level():
    logs = {i: np.array([0.1 * i]) for i in range(200)}
    np.testing.assert_allclose(shrunken_levels(LINE, logs), 0.1 * np.arange(200))
    levels = shrunken_levels(LINE, {3: np.array([1.0]), 4: np.array([2.0, 2.0])})
    assert np.flatnonzero(np.isfinite(levels)).tolist() == [3, 4]
