"""A replay that scatters as the recording did, and whose levels are those of the recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rrl import ConfigSpace, Knob
from rrl.recording.noisy_replay import NoisyReplay, residuals_of, shrunken
from rrl.recording.replay import RecordedServer

DATA = Path(__file__).parent.parent / "data"
ARRIVALS = np.arange(1, 301) / 900.0  # the load of the middle recording, in full episodes


@pytest.fixture(scope="module", params=[0, 1])
def servers(request):
    folder = DATA / "keyword-threads"
    return [kind(folder, 900.0, half=request.param) for kind in (RecordedServer, NoisyReplay)]


def means(server, index, rng, times):
    episodes = (server.measure(server.space[index], ARRIVALS, rng) for _ in range(times))
    return np.array([episode.latency.mean() for episode in episodes])


def test_a_measurement_scatters_around_the_level_of_its_configuration(servers):
    plain, noisy = servers
    rng = np.random.default_rng(0)
    table = plain.profile.grid
    rows = table[(table["rate_per_s"] == 900.0) & (table["pass"] % 2 == plain.half)]
    logs = np.log(rows["mean_s"]).groupby(plain.space.indices(rows)).agg(["mean", "count"])
    (index, (level, count)), *_ = logs[logs["count"] > 1].iterrows()
    drawn = np.log(means(noisy, index, rng, 400))
    assert len({*drawn.round(9)}) > count, "more than the episodes that were recorded"
    pool = noisy._pools[noisy.nearest_rate(ARRIVALS)]
    assert drawn.mean() == pytest.approx(level, abs=4 * pool.std() / np.sqrt(400))
    assert drawn.std() == pytest.approx(pool.std(), rel=0.2)


def test_the_same_seed_draws_the_same_episode_and_its_requests_keep_their_proportions(servers):
    plain, noisy = servers
    first, again = (noisy.measure(noisy.space[3], ARRIVALS, np.random.default_rng(5))
                    for _ in range(2))  # fmt: skip
    assert np.array_equal(first.latency, again.latency)
    recorded = plain.measure(plain.space[3], ARRIVALS, np.random.default_rng(5))
    assert np.array_equal(first.status, recorded.status)
    factor = first.latency / recorded.latency
    assert np.ptp(factor) == pytest.approx(0, abs=1e-9)


LINE = ConfigSpace([Knob("x", range(200))])


def drawn(truth, noise, episodes, rng):
    return {
        i: mean + rng.normal(0, noise, n)
        for i, (mean, n) in enumerate(zip(truth, episodes, strict=True))
    }


@pytest.mark.parametrize(("noise", "better"), [(0.3, 0.9), (0.001, 1.001)])
def test_single_episodes_are_shrunken_as_far_as_they_are_noise(noise, better):
    """On a smooth surface a noisy mean gets nearer to the truth; a precise one stays."""
    rng = np.random.default_rng(1)
    truth = np.sin(np.arange(200) / 15.0)
    episodes = np.where(np.arange(200) % 10, 1, 2)  # every tenth was measured twice
    logs = drawn(truth, noise, episodes, rng)
    plain = np.array([own.mean() for own in logs.values()])
    levels = shrunken(LINE, logs)
    assert np.array_equal(levels[::10], plain[::10]), "two episodes are not shrunken"
    errors = [np.sqrt(np.mean((values - truth) ** 2)) for values in (levels, plain)]
    assert errors[0] < better * errors[1]


def test_without_a_second_episode_nothing_is_known_of_noise():
    logs = drawn(np.arange(200.0), 0.0, np.ones(200, int), np.random.default_rng(0))
    assert residuals_of(logs).tolist() == [0.0]
    np.testing.assert_allclose(shrunken(LINE, logs), np.arange(200.0))


def test_what_was_not_measured_has_no_level():
    levels = shrunken(LINE, {3: np.array([1.0]), 4: np.array([2.0, 2.0])})
    assert np.flatnonzero(np.isfinite(levels)).tolist() == [3, 4]
