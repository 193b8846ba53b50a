"""How a configuration is written: knobs, flags, variables, and the file for batching."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.options import knob, own_default, read_space
from rrl.serving.settings import flags, read_batching, usable_cpus
from rrl.support.errors import UsageError
from rrl.tuning.presets import THREADS


def test_spaces_and_remarks_in_a_file_change_nothing():
    text = "max_batch_size{value:8}# { value: 4 }\n\n num_batch_threads  {\n value : 2 }"
    assert read_batching(text) == {"max_batch_size": 8, "num_batch_threads": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_bach_size { value: 1 }", "max_bach_size"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros"),
        ("allowed_batch_sizes: 4", "allowed_batch_sizes"),
        ("max_batch_size {", "batching parameters file"),
    ],
)
def test_bad_files(text, message):
    with pytest.raises(ValueError, match=message):
        read_batching(text)


def test_a_knob_is_a_whole_number():
    """The other mistakes in a knob are among those of the command line."""
    with pytest.raises(UsageError, match=r"inter_op must be a whole number .*, got 1\.5"):
        flags({"inter_op": 1.5}, Path("b.txt"))


def test_the_default_of_a_flag_or_a_variable_is_its_first_value():
    knobs = ["flag:--new_one=b,a", "env:A=1,0", "cpus=1", "inter_op=1,2"]
    options = Namespace(knob=[*map(knob, knobs)])
    space, fixed = read_space(options, 1)
    assert fixed == {"cpus": 1}
    usual, fixed = read_space(Namespace(knob=[knob("flag:--x=1"), knob("inter_op=2")]), 1)
    assert (usual.names, fixed) == (THREADS[1:], {"flag:--x": 1, "inter_op": 2})
    default = own_default(space)
    assert default == {"flag:--new_one": "b", "env:A": 1, "inter_op": 0}
    here = len(usable_cpus())
    assert own_default(ConfigSpace([Knob("cpus", (1, here + 1))])) == {"cpus": here}


def test_a_batch_must_hold_the_largest_request():
    """A sample of 4 examples: no smaller value is a candidate, with a knob for it or without."""
    knobs = [knob("batch_threads=0,2"), knob("max_batch_size=1,2,4,8")]
    space, _ = read_space(Namespace(knob=knobs), 4)
    assert {c["max_batch_size"] for c in space} == {4, 8}
    threads = space.knobs[space.names.index("batch_threads")]
    assert threads.positions == (1, 0)  # batching off is least like few threads
    _, fixed = read_space(Namespace(knob=knobs[:1]), 4)
    assert fixed == {"max_batch_size": 4}
    with pytest.raises(ValueError, match=r"max_batch_size 2: .* of 4 examples"):
        read_space(Namespace(knob=[knobs[0], ("max_batch_size", (1, 2))]), 4)
