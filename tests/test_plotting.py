"""Figures show what they are given, and the same data give the same bytes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from rrl import ConfigSpace, Knob, read_profile
from rrl.plotting.cells import on_grid, plot_cells
from rrl.plotting.profile import plot_knob, plot_surface
from rrl.plotting.shared import AGENT_STYLES, agent_style, save, style

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _figure():
    style()
    plt.figure()
    yield
    plt.close("all")


def test_saving_twice_gives_the_same_bytes(tmp_path):
    profile, written = read_profile(ROOT / "data" / "keyword-threads"), []
    for folder in (tmp_path / "one", tmp_path / "two"):
        fig, ax = plt.subplots()
        plot_knob(profile, "inter_op", profile.space[0], ax)
        png = save(fig, "figure", folder)
        written.append((png.read_bytes(), png.with_suffix(".pdf").read_bytes()))
    assert written[0] == written[1]


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


def test_levels_stand_in_order_of_position_and_holes_stay_holes():
    knobs = [Knob("a", (1, 2)), Knob("m", (1, 2)), Knob("b", (0, 1, 2), positions=(2, 0, 1))]
    space = ConfigSpace(knobs, [[0, 0, 0], [0, 0, 1], [1, 1, 2]])
    assert np.array_equal(
        on_grid(space, [10.0, 11.0, 12.0], 0), [[11, np.nan, 10], [np.nan] * 3], equal_nan=True
    )
    assert on_grid(space, [10.0, 11.0, 12.0], 1)[1].tolist()[1] == 12


def test_each_cell_has_its_number_in_a_colour_that_can_be_read():
    space = ConfigSpace([Knob("inter_op", (1, 2, 3)), Knob("intra_op", (1, 2))])
    texts = plot_cells(space, [1.0, 3.0, 10.0, 30.0, np.nan, 100.0], plt.gca()).texts
    assert [text.get_text() for text in texts] == ["1", "3", "10", "30", "100"]
    assert (texts[0].get_color(), texts[-1].get_color()) == ("black", "white")
