from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.tuning.episode import Episode, Status
from rrl.tuning.objective import MeanLatency, Percentile, SLOViolations
from rrl.tuning.slo import parse_objective

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


@pytest.mark.parametrize(
    "name",
    ["", "median", "p", "pp9", "p-1", "slo", "slo:", "slo:x", "mean+p99", "disk with p99<1s"],
)
def test_unknown_names_say_what_is_known(name):
    with pytest.raises(ValueError, match=r"unknown objective .* use mean, p99, slo:SECONDS"):
        parse_objective(name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Percentile(0), "between 0 and 100"),
        (lambda: Percentile(100), "between 0 and 100"),
        (lambda: SLOViolations(0), "target_s .* s: must be a positive"),
        (lambda: SLOViolations(float("nan")), "target_s .* s: must be a positive"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()
