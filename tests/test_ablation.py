"""The ablation: its agents and problems by name, its comparison, and its command."""

from __future__ import annotations

import pickle

import numpy as np

from rrl.rivals.agents import AGENTS, HOME, maker
from rrl.rivals.variants import ABLATED
from rrl.studies.ablation import FAMILIES, ablation_runs, ablation_settings, ablation_table
from rrl.studies.outcomes import COMPARED
from rrl.studies.problems import MADE, open_scenario
from rrl.studies.sweeps import Sweep
from rrl.support.provenance import known

NAMES = [name for family in FAMILIES.values() for name in family]


def test_every_exchanged_part_is_in_the_ablation_and_no_agent_for_users():
    assert set(ABLATED) <= set(NAMES) <= set(HOME | ABLATED)
    assert not set(ABLATED) & set(AGENTS)


def test_what_makes_an_agent_and_the_agent_can_be_sent_to_another_process():
    space = open_scenario(MADE[0]).space
    for name in NAMES:
        make = maker(name)
        assert pickle.dumps(make)
        assert pickle.dumps(make(space, np.random.default_rng(0)))


def test_no_two_agents_behave_alike():
    digests = {known()[f"agent {name}"].digest for name in NAMES}
    assert len(digests) == len(set(NAMES))


def test_a_race_has_a_row_per_run_and_the_table_one_per_agent_and_measure(tmp_path):
    agents = ["rrl-gp", "rrl-gp-reach-1", "random"]
    settings = ablation_settings(["made-binary"], agents, 2)
    runs = ablation_runs(Sweep(settings, build=tmp_path, workers=1))
    assert runs["agent"].tolist() == [name for name in agents for _ in range(2)]
    assert set(runs["problem"]) == {"made-binary"}
    assert runs["seed"].tolist() == [6000, 6001] * 3
    table = ablation_table(runs, np.random.default_rng(0))
    assert len(table) == len(agents) * len(COMPARED)
