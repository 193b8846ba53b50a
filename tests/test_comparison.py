"""Two agents, or two versions of one, compared seed by seed over several problems."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rrl.studies.comparison import COMPARED, main, ratios


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "race.csv"
    words = ("race", "--scenarios", "pool,wide", "--seeds", 3, "--episodes", 20, "--out", path)
    assert run(*words, "--agents", "rrl,random") == 0
    return path, words


def test_a_race_goes_on_where_it_stopped(raced):
    path, words = raced
    whole = path.read_bytes()
    table = pd.read_csv(path)
    assert table.groupby(["scenario", "agent"]).size().tolist() == [3] * 4
    cut = table[(table["agent"] == "rrl") & (table["scenario"] == "pool")]
    cut.to_csv(path, index=False)
    assert run(*words, "--agents", "rrl,random") == 0
    assert path.read_bytes() == whole


def test_ratios_of_an_agent_with_itself_are_one_and_of_two_agents_are_inverse(raced):
    table = pd.read_csv(raced[0])
    one, other = (table[table["agent"] == name] for name in ("rrl", "random"))
    same = ratios(one, one, np.random.default_rng(0))
    assert (same[["ratio", "low", "high"]] == 1).all(axis=None)
    there, back = (
        ratios(*pair, np.random.default_rng(0)).set_index("measure")["ratio"]
        for pair in ((one, other), (other, one))
    )
    np.testing.assert_allclose(there * back, 1)
    assert there["price"] < 1  # random search serves whatever it draws


def test_the_comparison_is_printed_with_its_limits(raced, capsys):
    assert run("compare", f"{raced[0]}:rrl", f"{raced[0]}:random") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["measure", *COMPARED]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("race", "--agents", "nobody", "--out", "x.csv"), "unknown agent 'nobody'"),
        (("compare", "{path}", "{path}:rrl"), "write it as FILE:AGENT with one of random, rrl"),
        (("compare", "none.csv:rrl", "none.csv:rrl"), "none.csv"),
    ],
)
def test_a_mistake_is_one_line(raced, capsys, words, message):
    assert run(*(str(word).format(path=raced[0]) for word in words)) in (2, 3)
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
