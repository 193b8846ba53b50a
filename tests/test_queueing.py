"""The queue kernel against queueing theory, and request by request against a literal reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_queue import ReferenceQueue

from rrl.simulation.queueing import NO_LIMIT, simulate_queue

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arrivals": []}, "arrivals must hold at least one"),
        ({"arrivals": [1.0, 0.0]}, "sorted"),
        ({"arrivals": [-1.0, 0.0]}, "0 or more"),
        ({"arrivals": [0.0]}, "1 arrivals and 2 factors"),
        ({"batch_work": [-1.0]}, "above 0"),
        ({"factor": [-1.0, 1.0]}, "at least 0"),
        ({"threads": 0}, "threads 0"),
        ({"dispatch": math.nan}, "dispatch nan s"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_queue(**{"arrivals": [0.0, 1.0], "factor": [1.0, 1.0], **arguments})
