"""The study that chooses the settings of all agents: its problems, its halving, its tables."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from rrl import paper_cpu
from rrl.rivals.agents import SETTINGS
from rrl.studies import choosing
from rrl.studies.banks import JUDGING, TUNING, open_problem, problem_names, serve
from rrl.studies.choosing import agent_with, main
from rrl.studies.sweeps import Sweep

FEW = {TUNING: ["pool", "made-category"], JUDGING: ["narrow"]}


@pytest.fixture
def few(monkeypatch):
    """Two problems that choose and one that judges, and few seeds."""
    monkeypatch.setattr(choosing, "problem_names", FEW.get)
    monkeypatch.setattr(choosing, "_seeds", lambda agent: (1, 2, 4))
    monkeypatch.setattr(choosing, "EPISODES", 60)


def test_no_problem_chooses_and_judges_and_no_recording_is_among_them():
    tuning, judging = problem_names(TUNING), problem_names(JUDGING)
    assert not {*tuning} & {*judging}
    kinds = [{name.split()[0] for name in names} for names in (tuning, judging)]
    assert not kinds[0] & kinds[1]
    assert not {"keyword-joint", "mobilenet_v2-threads"} & (kinds[0] | kinds[1])


def test_the_bank_of_a_testbed_has_its_mean_and_its_default():
    problem = open_problem("gpu 900/s", "data")
    assert problem.bank.mean(axis=1) == pytest.approx(problem.cost, rel=1e-12)
    assert problem.space[problem.start]["max_batch_size"] == 128
    together = np.corrcoef(np.log(problem.bank[[problem.start, int(problem.cost.argmin())]]))[0, 1]
    assert together > 0.2  # an episode that is slow for one is slow for the other: same arrivals


@pytest.mark.parametrize("name", ["made-binary", "cpu2 165/s"])
def test_all_agents_with_a_seed_start_alike(name):
    problem, first = open_problem(name, "data"), []
    for agent in ("rrl", "q-learning", "random", "rrl-gp"):
        setting = json.dumps(SETTINGS.get(agent, {}))
        served = serve(problem, partial(agent_with, agent, setting), 5, 20)
        assert len(served) == 20
        assert served.min() >= problem.cost.min()
        first.append(served[0])
    assert len(set(first)) == 1
    if problem.start is not None:
        assert first[0] == problem.cost[problem.start]


def test_halving_finds_the_setting_that_serves_best_and_says_if_it_is_stable(few, tmp_path, capsys):
    tried = [json.dumps({"budget": budget}) for budget in (60, 50, 40, 10, 30, 59, 58, 57)]
    table = choosing.choose(Sweep((), build=tmp_path, workers=1), "random", tried)
    assert json.loads(table.loc[table["chosen"], "setting"].item())["budget"] == 10
    assert table["setting"].tolist()[0] == tried[3]
    assert table["stable"].all()
    assert sorted(table["seeds"]) == [1] * 5 + [2] * 3
    assert capsys.readouterr().out.count("best of") == 2


def test_the_command_goes_on_where_it_stopped_and_keeps_other_agents(
    few, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        choosing, "settings", lambda: {"random": ['{"budget": 9}', '{"budget": 60}'], "rrl": ["{}"]}
    )
    (tmp_path / "surfaces").symlink_to(choosing.Path("data/surfaces").resolve())
    where = ["--data", str(tmp_path), "--build", str(tmp_path / "build"), "--workers", "1"]
    assert main(["--agents", "random", *where]) == 0
    before = (tmp_path / "choosing" / "settings.csv").read_text()
    monkeypatch.setattr(choosing, "serve", None)  # nothing is run again
    assert main(["--agents", "random", *where]) == 0
    assert (tmp_path / "choosing" / "settings.csv").read_text() == before
    monkeypatch.undo()
    assert main(["--agents", "nobody"]) == 2
    assert "'nobody' has no settings to choose: use rrl" in capsys.readouterr().err


# --- what was chosen ------------------------------------------------------------------------------


def test_the_agents_have_the_settings_that_were_chosen():
    chosen = pd.read_csv("data/choosing/settings.csv").query("chosen").set_index("agent")["setting"]
    for agent, setting in chosen.items():
        if agent in SETTINGS:
            assert SETTINGS[agent] == json.loads(setting), agent
    settings = json.loads(chosen["rrl"])
    agent = agent_with("rrl", "{}")(paper_cpu(3), np.random.default_rng(0))
    exploration = agent.exploration
    own = exploration.start, exploration.end, exploration.half_life
    assert own == tuple(settings["temperature"])
    assert (agent.region.radius, agent.learning_rate) == (
        settings["radius"],
        settings["learning_rate"],
    )
