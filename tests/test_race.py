"""Races: measured against a truth that can be worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from clients import dropped_interrupt
from PIL import Image

from rrl import ConfigSpace, Knob, Phases, tune
from rrl.cli import main
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import judge_half, rows_of_half
from rrl.rivals.agents import AGENTS, maker
from rrl.studies import table_races
from rrl.studies.outcomes import what_clients_pay
from rrl.studies.problems import FINE, SURFACES, open_scenario, surface, with_truth
from rrl.studies.race import MEASURES, Race, race, score
from rrl.studies.scenario import find_truth
from rrl.studies.table_races import race_tables, table_scenario
from rrl.support.errors import DataError, UsageError
from rrl.support.files import alone_in

LINE = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])


def test_a_run_is_scored_by_what_served_and_not_by_what_it_recommends():
    chosen = np.array([[0, 2] + [1] * 9], dtype=np.int32)
    found = score(LINE, Race(chosen, np.full_like(chosen, 2)))
    assert found["excess"][0] == pytest.approx((2 + 1) / 11)
    assert found["level"][0] == pytest.approx(1 / 10), "at least ten episodes"


def test_a_run_of_a_race_is_a_tuning_from_its_own_seed():
    runs = race(LINE, AGENTS["rrl"], [3, 4], 15)
    agent = AGENTS["rrl"](LINE.space, np.random.default_rng([4, 0]))  # it draws from its own
    straight = tune(LINE.server, agent, LINE.workload, 15, np.random.default_rng([4, 1]),
                    requests=LINE.requests)  # fmt: skip
    assert runs.costs[1].tolist() == straight.costs
    assert not np.array_equal(runs.costs[0], runs.costs[1])


@pytest.mark.parametrize("half", [0, 1])
def test_no_agent_is_judged_by_what_it_replays(half):
    """What is replayed and what is true come from episodes that share nothing."""
    scenario = with_truth(f"keyword-threads/{half}", 900.0)
    server, profile = scenario.server, scenario.server.profile
    replayed = profile.table.loc[[row for rows in server._rows.values() for row in rows]]
    judging = rows_of_half(profile, 900.0, 1 - half)
    assert not set(replayed.index) & set(judging.index)
    assert not set(replayed["arrival_seed"]) & set(judging["arrival_seed"])
    truth = judge_half(profile, 900.0, 1 - half)
    np.testing.assert_array_equal(scenario.cost, truth.cost)
    assert scenario.ceiling >= 1


def test_what_leaves_nothing_to_judge_by_or_has_no_load_is_refused():
    problem = open_scenario("keyword-threads", 900.0)
    whole = replace(problem, server=RecordedServer("data/keyword-threads", 900.0))
    with pytest.raises(ValueError, match="nothing is left to judge by"):
        find_truth(whole)
    with pytest.raises(DataError, match="no load of 901/s"):
        with_truth("keyword-threads", 901.0)
    with pytest.raises(UsageError, match="cpu2 needs a load"):
        open_scenario("cpu2")


def test_a_recorded_load_that_changes_weighs_the_loads_by_how_often_they_answer():
    problem = open_scenario("keyword-threads", Phases((0, 5), (1 / 300, 1 / 2500), 20, 300))
    truth = find_truth(problem, episodes=20)
    low, high = (with_truth("keyword-threads", rate).cost for rate in (450.0, 1275.0))
    assert truth == pytest.approx(0.25 * low + 0.75 * high)


def test_a_load_that_stays_is_known_as_well_however_short_the_race():
    """The smallest of many means of one episode is far below the optimum."""
    problem = open_scenario("cpu2", 165.0)
    short, long = (find_truth(problem, replications=10, episodes=n) for n in (1, 500))
    np.testing.assert_array_equal(short, long)


def test_the_finer_surface_agrees_where_both_have_a_configuration():
    coarse, fine = (open_scenario(name) for name in (SURFACES[0], FINE))
    assert fine.cost.min() == pytest.approx(coarse.cost.min())
    assert len(fine.space) == 41**3


# --- `rrl race`: agents on the tables of a folder -------------------------------------------------


GRID = "threads,mode,cost\n" + "".join(
    f"{threads},{mode},{abs(threads - 4) + factor}\n"
    for threads in (1, 2, 4, 8)
    for mode, factor in (("fast", 1), ("safe", 1.5))
)
DELAYS = "delay,ms\n0.5,3\n1,2\n2,1\n2,2\n4,9\n"
SMALL = ("--agents", "rrl,random", "--seeds", "2", "--episodes", "20", "--quiet")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rrl.operating.racing.available_cpus", lambda: 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "grid.csv").write_text(GRID)
    (tmp_path / "mine" / "line.csv").write_text(DELAYS.replace("ms", "cost"))
    return tmp_path


def test_every_agent_runs_on_every_table_and_the_means_are_printed(folder, capsys):
    """A table may have any name, also one that means something to who draws the figure."""
    (folder / "mine" / "line.csv").rename(folder / "mine" / "a$_{$b.csv")
    assert main(["race", "mine", *SMALL]) == 0
    out = capsys.readouterr().out
    runs = pd.read_csv("build/race/mine/runs.csv")
    assert runs.groupby(["table", "agent"])["seed"].agg(list).tolist() == [[0, 1]] * 4
    assert set(runs["table"]) == {"a$_{$b", "grid"}
    assert np.isfinite(runs[list(MEASURES)]).all(axis=None)
    costs = 1 + runs.groupby(["table", "agent"])["excess"].mean().unstack()
    ratios = costs["random"] / costs.min(axis=1)
    expected = f"random 2 {np.exp(np.log(ratios).mean()):.3f} {ratios.max():.3f} {ratios.idxmax()}"
    said = re.sub(" +", " ", out)
    assert expected in said
    own = runs[(runs["table"] == "grid") & (runs["agent"] == "rrl")]
    means = f"{own['excess'].mean():.3f} {own['level'].mean():.3f}"
    assert f"grid rrl 2 {means} {(own['level'] > 0.25).mean():.3f}" in said
    for kind in ("png", "pdf"):
        assert (folder / f"build/race/mine/excess.{kind}").stat().st_size > 1000
    assert min(Image.open("build/race/mine/excess.png").size) > 200


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
        paid = what_clients_pay(runs, ["table", "agent"], np.random.default_rng(0))
        ends = paid.filter(regex="_(low|high)$")
        assert ends.size == 2
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
