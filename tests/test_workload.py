"""Arrival times: their rate, their shape, and what a user is told about bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta as beta_law
from scipy.stats import chisquare, kstest

from rrl.support.errors import DataError
from rrl.workloads.devices import (
    HOURS,
    Cameras,
    Delayed,
    Reconnects,
    Superposed,
    _first,
    device_day,
)
from rrl.workloads.modulated import Bursts, Diurnal, FlashCrowd
from rrl.workloads.trace import Trace, read_trace
from rrl.workloads.workload import Fleet, Phases, Poisson, cut_into_episodes, estimate_rate

PERIODIC = [  # requests in one period are known, so n covers whole periods
    (Diurnal(rate=50.0, amplitude=0.9, period=20.0), 100 * 20 * 50),
    (
        FlashCrowd(10.0, 90.0, start=2.0, rise=1.0, hold=3.0, fall=2.0, period=20.0),
        28_000 * 4,
    ),
    (Fleet(devices=3000, period=30.0, jitter=4.0), 90_000),
    (Fleet(devices=100, period=1.0, jitter=0.0, spread=0.0), 50_000),
]
WORKLOADS = [
    (Poisson(14.0), 100_000),
    (Phases(), 300_000),
    (Phases((0, 2000), (0.1, 0.05), 3000, requests=1), 3000),
    (Bursts((5.0, 100.0), (0.9, 0.1)), 400_000),
    (Bursts((0.0, 20.0, 80.0), (1.0, 0.5, 0.25)), 400_000),
    (Cameras(Poisson(4.0)), 400_000),
    (Reconnects(devices=50, every=20.0), 100_000),
    (Delayed(Poisson(10.0)), 200_000),
    (Superposed((Fleet(600, 60.0, 0.5), Cameras(Diurnal(0.5, 0.9, 100.0)), Poisson(5.0))), 200_000),
    *PERIODIC,
]


def kind(value):
    return type(value).__name__


@pytest.mark.parametrize(("workload", "n"), WORKLOADS, ids=kind)
def test_the_long_run_rate_is_the_stated_one(workload, n):
    times = workload.arrivals(n, np.random.default_rng(7))
    assert times.shape == (n,)
    assert times.dtype == np.float64
    # The error of a rate over blocks of the run is judged by the blocks themselves (99.9 %).
    counts = np.histogram(times, bins=20, range=(0, n / workload.rate))[0]
    if isinstance(workload, Phases):  # not stationary: compare the end with its own spread
        assert times[-1] == pytest.approx(n / workload.rate, rel=3.3 / math.sqrt(n))
    else:
        error = counts.std(ddof=1) / counts.mean() / math.sqrt(20) + 1e-3
        assert n / times[-1] == pytest.approx(workload.rate, rel=3.9 * error)


SEEDS = st.integers(0, 2**32 - 1)

simple = st.one_of(
    st.builds(Poisson, st.floats(0.1, 50.0)),
    st.builds(Fleet, st.integers(1, 40), st.floats(0.5, 20.0), st.floats(0, 5), st.floats(0, 1)),
    st.builds(
        lambda devices, every, part, *more: Reconnects(devices, every, part * every, *more),
        st.integers(1, 40),
        st.floats(1.0, 60.0),
        st.floats(0.01, 1.0),
        st.floats(0.5, 5.0),
        st.floats(0.5, 5.0),
        st.floats(0, 30.0),
    ),
)
workloads = st.recursive(
    simple | st.sampled_from([workload for workload, _ in WORKLOADS]),
    lambda inner: st.one_of(
        st.builds(Cameras, inner),
        st.builds(Delayed, inner, st.floats(0.01, 9.0)),
        st.builds(Superposed, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=4,
)


def at(workload, n, seed):
    return workload.arrivals(n, np.random.default_rng(seed))


@settings(max_examples=60)
@given(workloads, st.integers(1, 200), SEEDS)
def test_any_workload_gives_sorted_times_that_its_seed_repeats(workload, n, seed):
    times = at(workload, n, seed)
    assert times.shape == (n,)
    assert np.isfinite(times).all()
    assert times[0] >= 0
    assert np.all(np.diff(times) >= 0)
    assert times.tobytes() == at(workload, n, seed).tobytes()
    assert 0 < workload.rate < math.inf


@settings(max_examples=30)
@given(simple, st.integers(1, 2000), st.integers(1, 2000), SEEDS)
def test_more_requests_begin_with_the_same_ones(inner, few, more, seed):
    """So what a longer run adds comes later, and no early request is missed.

    It holds where it holds for the workloads inside: these draw their beginning first.
    """
    for workload in (Cameras(inner), Delayed(inner), Superposed((inner, inner))):
        long = at(workload, few + more, seed)
        np.testing.assert_array_equal(long[:few], at(workload, few, seed))


# --- The shape of each --------------------------------------------------------------------------


@pytest.mark.parametrize("workload", [Poisson(20.0), Delayed(Poisson(20.0))], ids=kind)
def test_poisson_gaps_are_exponential_also_behind_an_uplink(workload):
    times = at(workload, 20_000, 3)
    gaps = np.diff(times[times > 20.0])
    assert kstest(gaps, "expon", args=(0, 1 / 20.0)).pvalue > 0.01


@pytest.mark.parametrize("workload", [PERIODIC[0][0], PERIODIC[1][0]], ids=["Diurnal", "Flash"])
def test_the_rate_follows_its_curve(workload):
    """Folded onto one period, the counts agree with the integral of the rate (chi squared)."""
    periods = 60
    n = int(workload.rate * workload.period * periods)
    times = workload.arrivals(n + 5000, np.random.default_rng(2))
    times = times[times < periods * workload.period]
    seen = np.histogram(times % workload.period, bins=40, range=(0, workload.period))[0]
    grid = (np.arange(40_000) + 0.5) * workload.period / 40_000
    expected = workload.rate_at(grid).reshape(40, -1).mean(axis=1)
    assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 0.01


def test_bursts_are_burstier_than_poisson_and_stay_in_their_states():
    """The index of dispersion of an MMPP exceeds 1; one with equal rates is Poisson."""

    def dispersion(workload):
        times = workload.arrivals(100_000, np.random.default_rng(5))
        counts = np.histogram(times, bins=2000)[0]
        return counts.var() / counts.mean()

    assert dispersion(Bursts((5.0, 100.0), (9.0, 1.0))) > 20
    assert dispersion(Bursts((20.0, 20.0), (1.0, 2.0))) == pytest.approx(1.0, abs=0.1)


def test_bursts_start_in_the_long_run_mix_of_their_states():
    bursts = Bursts((5.0, 100.0), (9.0, 1.0))
    rng = np.random.default_rng(6)
    counts = [np.sum(bursts.arrivals(60, rng) < 0.05) for _ in range(1500)]
    error = np.std(counts) / math.sqrt(1500)
    assert np.mean(counts) == pytest.approx(0.05 * bursts.rate, abs=3.3 * error)


def test_a_fleet_reports_once_a_period_each():
    """Without jitter, the pattern repeats exactly: everyone is heard once a period."""
    fleet = Fleet(devices=400, period=10.0)
    times = fleet.arrivals(1200, np.random.default_rng(0)).reshape(3, 400)
    np.testing.assert_allclose(times[1:], times[:-1] + 10.0)
    assert np.ptp(times[0]) > 9.5


def test_phases_are_the_paper_s():
    phases, edges = Phases(), (0, 800, 1300, 2000, 2400, 3000)
    gaps = np.diff(at(phases, 300_000, 9), prepend=0.0)
    for (first, last), mean in zip(pairwise(edges), (0.07, 0.06, 0.07, 0.10, 0.12), strict=True):
        part = gaps[first * 100 : last * 100]
        assert part.mean() == pytest.approx(mean, rel=3.3 / math.sqrt(len(part)))
    sharp = at(Phases((0, 2), (1e-6, 1e3), 3, requests=1), 3, 9)
    assert (np.diff(sharp, prepend=0.0) > 1).tolist() == [False, False, True]


def test_a_burst_of_one_hundred_comes_one_by_one_and_all_of_it_comes():
    burst = Fleet(devices=100, period=1000.0, spread=0.0)
    times = at(Delayed(burst, median=5.0), 100, 1)
    assert np.all((times > 0) & (times <= 10))
    assert np.count_nonzero(times == 10) > 2  # the delays of some were cut
    assert len(np.unique(times)) > 70


def test_the_frames_of_an_event_are_an_interval_apart_and_as_many_as_it_lasts():
    rare = Fleet(devices=1, period=10_000.0, spread=0.0)  # one event at a time
    cameras = Cameras(rare)
    times = cameras.arrivals(20_000, np.random.default_rng(4))
    gaps = np.diff(times)
    within = gaps < 5000
    np.testing.assert_allclose(gaps[within], 1.0, atol=1e-6)
    events = 1 + np.count_nonzero(~within)
    assert len(times) / events == pytest.approx(cameras.frames, rel=0.06)
    assert cameras.frames == pytest.approx(1 / (1 - math.exp(-1 / 13)))


@pytest.mark.parametrize(("alpha", "beta", "window"), [(3.0, 4.0, 10.0), (1.0, 1.0, 60.0)])
def test_an_update_brings_each_device_back_once_with_the_traffic_model_s_delays(
    alpha, beta, window
):
    update = Reconnects(3000, 3600.0, window, alpha, beta, first=100.0)
    times = update.arrivals(6000, np.random.default_rng(6)).reshape(2, 3000)
    for number, wave in enumerate(times):
        delay = (wave - 100.0 - 3600.0 * number) / window
        assert kstest(delay, beta_law(alpha, beta).cdf).pvalue > 0.01


def test_the_day_has_its_peak_its_night_and_its_update():
    rate, length = 50.0, 1200.0
    day = device_day(rate, length)
    assert day.rate == pytest.approx(rate, rel=0.01)
    times = day.arrivals(int(rate * length), np.random.default_rng(9))
    hour = np.histogram(times, bins=HOURS, range=(0, length))[0] / (length / HOURS)
    assert hour[5:7].mean() > 1.3 * rate
    assert hour[20] < 0.7 * rate
    update = np.count_nonzero((times > 0.73 * length) & (times < 0.775 * length))
    night = np.count_nonzero((times > 0.68 * length) & (times < 0.725 * length))
    assert update - night == pytest.approx(0.02 * rate * length, rel=0.3)


def test_a_beginning_that_is_not_complete_is_drawn_again_in_a_larger_size():
    """Here the larger draw has a time that the smaller one lacks."""

    def draw(size):
        return np.array([*range(0, 10 * size, 10), *[5] * (size > 20)], dtype=float), float(size)

    assert _first(3, 0, draw).tolist() == [0, 5, 10]


# --- Episodes and the estimated rate ------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.integers(1, 7))
def test_episodes_keep_every_gap(times, requests):
    times = np.sort(times)
    found = list(cut_into_episodes(times, requests))
    assert len(found) == len(times) // requests
    if found:
        ends = np.concatenate(([0.0], np.cumsum([one[-1] for one in found])[:-1]))
        joined = (np.array(found) + ends[:, None]).reshape(-1)
        np.testing.assert_allclose(joined, times[: len(joined)], atol=1e-6)


def test_the_estimated_rate_uses_the_latest_arrivals_only():
    slow, fast = Poisson(5.0), Poisson(50.0)
    first = slow.arrivals(1000, np.random.default_rng(0))
    second = first[-1] + fast.arrivals(100, np.random.default_rng(1))
    assert estimate_rate(first) == pytest.approx(5.0, rel=0.3)
    assert estimate_rate(np.concatenate((first, second))) == pytest.approx(50.0, rel=0.3)
    assert estimate_rate([3.0, 3.0]) == estimate_rate([0.0, 1e-9]) == 1e6
    with pytest.raises(ValueError, match="1 past arrivals"):
        estimate_rate([1.0])


# ---------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bursts((math.nan, 1.0), (1.0, 1.0)), "rate nan"),
        (lambda: Bursts((0.0, 0.0), (1.0, 1.0)), "mean rate 0.0"),
        (lambda: Phases((0,), (0.0,)), "gap 0.0"),
        (lambda: Bursts((1.0,), (1.0,)), "two or more states"),
        (lambda: Bursts((1.0, -2.0), (1.0, 1.0)), "-2.0"),
        (lambda: Bursts((1.0, 2.0), (1.0, 0.0)), "sojourn 0.0"),
        (lambda: Diurnal(1.0, amplitude=1.5), "amplitude 1.5"),
        (lambda: FlashCrowd(10.0, 5.0, 1.0), "below the base"),
        (lambda: FlashCrowd(1.0, 5.0, 590.0), "must fit"),
        (lambda: Fleet(5, 1.0, spread=2.0), "spread 2.0"),
        (lambda: Phases((5,), (0.1,)), "start at 0"),
        (lambda: Phases((0, 9, 9), (0.1, 0.2, 0.3)), "increase"),
        (lambda: Phases((0, 1), (0.1,)), "one of each"),
        (lambda: list(cut_into_episodes([1.0], 0)), "0 requests per episode"),
        (lambda: Reconnects(5, 5.0, window=6.0), "window 6.0 s.*at most every = 5.0 s"),
        (lambda: Delayed(Poisson(1.0), median=11.0), "median 11.0 s: must be at most 10 s"),
        (lambda: Superposed(()), "no workloads"),
        (lambda: Trace([1.0, 1.0]), "two distinct times"),
        (lambda: Trace([1.0, math.inf]), "finite"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("workload", "_n"), WORKLOADS, ids=kind)
def test_each_number_of_a_workload_and_that_of_its_requests_is_checked(workload, _n):
    for name, value in vars(workload).items():
        for bad in {float: (-1.0, math.nan, math.inf), int: (-1, 0)}.get(type(value), ()):
            with pytest.raises(ValueError, match=str(bad)):
                replace(workload, **{name: bad})
    rng = np.random.default_rng(0)
    for n in (0, -3):
        with pytest.raises(ValueError, match=f"{n} requests: ask for at least 1"):
            workload.arrivals(n, rng)
    with pytest.raises(TypeError, match=r"2\.5"):
        workload.arrivals(2.5, rng)


# ------------------------------------------------------------------------------------- traces


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("3\n1\n1\n2.5\n", [0, 0, 1.5, 2]),
        ("time\r\n3\r\n1\r\n\r\n2\r\n", [0, 1, 2]),
        ("\ufefftime\n3\n1\n", [0, 2]),
        (
            "2024-05-01T12:00:00Z\n2024-05-01T14:00:01.5+02:00\n2024-05-01 12:00:02\n",
            [0, 1.5, 2],
        ),
        (".5\n-1e0\n+2", [0, 1.5, 3]),
        ("inference start\n3\n1\n", [0, 2]),
        ('"time"\n"2024-05-01 12:00:00"\n"2024-05-01 12:00:02"\n', [0, 2]),  # from spreadsheets
    ],
)
def test_a_trace_file_is_read(tmp_path, text, times):
    file = tmp_path / "trace.csv"
    file.write_bytes(text.encode())
    trace = read_trace(file)
    np.testing.assert_allclose(trace.times, times)
    assert trace.rate == pytest.approx((len(times) - 1) / times[-1])
    with pytest.raises(ValueError, match=f"holds {len(times)} requests and 99"):
        trace.arrivals(99, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"time\n1\n", "two distinct times"),
        (b"1\n2\nsoon\n", "line 3: 'soon' is not a time as the others are"),
        (b"1\nnan\n", "line 2: 'nan' is not a time"),
        (b"1\n\n2024-13-01\n", "line 3: '2024-13-01' is not a time"),
        (b"0,07\n0,14\n", "line 1: '0,07' is not .* a point before decimals"),
        (b"nan\n1\n2\n", "line 1: 'nan' is not a time"),
        (b"device,time\na,3\n", "line 2: 'a,3' is not .* one per line"),
        (b"1\n2\n3\xff\n", r"line 3: not UTF-8 at byte 5 \(0xff\)"),
        (b"time\n" + b"9" * 200_000, f"line 2: '{'9' * 60}'... is not a time"),
        (b"t\n2024-05-01\n2024-05-02\n7\n", "line 4: '7' is not a time as the others"),
    ],
)
def test_a_bad_trace_is_refused_with_line_and_value(tmp_path, content, message):
    file = tmp_path / "trace.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_trace(file)
    assert "\n" not in str(caught.value)
