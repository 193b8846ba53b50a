"""The simulated server: its physics, its contract, its optimum and its calibration."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_queue import ReferenceQueue

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.recording.profile import Profile, read_profile
from rrl.simulation.calibration import (
    START,
    cell_table,
    fit_cells,
    hold_out,
    predict_cells,
    twin,
    with_parameters,
)
from rrl.simulation.optimum import optimum
from rrl.simulation.queueing import NO_LIMIT, simulate_queue
from rrl.simulation.service_model import BatchSpeed, Machine, Model
from rrl.simulation.simulator import SimulatedServer
from rrl.simulation.testbeds import INCEPTION_V3, MOBILENET_V2, TWO_CORES, testbed
from rrl.tuning.episode import Status
from rrl.tuning.objective import MeanLatency
from rrl.tuning.presets import paper_cpu
from rrl.workloads.workload import Poisson

PLAIN = Model("plain", item=0.01, parallel=0.8, sync=0.001, overhead=0.002, variation=0.3)
FOUR = Machine("four cores", cores=4, spin=0.1)
SMALLEST = "data/inception_v3-threads"
NOTHING = pd.DataFrame({"means_s": [[1.0]]})


def arrivals_at(rate, n=100, seed=0):
    return Poisson(rate).arrivals(n, np.random.default_rng(seed))


def served(server, arrivals, seed=0, **configuration):
    return server.measure(configuration, arrivals, np.random.default_rng(seed))


def simulated(model=PLAIN, fixed=None, **knobs):
    """A server with four cores."""
    space = ConfigSpace([Knob(name, values) for name, values in knobs.items()])
    return SimulatedServer(space, model, FOUR, fixed or {})


# ------------------------------------------------------------------------------- service model


BIG = Machine("big", cores=64)


@pytest.mark.parametrize(
    ("model", "machine", "inter", "intra", "speeds"),
    [
        # Alone, by Amdahl's law.
        ({"parallel": 0.75}, BIG, 1, 64, [1 / (0.25 + 0.75 / 64)]),
        # Branches use the inter-op pool until batches fill it.
        ({"branches": 2.0}, BIG, 4, 1, [2, 2, 4 / 3, 1]),
        # Two helpers: both for one batch, or one for each.
        ({"parallel": 1.0}, BIG, 2, 3, [3, 2]),
        # Two batches and two helpers that find nothing to do: 2 + 0.5 * 2 cores of demand on 2.
        ({}, Machine("two", cores=2, spin=0.5), 2, 3, [1, 2 / 3]),
        # No more than four cores can be busy, each slows down the others.
        (
            {},
            Machine("four", cores=4, contention=0.1),
            6,
            1,
            [1, 1 / 1.1, 1 / 1.2, 1 / 1.3, 4 / 5 / 1.3, 4 / 6 / 1.3],
        ),
        # Synchronisation costs only where operations are split.
        ({"sync": 0.01}, BIG, 1, 8, [0.5]),
        # Threads that take turns pay for it.
        ({}, Machine("two", cores=2, switching=0.1), 4, 1, [1, 1, 2 / 3 / 1.05, 1 / 2 / 1.1]),
    ],
)
def test_the_speed_of_running_batches(model, machine, inter, intra, speeds):
    speed = BatchSpeed(Model("m", item=0.01, **model), machine, [inter], [intra]).at(rate=0.0)[0]
    np.testing.assert_allclose(speed, speeds)


def test_receiving_requests_takes_cores_away():
    model, machine = Model("m", item=0.01, front_end=0.01), Machine("two", cores=2)
    speeds = [BatchSpeed(model, machine, [2], [1]).at(rate)[0, 1] for rate in (0, 50, np.inf)]
    assert speeds == pytest.approx([1.0, 2 / 2.5, 2 / 3])  # half of the cores at most


def test_requests_wait_for_a_core_where_helpers_can_hold_them_all():
    free, arrivals = simulated(intra_op=(0, 1, 3, 4, 8)), arrivals_at(50.0)
    waiting = replace(free, machine=replace(FOUR, wake=0.005))
    for intra, extra in {0: 0.005, 1: 0.0, 3: 0.0, 4: 0.005, 8: 0.005}.items():
        with_wake, without = (served(s, arrivals, intra_op=intra).latency for s in (waiting, free))
        np.testing.assert_allclose(with_wake - without, extra, atol=1e-12)


# ------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize("name", ["cpu2-joint", "cpu10-cores", "gpu"])
def test_the_grid_is_the_single_measurements(name):
    """One compiled call for all configurations equals one call each, byte by byte."""
    server = testbed(name)
    arrivals = arrivals_at(100.0)
    indices = np.linspace(0, len(server.space) - 1, 25).astype(int)
    grid = server.grid(arrivals, np.random.default_rng(3), indices)
    for index, latency, rejected in zip(indices, *grid, strict=True):
        episode = served(server, arrivals, 3, **server.space[index])
        assert episode.latency.tobytes() == latency.tobytes()
        np.testing.assert_array_equal(episode.ok, ~rejected)
        assert np.all(episode.latency >= server.model.overhead)


def test_zero_means_all_cores_and_no_batching():
    server, arrivals = testbed("cpu10"), arrivals_at(16.0)

    def latency(inter, intra):
        chosen = {"inter_op": inter, "intra_op": intra, "batch_threads": 3}
        return served(server, arrivals, **chosen).latency

    np.testing.assert_array_equal(latency(0, 0), latency(10, 10))
    assert not np.array_equal(latency(0, 0), latency(1, 0))
    knobs = {"batch_threads": (0, 2), "max_batch_size": (1, 8), "batch_timeout_micros": (0, 5000)}
    batching = simulated(replace(PLAIN, dispatch=0.001), **knobs)

    def of_a_burst(*values):
        chosen = dict(zip(knobs, values, strict=True))
        return served(batching, np.zeros(30), **chosen).latency

    np.testing.assert_array_equal(of_a_burst(0, 1, 0), of_a_burst(0, 8, 5000))
    assert not np.array_equal(of_a_burst(2, 1, 0), of_a_burst(2, 8, 0))


def test_with_one_inter_op_thread_batch_threads_change_nothing():
    """As measured on the real runtime: the batches run one after another all the same."""
    server = SimulatedServer(paper_cpu(4), PLAIN, FOUR, {"max_enqueued_batches": 1000})
    one, many = (
        served(server, arrivals_at(70.0), inter_op=1, intra_op=1, batch_threads=k).latency
        for k in (1, 4)
    )
    np.testing.assert_allclose(one, many)


def test_the_timeout_is_in_microseconds():
    fixed = {"max_batch_size": 4, "batch_threads": 1}
    server = simulated(PLAIN, fixed, batch_timeout_micros=(0, 5000))
    at_once, late = (served(server, [0.0], batch_timeout_micros=t).latency[0] for t in (0, 5000))
    assert late - at_once == pytest.approx(0.005)


def test_whole_numbers_may_be_floats():
    """As in a column of a table that had a gap."""
    of_ints, of_floats = (simulated(batch_threads=own) for own in ((1, 2), (1.0, 2.0)))
    one, other = (served(s, np.zeros(9), batch_threads=2).latency for s in (of_ints, of_floats))
    np.testing.assert_array_equal(one, other)


def test_a_full_queue_answers_unavailable_at_once():
    server = simulated(PLAIN, {"batch_threads": 1}, max_enqueued_batches=(1, 50))
    full = served(server, np.zeros(10), max_enqueued_batches=1)
    assert full.status.tolist() == [Status.OK] * 2 + [Status.UNAVAILABLE] * 8
    np.testing.assert_allclose(full.latency[2:], PLAIN.overhead)
    assert served(server, np.zeros(10), max_enqueued_batches=50).ok.all()


def queued(**given):
    simulate_queue(**{"arrivals": [0.0, 1.0], "factor": [1.0, 1.0], **given})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: testbed("cpu3"), r"unknown testbed 'cpu3': use one of \['cpu2'"),
        (lambda: Model("m", item=0.0), "item 0.0"),
        (lambda: Machine("m", cores=2, spin=2.0), "spin 2.0"),
        (lambda: Machine("m", cores=2, wake=float("nan")), "wake nan"),
        (lambda: SimulatedServer(paper_cpu(2), PLAIN, FOUR, {"nosuch": 1}), "no knob 'nosuch'"),
        (lambda: simulated(max_batch_size=(0, 1)), "max_batch_size 0: .* 1 or more"),
        (lambda: simulated(intra_op=("auto", 1)), "intra_op 'auto': it must be a whole number"),
        (lambda: simulated(batch_threads=(1, 1.5)), "batch_threads 1.5: it must be a whole number"),
        (
            lambda: SimulatedServer(paper_cpu(2), PLAIN, FOUR, {"inter_op": 1}),
            "'inter_op' is a knob of the space",
        ),
        (
            lambda: optimum(testbed("cpu2"), 9.0, replications=1, rng=np.random.default_rng(0)),
            "1 replications",
        ),
        (lambda: with_parameters(testbed("cpu2"), {"nosuch": 1.0}), "nosuch"),
        (lambda: fit_cells(testbed("cpu2"), NOTHING, ["contention"]), "above 0"),
        (lambda: fit_cells(testbed("cpu2"), NOTHING, ["item", "nosuch"]), r"\['nosuch'\] are no"),
        (
            lambda: hold_out(testbed("cpu2"), read_profile(SMALLEST), folds=17, rng=None),
            "17 folds of 16 configurations",
        ),
        (partial(queued, arrivals=[]), "arrivals must hold at least one"),
        (partial(queued, arrivals=[1.0, 0.0]), "sorted"),
        (partial(queued, arrivals=[-1.0, 0.0]), "0 or more"),
        (partial(queued, arrivals=[0.0]), "1 arrivals and 2 factors"),
        (partial(queued, batch_work=[-1.0]), "above 0"),
        (partial(queued, factor=[-1.0, 1.0]), "at least 0"),
        (partial(queued, threads=0), "threads 0"),
        (partial(queued, dispatch=math.nan), "dispatch nan s"),
    ],
)
def test_what_is_wrong_is_named(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------- optimum


def test_the_optimum_is_the_smallest_mean_of_single_measurements():
    """A request that finds the queue full counts as a failure, and makes a configuration dear."""
    server = simulated(PLAIN, {"max_enqueued_batches": 1}, batch_threads=(1, 4), inter_op=(1, 2, 4))
    rng = np.random.default_rng(1)
    best = optimum(server, 150.0, requests=40, replications=4, rng=np.random.default_rng(1))
    costs = np.zeros(len(server.space))
    for _ in range(4):
        arrivals = Poisson(150.0).arrivals(40, rng)
        state = rng.bit_generator.state
        for i, configuration in enumerate(server.space):
            rng.bit_generator.state = state
            costs[i] += MeanLatency()(server.measure(configuration, arrivals, rng)) / 4
    np.testing.assert_allclose(best.costs, costs)
    assert costs.max() > 1.0  # a failure counts seconds
    assert best.configuration == server.space[int(np.argmin(costs))]
    assert best.cost == pytest.approx(costs.min())


def test_the_truth_is_among_the_ties_of_a_short_search():
    server = testbed("cpu10")
    truth = optimum(server, 14.3, replications=30, rng=np.random.default_rng(0))
    for seed in (1, 2):
        short = optimum(server, 14.3, replications=10, rng=np.random.default_rng(seed))
        best, found = truth.costs.argmin(), short.costs.argmin()
        assert {best, found} <= set(short.ties)
        assert abs(short.costs[best] - truth.cost) < 3 * short.half_width
        assert truth.costs[found] - truth.cost <= short.excess
        assert short.excess > 0
        assert len(truth.ties) < len(short.ties)


# ---------------------------------------------------------------------------------- calibration


def cells_of(server, *cells):
    """A table of cells, each of a configuration's number and the arrivals of its episodes."""
    numbers, arrivals = zip(*cells, strict=True)
    table = pd.DataFrame([server.space[number] for number in numbers])
    return table.assign(arrivals=list(arrivals))


def test_repeats_of_a_cell_count_once():
    """A cell of many episodes must not outweigh a cell of one: the fit lies between the two."""
    server = replace(testbed("cpu2"), model=PLAIN)
    times = [arrivals_at(5.0, seed=seed) for seed in range(7)]
    cells = cells_of(server, (2, times[:6]), (2, times[6:]))
    middle = predict_cells(server, cells)
    spread = cells.assign(means_s=[[1.1 * middle[0]] * 6, [0.9 * middle[1]]])
    found = [fit_cells(server, part, ["item"])["item"] for part in (spread, spread[:1], spread[1:])]
    assert found[0] == pytest.approx(np.sqrt(found[1] * found[2]), rel=0.02)


@pytest.fixture(scope="module")
def inception():
    return read_profile(SMALLEST)


def test_nothing_of_a_held_out_configuration_leaks_into_its_prediction(inception):
    def held(profile):
        server = twin(inception, INCEPTION_V3, TWO_CORES)
        return hold_out(server, profile, ["item"], folds=2, rng=np.random.default_rng(0))

    plain = held(inception)
    assert (plain["means_s"].str.len() == 2).all()  # two passes over the grid, and no finals
    fold_of = plain.groupby(inception.knobs)["fold"].agg(["min", "max", "size"])
    assert (fold_of["min"] == fold_of["max"]).all()  # all loads of a configuration together
    assert (fold_of["size"] == 3).all()
    assert len(fold_of) == len(inception.space)
    hidden = set(fold_of.index[fold_of["max"] == 1])
    table = inception.table.copy()
    spoiled = [key in hidden for key in zip(*(table[k] for k in inception.knobs), strict=True)]
    table.loc[spoiled, "mean_s"] *= 10
    other, same = held(Profile(inception.description, table)), plain["fold"] == 1
    np.testing.assert_array_equal(plain["predicted_s"][same], other["predicted_s"][same])
    assert (other["predicted_s"][~same] > 2 * plain["predicted_s"][~same]).all()


def test_the_testbeds_have_what_was_fitted(inception):
    """The refit of the smallest profiles, from round numbers, gives what the testbeds carry."""
    times = {name: START[name] for name in ("sync", "dispatch", "front_end", "overhead")}
    start = replace(INCEPTION_V3, item=0.04, branches=1.5, **times)
    names = ("item", *times, "branches")
    found = fit_cells(twin(inception, start, TWO_CORES), cell_table(inception), names)
    assert found["item"] == pytest.approx(0.050, rel=0.05)
    compared = ("sync", "front_end", "overhead", "branches")
    carried = {name: getattr(INCEPTION_V3, name) for name in compared}
    # Each start is further away than this tolerance, so a fit that stays there fails.
    assert {name: found[name] for name in compared} == pytest.approx(carried, rel=0.14)
    batching, item = read_profile("data/mobilenet_v2-batching"), START["item"]
    start = replace(MOBILENET_V2, item=item, fixed=item / 10)
    found = fit_cells(twin(batching, start, TWO_CORES), cell_table(batching), ("item", "fixed"))
    assert found["item"] == pytest.approx(MOBILENET_V2.item, rel=0.05)
    assert found["fixed"] == pytest.approx(MOBILENET_V2.fixed, abs=0.0004)


# --- the queue kernel, request by request against a literal reference -----------------------------


# ------------------------------------------------------------------------------ the reference

# Sums and quotients of these are exact in floating point, so ties are real ties.
times = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])
works = st.sampled_from([0.5, 1.0, 2.0, 4.0])
speeds = st.sampled_from([0.25, 0.5, 1.0, 2.0])


@st.composite
def queues(draw):
    """Settings of a queue, small enough for the reference and tight enough to hit every limit."""
    n = draw(st.integers(1, 40))
    max_batch, slots = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    return {
        "arrivals": np.cumsum(draw(st.lists(times, min_size=n, max_size=n))).tolist(),
        "factor": draw(st.lists(works, min_size=n, max_size=n)),
        "batch_work": sorted(draw(st.lists(works, min_size=max_batch, max_size=max_batch))),
        "speed": draw(st.lists(speeds, min_size=slots, max_size=slots)),
        "threads": draw(st.integers(1, 5)),
        "timeout": draw(st.sampled_from([0.0, 0.5, 2.0])),
        "dispatch": draw(st.sampled_from([0.0, 0.0, 0.25, 1.0])),
        "max_enqueued": draw(st.sampled_from([None, 1, 2])),
        "handlers": draw(st.sampled_from([NO_LIMIT, 1, 2, 3, 7])),
    }


@settings(max_examples=200)
@given(queues(), st.none() | st.integers(0, 2**32 - 1))
def test_kernel_and_reference_agree_request_by_request(queue, seed):
    """On ties; and, with a seed, on continuous numbers, where no two events coincide."""
    if seed is not None:
        rng, n = np.random.default_rng(seed), len(queue["arrivals"])
        queue["arrivals"] = np.cumsum(rng.exponential(0.7, n)).tolist()
        queue["factor"] = rng.exponential(1.0, n).tolist()
        for name in ("batch_work", "speed"):
            queue[name] = rng.uniform(0.3, 2.0, len(queue[name])).tolist()
    most = queue.pop("max_enqueued")
    capacity = NO_LIMIT if most is None else most * len(queue["batch_work"])
    departure, rejected = simulate_queue(**queue, capacity=capacity)
    reference = ReferenceQueue(**queue, max_enqueued=math.inf if most is None else most)
    np.testing.assert_allclose(departure, reference.departure, rtol=1e-9, atol=1e-9)
    assert rejected.tolist() == reference.rejected
