"""Sweeps: the same results whoever computes them, and nothing computed twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest

from rrl.rivals.agents import AGENTS
from rrl.studies import sweep_store, sweeps
from rrl.studies.problems import with_truth
from rrl.studies.race import race
from rrl.studies.settings import cross
from rrl.studies.sweeps import Sweep

DATA = Path(__file__).parent.parent / "data"
SETTINGS = cross([("keyword-threads", 900.0)], {"rrl": 7, "random": 3}, 12)


def run(folder, settings=SETTINGS):
    sweep = Sweep(settings, data=DATA, build=folder, costs=True, workers=1)
    return sweep.run()


def same(one, other):
    fields = ("chosen", "recommended", "costs")
    return list(one) == list(other) and all(
        np.array_equal(getattr(one[key], name), getattr(other[key], name))
        for key in one
        for name in fields
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return folder, run(folder)


def test_a_sweep_is_the_races_it_consists_of(alone):
    runs = alone[1][SETTINGS[0]]
    straight = race(with_truth("keyword-threads", 900.0, DATA), AGENTS["rrl"], range(7), 12)
    assert np.array_equal(runs.chosen, straight.chosen)
    assert np.array_equal(runs.recommended, straight.recommended)
    assert np.array_equal(runs.costs, straight.costs.astype(np.float32))
    assert Sweep(SETTINGS, data=DATA, build=alone[0]).run()[SETTINGS[0]].costs is None
    (later,) = run(alone[0], settings=[SETTINGS[0]._replace(first_seed=4, seeds=2)]).values()
    assert np.array_equal(later.chosen, runs.chosen[4:6])


@pytest.mark.long
def test_a_dask_cluster_gives_what_one_worker_gives(alone, tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask[distributed] is not installed")
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with (
        distributed.Client(n_workers=2, **options),
        joblib.parallel_config(backend="dask"),
    ):
        assert same(alone[1], run(tmp_path))


def keys(data=DATA):
    sweep = Sweep(SETTINGS, data=data, build="unused")
    return [task.file for task in sweep.tasks(SETTINGS[0])]


def test_a_change_of_data_code_or_versions_is_a_new_piece(tmp_path, monkeypatch):
    before = keys()
    assert keys() == before
    shutil.copytree(DATA / "keyword-threads", tmp_path / "keyword-threads")
    assert keys(tmp_path) == before
    episodes = tmp_path / "keyword-threads" / "episodes.csv"
    lines = episodes.read_text().splitlines(keepends=True)
    episodes.write_text("".join(lines[:-1]))
    assert not set(keys(tmp_path)) & set(before)
    for module, name, value in (
        (sweep_store, "label", "other"),
        (sweep_store, "locked", {"numpy": ["0"]}),
        (sweeps, "installed", {"numpy": "0"}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *_, value=value: value)
            assert not set(keys()) & set(before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"agent": "rll"}, "unknown agent 'rll': use one of"),
        ({"load": ("Posson", 1.0)}, "unknown workload"),
        ({"load": ("Bursts", 1.0)}, "workload \\('Bursts', 1.0\\)"),
        ({"seeds": 0}, "at least 1 seed"),
        ({"objective": "p99,9"}, "unknown objective"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_before_anything_runs(change, words):
    with pytest.raises(ValueError, match=words):
        Sweep([SETTINGS[0]._replace(**change)])
