"""Objectives: what each charges, and the order of preference under an SLO."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rrl import ConfigSpace, Constrained, Knob, parse_slo, testbed
from rrl.cli import main
from rrl.tuning.episode import Episode, Status
from rrl.tuning.objective import MeanLatency, Percentile, SLOViolations
from rrl.tuning.slo import parse_objective
from rrl.workloads.workload import Poisson

ALL = [MeanLatency(), Percentile(50), Percentile(99), SLOViolations(0.1)]
latencies = st.lists(st.floats(0, 5), min_size=1, max_size=60)


def episode(latency, status=None):
    status = np.zeros(len(latency)) if status is None else status
    return Episode({"inter_op": 1}, np.arange(len(latency)), latency, status)


@given(latencies, st.floats(1, 99))
def test_answered_requests_count_as_they_are(latency, q):
    run = episode(latency)
    assert MeanLatency()(run) == pytest.approx(np.mean(latency))
    value = Percentile(q)(run)
    fraction = np.mean(np.array(latency) <= value)
    assert value in latency
    assert fraction >= q / 100 - 1e-12
    assert np.mean(np.array(latency) < value) <= q / 100 + 1e-12
    assert SLOViolations(1.0)(run) == np.mean(np.array(latency) > 1.0)


@pytest.mark.parametrize(("q", "rank"), [(50, 500), (99, 990), (99.9, 999), (99.95, 1000)])
def test_a_percentile_of_a_thousand_requests_has_a_whole_rank(q, rank):
    """The product of a fraction and a number of requests may be a little above the rank."""
    assert Percentile(q)(episode(np.arange(1, 1001))) == rank


@pytest.mark.parametrize("objective", ALL)
@given(latency=latencies, data=st.data())
def test_turning_requests_away_never_pays(objective, latency, data):
    """Failing at once can only raise the cost, whichever requests fail."""
    failed = data.draw(
        st.lists(st.booleans(), min_size=len(latency), max_size=len(latency)).map(np.array)
    )
    status = np.where(failed, Status.UNAVAILABLE, Status.OK)
    quick = np.where(failed, 0.0, latency)
    assert objective(episode(quick, status)) >= objective(episode(latency)) - 1e-12


@pytest.mark.parametrize(
    ("why", "answered", "cost", "late"),
    [("budget", 2, 0.05, 0.0), ("budget", 0, 10.0, 1.0), ("worse", 2, 10.0, 0.6)],
)
def test_what_the_budget_cuts_short_is_not_charged_to_the_configuration(why, answered, cost, late):
    status = [Status.OK] * answered + [Status.CANCELLED] * 3
    stopped = replace(episode([0.05] * len(status), status), info={"aborted": why})
    assert (Percentile(99)(stopped), SLOViolations(0.1)(stopped)) == (cost, late)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p99.9", Percentile(99.9)),
        ("slo:5e-3", SLOViolations(0.005)),
        (" mean ", MeanLatency()),
    ],
)
def test_names(name, expected):
    assert parse_objective(name) == expected
    assert parse_objective(str(expected)) == expected


# --- under an SLO: an order of preference, and bound CPUs -----------------------------------------


SLO_TEXTS = ("p99<80ms", "p50<2s", "p99.9<30s")
MOST = 10


@st.composite
def episodes(draw):
    latency = draw(st.lists(st.floats(0, 60), min_size=1, max_size=40))
    failed = draw(st.lists(st.booleans(), min_size=len(latency), max_size=len(latency)))
    few = draw(st.booleans())
    status = np.where(failed, Status.UNAVAILABLE, 0) if few else np.zeros(len(latency))
    configuration = {"cpus": draw(st.integers(1, MOST))}
    return Episode(configuration, np.arange(len(latency)), latency, status)


@given(one=episodes(), other=episodes(), text=st.sampled_from(SLO_TEXTS))
def test_first_the_slo_then_the_cpus(one, other, text):
    """An independent reading of the SLO decides which of two episodes must cost less."""
    slo = parse_slo(text)
    objective = Constrained(slo, MOST)
    keeps = [_keeps(slo, episode) for episode in (one, other)]
    costs = [objective(episode) for episode in (one, other)]
    for kept, cost in zip(keeps, costs, strict=True):
        assert kept == (cost <= 1)
        assert 0 < cost < math.inf
    if keeps == [True, False]:
        assert costs[0] < costs[1]
    if keeps == [True, True] and one.configuration["cpus"] < other.configuration["cpus"]:
        assert costs[0] < costs[1]


def _keeps(slo, episode):
    """Whether the statistic is within the target if failed requests take for ever."""
    latency = np.where(episode.ok, episode.latency, np.maximum(episode.latency, 10.0))
    latency = np.where(~episode.ok, np.maximum(latency, 2 * slo.target_s), latency)
    allowed = len(latency) - math.ceil(len(latency) * slo.statistic.q / 100 - 1e-9)
    return np.count_nonzero(latency > slo.target_s) <= allowed


def test_a_failed_request_counts_twice_the_target_or_the_longer_time_that_it_took():
    objective = Constrained(parse_slo("p99<8s"), MOST)
    failed = [Episode({"cpus": 1}, [0.0], [s], [Status.UNAVAILABLE]) for s in (0.0, 20.0)]
    assert [objective(episode) for episode in failed] == [2.0, 2.5]


def of_cpus(cpus):
    Constrained(parse_slo("p99<80ms"), MOST)(Episode({"cpus": cpus}, [0.0], [0.01], [0]))


UNKNOWN = ("", "median", "p", "pp9", "p-1", "slo", "slo:", "slo:x", "mean+p99", "disk with p99<1s")
SAID = r"unknown objective .* use mean, p99, slo:SECONDS"
POSITIVE = "target_s .* s: must be a positive"


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        *((parse_objective, name, SAID) for name in UNKNOWN),
        *((Percentile, q, "between 0 and 100") for q in (0, 100)),
        *((SLOViolations, seconds, POSITIVE) for seconds in (0, math.nan)),
        *((of_cpus, n, f"cpus from 1 to 10, got {n!r}") for n in (0, 0.5, 12, "2", None)),
    ],
)
def test_what_is_no_objective_and_no_number_of_cpus_is_named(make, given, message):
    with pytest.raises(ValueError, match=message):
        make(given)


# --- a simulated server that is bound to some of its cores ----------------------------------------

TEN = testbed("cpu10")
BOUND = replace(TEN, space=ConfigSpace([Knob("cpus", range(1, 11)), *TEN.space.knobs]))


@given(cpus=st.integers(1, 10), index=st.integers(0, 1330), seed=st.integers(0, 5))
@example(cpus=2, index=0, seed=0)
def test_a_bound_server_is_one_on_a_smaller_machine(cpus, index, seed):
    """Automatic threads, which the knobs' zeros mean, follow the bound cores, too."""
    threads = TEN.space[index]
    small = replace(TEN, machine=replace(TEN.machine, cores=cpus, handlers=4 * cpus))
    arrivals = Poisson(9.0).arrivals(60, np.random.default_rng(seed))
    one, other = (
        server.measure(configuration, arrivals, np.random.default_rng(seed))
        for server, configuration in ((BOUND, threads | {"cpus": cpus}), (small, threads))
    )
    assert one.latency.tolist() == other.latency.tolist()
    assert one.status.tolist() == other.status.tolist()


@pytest.mark.parametrize(
    ("bed", "objective", "amount"),
    [
        ("cpu10-cores", "cpus with p99<900ms", r"\d+ CPUs? \(p99 at \d+ % of the target\)"),
        ("cpu10-cores", "cpus with p99<20ms", r"p99 at \d{3,} % of the target"),
        ("cpu2", "slo:0.02", r"[\d.]+ % over 20 ms"),
        ("cpu2", "p95", r"p95 [\d.]+ ms"),
    ],
)
def test_a_run_says_what_it_minimises(bed, objective, amount, tmp_path, capsys, caplog):
    words = ["--rate", "8", "--requests", "30", "--episodes", "4", "--rounds", "2", "--seed", "1"]
    main(["replay", bed, *words, "--objective", objective, "--out", str(tmp_path)])
    best = re.findall(r"best so far [^:]*: (.*) \| ", caplog.text)
    (compared,) = re.findall("^  (.*) against .* by default", capsys.readouterr().out, re.MULTILINE)
    assert len(best) == 4
    assert all(re.fullmatch(amount, said) for said in [*best, compared])
