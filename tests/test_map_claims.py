"""Claims C1 to C4 on the map of regions, in the cells that fit the paper's setting."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rrl.studies.map_cells import COLUMNS, JUDGING_KINDS
from rrl.studies.map_claims import AGENTS, conditions_section, judge_on_map, map_evidence
from rrl.studies.map_factors import NOISES, PAPER_CONDITIONS, ROUGHNESSES
from rrl.studies.region_map import JUDGING_EPISODES, read_map
from rrl.studies.registration import read_registration

DATA = Path(__file__).parent.parent / "data"
EPISODES = 1000


def made(**arrivals):
    """A tuning and runs in which each agent arrives everywhere after as many episodes."""
    tuning, runs = [], []
    for rough, noise in product(ROUGHNESSES, NOISES):
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


def judged(tuning, runs):
    registered = read_registration(DATA)
    return judge_on_map(registered, tuning, runs, EPISODES, np.random.default_rng(0))


def words(table):
    return table.groupby("claim")["verdict"].agg(set).to_dict()


def test_only_the_declared_cells_and_the_chosen_settings_count():
    tables = map_evidence(*made(rrl=10, q_learning=100), "served_10", EPISODES)
    own = tables.runs[tables.runs["agent"] == "rrl"]
    assert set(own["setting"]) == {"good"}
    for name, levels in PAPER_CONDITIONS.items():
        assert set(own[name]) == set(levels)
    assert len(tables.facts) == 6 * len(JUDGING_KINDS)


@pytest.mark.parametrize(
    ("rival", "expected"),
    [(100, "partly shown"), (50, "partly shown"), (10, "not shown"), (np.inf, "partly shown")],
)
def test_a_claim_without_runs_for_a_part_is_at_most_partly_shown(rival, expected):
    table = judged(*made(rrl=10, rrl_adaptive=5, q_learning=rival))
    found = words(table)
    assert found["C2"] == found["C4"] == {expected}
    assert found["C3"] == {"shown"}  # twice as soon as the best fixed radius
    speed = table[(table["claim"] == "C4") & (table["against"] == "q-learning")]
    assert speed["value"].tolist() == pytest.approx([min(rival, EPISODES + 1) / 10] * 2)
    assert speed["met"].all() == (rival > 80)


def test_what_an_oracle_cannot_reach_is_not_testable():
    found = words(judged(*made(rrl=1, rrl_adaptive=1, q_learning=1)))
    assert found == {id: {"not testable here"} for id in AGENTS}


def test_the_stored_map_judges_all_four_and_the_page_says_which_rule_it_is():
    tables = read_map(DATA / "results" / "tables" / "region-map")
    rng = np.random.default_rng(0)
    both = tables["tuning"], tables["runs"]
    table = judge_on_map(read_registration(DATA), *both, JUDGING_EPISODES, rng)
    assert set(table["claim"]) == set(AGENTS)
    assert words(table)["C1"] == {"not testable here"}
    assert (table.loc[table["claim"] == "C1", "oracle"].dropna() > 10).all()
    assert not table.loc[table["against"] == "deep-q-network", "problems"].any()
    page = conditions_section(table)
    assert "Rule made after results" in page
    for id in AGENTS:
        assert f"| {id} | `{AGENTS[id]}` |" in page
