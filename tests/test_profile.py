"""Recording, resuming, judging and reading profiles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_recording import PLAN as WITH_FINALS
from test_recording import Scripted, recorded

from rrl.recording.evidence import by_finals, usual_settings
from rrl.recording.plan import PLANS, REPEATED, Plan
from rrl.recording.profile import ADAPTIVE, DESCRIPTION, EPISODES, Profile, read_profile
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import (
    TOLERANCE,
    judge,
    judge_half,
    replay_best,
    requests_of_half,
    rows_of_half,
)
from rrl.serving.models import MODELS
from rrl.serving.quiet import load_tensorflow
from rrl.support.errors import DataError, UsageError
from rrl.tuning.objective import FAILURE_S
from rrl.tuning.presets import effective_space

PLAN = Plan(
    "keyword",
    {"inter_op": (1, 2, 4), "batch_threads": (0, 2)},
    rates_per_s=(20.0, 50.0),
    requests=5,
    passes=2,
    repeats=2,
)


def record(folder, server=None):
    return recorded(folder, server, plan=PLAN)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A recording that no test changes."""
    return record(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole, tmp_path):
    """A recording to change."""
    return Path(shutil.copytree(whole, tmp_path / "profile"))


def describe(folder, **changes):
    path = folder / DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_episode_of_the_plan_is_recorded_once(whole):
    profile = read_profile(whole)
    assert len(profile.table) == PLAN.episodes == 48
    assert len(profile.space) == 6
    summary = profile.summary()
    assert (summary["episodes"] == 4).all()
    assert len(summary) == 12
    assert profile.description["complete"]
    assert profile.description["sha256"]
    assert profile.latencies(0).shape == (5,)
    best = profile.space[int(np.argmin(profile.surface(20.0)))]
    assert best == {"inter_op": 1, "batch_threads": 0}


@pytest.mark.parametrize(
    "bad",
    [
        {"requests": 0},
        {"passes": 0},
        {"rates_per_s": ()},
        {"rates_per_s": (0.0,)},
        {"rates_per_s": (100.0, 5.0, 100.0001)},  # the rows of the two would be the same episodes
    ],
)
def test_bad_plans(bad):
    with pytest.raises(UsageError):
        Plan(**{"model": "keyword", "knobs": {"inter_op": (1,)}, "rates_per_s": (1.0,), **bad})


def damage(folder, change):
    path = folder / EPISODES
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[: len(b) // 2], "line|truncated|no number"),
        (lambda b: b"", "corrupt or truncated"),
        (lambda b: b",".join(b.rsplit(b" ", 1)), "corrupt or truncated .*Expected 17 .* line 49"),
        (lambda b: b.replace(b"mean_s", b"average"), "missing column 'mean_s'"),
        (lambda b: b.replace(b",0.50,", b",x,", 1), "a value of start_s is no number"),
        (lambda b: b + b.splitlines()[-1] + b"\n", "the same episode twice"),
        (lambda b: b"\xff" + b, "not UTF-8 at byte 0"),
        (lambda b: b[: b.rindex(b" ")] + b",\n", "line 49"),
    ],
)
def test_damaged_episodes_are_refused_by_name(folder, change, message):
    """Also while a recording goes on, which has no hash."""
    damage(folder, change)
    with pytest.raises(DataError, match=r"changed since|not UTF-8"):
        read_profile(folder)
    describe(folder, complete=False)
    with pytest.raises(DataError, match=message) as error:
        read_profile(folder)
    assert str(folder) in str(error.value)


def test_a_finished_recording_that_was_changed_is_not_called_finished_again(folder):
    damage(folder, lambda b: b.replace(b"+00:00", b"+01:00", 1))
    with pytest.raises(DataError, match=r"episodes.csv: changed since it was recorded"):
        record(folder)


def test_the_recorded_server_replays_recorded_latencies(whole):
    server = RecordedServer(whole)
    rng = np.random.default_rng(0)
    slow, fast = {"inter_op": 4, "batch_threads": 2}, {"inter_op": 1, "batch_threads": 0}
    arrivals = np.arange(7) / 45  # nearest recorded load: 50/s; more than an episode's requests
    episode = server.measure(slow, arrivals, rng)
    assert len(episode) == 7
    assert episode.info["rate_per_s"] == 50.0
    assert episode.latency.mean() > server.measure(fast, arrivals, rng).latency.mean()
    table = server.profile.table
    rows = np.flatnonzero((table["inter_op"] == 4) & (table["rate_per_s"] == 50))
    recorded = np.concatenate([server.profile.latencies(row) for row in rows])
    assert np.isin(episode.latency, recorded).all()


def test_the_nearest_recorded_load_is_nearest_by_its_ratio(whole):
    server = RecordedServer(whole)
    for gaps, rate_per_s, nearest in ((99, 33.0, 50.0), (99, 30.0, 20.0), (6, 30.0, 20.0)):
        arrivals = np.arange(gaps + 1) / rate_per_s
        assert server.profile.rates_per_s[server.nearest_rate(arrivals)] == nearest
    assert server.nearest_rate(np.zeros(5)) == 1
    assert server.nearest_rate(np.zeros(1)) == 0


def test_equal_draws_meet_equal_arrivals_whatever_the_order_of_recording(tmp_path):
    """A comparison on a replay is paired by the arrivals, as it is on a server."""
    record(tmp_path, Scripted(scatter=0.5))  # so that no two repeats look alike
    server, table = RecordedServer(tmp_path, 20.0), read_profile(tmp_path).grid
    rows = table[table["rate_per_s"] == 20.0].set_index(list(PLAN.knobs))
    met = {seed: set() for seed in range(20)}
    for configuration in PLAN.space:
        own = rows.loc[tuple(configuration.values())]
        for seed, arrivals in met.items():
            rng = np.random.default_rng(seed)
            latency = server.measure(configuration, np.zeros(5), rng).latency
            arrivals.add(own["arrival_seed"].iloc[np.argmin(abs(own["mean_s"] - latency.mean()))])
    assert all(len(arrivals) == 1 for arrivals in met.values())
    assert len(set.union(*met.values())) == PLAN.passes * PLAN.repeats


@pytest.mark.parametrize(
    ("lows", "limit"),
    [([1.0, 1.2], 0.0), ([1.0, 0.8, 1.1], 0.25), ([1.0, None], np.inf)],
)
def test_the_limit_of_regret_is_that_of_the_rival_that_could_be_cheapest(folder, lows, limit):
    """A limit that is not known is infinite: such a rival could cost anything."""
    best = {"verdict": "best"} | PLAN.space[0]
    finalists = [best if low is None else best | {"low": low} for low in lows]
    describe(folder, finals={"20": {"finalists": finalists}})
    profile = read_profile(folder)
    assert by_finals(profile, 20.0)["regret"] == pytest.approx(limit)
    assert by_finals(profile, 21.0) is None


DATA = Path(__file__).parent.parent / "data"
WHOLE = [DATA / name for name in PLANS if name in REPEATED or (DATA / name).exists()]
PARTS = [file.parent for file in sorted((DATA / "recording").glob("*/profile.json"))]


@pytest.mark.parametrize("folder", [*WHOLE, *PARTS], ids=lambda folder: folder.name)
def test_the_committed_profiles_are_sound_and_of_their_plans(folder):
    """Another processor has a folder of its own, with a suffix, for the same plan."""
    profile = read_profile(folder)
    plan, stored = PLANS[folder.name.removesuffix("-xeon")], profile.description["plan"]
    assert stored | {k: v for k, v in plan.to_json().items() if k in stored} == stored
    rows = pd.concat([profile.table, profile.adaptive])
    seeds = rows.groupby(["rate_per_s", "pass", "repeat"])["arrival_seed"].nunique()
    assert (seeds == 1).all()  # all configurations of a pass met the same arrivals
    assert profile.description["complete"] == (folder in WHOLE)
    if rule := stored.get("rule"):  # the code at the tag probed the machine around each process
        assert rows["commit"].str.fullmatch(r"recorder-\d").all()
        assert (rows["steal"] <= rule["steal"]).all()
        for name in ("speed_before", "speed_after"):
            assert rows[name].between(rule["slowest"], rule["fastest"]).all()
    if folder in WHOLE:
        assert f"\n| `{folder.name}` |" in (DATA / "README.md").read_text(encoding="utf-8")
        assert (profile.table["pass"] < plan.passes).sum() == plan.episodes
        assert profile.space == plan.space


def test_the_model_of_the_recordings_keeps_its_shape():
    """Other layers take another time, which a recording would not have."""
    load_tensorflow()
    import keras

    network = MODELS["keyword"](keras)
    shapes = list(dict.fromkeys(layer.output.shape[1:] for layer in network.layers))
    assert shapes == [(16000,), (40, 51), (40, 51, 1), (20, 26, 64), (64,), (12,)]
    assert network.count_params() == 22604


def test_the_rows_of_the_large_grid_follow_its_plan():
    """Any part of the recording passes: only rows that are there are looked at."""
    plan = yaml.safe_load((DATA / "plans" / "keyword-joint.yaml").read_text(encoding="utf-8"))
    rows = pd.read_csv(DATA / "recording" / "keyword-joint" / "episodes.csv")
    space = effective_space(plan["knobs"])
    assert len(space) == 1296
    rows["index"] = space.indices(rows[list(plan["knobs"])])
    assert not rows.duplicated(["stage", "half", "draw", "index"]).any()
    assert rows["order"].tolist() == list(range(len(rows)))
    for limit, most in plan["limits"].items():
        assert (rows[limit] <= most).all(), limit
    assert set(rows["commit"]) == {"recorder-2"}
    draws = rows.groupby(["stage", "half", "draw"])["arrival_seed"]
    assert (draws.nunique() == 1).all()
    assert draws.first().is_unique
    assert (rows["quantiles_us"].str.split().str.len() == plan["quantiles"]).all()


# --- what a half of a profile says, apart from what the other half learned from, and its finals ---


RATE = 20.0


def configuration(*values):
    return dict(zip(WITH_FINALS.knobs, values, strict=True))


#: As fast as the good ones, but every second request fails.
FAILING = configuration(1, 1, 1, 4, 1000)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    return read_profile(recorded(folder, Scripted(late=(5,), failing=FAILING)))


def test_a_half_does_not_change_with_the_other_nor_with_late_measurements(profile):
    table = profile.table
    other = table.assign(mean_s=table["mean_s"].where(table["pass"] % 2 == 0, 9.5))
    late = table.assign(mean_s=9.5, valid=0)
    before = judge_half(profile, RATE, 0)
    after = judge_half(Profile(profile.description, pd.concat([other, late])), RATE, 0)
    for one, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, again)


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
    slow = profile.space.index(configuration(2, 1, 2, 4, 1000))
    assert np.isnan(truth.ratio[slow])
    assert truth.cost[slow] / best == pytest.approx(2.6, rel=0.1)


def test_a_fast_answer_that_is_a_failure_is_not_good(profile):
    failing = profile.space.index(FAILING)
    assert profile.surface(RATE)[failing] < 1.2 * np.nanmin(profile.surface(RATE))
    for half in (0, 1):
        truth = judge_half(profile, RATE, half)
        assert truth.cost[failing] >= FAILURE_S / 2
        assert np.isnan(truth.ratio[failing])  # so it was no finalist
        assert not truth.good[failing]


def test_without_finals_nobody_is_good_and_everybody_may_be(profile):
    truth = judge_half(Profile(profile.description, profile.grid), RATE, 0)
    assert not truth.good.any()
    assert truth.possible.all()
    assert np.isfinite(truth.cost).all()


def test_the_requests_of_a_half_contain_the_failed_ones_which_count_as_late(profile):
    requests = requests_of_half(profile, RATE, 0)
    limits = 0.0, 0.015, 10.0
    fraction = [np.array([(one > limit).mean() for one in requests]) for limit in limits]
    assert (fraction[0] == 1).all()
    assert (fraction[2] == 0).all()
    slow = np.array([c["inter_op"] == 2 for c in profile.space])
    failing = profile.space.index(FAILING)
    assert fraction[1][failing] == 0.6  # three of five requests
    slow[failing] = True
    assert fraction[1][slow].min() > fraction[1][~slow].max() == 0


def test_a_perfect_reader_deploys_the_best_of_the_replayed_half(profile):
    for half in (0, 1):
        rows = rows_of_half(profile, RATE, half)
        grid = rows[rows["pass"] < profile.grid_passes]
        means = grid.groupby(profile.knobs)["mean_s"].mean()
        best = dict(zip(profile.knobs, means.idxmin(), strict=True))
        assert profile.space[replay_best(profile, RATE, half)] == best


def test_usual_settings_stand_over_the_best_with_limits(profile):
    """Recordings may also have TensorFlow's adaptive scheduler; here it is a bit faster."""
    best = int(np.nanargmin(judge_half(profile, RATE, 0).ratio))
    own = profile.table[profile.space.indices(profile.table) == best]
    adaptive = own.assign(batch_threads=ADAPTIVE, mean_s=0.9 * own["mean_s"])
    table = usual_settings(Profile(profile.description, pd.concat([profile.table, adaptive])))
    assert set(table["setting"]) == {"default", "guide", "adaptive"}
    assert len(table) == 3 * 2 * len(WITH_FINALS.rates_per_s)
    adaptive = table[(table["setting"] == "adaptive") & (table["rate_per_s"] == RATE)]
    assert (adaptive["low"] <= adaptive["ratio"]).all()
    assert adaptive["ratio"].to_numpy() == pytest.approx(0.9, rel=0.1)


def test_the_half_that_judges_usual_settings_has_not_chosen_them():
    whole = read_profile("data/mobilenet_v2-batching")
    table, mean_s = usual_settings(whole), whole.table["mean_s"]
    for half in (0, 1):
        own = (whole.table["pass"] < whole.grid_passes) & (whole.table["pass"] % 2 == half)
        turned = whole.table.assign(mean_s=mean_s.where(~own, 1 / mean_s))
        again = usual_settings(Profile(whole.description, turned))
        assert again[again["half"] == half].equals(table[table["half"] == half])


# --- Judging finalists --------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(0.001, 0.2))
def test_judging_does_not_depend_on_units_or_order(seed, noise):
    rng = np.random.default_rng(seed)
    means = np.exp(rng.normal(scale=noise, size=(8, 5))) * np.linspace(1, 1.3, 5)
    best, ratios = judge(means)
    order = rng.permutation(5)
    best_again, permuted = judge(1000 * means[:, order])
    assert order[best_again] == best
    np.testing.assert_allclose(permuted, ratios[order])


@pytest.mark.parametrize(("true_ratio", "level"), [(1.05, 0.025), (1.0, 0.05)])
def test_judging_errs_at_the_stated_rate(true_ratio, level):
    """Who costs 5 % more is seldom good; of equals, either may seem better, and surely so."""
    rng = np.random.default_rng(1)
    wrong, tries = 0, 120
    for _ in range(tries):
        noise = rng.standard_t(3, size=(20, 2)) * 0.03  # heavy tails, as neighbours make them
        best, ratios = judge(np.exp(noise) * np.array([1.0, true_ratio]))
        _, low, high = ratios[1 - best]
        wrong += low > 1 if true_ratio == 1.0 else high <= 1 + TOLERANCE
    assert wrong <= level * tries + 3 * np.sqrt(level * tries)


def test_a_disturbed_episode_does_not_decide():
    means = np.exp(np.random.default_rng(2).normal(scale=0.02, size=(20, 2))) * [1.0, 1.2]
    means[3:5, 0] *= 30  # a neighbour slowed the best one down
    best, ratios = judge(means)
    assert best == 0
    assert 1 < ratios[1, 1] < ratios[1, 0] == pytest.approx(1.2, rel=0.05)


def test_a_finalist_that_was_dropped_early_is_compared_fairly():
    """It met slow episodes only; its own mean says nothing, its ratios do."""
    rng = np.random.default_rng(3)
    slow = np.repeat([3.0, 1.0], 10)[:, None]
    means = slow * np.exp(rng.normal(scale=0.01, size=(20, 3))) * [1.0, 1.1, 0.9]
    means[10:, 2] = np.nan
    assert judge(means)[0] == 2
