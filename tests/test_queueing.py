"""The queue kernel against queueing theory, and request by request against a literal reference."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_queue import ReferenceQueue
from scipy.special import stdtrit

from rrl.simulation.queueing import NO_LIMIT, Passage, simulate_queue

N, WARM, BATCHES = 1_000_000, 50_000, 25  # batch means: 25 batches of 40,000 requests
LOADS = (0.3, 0.95)


def interval(samples):
    """Mean of a stationary sequence and half its 99 % interval, by batch means."""
    means = samples.reshape(BATCHES, -1).mean(axis=1)
    reach = stdtrit(BATCHES - 1, 0.995) / math.sqrt(BATCHES)
    return means.mean(), reach * means.std(ddof=1)


def sojourn(gaps, work, **settings):
    """Mean time in the system and half its interval, after a warm-up."""
    arrivals = np.cumsum(gaps)
    passage = simulate_queue(arrivals, work, **settings)
    return interval((passage.departure - arrivals)[WARM:])


def check(measured, theory, widest):
    """The theory lies in the interval, and the interval is narrow enough to say something."""
    mean, half = measured
    assert abs(mean - theory) <= half, f"{mean} +- {half}, theory {theory}"
    assert half <= widest * theory


WIDEST = {0.3: 0.02, 0.95: 0.25}  # relative: what 1e6 correlated requests can say


def erlang_c(servers, load):
    """Probability of waiting in M/M/c; `load` is the arrival over the service rate."""
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) / (1 - load / servers)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("rho", LOADS)
@pytest.mark.parametrize("servers", [1, 4])
def test_mmc_is_erlang_c(rho, servers):
    rng = np.random.default_rng([1, servers])
    gaps = rng.exponential(1 / (rho * servers), N + WARM)
    measured = sojourn(
        gaps, rng.exponential(1.0, N + WARM), threads=servers, speed=np.ones(servers)
    )
    theory = 1 + erlang_c(servers, rho * servers) / (servers * (1 - rho))
    if servers == 1:
        assert theory == pytest.approx(1 / (1 - rho))  # M/M/1
    check(measured, theory, WIDEST[rho])


WORKS = {  # unit mean; squared coefficient of variation
    "constant": (lambda rng, n: np.ones(n), 0.0),
    "lognormal": (lambda rng, n: rng.lognormal(-math.log(3) / 2, math.sqrt(math.log(3)), n), 2.0),
    "two-point": (lambda rng, n: rng.choice([0.5, 3.0], n, p=[0.8, 0.2]), 1.0),
}


@pytest.mark.parametrize("rho", LOADS)
@pytest.mark.parametrize("kind", ["constant", "lognormal"])
def test_mg1_is_pollaczek_khinchine(rho, kind):
    draw, scv = WORKS[kind]
    rng = np.random.default_rng(2)
    gaps = rng.exponential(1 / rho, N + WARM)
    theory = 1 + rho * (1 + scv) / (2 * (1 - rho))
    check(sojourn(gaps, draw(rng, N + WARM)), theory, WIDEST[rho])


@pytest.mark.parametrize("rho", LOADS)
@pytest.mark.parametrize("kind", ["constant", "two-point", "lognormal"])
def test_processor_sharing_is_insensitive(rho, kind):
    draw, _ = WORKS[kind]
    rng = np.random.default_rng(3)
    gaps = rng.exponential(1 / rho, N + WARM)
    many = 2000  # P(more) = 0.95^2000, below 1e-44
    measured = sojourn(gaps, draw(rng, N + WARM), threads=many, speed=1 / np.arange(1, many + 1))
    check(measured, 1 / (1 - rho), WIDEST[rho])


@pytest.mark.parametrize(("rho", "room"), [(0.7, 2), (0.95, 5), (1.5, 2)])
def test_mm1k_loses_its_share(rho, room):
    rng = np.random.default_rng(4)
    arrivals = np.cumsum(rng.exponential(1 / rho, N + WARM))
    passage = simulate_queue(arrivals, rng.exponential(1.0, N + WARM), capacity=room - 1)
    lost = (1 - rho) * rho**room / (1 - rho ** (room + 1))
    check(interval(passage.rejected[WARM:].astype(float)), lost, 0.12)
    np.testing.assert_array_equal(passage.departure[passage.rejected], arrivals[passage.rejected])


def test_two_stations_share_one_queue_as_birth_and_death_says():
    """Speed 1 and 0.8 for one and two batches: the stationary law of the chain gives the mean."""
    rate, speed = 1.0, [1.0, 0.8]
    rng = np.random.default_rng(5)
    gaps = rng.exponential(1 / rate, N + WARM)
    measured = sojourn(gaps, rng.exponential(1.0, N + WARM), threads=2, speed=speed)
    k = np.arange(2000)
    death = np.where(k == 0, speed[0], 2 * speed[1])
    weights = np.concatenate(([1.0], np.cumprod(rate / death)))
    mean = (np.arange(2001) * weights).sum() / weights.sum()
    check(measured, mean / rate, 0.03)


# ------------------------------------------------------------------------------ the reference


def agree(arrivals, factor, *, max_enqueued, exact=False, **settings):
    """Kernel and reference give the same departures, rejections and batches."""
    capacity = NO_LIMIT
    if max_enqueued is not None:
        capacity = max_enqueued * len(settings["batch_work"])
    kernel = simulate_queue(
        np.array(arrivals, float),
        np.array(factor, float),
        capacity=capacity,
        **{k: np.array(v, float) if isinstance(v, list) else v for k, v in settings.items()},
    )
    number = Fraction if exact else float
    literal = {k: [number(x) for x in v] if isinstance(v, list) else v for k, v in settings.items()}
    reference = ReferenceQueue(
        [number(x) for x in arrivals],
        [number(x) for x in factor],
        max_enqueued=math.inf if max_enqueued is None else max_enqueued,
        **literal,
    )
    departure = [float(x) for x in reference.departure]
    np.testing.assert_allclose(kernel.departure, departure, rtol=1e-9, atol=1e-9)
    assert kernel.rejected.tolist() == reference.rejected
    assert members(kernel) == reference.batches
    return kernel, reference


def members(passage: Passage):
    kept = ~passage.rejected
    edges = passage.edges
    return [[int(j) for j in np.arange(a, b)[kept[a:b]]] for a, b in pairwise(edges)]


@st.composite
def queues(draw, times, works, speeds):
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


BINARY = {  # sums and quotients of these are exact in floating point, so ties are real ties
    "times": st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]),
    "works": st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    "speeds": st.sampled_from([0.25, 0.5, 1.0, 2.0]),
}


@settings(max_examples=300, deadline=None)
@given(queues(**BINARY))
def test_kernel_and_reference_agree_on_ties(queue):
    agree(**queue)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.data())
def test_kernel_and_reference_agree_request_by_request(seed, data):
    queue = data.draw(queues(**BINARY))
    rng = np.random.default_rng(seed)  # continuous numbers, where no two events coincide
    n = len(queue["arrivals"])
    queue["arrivals"] = np.cumsum(rng.exponential(0.7, n)).tolist()
    queue["factor"] = rng.exponential(1.0, n).tolist()
    for name in ("batch_work", "speed"):
        queue[name] = rng.uniform(0.3, 2.0, len(queue[name])).tolist()
    kernel, reference = agree(**queue)
    hold_invariants(queue, kernel, reference)


def hold_invariants(queue, kernel, reference):
    """What no queue may break."""
    arrivals, departure = np.array(queue["arrivals"]), kernel.departure
    served = [j for batch in members(kernel) for j in batch]
    assert served == np.flatnonzero(~kernel.rejected).tolist()  # each once, in order of arrival
    assert np.all(departure >= arrivals)
    sizes = [len(batch) for batch in members(kernel)]
    assert max(sizes, default=0) <= len(queue["batch_work"])
    work = sum(
        queue["factor"][batch[0]] * queue["batch_work"][len(batch) - 1] for batch in members(kernel)
    )
    assert reference.busy == pytest.approx(work)  # work conserved: all of it done, once
    assert reference.most <= queue["threads"]
    # Little's law: the reference counts requests over time, the kernel their times.
    assert (departure - arrivals).sum() == pytest.approx(reference.area)


def test_a_long_run_agrees_exactly():
    """Fractions leave no room for rounding: the kernel's error over a long busy run is tiny."""
    rng = np.random.default_rng(6)
    n = 150
    kernel, reference = agree(
        np.cumsum(rng.exponential(0.3, n)).tolist(),
        rng.exponential(1.0, n).tolist(),
        batch_work=[1.0, 1.3, 1.7],
        speed=[1.0, 0.7, 0.4],
        threads=4,
        timeout=0.25,
        max_enqueued=3,
        exact=True,
    )
    exact = np.array([float(x) for x in reference.departure])
    assert np.max(np.abs(kernel.departure - exact)) < 1e-12 * exact[-1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_no_thread_idles_while_a_request_waits(seed, threads):
    """Without a timeout a batch begins as soon as there is a thread: at an arrival or an end."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(0.5, 200))
    work = rng.exponential(1.0, 200)
    departure = simulate_queue(arrivals, work, threads=threads, speed=np.ones(threads)).departure
    begin = departure - work
    assert np.all(begin >= arrivals - 1e-9)
    for j in np.flatnonzero(begin > arrivals + 1e-9):  # those that waited
        running = np.sum((begin <= arrivals[j]) & (departure > arrivals[j]))
        assert running == threads
        assert np.min(np.abs(departure - begin[j])) < 1e-9


# -------------------------------------------------------------------------- batching, by hand


def test_a_batch_waits_for_company_until_the_timeout():
    passage = simulate_queue([0.0, 1.0, 9.0], [1.0] * 3, batch_work=[1, 1, 1], timeout=2.0)
    assert passage.departure.tolist() == [3.0, 3.0, 12.0]
    assert passage.edges.tolist() == [0, 2, 3]


def test_a_full_batch_does_not_wait():
    passage = simulate_queue([0.0, 1.0, 1.5], [1.0] * 3, batch_work=[1, 1], timeout=5.0)
    assert passage.departure.tolist() == [2.0, 2.0, 7.5]


def test_handlers_bound_the_batch():
    """Two handlers cannot fill a batch of three: it leaves at the timeout, the third comes next."""
    settings = {"batch_work": [1, 1, 1], "timeout": 2.0}
    few = simulate_queue([0.0, 0.5, 1.0], [1.0] * 3, handlers=2, **settings)
    assert few.departure.tolist() == [3.0, 3.0, 6.0]
    many = simulate_queue([0.0, 0.5, 1.0], [1.0] * 3, handlers=3, **settings)
    assert many.departure.tolist() == [2.0, 2.0, 2.0]


def test_preparing_a_batch_delays_but_does_not_slow():
    passage = simulate_queue([0.0, 0.0], [1.0, 1.0], threads=2, speed=[1.0], dispatch=0.5)
    assert passage.departure.tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arrivals": []}, "arrivals must hold at least one"),
        ({"arrivals": [0.0, math.nan]}, "arrivals must hold .* finite"),
        ({"arrivals": [1.0, 0.0]}, "sorted"),
        ({"arrivals": [0.0]}, "1 arrivals and 2 factors"),
        ({"speed": [0.0]}, "above 0"),
        ({"batch_work": [-1.0]}, "above 0"),
        ({"factor": [-1.0, 1.0]}, "at least 0"),
        ({"threads": 0}, "threads 0"),
        ({"capacity": 0}, "capacity 0"),
        ({"handlers": -1}, "handlers -1"),
        ({"timeout": -1.0}, "timeout -1.0 s"),
        ({"dispatch": math.nan}, "dispatch nan s"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_queue(**{"arrivals": [0.0, 1.0], "factor": [1.0, 1.0], **arguments})
