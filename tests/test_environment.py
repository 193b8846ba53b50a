"""The Gymnasium door: Gymnasium's own checks, and the same numbers as the package's own loop."""

from __future__ import annotations

import warnings
from collections import namedtuple
from dataclasses import replace
from itertools import count

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from test_guard import Acting, Scripted

from rrl import RRL, Percentile, Phases, Poisson, TableServer, choose_rates, compare, testbed, tune
from rrl.recording.source import open_source
from rrl.support.errors import UsageError
from rrl.tuning.environment import ServingEnv

HOLED = {"a": [1, 1, 2, 4], "b": [1, 2, 2, 1], "cost": [0.1, 0.2, 0.3, 0.05]}
SERVERS = {
    "simulated": lambda: testbed("cpu2"),
    "table": lambda: TableServer(HOLED, ["a", "b"]),
}


def make(server, **settings):
    settings = {"workload": Poisson(100.0), "steps": 5, "requests": 20, **settings}
    return ServingEnv(server, **settings)


def served(environment, action):
    """The configuration that an action stands for."""
    environment.reset(seed=1)
    return environment.step(action)[-1]["configuration"]


@pytest.mark.parametrize("name", SERVERS)
def test_gymnasium_finds_nothing_to_complain_about(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(SERVERS[name]()), skip_render_check=True)


def test_values_are_actions_and_where_some_are_missing_configurations_are():
    whole, holed = testbed("cpu2"), TableServer(HOLED, ["a", "b"])
    chosen = make(whole)
    assert chosen.action_space == gymnasium.spaces.MultiDiscrete(whole.space.shape)
    for index in (0, 17, 95):
        action = whole.space.value_indices[index]
        assert served(chosen, action) == whole.space[index]
    numbers = make(holed)
    assert numbers.action_space == gymnasium.spaces.Discrete(4)
    assert [served(numbers, i) for i in range(4)] == list(holed.space)


@pytest.mark.parametrize("action", [[4, 0, 0], [-1, 0, 0], [0, 0], [0.5, 0, 0], None])
def test_an_action_outside_the_space_is_refused(action):
    environment = make(testbed("cpu2"))
    environment.reset(seed=1)
    with pytest.raises(ValueError, match=r"not in MultiDiscrete\(\[4 4 6\]\)"):
        environment.step(action)


def test_a_seed_means_the_same_as_in_the_packages_own_loop():
    """The costs and the load estimates are those that an agent of `rrl.tune` would have seen."""
    server, workload = testbed("cpu2"), Phases((0, 3), (0.02, 0.01), episodes=6, requests=20)
    objective = Percentile(90)
    actions = np.random.default_rng(3).integers(server.space.shape, size=(6, 3))
    environment = make(server, workload=workload, steps=6, objective=objective)
    (load, *nothing), _ = environment.reset(seed=7)
    assert nothing == [0, 0, 0, 0]
    loads, costs, rewards, configurations = [], [], [], []
    for step, action in enumerate(actions):
        loads.append(load)
        observation, reward, terminated, truncated, info = environment.step(action)
        load, cost, *place = observation.tolist()
        costs.append(info["cost"])
        rewards.append(reward)
        configurations.append(info["configuration"])
        assert cost == np.float32(info["cost"])
        assert (terminated, truncated) == (False, step == 5)
        positions = server.space.positions[server.space.index(info["configuration"])]
        assert np.allclose(np.array(place) * [3, 3, 5], positions)
    rng = np.random.default_rng(7)
    agent = Scripted(configurations)
    run = tune(server, agent, workload, 6, rng, requests=20, objective=objective)
    assert costs == run.costs
    assert np.allclose(loads, [step.load for step in run])
    assert rewards == [-cost for cost in costs]


class Sped:
    """A server whose clients send twice as fast as was planned, so that only the episode knows."""

    def __init__(self, server):
        self.server, self.space = server, server.space

    def measure(self, configuration, arrivals, rng):
        return self.server.measure(configuration, arrivals / 2, rng)


def test_the_load_is_that_of_the_requests_that_came():
    planned, came = (make(server(testbed("cpu2"))) for server in (lambda bed: bed, Sped))
    loads = [environment.reset(seed=1)[0][0] for environment in (planned, came)]
    assert loads[0] == loads[1]  # nothing has come yet
    loads = [environment.step([0, 0, 0])[0][0] for environment in (planned, came)]
    assert loads[1] == pytest.approx(2 * loads[0])
    chosen, how = [testbed("cpu2").space[0]] * 2, {"episodes": 2, "requests": 20}
    runs = [
        tune(server, Scripted(chosen), Poisson(100.0), rng=np.random.default_rng(1), **how)
        for server in (testbed("cpu2"), Sped(testbed("cpu2")))
    ]
    assert runs[1][1].load == pytest.approx(2 * runs[0][1].load)


def test_a_reset_without_a_seed_goes_on_and_with_one_begins_again():
    environment = make(testbed("cpu2"))
    first, again, repeated = (environment.reset(seed=s)[0] for s in (1, None, 1))
    assert first.tolist() == repeated.tolist() != again.tolist()


def test_past_the_end_a_reset_is_asked_for():
    environment = make(testbed("cpu2"), steps=2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        environment.step([0, 0, 0])
    environment.reset(seed=1)
    for _ in range(2):
        environment.step([0, 0, 0])
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        environment.step([0, 0, 0])


@pytest.mark.parametrize("settings", [{"steps": 0}, {"requests": 1}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="steps >= 1 and requests >= 2"):
        make(testbed("cpu2"), **settings)


def test_a_knob_without_an_order_is_shown_by_a_number_for_each_value():
    columns = {"allocator": ["a", "b", "c"], "cost": [0.1, 0.2, 0.3]}
    environment = make(TableServer(columns, ["allocator"]))
    observation, _ = environment.reset(seed=1)
    assert observation.shape == environment.observation_space.shape == (5,)
    for action in (1, np.int64(1), [1]):  # a number is an action where there is one knob
        assert environment.step(action)[0][2:].tolist() == [0.0, 1.0, 0.0]


# --- the package's own loop, the paired comparison, and what notebooks start from -----------------


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
    with pytest.raises(UsageError, match="known: recorded, live"), open_source("dreamt", "x"):
        pass


def test_every_public_name_can_be_imported():
    import rrl

    for name in rrl.__all__:
        assert getattr(rrl, name).__doc__ or not callable(getattr(rrl, name))
    agent = rrl.AGENTS[rrl.RECOMMENDED](rrl.paper_cpu(1), np.random.default_rng(0))
    assert type(agent) is type(rrl.recommended(rrl.paper_cpu(1), np.random.default_rng(0)))
