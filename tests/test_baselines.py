"""The rivals: each keeps to the contract of agents and does what its name says."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
from test_agent import HARD, SPACES, bowl, contract, true_cost

from rrl import Knob, paper_cpu, paper_gpu, read_profile, testbed
from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.extension.recommended import recommended
from rrl.rivals.agents import AGENTS, HOME, maker
from rrl.rivals.baselines import (
    Candidates,
    CoordinateDescent,
    HillClimbing,
    OptimisticTable,
    RandomSearch,
    heuristic,
)
from rrl.rivals.bayesian import MOST, Surrogate
from rrl.rivals.grid import Neighbours, near, unit_cube
from rrl.rivals.peers import Optuna
from rrl.rivals.q_agents import NearQLearning, Network
from rrl.rivals.search import Searcher
from rrl.rivals.variants import ABLATED
from rrl.rivals.zooming import Zooming, distances
from rrl.support.errors import UsageError
from rrl.support.provenance import known
from rrl.tuning.defaults import heuristic_candidates, serving_default
from rrl.tuning.presets import THREADS, effective_space


def optuna_(space, rng):
    pytest.importorskip("optuna", reason="in the extra `peers`")
    return Optuna(space, rng, initial=3)


TestCandidates = contract(Candidates)
TestRandomSearch = contract(partial(RandomSearch, budget=15))
TestCoordinateDescent = contract(partial(CoordinateDescent, repeats=1, rounds=2))
TestHillClimbing = contract(maker("hill-climbing"), ("single", *HARD))
TestOptimisticTable = contract(maker("optimistic-table"), ("single", *HARD))
TestOneCell = contract(maker("rrl-one-cell"))
TestQLearning = contract(maker("q-learning"))
TestNearQLearning = contract(maker("q-learning-near"), ("single", *HARD))
TestDeepQNetwork = contract(maker("deep-q-network"))
TestZooming = contract(maker("zooming"), tuple(SPACES))
TestGPEI = contract(maker("gp-ei"), ("single", *HARD))
TestOptuna = contract(optuna_, ("single", *HARD), episodes=4)


def chosen(agent, episodes, noise=0.0):
    """Tune a bowl; the numbers of what was chosen."""
    return [agent.space.index(c) for c in bowl(agent, episodes, noise=noise)]


def rng(seed=0):
    return np.random.default_rng(seed)


OTHERS = {"rrl-released", "optuna-tpe"}  # a fitted network rounds, and an extra may be missing


@pytest.mark.parametrize("name", sorted({*HOME, *ABLATED} - OTHERS))
def test_the_unit_of_the_cost_changes_no_choice(name):
    for space in (paper_cpu(4), SPACES["category"]):
        one, other = (maker(name)(space, rng(3)) for _ in range(2))
        assert bowl(one, 60) == bowl(other, 60, factor=7000.0)
        assert one.best(10.0) == other.best(10.0)


# Loads


class Recorder(Searcher):
    """Serves where it starts; remembers where that was."""

    def choose(self, search):
        return search.start


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


def test_every_rival_deploys_by_the_rule_of_rrl():
    """A region of one configuration estimates nothing, so RRL's table has the same means."""
    space = paper_cpu(3)
    rival = RandomSearch(space, rng(1), budget=100)
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


def test_a_combination_that_is_missing_is_replaced_by_the_nearest():
    space = SPACES["missing"]
    moves = Neighbours(space)
    gaps = {*np.ndindex(space.shape)} - {*map(tuple, moves.ranks.tolist())}
    assert len(gaps) == 16 - len(space)
    for ranks in gaps:
        away = np.linalg.norm(space.positions - ranks, axis=1)
        assert away[moves.nearest(ranks)] == away.min()


# Fixed settings


def test_defaults_in_spaces_of_all_kinds():
    assert serving_default(testbed("cpu10-cores").space)["cpus"] == 10
    unknown = ConfigSpace([Knob("inter_op", (1, 2, 4))])  # nobody says how many cores there are
    assert serving_default(unknown) == {"inter_op": 4}
    batches = {"max_batch_size": (1, 32), "batch_timeout_micros": (0, 5000, 50_000)}
    small = effective_space(dict.fromkeys(THREADS, (0, 1, 2)) | batches, cores=2)
    off = {"inter_op": 0, "intra_op": 0, "batch_threads": 0}
    assert serving_default(small) == off | {"max_batch_size": 1, "batch_timeout_micros": 0}
    tried = heuristic_candidates(small)
    assert [c["batch_timeout_micros"] for c in tried] == [0, 5000]  # the guide goes to 10 ms
    assert {(c["batch_threads"], c["max_batch_size"]) for c in tried} == {(2, 32)}
    assert serving_default(ConfigSpace(paper_gpu().knobs, cores=4))["batch_threads"] == 4
    own = [Knob("inter_op", (8, 1, 2)), Knob("intra_op", ("auto", "1")), Knob("device", ("b", "a"))]
    text = {"inter_op": 2, "intra_op": "auto", "device": "b"}
    assert serving_default(ConfigSpace(own, cores=2)) == text
    queue = ConfigSpace([small.knobs[0], Knob("max_enqueued_batches", (100, 10))])
    assert recommended(queue, np.random.default_rng(0)).ask(1.0) == serving_default(queue)


def test_the_default_of_a_recorded_machine_is_a_thread_a_core():
    """Grids of few values do not show the machine's cores; the profile says."""
    default = {"inter_op": 2, "intra_op": 2, "batch_threads": 0}
    for name in ("mobilenet_v2-threads", "inception_v3-threads", "keyword-threads"):
        space = read_profile(f"data/{name}").space
        assert serving_default(space) == default
        assert heuristic_candidates(space) == [default | {"batch_threads": 2}]
    batching = serving_default(read_profile("data/mobilenet_v2-batching").space)
    assert batching == {"max_batch_size": 8, "batch_timeout_micros": 0, "batch_threads": 2}


def test_the_guides_timeouts_are_tried_in_turn_and_the_best_stays():
    agent = heuristic(paper_gpu(), rng())
    numbers = chosen(agent, 30)
    assert numbers[:18] == np.repeat(numbers[:18:3], 3).tolist()
    assert len(set(numbers)) == 6
    costs = [true_cost(agent.space, agent.space[i]) for i in numbers[:18]]
    assert {true_cost(agent.space, agent.space[i]) for i in numbers[18:]} == {min(costs)}


@pytest.mark.parametrize(
    "make", [Candidates, maker("coordinate-descent"), maker("gp-ei", initial=4)]
)
def test_a_plan_loses_nothing_to_episodes_that_something_else_served(make):
    """A guard serves the default until it knows how late requests of the default are."""
    agent = make(ConfigSpace([Knob("threads", range(1, 9))]), rng())
    default = agent.space.index(agent.ask(10.0))
    plan = list(agent.searches[0].todo)
    for _ in range(4):  # a plan has no configuration more often than that
        agent.ask(10.0)
        agent.tell(agent.space[default], 1.0)
    left = [index for index in plan if index != default]
    assert left
    for index in left:
        assert agent.space.index(agent.ask(10.0)) == index
        agent.tell(agent.space[index], 1.0 + index)


# Searches


def test_random_search_repeats_nothing_until_it_must():
    space = paper_cpu(3)
    numbers = chosen(RandomSearch(space, rng(), budget=100), len(space) + 1)
    assert sorted(numbers[: len(space)]) == list(range(len(space)))
    assert len(set(chosen(RandomSearch(space, rng(), budget=9), 30)[9:])) == 1


def test_coordinate_descent_solves_a_separable_bowl_in_one_round():
    space = paper_cpu()
    agent = CoordinateDescent(space, rng(), repeats=1, rounds=1)
    numbers = chosen(agent, 40)
    assert len(set(numbers[:33])) == 31  # three lines of eleven that share their corners
    assert len(set(numbers[33:])) == 1
    lowest = min(true_cost(space, c) for c in space)
    assert true_cost(space, space[numbers[-1]]) == pytest.approx(lowest, rel=1e-12)
    assert chosen(CoordinateDescent(space, rng(), repeats=3, rounds=1), 9)[::3] == numbers[:3]


def test_near_is_a_step_of_a_knob_or_any_value_of_a_category_and_never_nothing():
    space = SPACES["category"]
    here = space.index({"malloc": "tc", "batch": 8})
    steps = [{"malloc": one, "batch": 8} for one in ("je", "glibc")]
    steps += [{"malloc": "tc", "batch": one} for one in (64, 1)]  # 8 is the first, and 1 the last
    assert {*near(space, here, 1.0).tolist()} >= {space.index(c) for c in steps[:3]}
    assert space.index(steps[3]) not in near(space, here, 1.0)
    sparse = SPACES["sparse"]
    alone = [i for i in range(len(sparse)) if len(sparse.ball(i, 1.0)) == 1]
    assert alone
    for index in alone:
        away = np.delete(sparse.distances(index), index)
        assert sparse.distances(index)[near(sparse, index, 1.0)] == pytest.approx(away.min())
    assert len(near(SPACES["single"], 0, 1.0)) == 0


def test_hill_climbing_measures_again_before_it_moves():
    """Of two costs alike, the one that was measured less often is served, and not yet believed."""
    space = ConfigSpace([Knob("threads", (1, 2))])
    agent = HillClimbing(space, rng(), radius=1.0, tries=1.0, sure=1.0)
    agent.ask(10.0)
    for _ in range(5):
        agent.tell({"threads": 1}, 1.0)
    served, stands = [], []
    for _ in range(6):
        served.append(agent.ask(10.0)["threads"])
        agent.tell({"threads": served[-1]}, 0.98 if len(served) < 3 else 1.1)
        stands.append(agent.searches[0].memory["at"])
    assert served[:4] == [2, 2, 2, 1]  # what looked good once is measured until it does not
    assert stands == [0] * 6


def test_hill_climbing_reaches_the_bottom_of_a_bowl():
    space = paper_cpu()
    agent = HillClimbing(space, rng(), radius=1.0, tries=0.9, sure=1.5)
    costs = [true_cost(space, space[index]) for index in chosen(agent, 200, noise=0.05)]
    assert costs[0] == true_cost(space, serving_default(space))
    assert np.median(costs[-50:]) < 1.01 * min(true_cost(space, c) for c in space)


def test_an_optimistic_table_has_so_many_configurations_in_play_as_it_says():
    space = paper_cpu()
    agent = OptimisticTable(space, rng(), share=2.0, growth=0.5, sure=1.0)
    numbers = chosen(agent, 150, noise=0.2)
    known = [len(set(numbers[: t + 1])) for t in range(150)]
    assert known == [1, *(min(t + 1, int(np.ceil(2 * t**0.5))) for t in range(1, 150))]


def test_a_random_action_near_the_incumbent_is_new_while_something_new_is_near():
    space = paper_cpu(4)
    agent = NearQLearning(space, rng(), epsilon=(1.0, 1.0, 1), learning_rate=0.3, radius=1.0)
    known, repeats = {}, 0
    for index in chosen(agent, 150):
        if known:
            around = set(near(space, min(known, key=known.get), 1.0).tolist())
            assert index in around
            assert index not in known or around <= known.keys()
            repeats += index in known
        known[index] = true_cost(space, space[index])
    assert repeats > 50


def test_one_cell_stops_exploring_once_something_is_better_than_the_first():
    """The cells that were not measured keep the first cost: this is why the control is weak."""
    space = paper_cpu()
    bad = max(space, key=lambda c: true_cost(space, c))
    one, region = (
        chosen(maker(name, start=bad)(space, rng(1)), 300) for name in ("rrl-one-cell", "rrl")
    )
    assert len(set(one)) < 10 < len(set(region))


@pytest.mark.parametrize("name", sorted({*HOME, *ABLATED} - OTHERS))
def test_every_agent_starts_where_it_is_told(name):
    space = effective_space(dict.fromkeys(THREADS, (1, 2, 4)), cores=2)
    start = space[len(space) // 2]
    agent = maker(name, start=start)(space, rng())
    one_table = name.startswith("rrl-released")  # for all loads
    for load in (10.0, 100.0)[: 1 if one_table else 2]:  # then with the best that is known
        assert agent.ask(load) == start
        agent.tell(start, 1.0)
    with pytest.raises(ValueError, match="threads"):
        maker(name, start={"threads": 1})(space, rng())


@pytest.mark.parametrize("name", ["q-learning", "deep-q-network", "zooming", "gp-ei"])
def test_learners_begin_with_what_serves(name):
    space = paper_cpu()
    agent = maker(name)(space, rng())
    for load in (10.0, 100.0):  # then with the best that is known
        assert agent.ask(load) == serving_default(space)
        agent.tell(serving_default(space), 1.0)


def test_the_networks_gradient_is_that_of_its_loss():
    network = Network((3, 5, 4, 1), 1e-3, rng(1))
    inputs, targets = rng(2).normal(size=(6, 3)), rng(3).normal(size=6) * 2

    def loss():
        away = np.abs(network(inputs) - targets)
        return np.where(away < 1, away**2 / 2, away - 0.5).mean()

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
    for mean, slope in zip(network._means, numeric, strict=True):
        assert mean == pytest.approx(0.1 * slope, abs=1e-8)  # Adam's mean after one step


# Zooming, and Bayesian optimisation


NARROW = maker("zooming", confidence=0.05)  # for little noise


@pytest.mark.parametrize(
    "make", [*map(maker, ("rrl", "rrl-gp", "gp-ei", "deep-q-network")), NARROW]
)
def test_a_bowl_is_learned(make):
    """Late episodes are far better than random ones, and the recommendation is better still."""
    space = paper_cpu()
    costs = np.array([true_cost(space, c) ** 4 for c in space])
    agent = make(space, rng())
    late = chosen(agent, 120, noise=0.05)[-30:]
    assert np.median(costs[late]) < np.quantile(costs, 0.1)
    assert costs[space.index(agent.best(10.0))] < np.quantile(costs, 0.05)


def test_a_first_cost_of_zero_hides_no_later_difference():
    """Fractions of late requests are often 0 at first; they were then the only reference."""
    space = ConfigSpace([Knob("threads", tuple(range(30)))])
    agent, costs = maker("zooming", lipschitz=0.5)(space, rng()), 0.02 * np.arange(1, 31)
    agent.tell(agent.ask(10.0), 0.0)
    agent.tell(agent.ask(10.0), 0.6)
    served = []
    for _ in range(150):
        chosen = agent.ask(10.0)
        served.append(costs[space.index(chosen)])
        agent.tell(chosen, served[-1])
    assert np.mean(served[-50:]) < 0.05  # the mean of all is 0.31


def test_zooming_tries_again_what_was_unlucky_once():
    """The mean of one bad measurement is worse, but its confidence radius is wide."""
    space = ConfigSpace([Knob("threads", (1, 2))])
    agent, tried = NARROW(space, rng()), []
    for _ in range(20):
        tried.append(agent.ask(10.0)["threads"])
        unlucky = tried.count(2) == 1
        agent.tell({"threads": tried[-1]}, 1.0 if tried[-1] == 1 else 1.1 if unlucky else 0.9)
    assert tried[-5:] == [2] * 5


def test_zooming_activates_only_what_is_not_covered():
    space = paper_cpu(4)
    agent = Zooming(space, rng(), lipschitz=0.5, confidence=0.15)
    cube = unit_cube(space)
    radius = {}
    counts = np.zeros(len(space), dtype=int)
    for episode in range(150):
        configuration = agent.ask(10.0)
        index = space.index(configuration)
        covered = np.zeros(len(space), dtype=bool)
        for active, reach in radius.items():
            covered |= distances(cube, active) <= reach
        if episode and not covered.all():
            assert not covered[index]
        elif episode:
            assert index in radius
        agent.tell(configuration, true_cost(space, configuration))
        counts[index] += 1
        radius[index] = 0.3 * np.sqrt(2 * np.log(300) / (counts[index] + 1))


def test_of_a_large_space_a_part_is_scanned(monkeypatch):
    scanned, posterior = [], Surrogate.posterior

    def watched(model, candidates):
        scanned.append(len(candidates))
        return posterior(model, candidates)

    monkeypatch.setattr(Surrogate, "posterior", watched)
    assert len(set(chosen(maker("gp-ei")(paper_cpu(30), rng()), 15))) > 8
    assert MOST <= max(scanned) <= MOST + 15  # and what was measured


# What is refused

CHANCES = "need 0 <= end <= start <= 1 and half_life > 0"
CONSTANTS = "need both above 0: lipschitz"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("dqn", {}, "unknown agent 'dqn': use one of rrl-gp, rrl-prior, rrl"),
        ("zooming", {"lipschitz": 0.0}, CONSTANTS),
        ("zooming", {"confidence": -1.0}, CONSTANTS),
        ("q-learning", {"epsilon": (0.3, 0.3, 0)}, CHANCES),
        ("q-learning", {"epsilon": (2, 1, 10)}, CHANCES),
        ("deep-q-network", {"epsilon": (0.2, 0.5, 10)}, CHANCES),
        ("deep-q-network", {"epsilon": (0.3, -1, 5)}, CHANCES),
        ("q-learning-near", {"radius": -1.0}, "radius must be"),
        ("hill-climbing", {"tries": 1.5}, "need radius > 0, 0 <= tries <= 1"),
        ("optimistic-table", {"growth": 1.0}, "need share > 0, 0 <= growth < 1"),
        ("gp-ei", {"initial": 0}, "need initial >= 1 and length > 0"),
        ("gp-ei", {"length": -1}, "need initial >= 1 and length > 0"),
        ("rrl", {"learning_rate": 0}, "learning_rate must be"),
        ("rrl", {"learning_rate": 1.1}, "learning_rate must be"),
        ("rrl", {"start": {"inter_op": 1}}, "value"),
        ("rrl-adaptive", {"radius": -1}, "radius must be"),
        ("rrl-adaptive", {"radius": np.inf}, "radius must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        maker(name, **settings)(paper_cpu(2), rng())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match=r"optuna is not installed .*: pip install optuna"):
        AGENTS["optuna-tpe"](paper_cpu(3), rng())


# The agents of the ablation

NAMES = sorted({*HOME, *ABLATED} - {"optuna-tpe"})


def test_an_agent_of_the_ablation_is_no_agent_for_users():
    assert not set(ABLATED) & set(AGENTS)


def test_what_makes_an_agent_and_the_agent_can_be_sent_to_another_process():
    space = paper_cpu(2)
    for name in NAMES:
        make = maker(name)
        assert pickle.dumps(make)
        assert pickle.dumps(make(space, np.random.default_rng(0)))


def test_no_two_agents_behave_alike():
    digests = {known()[f"agent {name}"].digest for name in NAMES}
    assert len(digests) == len(set(NAMES))
