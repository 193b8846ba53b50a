"""The tuning loop, the paired comparison, and what notebooks start from."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from test_guard import Acting

from rrl import RRL, Phases, Poisson, TableServer, choose_rates, compare, tune
from rrl.recording.source import open_source
from rrl.support.errors import UsageError

TABLE = {"threads": [1, 2, 3, 4, 5, 6], "cost": [0.5, 0.3, 0.2, 0.1, 0.25, 0.6]}


@pytest.fixture
def server():
    return TableServer(TABLE, ["threads"])


def agent_for(server):
    return RRL(server.space, np.random.default_rng(0))


@pytest.mark.parametrize("factor", [0, 0.5, 2])
def test_a_workload_that_gives_another_number_of_arrivals_is_refused(server, factor):
    class Own:
        rate = 20.0

        def arrivals(self, n, rng):
            return np.arange(int(factor * n)) / self.rate

    with pytest.raises(ValueError, match="arrivals: it was asked for 1100"):
        tune(server, agent_for(server), Own(), 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="arrivals: it was asked for 400"):
        compare({"one": (server, server.space[0])}, Own(), 4, np.random.default_rng(0))


def test_the_agent_sees_an_estimate_of_a_load_that_changes_from_episode_to_episode(server):
    phases = Phases(starts=(0, 20), gaps=(0.1, 0.01), episodes=40, requests=100)
    agent = agent_for(server)
    run = tune(server, agent, phases, 38, np.random.default_rng(0))
    assert repr(run) == "Run(38 episodes)"
    loads = [step.load for step in run]
    served = [100 / step.episode.arrivals[-1] for step in run]
    assert served[18] < 30 < served[19], "the first episode of the phases is only watched"
    assert not {10.0, 100.0} & set(loads), "it never sees the rate"
    assert np.median(loads[:18]) == pytest.approx(10, rel=0.1)
    assert np.median(loads[-15:]) == pytest.approx(100, rel=0.1)
    levels = [np.exp(table.log_load) for table in agent.tables]
    assert levels == pytest.approx([10, 100], rel=0.1)


def test_invalid_episodes_are_measured_again(server):
    calls = count(1)

    def act(*given):
        return replace(server.measure(*given), valid=next(calls) % 3 == 0)

    run = tune(Acting(act), agent_for(server), Poisson(20.0), 5, np.random.default_rng(0))
    assert (len(run), next(calls), all(step.episode.valid for step in run)) == (5, 16, True)


def test_contestants_of_a_round_meet_the_same_draws():
    """Noise that is common to all says nothing about who is faster."""
    noisy = {"threads": [1, 1, 1, 2, 2, 2], "cost": [1.0, 2.0, 4.0, 10.0, 20.0, 40.0]}
    server = TableServer(noisy, ["threads"])
    contestants = {name: (server, {"threads": n}) for name, n in (("one", 1), ("two", 2))}
    costs = compare(contestants, Poisson(20.0), 30, np.random.default_rng(0))
    assert len(set(costs["one"])) == 3
    np.testing.assert_array_equal(costs["two"], 10 * costs["one"])


def test_unknown_sources():
    with pytest.raises(UsageError, match="known: recorded, live"), open_source("dreamt", "x"):
        pass


def test_loads_are_those_given_or_shares_of_what_the_default_sustains(server):
    Opened = namedtuple("Opened", "server default")
    opened = Opened(server, {"threads": 4})
    rng = np.random.default_rng(0)
    assert choose_rates([3], opened, rng) == [3.0]
    assert choose_rates([], opened, rng) == [600.0, 1100.0]  # 100 requests in 0.1 s
    with open_source("recorded", "keyword-threads", data="data") as recorded:
        assert choose_rates([], recorded, rng) == [450.0, 900.0, 1275.0]
        at_once = recorded.server.measure(recorded.default, np.zeros(300), rng)
        assert at_once.info["rate_per_s"] == 1275.0


def test_every_public_name_can_be_imported():
    import rrl

    for name in rrl.__all__:
        assert getattr(rrl, name).__doc__ or not callable(getattr(rrl, name))
