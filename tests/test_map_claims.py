"""Claims C1 to C4 on the map of regions, in the cells that fit the paper's setting."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rrl.studies.claim_page import conditions_section
from rrl.studies.map_cells import COLUMNS, JUDGING_KINDS
from rrl.studies.map_claims import AGENTS, judge_on_map, map_evidence
from rrl.studies.map_factors import NOISES, PAPER_CONDITIONS, ROUGHNESSES
from rrl.studies.registration import read_registration

DATA = Path(__file__).parent.parent / "data"
EPISODES = 1000


def made(**arrivals):
    """A tuning and runs in which each agent arrives everywhere after as many episodes."""
    tuning, runs = [], []
    for rough, noise in (*product(*PAPER_CONDITIONS.values()), (ROUGHNESSES[0], NOISES[0])):
        for agent, episodes in arrivals.items():
            head = {"roughness": rough, "noise": noise, "agent": agent.replace("_", "-")}
            for setting, factor in (("good", 1), ("poor", 2)):
                numbers = {
                    f"{c}{end}": factor for c in COLUMNS for end in ("", "_never", "_excess")
                }
                tuning.append(head | {"setting": setting} | numbers)
                runs += [
                    head | {"setting": setting, "surface": kind, "seed": seed}
                    | dict.fromkeys(COLUMNS, factor * episodes)
                    for kind in JUDGING_KINDS for seed in range(6)
                ]  # fmt: skip
    return pd.DataFrame(tuning), pd.DataFrame(runs)


@cache
def judged(rrl, rrl_adaptive, q_learning):
    both = made(rrl=rrl, rrl_adaptive=rrl_adaptive, q_learning=q_learning)
    return judge_on_map(read_registration(DATA), *both, EPISODES, np.random.default_rng(0))


def words(table):
    return table.groupby("claim")["verdict"].agg(set).to_dict()


def test_only_the_declared_cells_and_the_chosen_settings_count():
    tables = map_evidence(*made(rrl=10, q_learning=100), "served_10", EPISODES)
    own = tables.runs[tables.runs["agent"] == "rrl"]
    assert set(own["setting"]) == {"good"}
    for name, levels in PAPER_CONDITIONS.items():
        assert set(own[name]) == set(levels)
    assert len(tables.facts) == 6 * len(JUDGING_KINDS)


@pytest.mark.parametrize(("rival", "expected"), [(10, "not shown"), (np.inf, "partly shown")])
def test_a_claim_without_runs_for_a_part_is_at_most_partly_shown(rival, expected):
    table = judged(10, 5, rival)
    found = words(table)
    assert found["C2"] == found["C4"] == {expected}
    assert found["C3"] == {"shown"}  # twice as soon as the best fixed radius
    speed = table[(table["claim"] == "C4") & (table["against"] == "q-learning")]
    assert speed["value"].tolist() == pytest.approx([min(rival, EPISODES + 1) / 10] * 2)
    assert speed["met"].all() == (rival > 80)


def test_what_an_oracle_cannot_reach_is_not_testable():
    found = words(judged(1, 1, 1))
    assert found == {id: {"not testable here"} for id in AGENTS}


def test_the_page_has_a_row_for_each_claim_and_names_the_parts_without_runs():
    table = judged(10, 5, np.inf)
    page = conditions_section(table)
    for id in AGENTS:
        assert f"| {id} | `{AGENTS[id]}` |" in page
    assert not table.loc[table["against"] == "deep-q-network", "problems"].any()
    assert "C4: speed against deep-q-network" in page
    assert "100 [100, 100] times: **partly shown**" in page
