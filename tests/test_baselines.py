"""The rivals: each keeps to the contract of agents and does what its name says."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_agent import SPACES, contract, true_cost

from rrl import Knob, paper_cpu, paper_gpu, read_profile
from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL, deploy
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import AGENTS, maker
from rrl.rivals.baselines import (
    Annealing,
    Candidates,
    CoordinateDescent,
    RandomSearch,
    heuristic,
    hill_climbing,
)
from rrl.rivals.bayesian import GPEI
from rrl.rivals.neighbours import Neighbours
from rrl.rivals.peers import SMAC, Optuna
from rrl.rivals.perceptron import Network
from rrl.rivals.q_agents import DeepQNetwork, QLearning
from rrl.rivals.search import Searcher
from rrl.rivals.zooming import Zooming
from rrl.support.errors import UsageError
from rrl.support.versions import version
from rrl.tuning.defaults import heuristic_candidates, serving_default
from rrl.tuning.presets import THREADS, effective_space

DATA = Path(__file__).parent.parent / "data"


HARD = ("category", "missing", "sparse")


def optuna_(space, rng):
    pytest.importorskip("optuna", reason="in the extra `peers`")
    return Optuna(space, rng, initial=3)


def smac_(space, rng):
    pytest.importorskip("smac", reason="in the extra `peers`")
    return SMAC(space, rng, initial=9)


TestCandidates = contract(Candidates)
TestRandomSearch = contract(partial(RandomSearch, budget=15))
TestCoordinateDescent = contract(partial(CoordinateDescent, rounds=2))
TestAnnealing = contract(Annealing)
TestHillClimbing = contract(partial(hill_climbing, patience=3), HARD)
TestQLearning = contract(QLearning)
TestDeepQNetwork = contract(partial(DeepQNetwork, updates=2, hidden=(8,)))
TestZooming = contract(Zooming)
TestGPEI = contract(partial(GPEI, most=30), HARD)
TestOptuna = contract(optuna_, HARD, episodes=4)
TestSMAC = contract(smac_, HARD, episodes=4)


def test_smac_is_told_the_cost_of_the_configuration_that_it_asked_for():
    """It sorts its knobs by name, and here they have different numbers of values."""
    pytest.importorskip("smac", reason="in the extra `peers`")
    space = ConfigSpace([Knob("malloc", ("je", "tc")), Knob("batch", range(7)), Knob("a", (4, 8))])
    agent = SMAC(space, rng(), initial=4)
    asked = chosen(agent, 9)
    history = agent.searches[0].memory["session"]._facade.runhistory
    told = {}
    for key, value in history.items():
        ranks = dict(history.get_config(key.config_id))
        values = {knob.name: knob.values[int(ranks[knob.name])] for knob in space.knobs}
        told[space.index(values)] = value.cost
    assert told == {i: pytest.approx(true_cost(space, space[i]) ** 4) for i in asked}


@pytest.mark.parametrize("make", [Optuna, SMAC])
def test_one_configuration_is_chosen_without_an_optimiser(make):
    pytest.importorskip(make.__name__.lower(), reason="in the extra `peers`")
    agent = make(SPACES["single"], np.random.default_rng(0))
    for _ in range(4):
        agent.tell(agent.ask(10.0), 1.0)
    assert agent.best(10.0) == {"inter_op": 4}


def chosen(agent, episodes, load=10.0, noise=0.0, seed=0):
    """Tune a bowl; the numbers of what was chosen."""
    rng, numbers = np.random.default_rng(seed), []
    for _ in range(episodes):
        configuration = agent.ask(load)
        cost = true_cost(agent.space, configuration) ** 4 * (1 + noise * rng.standard_normal())
        agent.tell(configuration, cost)
        numbers.append(agent.space.index(configuration))
    return numbers


def rng(seed=0):
    return np.random.default_rng(seed)


# Loads


class Recorder(Searcher):
    """Serves where it starts; remembers where that was."""

    def begin(self, search, start):
        search.memory["at"] = start

    def choose(self, search):
        return search.memory["at"]


def test_a_load_has_a_search_of_its_own_that_starts_from_the_nearest():
    space = paper_cpu(2)
    agent = Recorder(space, rng())
    agent.start = 5
    assert agent.ask(10.0) == space[5]
    agent.tell(space[7], 1.0)
    assert [agent.ask(load) for load in (11.0, 9.1, 14.0)] == [space[5]] * 3  # the same load level
    assert len(agent.searches) == 1
    assert agent.ask(40.0) == space[7]  # what was best so far
    assert agent.best(40.0) == agent.best(1.0) == space[7]  # nothing is known there yet
    agent.tell(space[3], 9.0)
    assert (agent.best(40.0), agent.best(10.0)) == (space[3], space[7])
    assert agent.ask(160.0) == space[3]  # the best at 40 requests/s, which is nearer than 10


def test_estimates_of_one_load_do_not_split_it():
    """Of 100 arrivals the estimate scatters by 10 %; 300 of them are hardly ever two searches."""
    split = 0
    for seed in range(30):
        agent = Recorder(paper_cpu(2), rng())
        for load in 12.5 * rng(seed).gamma(100, 1 / 100, size=300):
            agent.tell(agent.ask(load), 1.0)
        split += len(agent.searches) > 1
    assert split <= 1


def test_every_rival_deploys_by_the_rule_of_rrl():
    """A region of one configuration estimates nothing, so RRL's table has the same means."""
    space = paper_cpu(3)
    rival = RandomSearch(space, rng(1))
    own = RRL(space, rng(), region=FixedRadius(0.0), learning_rate=1.0)
    noise = rng(2)
    moved = []
    for load in [10.0] * 40 + [40.0] * 40:
        own.ask(load)
        configuration = rival.ask(load)
        cost = true_cost(space, configuration) * noise.lognormal(0, 0.2)
        rival.tell(configuration, cost)
        own.tell(configuration, cost)
        assert rival.best(load) == own.best(load)
        moved.append(space.index(rival.best(load)))
    assert len(set(moved)) > 3


def test_a_model_says_what_is_deployed():
    """The posterior of the process knows more than a mean of two episodes."""
    space = ConfigSpace([Knob("a", tuple(range(9)))])
    agent = GPEI(space, rng())
    for index in [*range(9), *range(9)]:
        agent.ask(10.0)
        agent.tell(space[index], 1 + (index - 5) ** 2 / 4)
    table = agent.searches[0].table
    model = agent._known(agent.searches[0]).costs()
    np.testing.assert_array_equal(table.values, model[0])
    np.testing.assert_array_equal(table.sds, model[1])
    assert table.values == pytest.approx(table.means, rel=0.2)
    assert agent.best(10.0) == {"a": 5}
    assert deploy(table) == 5


def test_moves_follow_positions_and_skip_what_is_missing():
    space = SPACES["missing"]
    moves = Neighbours(space)
    for index in range(len(space)):
        assert moves.at(moves.ranks(index)) == index
        for knob in range(2):
            line = list(moves.line(index, knob))
            same = space.value_indices[:, 1 - knob] == space.value_indices[index, 1 - knob]
            assert sorted(line) == np.flatnonzero(same).tolist()
    gaps = [r for r in np.ndindex(space.shape) if moves.at(list(r)) is None]
    assert len(gaps) == 16 - len(space)
    for ranks in gaps:
        away = np.linalg.norm(space.positions - ranks, axis=1)
        assert away[moves.nearest(list(ranks))] == away.min()


# Fixed settings


def test_defaults_in_spaces_of_all_kinds():
    batches = {"max_batch_size": (1, 32), "batch_timeout_micros": (0, 5000, 50_000)}
    small = effective_space(dict.fromkeys(THREADS, (0, 1, 2)) | batches, cores=2)
    off = {"inter_op": 0, "intra_op": 0, "batch_threads": 0}
    assert serving_default(small) == off | {"max_batch_size": 1, "batch_timeout_micros": 0}
    tried = heuristic_candidates(small)
    assert [c["batch_timeout_micros"] for c in tried] == [0, 5000]  # the guide goes to 10 ms
    assert {(c["batch_threads"], c["max_batch_size"]) for c in tried} == {(2, 32)}
    assert serving_default(paper_gpu(), cores=4)["batch_threads"] == 4
    own = ConfigSpace([Knob("device", ("cpu", "gpu")), Knob("inter_op", (8, 1, 2))])
    assert serving_default(own, cores=2) == {"device": "cpu", "inter_op": 2}


def test_the_default_of_a_recorded_machine_is_a_thread_a_core():
    """Grids of few values do not show the machine's cores; the profile says."""
    default = {"inter_op": 2, "intra_op": 2, "batch_threads": 0}
    for name in ("mobilenet_v2-threads", "inception_v3-threads", "keyword-threads"):
        space = read_profile(DATA / name).space
        assert serving_default(space) == default
        assert heuristic_candidates(space) == [default | {"batch_threads": 2}]
    batching = serving_default(read_profile(DATA / "mobilenet_v2-batching").space)
    assert batching == {"max_batch_size": 8, "batch_timeout_micros": 0, "batch_threads": 2}


def test_the_guides_timeouts_are_tried_in_turn_and_the_best_stays():
    agent = heuristic(paper_gpu(), rng())
    numbers = chosen(agent, 30)
    assert numbers[:18] == np.repeat(numbers[:18:3], 3).tolist()
    assert len(set(numbers)) == 6
    costs = [true_cost(agent.space, agent.space[i]) for i in numbers[:18]]
    assert {true_cost(agent.space, agent.space[i]) for i in numbers[18:]} == {min(costs)}


# Searches


def test_exhaustive_search_tries_all_once_and_keeps_the_best():
    space = paper_cpu(3)
    numbers = chosen(Candidates(space, rng()), len(space) + 5)
    assert numbers[: len(space)] == list(range(len(space)))
    costs = [true_cost(space, c) for c in space]
    assert [costs[i] for i in numbers[len(space) :]] == [min(costs)] * 5


def test_random_search_repeats_nothing_until_it_must():
    space = paper_cpu(3)
    numbers = chosen(RandomSearch(space, rng()), len(space) + 1)
    assert sorted(numbers[: len(space)]) == list(range(len(space)))
    assert len(set(chosen(RandomSearch(space, rng(), budget=9), 30)[9:])) == 1


def test_coordinate_descent_solves_a_separable_bowl_in_one_round():
    space = paper_cpu()
    agent = CoordinateDescent(space, rng(), rounds=1)
    numbers = chosen(agent, 40)
    assert len(set(numbers[:33])) == 31  # three lines of eleven that share their corners
    assert len(set(numbers[33:])) == 1
    lowest = min(true_cost(space, c) for c in space)
    assert true_cost(space, space[numbers[-1]]) == pytest.approx(lowest, rel=1e-12)
    assert chosen(CoordinateDescent(space, rng(), repeats=3), 9)[::3] == numbers[:3]


def test_hill_climbing_never_goes_uphill_and_annealing_does():
    space = paper_cpu()

    def climbs(agent):
        past = None
        for _ in range(200):
            agent.tell(configuration := agent.ask(10.0), true_cost(space, configuration))
            at = agent.searches[0].memory["at"]
            if past is not None and at != past:
                yield true_cost(space, space[at]) > true_cost(space, space[past])
            past = at

    assert not any(climbs(hill_climbing(space, rng(), patience=1000)))
    assert any(climbs(Annealing(space, rng(), temperature=1.0, decay=0.99)))


def test_hill_climbing_restarts_when_it_is_stuck():
    space = paper_cpu(4)
    still = chosen(hill_climbing(space, rng(), patience=1000), 400)
    again = chosen(hill_climbing(space, rng(), patience=10), 400)
    assert len(set(again)) > 2 * len(set(still))


def test_a_table_cell_moves_by_the_learning_rate():
    space = paper_cpu(2)
    agent = QLearning(space, rng(), epsilon=(0.0, 0.0, 1), learning_rate=0.25)
    agent.ask(10.0)
    for cost in (4.0, 8.0):
        agent.tell(space[3], cost)
    assert agent.searches[0].table.values[3] == 5.0
    agent.tell(space[9], 6.0)
    assert {space.index(agent.ask(10.0)) for _ in range(20)} == {3}


@pytest.mark.parametrize("make", [QLearning, DeepQNetwork, Zooming, GPEI])
def test_learners_begin_with_what_serves(make):
    space = paper_cpu()
    agent = make(space, rng())
    for load in (10.0, 100.0):  # then with the best that is known
        assert agent.ask(load) == serving_default(space)
        agent.tell(serving_default(space), 1.0)


def test_epsilon_is_the_share_of_random_choices():
    space = paper_cpu()
    agent = QLearning(space, rng(), epsilon=(0.2, 0.2, 1))
    agent.tell(agent.ask(10.0), 0.0)
    random = np.mean([agent.ask(10.0) != agent.best(10.0) for _ in range(2000)])
    assert random == pytest.approx(0.2, abs=0.03)


def test_the_networks_gradient_is_that_of_its_loss():
    network = Network((3, 5, 4, 1), 1e-3, rng(1))
    inputs, targets = rng(2).normal(size=(6, 3)), rng(3).normal(size=6) * 2

    def loss():
        away = np.abs(network(inputs) - targets)
        return np.where(away < 1, away**2 / 2, away - 0.5).mean()

    before = [w.copy() for w in network.weights]
    numeric = []
    for w in network.weights:
        slope = np.zeros_like(w)
        for place in np.ndindex(w.shape):
            w[place] += 1e-6
            up = loss()
            w[place] -= 2e-6
            slope[place] = (up - loss()) / 2e-6
            w[place] += 1e-6
        numeric.append(slope)
    network.train(inputs, targets)
    slopes = np.concatenate([slope.ravel() for slope in numeric])
    mean = network._mean  # after one step Adam's mean is a tenth of the gradient
    assert mean == pytest.approx(0.1 * slopes, abs=1e-8)
    for k, slope in enumerate(numeric):
        moved = (network.weights[k] - before[k])[np.abs(slope) > 1e-4]
        assert np.abs(moved) == pytest.approx(np.full(len(moved), 1e-3), rel=1e-2)


def test_the_deep_network_learns_a_bowl():
    space = paper_cpu()
    agent = DeepQNetwork(space, rng(), epsilon=(0.5, 0.1, 20))
    costs = np.array([true_cost(space, c) for c in space])
    late = chosen(agent, 100, noise=0.02)[-30:]
    assert np.median(costs[late]) < np.quantile(costs, 0.05)


# By name


@pytest.mark.parametrize("name", AGENTS)
def test_agents_by_name(name):
    try:
        agent = AGENTS[name](paper_cpu(3), rng())
    except UsageError as error:
        if not name.startswith(("optuna", "smac")):
            raise
        pytest.skip(str(error))
    for _ in range(3):
        agent.tell(agent.ask(10.0), 1.0)
    assert agent.best(10.0) in paper_cpu(3)


def test_every_agent_has_a_version():
    assert [name for name in AGENTS if not version(f"agent {name}")] == [], "run `make versions`"


def test_an_unknown_agent_is_refused():
    with pytest.raises(ValueError, match="unknown agent 'dqn': use one of rrl-gp, rrl, rrl-wide"):
        maker("dqn")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match=r"optuna is not installed .*: pip install optuna"):
        AGENTS["optuna-tpe"](paper_cpu(3), rng())


@pytest.mark.parametrize("name", ["rrl-gp", "coordinate-descent"])
def test_levels_of_threads_may_be_text(name):
    values = [Knob("inter_op", ("1", "2", "auto")), Knob("intra_op", (1, 2))]
    agent = AGENTS[name](ConfigSpace(values), rng())
    assert agent.ask(10.0)["inter_op"] in ("1", "2", "auto")
