"""The ablation: its agents and problems by name, its comparison, and its command."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rrl.rivals.agents import AGENTS, HOME, maker
from rrl.rivals.variants import ABLATED
from rrl.studies.ablation import FAMILIES, ablation_runs, ablation_settings, ablation_table
from rrl.studies.outcomes import COMPARED, tally
from rrl.studies.problems import MADE, open_scenario
from rrl.studies.sweeps import Sweep
from rrl.support.provenance import known

NAMES = [name for family in FAMILIES.values() for name in family]


def test_every_exchanged_part_is_in_the_ablation_and_no_agent_for_users():
    assert set(ABLATED) <= set(NAMES) <= set(HOME | ABLATED)
    assert not set(ABLATED) & set(AGENTS)


@pytest.mark.parametrize("problem", MADE)
def test_the_agents_can_be_made_and_run_on_the_spaces_made_on_purpose(problem):
    space = open_scenario(problem).space
    for name in NAMES:
        agent = maker(name)(space, np.random.default_rng(0))
        for cost in (1.0, 2.0, 1.5):
            agent.tell(agent.ask(10.0), cost)
        assert agent.best(10.0) in space


def test_no_two_agents_behave_alike():
    digests = {known()[f"agent {name}"].digest for name in NAMES}
    assert len(digests) == len(set(NAMES))


def test_settings_are_valid_and_their_seeds_are_fresh():
    settings = ablation_settings()
    for setting in settings:
        setting.check()
    used = {s.first_seed + k for s in settings for k in range(s.seeds)}
    assert len(used) == 30
    assert not used & {*range(30), *range(9000, 9600)}


def made_up(ratio):
    """Runs of two agents on one problem; the second one's numbers are `ratio` times as high."""
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(1, 1, (20, len(COMPARED))))
    noise = rng.normal(0, 0.05, base.shape)
    other = base * ratio * np.exp(noise - noise.mean(axis=0))
    parts = [
        pd.DataFrame(numbers, columns=list(COMPARED)).assign(agent=agent, seed=range(20))
        for agent, numbers in (("rrl-gp", base), ("random", other))
    ]
    return pd.concat(parts).assign(problem="pool")


@pytest.mark.parametrize(("ratio", "verdict"), [(0.8, "won"), (1.0, "tied"), (1.3, "lost")])
def test_pairs_are_compared_not_the_two_samples(ratio, verdict):
    table = ablation_table(made_up(ratio), np.random.default_rng(1))
    rows = table[table["agent"] == "random"]
    assert set(rows["verdict"]) == {verdict}
    assert ((rows["low"] <= rows["ratio"]) & (rows["ratio"] <= rows["high"])).all()
    counts = tally(rows[rows["measure"] == "mean_cost"], "agent").loc["random"]
    assert counts[verdict] == 1
    assert counts.sum() == 1
    own = table[table["agent"] == "rrl-gp"]
    assert (own[["ratio", "low", "high"]] == 1).all(axis=None)


def test_a_race_has_a_row_per_run_and_the_table_one_per_agent_and_measure(tmp_path):
    agents = ["rrl-gp", "rrl-gp-reach-1", "random"]
    settings = ablation_settings(["made-binary"], agents, 2)
    runs = ablation_runs(Sweep(settings, build=tmp_path, workers=1))
    assert runs["agent"].tolist() == [name for name in agents for _ in range(2)]
    assert set(runs["problem"]) == {"made-binary"}
    assert runs["seed"].tolist() == [6000, 6001] * 3
    table = ablation_table(runs, np.random.default_rng(0))
    assert len(table) == len(agents) * len(COMPARED)
