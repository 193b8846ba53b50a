"""`rrl race`: agents on the tables of a folder."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from clients import dropped_interrupt
from PIL import Image

from rrl.cli import main
from rrl.rivals.agents import maker
from rrl.studies import table_races
from rrl.studies.table_races import MEASURED, race_tables, table_medians, table_scenario
from rrl.support.files import alone_in

GRID = "threads,mode,cost\n" + "".join(
    f"{threads},{mode},{abs(threads - 4) + factor}\n"
    for threads in (1, 2, 4, 8)
    for mode, factor in (("fast", 1), ("safe", 1.5))
)
LINE = "delay,ms\n0.5,3\n1,2\n2,1\n2,2\n4,9\n"
SMALL = ("--agents", "rrl,random", "--seeds", "2", "--episodes", "20", "--quiet")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rrl.operating.racing.available_cpus", lambda: 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "grid.csv").write_text(GRID)
    (tmp_path / "mine" / "line.csv").write_text(LINE.replace("ms", "cost"))
    return tmp_path


def test_every_agent_runs_on_every_table_and_the_means_are_printed(folder, capsys):
    """A table may have any name, also one that means something to who draws the figure."""
    (folder / "mine" / "line.csv").rename(folder / "mine" / "a$_{$b.csv")
    assert main(["race", "mine", *SMALL]) == 0
    out = capsys.readouterr().out
    runs = pd.read_csv("build/race/mine/runs.csv")
    assert runs.groupby(["table", "agent"])["seed"].agg(list).tolist() == [[0, 1]] * 4
    assert set(runs["table"]) == {"a$_{$b", "grid"}
    assert np.isfinite(runs[list(MEASURED)]).all(axis=None)
    assert (runs["mean_cost"] == runs["mean_cost_100"]).all()  # a run has 20 episodes
    costs = runs.groupby(["table", "agent"])["mean_cost"].median().unstack()
    ratios = costs["random"] / costs.min(axis=1)
    expected = f"random 2 {np.exp(np.log(ratios).mean()):.3f} {ratios.max():.3f} {ratios.idxmax()}"
    assert expected in re.sub(" +", " ", out)
    for kind in ("png", "pdf"):
        assert (folder / f"build/race/mine/mean_cost.{kind}").stat().st_size > 1000
    assert min(Image.open("build/race/mine/mean_cost.png").size) > 200


def test_a_race_goes_on_where_it_stopped_whatever_the_number_of_processes(folder, monkeypatch):
    path, out = folder / "build/race/mine/runs.csv", folder / "build/race/mine/results"
    with alone_in(path.parent):
        assert main(["race", "mine", *SMALL]) == 2, "another race is at it"
    assert not out.exists()
    assert main(["race", "mine", *SMALL]) == 0
    whole, pieces = path.read_bytes(), sorted(out.iterdir())
    assert len(pieces) == 8, "two tables, two agents, two seeds"
    for piece in pieces[:3]:
        piece.unlink()
    path.unlink()
    before = {piece: piece.stat().st_mtime_ns for piece in out.iterdir()}
    monkeypatch.setattr("rrl.operating.racing.available_cpus", lambda: 2)
    assert main(["race", "mine", *SMALL]) == 0
    assert path.read_bytes() == whole
    assert {piece: piece.stat().st_mtime_ns for piece in pieces[3:]} == before
    assert main(["race", "mine", *SMALL, "--agents", "random,random"]) == 0
    assert len(pd.read_csv(path)) == 4
    assert sorted(out.iterdir()) == pieces


def test_an_interrupt_that_python_drops_ends_a_race_before_its_next_run(folder, monkeypatch):
    def dropping(name):
        dropped_interrupt()
        return maker(name)

    monkeypatch.setattr(table_races, "maker", dropping)
    assert main(["race", "mine", *SMALL]) == 130
    assert len(list((folder / "build/race/mine/results").iterdir())) == 1


@pytest.mark.parametrize("change", ["--episodes", "--noise", "code", "table"])
def test_a_run_with_other_settings_is_another_one(folder, monkeypatch, change):
    own = ["race", "mine", *SMALL, "--agents", "random", "--seeds", "1"]
    assert main(own) == 0
    before = len(list((folder / "build/race/mine/results").iterdir()))
    if change == "code":
        monkeypatch.setattr(table_races, "code", lambda: "of a changed agent")
    elif change == "table":
        (folder / "mine" / "grid.csv").write_text(GRID.replace("5.5", "5.6"))
    assert main([*own, *([change, "21"] if change.startswith("-") else [])]) == 0
    new = 1 if change == "table" else 2
    assert len(list((folder / "build/race/mine/results").iterdir())) == before + new


def test_a_single_run_has_no_interval():
    rows = {"threads": [1, 2, 4, 8], "cost": [3.0, 1.0, 2.0, 4.0]}
    where = table_scenario("line", rows, ["threads"])
    for seeds in (1, 2):
        runs = race_tables([where], ["random"], range(seeds), 5, progress=False)
        ends = table_medians(runs, 5).filter(regex="_(low|high)$")
        assert ends.size == 2 * len(MEASURED)
        assert ends.isna().all(axis=None) == ends.isna().any(axis=None) == (seeds == 1)


def test_a_table_that_an_agent_cannot_take_is_one_line_and_the_others_go_on(
    folder, capsys, monkeypatch
):
    def fussy(name):
        def make(space, rng):
            agent = maker(name)(space, rng)
            if name == "random" and "mode" in space.names:
                agent.tell = refuse  # so it has already chosen once
            return agent

        return make

    def refuse(*_):
        raise ValueError("no text,\nplease")

    monkeypatch.setattr(table_races, "maker", fussy)
    assert main(["race", "mine", *SMALL]) == 0
    said = capsys.readouterr()
    line = "rrl: random cannot take the table grid: ValueError: no text, please"
    assert said.err.splitlines() == [line]
    assert re.search(r"^random +1 ", said.out, re.MULTILINE)
    assert len(list((folder / "build/race/mine/results").iterdir())) == 6, "it is tried again"
    (folder / "mine" / "line.csv").unlink()
    only = ["race", "mine", *SMALL, "--agents", "random", "--out", "o"]
    assert main(only) == 3
    assert "no agent can take any of the tables" in capsys.readouterr().err
