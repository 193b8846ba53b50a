"""A tuning ends early when no trial is worth its price any more, and goes on from there."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.job import Job
from rrl.operating.journal import JOURNAL
from rrl.operating.operate import SETTLED, operate
from rrl.operating.records import compared, learned, settled
from rrl.recording.replay import TableServer
from rrl.tuning.objective import MeanLatency
from rrl.workloads.trace import Trace
from rrl.workloads.workload import Poisson

COSTS = {"threads": [1, 2, 4, 8], "cost": [0.9, 0.1, 0.8, 1.0]}
SERVER = TableServer(COSTS, ["threads"])


def job(**changes):
    settings = {
        "what": "table", "space": SERVER.space, "default": {"threads": 1},
        "workload": Poisson(50.0), "objective": MeanLatency(), "episodes": 200, "requests": 20,
        "rounds": 2, "patience": 6,
    }  # fmt: skip
    return Job(**(settings | changes))


@contextmanager
def contestants(recommended):
    yield {"default": SERVER, "recommended": SERVER}


def test_it_ends_with_its_patience_and_says_so(tmp_path):
    shown = []
    records = operate(job(), SERVER, contestants, tmp_path, shown.append)
    done = learned(records)
    assert SETTLED in shown
    assert 6 < len(done) < 60
    assert [r["configuration"] for r in done[-6:]] == [{"threads": 2}] * 6
    assert done[-7]["configuration"] != {"threads": 2}
    assert len(compared(records)) == 2


def test_it_goes_on_as_if_never_stopped(tmp_path):
    def episodes(folder, **changes):
        operate(job(**changes), SERVER, contestants, tmp_path / folder)
        lines = (tmp_path / folder / JOURNAL).read_bytes().splitlines()
        return [line for line in lines if line.startswith(b'{"episode"')]

    whole = episodes("whole")
    assert len(episodes("parts", episodes=4)) == 4
    assert episodes("parts") == whole
    assert episodes("parts") == whole
    more = episodes("parts", patience=8)
    assert more[: len(whole)] == whole
    assert len(more) > len(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"patience": 0},
        {"agent": "rrl"},
        {"workload": Trace(np.arange(100_000) / 50.0)},  # its rate may change
    ],
)
def test_otherwise_all_episodes_are_used(changes, tmp_path):
    records = operate(job(episodes=40, **changes), SERVER, contestants, tmp_path)
    assert len(learned(records)) == 40


def test_a_trial_that_the_guard_refused_or_ended_is_no_rest():
    space = ConfigSpace([Knob("threads", (1, 2))])
    best, other = {"threads": 1}, {"threads": 2}
    rest = {"configuration": best, "recommended": best, "guard": {"asked": best}}
    ended = rest | {"guard": {"asked": other}}
    mine = job(space=space, default=best, patience=2)
    assert settled(mine, [ended, rest, rest])
    assert not settled(mine, [rest, ended, rest])
    assert not settled(mine, [rest])
    assert not settled(mine, [rest, rest | {"recommended": other}])
