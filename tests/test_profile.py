"""Recording, resuming, judging and reading profiles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_recording import Scripted, recorded

from rrl.recording.evidence import by_finals
from rrl.recording.plan import PLANS, REPEATED, Plan
from rrl.recording.profile import DESCRIPTION, EPISODES, read_profile
from rrl.recording.replay import RecordedServer
from rrl.serving.models import MODELS
from rrl.serving.quiet import load_tensorflow
from rrl.support.errors import DataError, UsageError
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
