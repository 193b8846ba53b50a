"""How a configuration is written: knobs, flags, variables, and the file for batching."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.knob_options import read_default, read_space
from rrl.serving.settings import batching_text, flags, read_batching, usable_cpus
from rrl.support.errors import UsageError

PARAMETERS = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.integers(1, 10**6)))
def test_text_round_trip(parameters):
    assert read_batching(batching_text(parameters)) == parameters
    apart = batching_text(parameters).replace(" ", "  # a remark\n ").replace(": ", ":")
    assert read_batching(apart) == parameters


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
        read_batching(text)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"inter_op": -1}, "inter_op"),
        ({"inter_op": 1.5}, "inter_op"),
        ({"inter_op": float("nan")}, "inter_op"),
        ({"inter_op": "many"}, "inter_op"),
        ({"nosuch": 1}, "unknown knob 'nosuch'"),
        (
            {"inter_op": 1, "flag:--tensorflow_inter_op_parallelism": 2},
            "inter_op and flag:--tensorflow_inter_op_parallelism are the same",
        ),
    ],
)
def test_bad_configurations(configuration, message):
    with pytest.raises(UsageError, match=message):
        flags(configuration, Path("b.txt"))


def test_the_default_of_a_flag_or_a_variable_is_its_first_value():
    knobs = ["flag:--new_one=b,a", "env:A=1,0", "cpus=1", "inter_op=1,2"]
    options = Namespace(knob=knobs, default=[])
    space, fixed = read_space(options, 1)
    assert fixed == {"cpus": 1}
    usual, fixed = read_space(Namespace(knob=["flag:--x=1"]), 1)
    assert (usual.names[0], fixed) == ("inter_op", {"flag:--x": 1})
    default = read_default(options, space)
    assert default == {"flag:--new_one": "b", "env:A": 1, "inter_op": 0}
    here = len(usable_cpus())
    assert read_default(options, ConfigSpace([Knob("cpus", (1, here + 1))])) == {"cpus": here}


def test_text_levels_keep_their_order_and_numbers_are_sorted():
    knobs = ["flag:--mode=slow,fast,7", "env:A=10,9,0.5"]
    space, _ = read_space(Namespace(knob=knobs), 1)
    mode, number = space.knobs
    assert (mode.values, mode.positions) == (("slow", "fast", 7), (0.0, 1.0, 2.0))
    assert (number.values, number.positions) == ((10, 9, 0.5), (2.0, 1.0, 0.0))
