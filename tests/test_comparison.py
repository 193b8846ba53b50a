"""Two agents, or two versions of one, compared seed by seed over several problems."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rrl.studies.comparison import (
    COMPARED,
    main,
    medians,
    raced,
    ratios,
)


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def races(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "race.csv"
    words = ("race", "--scenarios", "pool,wide", "--seeds", 3, "--episodes", 20, "--out", path)
    assert run(*words, "--agents", "rrl-gp,random") == 0
    return path, words


def test_a_race_goes_on_where_it_stopped(races):
    path, words = races
    whole = path.read_bytes()
    table = pd.read_csv(path)
    assert table.groupby(["scenario", "agent"]).size().tolist() == [3] * 4
    cut = table[(table["agent"] == "rrl-gp") & (table["scenario"] == "pool")]
    cut.to_csv(path, index=False)
    assert run(*words, "--agents", "rrl-gp,random") == 0
    assert path.read_bytes() == whole


def test_ratios_of_an_agent_with_itself_are_one_and_of_two_agents_are_inverse(races):
    table = pd.read_csv(races[0])
    one, other = (table[table["agent"] == name] for name in ("rrl-gp", "random"))
    same = ratios(one, one, np.random.default_rng(0))
    assert (same[["ratio", "low", "high"]] == 1).all(axis=None)
    there, back = (
        ratios(*pair, np.random.default_rng(0)).set_index("measure")["ratio"]
        for pair in ((one, other), (other, one))
    )
    np.testing.assert_allclose(there * back, 1)
    assert there["mean_cost"] < 1  # random search serves whatever it draws


def test_a_median_between_reached_and_never_is_never():
    runs = pd.DataFrame(dict.fromkeys(COMPARED, 1.0), index=range(4)).assign(agent="half")
    runs["stays_within_5"] = [2.0, 18.0, 31.0, 31.0]
    assert medians(runs, np.random.default_rng(0), episodes=30).loc[0, "stays_within_5"] == 31


def test_more_seeds_are_added_to_those_that_are_there(tmp_path):
    path, whole = tmp_path / "race.csv", tmp_path / "whole.csv"
    words = ("race", "--agents", "random", "--scenarios", "pool", "--episodes", 5, "--out")
    for first in (0, 2):
        assert run(*words, path, "--first-seed", first, "--seeds", 3) == 0
    assert run(*words, whole, "--first-seed", 0, "--seeds", 5) == 0
    assert path.read_bytes() == whole.read_bytes()


def test_a_file_has_runs_of_one_kind(tmp_path, capsys):
    path = tmp_path / "race.csv"
    words = ("race", "--agents", "rrl", "--scenarios", "pool", "--seeds", 1, "--out", path)
    few, more = ("--episodes", 3), ("--constants", '{"learning_rate": 0.5}')
    assert run(*words, *few, *more) == 0
    before = path.read_bytes()
    for other in (few, more, (*few, "--constants", '{"learning_rate": 0.7}')):
        assert run(*words, *other) == 2
        assert 'made with {"episodes": 3, "learning_rate": 0.5}; write' in capsys.readouterr().err
    assert run(*words, *few, *more) == 0
    assert path.read_bytes() == before
    pd.read_csv(path).drop(columns="settings").to_csv(path, index=False)  # as older versions wrote
    assert run(*words, *few) == 2
    assert run(*words) == 0


def test_other_constants_make_another_run_and_its_own_ones_the_same():
    plain, same, other = (
        raced("rrl", "pool", [0, 1], 25, constants)
        for constants in (None, {"learning_rate": 0.3}, {"learning_rate": 0.9})
    )
    pd.testing.assert_frame_equal(plain, same)
    assert not plain["mean_cost"].equals(other["mean_cost"])
