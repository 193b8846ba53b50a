from __future__ import annotations

from math import nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.extension.whole_space import middle
from rrl.recording.table import from_table
from rrl.tuning.presets import THREADS, effective_space, paper_cpu


@st.composite
def knobs(draw, name):
    """A knob with values of any kind, in any order."""
    size = draw(st.integers(1, 5))
    value = st.one_of(st.integers(0, 99), st.text("abc", min_size=1, max_size=3))
    values = draw(st.lists(value, min_size=size, max_size=size, unique=True))
    return Knob(name, tuple(values), draw(st.permutations(range(size))))


@st.composite
def spaces(draw):
    """A space of one to three knobs with some configurations missing."""
    names = ("inter_op", "intra_op", "batch_threads")[: draw(st.integers(1, 3))]
    made = [draw(knobs(name)) for name in names]
    shape = tuple(len(knob.values) for knob in made)
    cells = int(np.prod(shape))
    mask = np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells)))
    mask[draw(st.integers(0, cells - 1))] = True
    return ConfigSpace(made, available=np.argwhere(mask.reshape(shape)))


radii = st.integers(0, 60).map(lambda tenths: tenths / 10)


@given(spaces(), radii, st.data())
def test_ball_is_the_one_found_by_brute_force(space, radius, data):
    index = data.draw(st.integers(0, len(space) - 1))
    brute = [
        i
        for i in range(len(space))
        if sum(
            (a - b) ** 2 for a, b in zip(space.positions[i], space.positions[index], strict=True)
        )
        <= radius**2 * (1 + 1e-8)
    ]
    assert space.ball(index, radius).tolist() == brute
    assert np.flatnonzero(space.distances(index) <= radius * (1 + 1e-9)).tolist() == brute


PAIR, TWO = Knob("a", (1, 2)), paper_cpu(2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Knob("a", ()), "no values"),
        (lambda: Knob("a", (1, 1)), "the value 1 twice"),
        (lambda: Knob("a", (1, 2), (1, 1)), r"the numbers from 0 to 1, .* got \(1, 1"),
        (lambda: Knob("a", (1, nan)), "a value that is not finite"),
        (lambda: ConfigSpace([]), "at least one knob"),
        (lambda: ConfigSpace([PAIR, PAIR]), "names must differ"),
        (lambda: ConfigSpace([PAIR], []), "no configuration is available"),
        (lambda: ConfigSpace([PAIR], [[0, 0]]), r"of shape \(n, 1\), got int64 of shape \(1, 2\)"),
        (lambda: ConfigSpace([PAIR], [[True], [False]]), "whole numbers .* got bool of shape"),
        (lambda: ConfigSpace([PAIR], [[2]]), "invalid entry"),
        (lambda: ConfigSpace([Knob(f"{k}", (0, 1)) for k in range(1100)]), r"1.36e\+331 comb"),
        (lambda: effective_space({f"{k}": (0, 1) for k in range(70)}), "a grid may have 100,000"),
        (lambda: paper_cpu(0), "cores must be a whole number"),
        (lambda: paper_cpu(2.5), "cores must be a whole number"),
        (lambda: paper_cpu(True), "cores must be a whole number"),
        (lambda: paper_cpu(10**6), "cores must be a whole number"),
        (lambda: from_table({"a": [0, 8]}, ["b"]), "no column 'b': it has"),
        (lambda: from_table({"ab": [0, 8], "c": [1, 2]}, "ab"), r"list of names: give \['ab'\]"),
        (lambda: from_table({"a": [0, 8], "b": [1, 2]}, "ab"), r"list of names: give \['ab'\]"),
        (lambda: from_table({"a": [1.0, nan]}, ["a"]), "column 'a', row 1: nan is not a value"),
        (lambda: from_table({"a": [1], "b": [1, 2]}, ["a", "b"]), "in their number of rows"),
        (lambda: TWO.index({"inter": 1}), "unknown knob 'inter' .* are .*'inter_op', 'intra_op'"),
        (lambda: TWO.index({"inter_op": 1, "intra_op": 1}), "no value for 'batch_threads'"),
        (lambda: TWO.index(dict.fromkeys(THREADS, 3)), r"no value 3: choose one of \[0, 1, 2\]"),
        (lambda: TWO.index({name: [1] for name in THREADS}), r"no value \[1\]"),
        (lambda: TWO.index(3), "maps knob names to values"),
    ],
)
def test_what_is_no_space_and_no_configuration_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_batching_off_makes_the_batch_knobs_idle():
    threads = dict.fromkeys(THREADS, (0, 1, 2))
    batches = {"max_batch_size": (1, 4, 8), "batch_timeout_micros": (0, 1000)}
    space = effective_space(threads | batches)
    off = [c for c in space if c["batch_threads"] == 0]
    assert len(off) == 9
    assert {(c["max_batch_size"], c["batch_timeout_micros"]) for c in off} == {(1, 0)}
    ones = [c for c in space if c["max_batch_size"] == 1]
    assert {c["batch_timeout_micros"] for c in ones} == {0}
    assert len(space) == 9 + 9 * 2 * (1 + 2 * 2)
    assert space.names == (*threads, *batches)


# --- knobs without an order -----------------------------------------------------------------------

POLICY = Knob("policy", ("none", "lru", "fifo"))


@settings(max_examples=30)
@given(space=spaces(), count=st.integers(1, 12), data=st.data())
def test_the_nearest_are_those_found_by_brute_force(space, count, data):
    index = data.draw(st.integers(0, len(space) - 1))

    def away(c):  # each knob adds the square of a fraction of its range
        squared = 0.0
        for knob, a, b in zip(space.knobs, *space.value_indices[[index, c]], strict=True):
            apart = abs(knob.positions[a] - knob.positions[b])
            squared += (
                float(a != b) if knob.categorical else apart / (len(knob.values) - 1 or 1)
            ) ** 2
        return squared

    order = sorted(range(len(space)), key=away)
    last = away(order[min(count, len(space)) - 1])
    assert space.nearest(index, count).tolist() == [
        c for c in range(len(space)) if away(c) <= last * (1 + 1e-9)
    ]


@settings(max_examples=25)
@given(spaces())
def test_steps_are_a_distance_that_each_value_adds_to(space):
    for index in range(0, len(space), 7):
        steps = space.steps(index)
        order = [np.array(knob.positions) for knob in space.knobs]
        pairs = zip(order, space.value_indices.T, strict=True)
        apart = [np.abs(rank[value] - rank[value[index]]) for rank, value in pairs]
        assert steps.tolist() == np.sum(apart, axis=0).tolist()
        assert [space.steps(i)[index] for i in range(len(space))] == steps.tolist()


def test_values_of_a_categorical_knob_are_equally_far_apart_and_the_first_is_in_the_middle():
    space = ConfigSpace([POLICY, Knob("threads", (1, 2, 4))])
    assert space.distances(0)[::3] == pytest.approx([0, 1, 1])
    assert [space[i] for i in middle(space)] == [{"policy": POLICY.values[0], "threads": 2}]


def test_text_is_ordered_only_if_it_has_positions():
    assert not Knob("load", ("low", "high"), positions=(0, 1)).categorical
    assert not Knob("pool", ("auto", 1, 2)).categorical
    table = {"policy": ["lru", "none", "fifo"], "threads": [1, 2, 3], "cost": [1.0, 2.0, 3.0]}
    assert [k.categorical for k in from_table(table, ["policy", "threads"]).knobs] == [True, False]


# --- tables of measurements -----------------------------------------------------------------------


@st.composite
def tables(draw):
    """Columns of any kind, whose rows may repeat: few or many knobs, with few or many values."""
    kinds = (
        st.integers(0, 1),
        st.integers(0, 2668),
        st.booleans(),
        st.just(7),
        st.sampled_from(["none", "lru", "1"]),
        st.one_of(st.integers(0, 3), st.just(0.5), st.text("ab", min_size=1, max_size=2)),
    )
    columns = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=12))
    rows = draw(st.lists(st.tuples(*columns), min_size=1, max_size=30))
    rows += draw(st.lists(st.sampled_from(rows), max_size=5))
    return {f"k{k}": list(values) for k, values in enumerate(zip(*rows, strict=True))}


def check_rows(table):
    """The rows of a table are numbered in the order of their value indices, each once."""
    space = from_table(table, list(table))
    rows = list(zip(*(np.asarray(c, object).tolist() for c in table.values()), strict=True))
    assert {tuple(configuration.values()) for configuration in space} == set(rows)
    indices = space.value_indices.tolist()
    assert indices == sorted(indices)
    assert len(indices) == len(space) == len(set(rows))
    assert [space.index(configuration) for configuration in space] == list(range(len(space)))
    assert [tuple(space[i].values()) for i in space.indices(table).tolist()] == rows
    assert space[-1] == space[len(space) - 1]
    for knob in space.knobs:
        values = [(isinstance(value, str), value) for value in knob.values]
        assert values == sorted(values)
    return space


@given(tables(), st.data())
def test_any_table_is_a_space_of_its_rows(table, data):
    space = check_rows(table)
    shuffled = ConfigSpace(space.knobs, data.draw(st.permutations(space.value_indices.tolist())))
    as_floats = {
        name: [x if isinstance(x, str) else float(x) for x in values]
        for name, values in table.items()
    }
    frames = (from_table(pd.DataFrame(one), list(one)) for one in (table, as_floats))
    for twin in (shuffled, *frames):
        assert (twin, hash(twin)) == (space, hash(space))
    assert len(space) == 1 or ConfigSpace(space.knobs, space.value_indices[1:]) != space
    other = {name: data.draw(st.sampled_from(values)) for name, values in table.items()}
    assert (other in space) == (other in list(space))


def test_a_table_may_have_more_knobs_than_numpy_has_dimensions():
    check_rows({f"k{k}": np.arange(90) % 80 == k for k in range(80)})
    space = check_rows({f"k{k}": [k] * 3 for k in range(70)} | {"mode": ["a", "b", "b"]})
    assert space == ConfigSpace(space.knobs)
    assert space == ConfigSpace([Knob(np.str_(knob.name), knob.values) for knob in space.knobs])


def test_a_fingerprint_stays_as_files_have_it():
    assert paper_cpu().fingerprint == "72e658c6ec8ff87a"


def test_the_last_knob_of_a_whole_grid_varies_fastest():
    space = ConfigSpace([Knob(name, range(100)) for name in "abc"])
    assert space[123_456] == {"a": 12, "b": 34, "c": 56}
    assert space.index(dict(reversed(space[123_456].items()))) == 123_456
    assert space[-1] == {"a": 99, "b": 99, "c": 99}
    assert space == ConfigSpace(space.knobs)
    with pytest.raises(IndexError, match="has no configuration number 1000000"):
        space[10**6]
