"""Figures show what they are given, and the same data give the same bytes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from seaborn.utils import relative_luminance
from test_profile import PLAN, record

from rrl import ConfigSpace, Knob, read_profile
from rrl.plotting.cells import on_grid, outline, plot_cells
from rrl.plotting.experiments import plot_everywhere, plot_ratio_panels
from rrl.plotting.profile import plot_finals, plot_knob, plot_surface
from rrl.plotting.runs import plot_comparison
from rrl.plotting.shared import AGENT_STYLES, agent_style, save, style
from rrl.studies.outcomes import COMPARED

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles") / "profile"
    record(folder)
    return read_profile(folder)


@pytest.fixture(autouse=True)
def _figure():
    style()
    plt.figure()
    yield
    plt.close("all")


def test_saving_twice_gives_the_same_bytes(tmp_path, profile):
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        fig, ax = plt.subplots()
        plot_knob(profile, "inter_op", PLAN.space[0], ax)
        png = save(fig, "figure", folder)
        written.append((png.read_bytes(), png.with_suffix(".pdf").read_bytes()))
    assert written[0] == written[1]


def test_a_knob_is_drawn_at_every_value_and_load(profile):
    ax = plot_knob(profile, "inter_op", PLAN.space[0], plt.gca())
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "4"]
    assert len(ax.containers) == 2


def test_comparison_and_finals_have_an_entry_for_each():
    costs = {"20/s": {"a": np.array([1.0, 2.0]), "b": np.array([0.5, 0.6])}}
    legend = plot_comparison(costs, plt.gca()).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    plt.figure()
    finalists = [
        {"inter_op": 1, "batch_threads": 0, "ratio": 2.0, "verdict": "separated"},
        {"inter_op": 2, "batch_threads": 2, "ratio": 1.0, "verdict": "best"},
    ]
    finalists[0] |= {"low": 1.5, "high": 3.0}
    ax = plot_finals(finalists, ["inter_op", "batch_threads"], plt.gca())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["2 / 2", "1 / off"]
    arrows = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == ">"]
    assert arrows == [[[2, 1]]], "an interval that goes on says so"


def test_agents_that_are_drawn_together_differ_in_a_grey_print_too():
    together = ["rrl-gp", "rrl", "rrl-adaptive", "tf-serving-default", "heuristic"]
    together += ["q-learning", "deep-q-network", "coordinate-descent", "hill-climbing", "random"]
    together += ["oracle", "fixed"]
    for part in ("color", "marker", "ls"):
        assert len({agent_style(name)[part] for name in together}) == len(together)
    assert len({(color, marker) for color, marker, _ in AGENT_STYLES.values()}) == len(AGENT_STYLES)


def test_every_agent_of_the_committed_tables_has_a_style():
    tables = sorted((ROOT / "figures").glob("experiments-*.csv"))
    named = [pd.read_csv(path).get(column) for path in tables for column in ("agent", "rival")]
    agents = set(pd.concat([names for names in named if names is not None]))
    assert len(agents) > 10
    assert agents <= set(AGENT_STYLES)


def test_the_ring_is_at_the_best_and_what_was_not_measured_is_hatched():
    threads = {"batch_threads": [2, 2, 0], "b": [1, 2, 2]}
    rows = pd.DataFrame({"rate_per_s": 20.0, **threads, "mean_s": [0.3, 0.05, 0.2]})
    space = ConfigSpace([Knob("batch_threads", (0, 2), positions=(1, 0)), Knob("b", (1, 2))])
    partial = SimpleNamespace(summary=lambda: rows, space=space, knobs=list(threads))
    ax = plot_surface(partial, 20.0, ("batch_threads", "b"), plt.gca())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["2", "off"]
    assert ax.lines[-1].get_xydata().tolist() == [[1, 0]]
    assert [text.get_text() for text in ax.texts] == ["50"], "the best cell has its number"
    assert ax.images[0].get_array().mask.tolist() == [[False, False], [True, False]]
    assert ax.patch.get_hatch()


def test_a_number_on_a_heat_map_is_black_or_white_whichever_can_be_read():
    space = ConfigSpace([Knob("inter_op", (1, 2, 3)), Knob("intra_op", (1, 2))])
    ax = plot_cells(space, [1.0, 3.0, 10.0, 30.0, np.nan, 100.0], plt.gca())
    assert [text.get_text() for text in ax.texts] == ["1", "3", "10", "30", "100"]
    faces = ax.images[0].to_rgba([1.0, 3.0, 10.0, 30.0, 100.0])
    for text, face in zip(ax.texts, faces, strict=True):
        light = relative_luminance(face) + 0.05  # a contrast is a ratio of such numbers
        assert text.get_color() == ("black" if light / 0.05 > 1.05 / light else "white")
    assert {text.get_color() for text in ax.texts} == {"black", "white"}
    assert ax.patch.get_hatch(), "what is unknown is hatched"


def test_a_number_gives_way_to_the_mark_in_its_cell():
    space = ConfigSpace([Knob("inter_op", (1, 2)), Knob("intra_op", (1, 2))])
    ax = plot_cells(space, [1.0, 2.0, 3.0, 4.0], plt.gca(), region=[0, 1], cross=1, ring=0)
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 0]], [[0, 0]]]
    assert [text.get_position() for text in ax.texts] == [(0, -12), (0, -12), (0, 0), (0, 0)]
    assert len(ax.collections[0].get_segments()) == 6


def test_agents_are_sorted_by_cost_and_solved_scenarios_are_counted():
    columns = ["a", "b", "c"]
    reached = pd.DataFrame([[5.0, np.inf, np.inf], [3.0, 4.0, np.inf]], ["random", "rrl"], columns)
    costs = pd.DataFrame([[2.0, 6.0, 8.0], [1.0, 2.0, 4.0]], ["random", "rrl"], columns)
    _, axes = plt.subplots(1, 2, sharey=True)
    plot_everywhere(reached, costs, axes)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["rrl", "random"]
    assert [bar.get_width() for bar in axes[0].patches] == [2, 1]
    places = {line.get_marker(): line.get_xdata().tolist() for line in axes[1].lines[:4]}
    assert places[agent_style("random")["marker"]] == [2.0, 3.0, 2.0]


def test_ratios_have_a_panel_per_measure_and_a_hollow_marker_where_nothing_is_certain():
    rows = [
        {"agent": "other", "measure": measure, "ratio": ratio, "verdict": verdict}
        for ratio, verdict in ((1.25, "lost"), (1.1, "tied"))
        for measure in COMPARED
    ]
    axes = plot_ratio_panels(pd.DataFrame(rows), "agent", "rrl-gp").axes
    assert [name.get_text() for name in axes[0].get_yticklabels()] == ["other"]
    assert len(axes) == 4
    full, hollow = axes[0].lines[:2]
    assert (full.get_xdata().tolist(), hollow.get_xdata().tolist()) == ([1.25], [1.1])
    assert hollow.get_markerfacecolor() == "white" != full.get_markerfacecolor()


def test_levels_stand_in_order_of_position_and_holes_stay_holes():
    knobs = [Knob("a", (1, 2)), Knob("m", (1, 2)), Knob("b", (0, 1, 2), positions=(2, 0, 1))]
    space = ConfigSpace(knobs, [[0, 0, 0], [0, 0, 1], [1, 1, 2]])
    assert np.array_equal(
        on_grid(space, [10.0, 11.0, 12.0], 0), [[11, np.nan, 10], [np.nan] * 3], equal_nan=True
    )
    assert on_grid(space, [10.0, 11.0, 12.0], 1)[1].tolist()[1] == 12


def test_an_outline_is_closed():
    region = np.random.default_rng(1).random((6, 7)) < 0.5
    ends = [end for line in outline(region) for end in line]
    assert all(ends.count(end) % 2 == 0 for end in ends)
    horizontal = sum(a[1] == b[1] for a, b in outline(region))
    assert horizontal == np.abs(np.diff(np.pad(region, 1).astype(int), axis=0)).sum()
