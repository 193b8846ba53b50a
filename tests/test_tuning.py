"""The study that tunes the rivals: its problems, its settings, and a log that is continued."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rrl import paper_cpu
from rrl.core.region import SelectedRadius
from rrl.rivals.agents import AGENTS, SETTINGS, maker
from rrl.studies import tuning
from rrl.studies.comparison import FRESH
from rrl.studies.problems import SCENARIOS, SEEDS
from rrl.studies.tuning import (
    AIMS,
    LOG,
    RANGES,
    SIMULATED,
    Trial,
    all_settings,
    best_settings,
    main,
    opened,
    read_log,
    run_trial,
    with_settings,
)
from rrl.support.errors import UsageError

DATA = Path("data")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two small tables and no other problem, few seeds, and a folder for the log."""
    for name, least in (("ridge", 3), ("valley", 6)):
        rows = [(a, b, 1 + abs(a - least) + b / 4) for a in range(8) for b in range(3)]
        table = pd.DataFrame(rows, columns=["a", "b", "cost"])
        (tmp_path / "tables").mkdir(exist_ok=True)
        table.to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
    for name in ("SURFACES", "MADE", "SIMULATED"):
        monkeypatch.setattr(tuning, name, ())
    monkeypatch.setattr(tuning, "SEEDS", range(2))
    monkeypatch.setattr(tuning, "EPISODES", 30)
    return tmp_path


def run(place, *words):
    return main([str(place / "tables"), "--data", str(place), "--jobs", "1", *words])


def test_no_recorded_load_is_read_and_no_other_seed_is_used():
    recorded = {name.split()[0] for name in SCENARIOS if (DATA / name.split()[0]).is_dir()}
    assert len(recorded) > 4
    assert not recorded & {name.split()[0] for name in SIMULATED}
    assert not {*tuning.SEEDS} & {*SEEDS, *FRESH}


def test_a_problem_is_a_table_of_the_true_costs():
    simulated = opened("cpu2 60", Path("none"), DATA)
    assert simulated.cost.shape == (96,)
    assert simulated.server.noise == tuning.NOISE
    space = simulated.space
    told = [
        simulated.server.measure(space[7], [0.0], np.random.default_rng(seed)).latency[0]
        for seed in range(400)
    ]
    assert np.mean(told) == pytest.approx(simulated.cost[7], rel=0.02)
    assert opened("made-binary", Path("none"), DATA).cost.shape == (128,)


def test_settings_reach_the_agent():
    space = paper_cpu(5)
    settings = {"radius": 2.0, "learning_rate": 0.6, "temperature": [0.05, 0.01, 20]}
    for name in ("rrl", "rrl-adaptive"):
        agent = with_settings(name, settings)(space, np.random.default_rng(0))
        assert (agent.region.radius, agent.learning_rate) == (2.0, 0.6)
        assert isinstance(agent.region, SelectedRadius) == (name == "rrl-adaptive")
        assert agent.exploration.temperature(0) == 0.05
    wide = with_settings("rrl-adaptive", {"radius": 99.0})(space, np.random.default_rng(0))
    assert wide.region.radius == space.diameter
    annealing = with_settings("simulated-annealing", {"temperature": 0.7})
    assert annealing(space, np.random.default_rng(0)).temperature == 0.7


@pytest.mark.parametrize("agent", RANGES)
def test_every_setting_can_be_made(agent):
    assert agent in AGENTS
    for settings in all_settings(agent):
        try:
            with_settings(agent, settings)(paper_cpu(3), np.random.default_rng(0))
        except UsageError as error:
            pytest.skip(str(error))


def test_the_log_goes_on_where_it_stopped(small, capsys):
    assert run(small, "--agents", "random,q-learning") == 0
    said = capsys.readouterr().out
    whole = (small / LOG).read_bytes()
    log = read_log(small / LOG)
    settings = [one for agent in ("random", "q-learning") for one in all_settings(agent)]
    assert len(log) == 2 * len(settings)
    assert set(log["problem"]) == {"ridge", "valley"}
    (small / LOG).write_bytes(b"".join(whole.splitlines(keepends=True)[:7]))
    assert run(small, "--agents", "random,q-learning", "--jobs", "2") == 0
    assert (small / LOG).read_bytes() == whole
    assert capsys.readouterr().out == said
    for aim in AIMS:
        assert f"lowest {aim}:" in said


def test_a_row_holds_geometric_means_over_the_seeds(small):
    trial = Trial("random", json.dumps({"budget": 10}), "ridge")
    row = run_trial(trial, tuning.SEEDS, 30, small / "tables", small)
    assert (row["seeds"], row["episodes"]) == (2, 30)
    where = opened("ridge", small / "tables", small)
    served = []
    for seed in tuning.SEEDS:
        runs = tuning.race(where, maker("random", budget=10), [seed], 30)
        served.append(where.cost[runs.chosen].mean() / where.cost.min())
    assert float(row["mean_cost"]) == pytest.approx(np.sqrt(np.prod(served)), rel=1e-4)


def test_the_best_setting_has_the_lowest_geometric_mean_over_all_problems():
    rows = [
        ("a", "1", "p", 1.0, 9.0), ("a", "1", "q", 4.0, 9.0),
        ("a", "2", "p", 1.5, 2.0), ("a", "2", "q", 2.0, 8.0),
        ("a", "3", "p", 1.0, 1.0),  # stopped before the second problem
        ("b", "4", "p", 7.0, 5.0), ("b", "4", "q", 7.0, 5.0),
    ]  # fmt: skip
    log = pd.DataFrame(rows, columns=["agent", "settings", "problem", *AIMS])
    cost, speed = (best_settings(log, aim) for aim in AIMS)
    assert cost["settings"].to_dict() == {"a": "2", "b": "4"}
    assert cost["mean_cost"].to_dict() == pytest.approx({"a": np.sqrt(3), "b": 7.0})
    assert speed.loc["a", "first_within_5"] == pytest.approx(4.0)


def test_the_rivals_have_the_settings_that_the_log_names():
    log = read_log(DATA / LOG)
    whole = log.groupby(["agent", "settings"]).size().unstack(0).count()
    names = set(log["problem"])
    assert len(names) == 29
    assert set(SIMULATED) < names
    cost, speed = (best_settings(log, aim) for aim in AIMS)
    kept = {"rrl", "rrl-adaptive"}  # those with which the claims were registered
    for agent in sorted(set(log["agent"]) - kept):
        assert whole[agent] == len(list(all_settings(agent))), agent
        assert SETTINGS[agent] == json.loads(cost.loc[agent, "settings"]), agent
    for agent in ("q-learning", "deep-q-network"):
        named = SETTINGS[f"{agent}-for-speed"]
        assert named == json.loads(speed.loc[agent, "settings"]), agent
