"""What devices send: rates, order, determinism, and delays that are never negative.

The contract of all workloads is tested in ``test_workload.py``; these workloads are in its list.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl.workloads.device_day import HOURS, device_day
from rrl.workloads.devices import Cameras, Delayed, Reconnects, Superposed
from rrl.workloads.workload import Fleet, Poisson

SEEDS = st.integers(0, 2**32 - 1)

simple = st.one_of(
    st.builds(Poisson, st.floats(0.1, 50.0)),
    st.builds(Fleet, st.integers(1, 40), st.floats(0.5, 20.0), st.floats(0, 5), st.floats(0, 1)),
    st.integers(1, 40).flatmap(
        lambda devices: st.floats(1.0, 60.0).flatmap(
            lambda every: st.builds(
                Reconnects,
                st.just(devices),
                st.just(every),
                st.floats(0.01, 1.0).map(lambda fraction: fraction * every),
                st.floats(0.5, 5.0),
                st.floats(0.5, 5.0),
                st.floats(0, 30.0),
            )
        )
    ),
)
workloads = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(Cameras, inner, st.floats(0.2, 20.0), st.floats(0.2, 5.0)),
        st.builds(Delayed, inner, st.floats(0.01, 2.0), st.floats(0, 1.5), st.floats(2.0, 9.0)),
        st.builds(Superposed, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=4,
)


@settings(max_examples=30)
@given(workloads, st.integers(1, 200), SEEDS)
def test_any_fleet_gives_sorted_times_that_its_seed_repeats(workload, n, seed):
    times, again = (workload.arrivals(n, np.random.default_rng(seed)) for _ in range(2))
    assert times.shape == (n,)
    assert np.isfinite(times).all()
    assert times[0] >= 0
    assert np.all(np.diff(times) >= 0)
    assert times.tobytes() == again.tobytes()
    assert 0 < workload.rate < math.inf


@settings(max_examples=30)
@given(simple, st.integers(1, 60), st.integers(1, 60), SEEDS)
def test_more_requests_begin_with_the_same_ones(inner, few, more, seed):
    """So what a longer run adds comes later, and no early request is missed.

    It holds where it holds for the parts: these draw their beginning first.
    """
    for workload in (Cameras(inner, 3.0, 1.0), Delayed(inner), Superposed((inner, inner))):
        short = workload.arrivals(few, np.random.default_rng(seed))
        long = workload.arrivals(few + more, np.random.default_rng(seed))
        if not isinstance(inner, Fleet | Reconnects):  # these draw device by device
            np.testing.assert_array_equal(long[:few], short)
        assert long[-1] >= short[-1] or isinstance(inner, Fleet | Reconnects)


@given(st.floats(0.01, 5.0), st.floats(0, 3.0), st.floats(5.0, 20.0), SEEDS)
def test_a_delay_is_never_negative_and_never_longer_than_the_limit(median, sigma, longest, seed):
    delays = Delayed(Poisson(1.0), median, sigma, longest).delays(500, np.random.default_rng(seed))
    assert np.all((delays > 0) & (delays <= longest))


def test_delayed_requests_are_those_that_were_sent_and_they_overtake():
    """A burst of one hundred at once comes one by one, and all of it comes."""
    burst = Fleet(devices=100, period=1000.0, spread=0.0)
    times = Delayed(burst, median=0.5, sigma=1.0, longest=10.0).arrivals(
        100, np.random.default_rng(1)
    )
    assert np.all((times > 0) & (times <= 10))
    assert len(np.unique(times)) > 90
    sent = np.arange(200) * 0.1
    delay = Delayed(burst, 0.5, 1.0).delays(200, np.random.default_rng(2))
    assert np.any(np.diff(sent + delay) < 0)


def test_an_uplink_leaves_poisson_arrivals_poisson():
    from scipy.stats import kstest

    times = Delayed(Poisson(20.0)).arrivals(20_000, np.random.default_rng(3))
    gaps = np.diff(times[times > 20.0])
    assert kstest(gaps, "expon", args=(0, 1 / 20.0)).pvalue > 0.01


def test_the_frames_of_an_event_are_an_interval_apart_and_as_many_as_it_lasts():
    rare = Fleet(devices=1, period=10_000.0, spread=0.0)  # one event at a time
    cameras = Cameras(rare, duration=13.0, interval=2.0)
    times = cameras.arrivals(20_000, np.random.default_rng(4))
    gaps = np.diff(times)
    within = gaps < 5000
    np.testing.assert_allclose(gaps[within], 2.0, atol=1e-6)
    events = 1 + np.count_nonzero(~within)
    assert len(times) / events == pytest.approx(cameras.frames, rel=0.06)
    assert cameras.frames == pytest.approx(1 / (1 - math.exp(-2 / 13)))


@pytest.mark.parametrize(("alpha", "beta", "window"), [(3.0, 4.0, 10.0), (1.0, 1.0, 60.0)])
def test_an_update_brings_each_device_back_once_with_the_traffic_model_s_delays(
    alpha, beta, window
):
    from scipy.stats import beta as law
    from scipy.stats import kstest

    update = Reconnects(3000, 3600.0, window, alpha, beta, first=100.0)
    times = update.arrivals(6000, np.random.default_rng(6)).reshape(2, 3000)
    for number, wave in enumerate(times):
        delay = (wave - 100.0 - 3600.0 * number) / window
        assert kstest(delay, law(alpha, beta).cdf).pvalue > 0.01


def test_parts_add_up():
    parts = (Poisson(3.0), Fleet(60, 20.0), Reconnects(100, 50.0, first=20.0))
    times = Superposed(parts).arrivals(4000, np.random.default_rng(7))
    assert Superposed(parts).rate == pytest.approx(3 + 3 + 2)
    quiet = times[times < 20.0]
    burst = times[(times >= 20.0) & (times < 30.0)]
    assert len(burst) > 100 + len(quiet) / 4
    assert len(times[times < 500]) == pytest.approx(8 * 500, rel=0.1)


def test_no_part_is_cut_off_before_the_others():
    both = Superposed((Poisson(1.0), Poisson(1.0)))
    for seed in range(12):
        begun, times = (both.arrivals(n, np.random.default_rng(seed)) for n in (2000, 4000))
        np.testing.assert_array_equal(begun, times[:2000])


def test_a_part_that_is_silent_for_long_is_not_missed():
    """The second part comes late. All of it has to be there before what comes later."""
    late = Reconnects(500, 1000.0, first=900.0)
    times = Superposed((Poisson(1.0), late)).arrivals(1500, np.random.default_rng(8))
    assert np.count_nonzero((times >= 900) & (times < 910)) >= 500


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cameras(Poisson(1.0), duration=0.0), "duration 0.0 s"),
        (lambda: Reconnects(5, 5.0, window=6.0), "window 6.0 s.*at most every = 5.0 s"),
        (lambda: Reconnects(5, 5.0, window=1.0, alpha=0.0), "alpha 0.0"),
        (lambda: Reconnects(5, 5.0, window=1.0, first=-1.0), "first -1.0 s"),
        (lambda: Delayed(Poisson(1.0), sigma=math.nan), "sigma nan"),
        (lambda: Delayed(Poisson(1.0), median=3.0, longest=2.0), "longest 2.0 s.*median 3.0 s"),
        (lambda: Superposed(()), "no parts"),
    ],
)
def test_bad_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
