"""The batching parameters file, read and written as TF Serving has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.serving.batching import BatchingParameters

maybe = st.none() | st.integers(1, 10_000)


@given(
    st.builds(
        BatchingParameters,
        max_batch_size=maybe,
        batch_timeout_micros=st.none() | st.integers(0, 10**6),
        max_enqueued_batches=maybe,
        num_batch_threads=maybe,
    )
)
def test_text_round_trip(parameters):
    assert BatchingParameters.from_text(parameters.to_text()) == parameters


def test_reads_the_guides_own_example():
    text = """
    max_batch_size { value: 128 }
    batch_timeout_micros { value: 0 }
    max_enqueued_batches { value: 1000000 }
    num_batch_threads { value: 8 }
    """
    parameters = BatchingParameters.from_text(text)
    assert parameters.num_batch_threads == 8
    assert parameters.max_enqueued_batches == 1_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_bach_size { value: 1 }", "max_bach_size"),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros"),
        ("allowed_batch_sizes: 4", "allowed_batch_sizes"),
        ("max_batch_size {", "batching parameters file"),
    ],
)
def test_bad_files(text, message):
    with pytest.raises(ValueError, match=message):
        BatchingParameters.from_text(text)
