"""How soon an agent is good after a change of load: counted from made-up runs."""

from __future__ import annotations

import numpy as np
import pytest

from rrl.studies.load_change import Change, curves, episodes_until_good, recoveries
from rrl.studies.race import Race
from rrl.studies.scenario import Truth
from rrl.studies.settings import Setting, workload
from rrl.workloads.workload import episodes as cut

CHANGE = Change("cpu2", 10.0, 40.0, 10)
COSTS = np.array([[1.0, 2.0, 4.0], [3.0, 2.0, 1.0]])  # of three configurations under both loads
LATE = np.zeros((1, 3))
TRUTHS = {p: Truth(cost, LATE) for p, cost in zip(CHANGE.steady, COSTS, strict=True)}


def races(agent, moved, fresh):
    """Eight equal seeds of what is recommended in the three phases, and from a fresh start."""
    found = {}
    for problem, row in ((CHANGE.problem, moved), (CHANGE.steady[1], fresh)):
        recommended = np.tile(row, (8, 1))
        found[Setting(*problem, agent, 8, len(row))] = Race(recommended, recommended, 0.0)
    return found


def test_good_is_near_the_optimum_and_stays_so():
    ratios = np.array([[2.0] * 5 + [1.1] * 35, [1.0] + [2.0] * 5 + [1.0] * 34, [1.2] * 40])
    ratios[0, 10:12] = 3.0  # two of twenty may be worse, five may not
    assert episodes_until_good(ratios).tolist() == [6, 7, np.inf]


def test_a_change_is_compared_with_a_fresh_start_and_the_return_with_neither():
    moved = [0] * 10 + [1] * 2 + [2] * 8 + [1] + [0] * 9
    results = races("quick", moved, [0] * 8 + [2] * 2)
    results |= races("stubborn", [0] * 30, [0] * 10)
    table = recoveries([CHANGE], ["quick", "stubborn"], results, TRUTHS, np.random.default_rng(0))
    assert table["apart"].tolist() == [3, 3]
    rows = table.set_index("agent")
    columns = ["fresh_episodes", "change_episodes", "back_episodes"]
    assert rows.loc["quick", columns].tolist() == [9, 3, 2]
    assert rows.loc["stubborn", columns].tolist() == [11, 11, 1]  # never: one more than the phase
    assert rows.loc["quick", ["ratio", "ratio_low", "ratio_high"]].tolist() == [1 / 3] * 3
    assert rows["at_once"].tolist() == [0, 0]
    assert rows.loc["quick", ["fresh_cost", "change_cost", "back_cost"]].tolist() == [2.6, 1.2, 1.1]


def test_a_median_between_a_run_that_arrives_and_one_that_never_does_is_never():
    results = races("half", [0] * 30, [2] * 10)
    results[Setting(*CHANGE.problem, "half", 8, 30)].recommended[4:, 10:20] = 2
    (row,) = recoveries([CHANGE], ["half"], results, TRUTHS, np.random.default_rng(0)).to_dict(
        "records"
    )
    assert [row[f"change_episodes{end}"] for end in ("", "_low", "_high")] == [11, 1, 11]
    assert row["change_cost"] == 2, "the mean of 3 and 1: a cost is no number of episodes"


def test_an_agent_that_was_not_raced_is_missed():
    with pytest.raises(KeyError):
        curves(CHANGE, "absent", {}, TRUTHS)


def test_the_load_changes_with_the_first_episode_of_a_phase():
    """As in a run, the first part of the arrivals is not served."""
    change = Change("cpu2", 10.0, 40.0, 10)
    arrivals = workload(change.problem[1]).arrivals(3100, np.random.default_rng(0))
    _, *served = (1 / np.diff(part).mean() for part in cut(arrivals, 100))
    fast = np.array(served) > 20
    assert fast.tolist() == [False] * 10 + [True] * 10 + [False] * 10
