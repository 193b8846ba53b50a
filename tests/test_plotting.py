"""Figures show what they are given, and the same data give the same bytes."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rrl import ConfigSpace, Copy, Knob, LearnedSimilarity, TableServer, read_profile, testbed
from rrl.plotting.cells import on_grid, plot_cells
from rrl.plotting.explorer import draw_episode, draw_view, save_animation
from rrl.plotting.profile import plot_knob, plot_surface
from rrl.plotting.shared import AGENT_STYLES, agent_style, save, style
from rrl.publishing.explorer import Explorer, Panel, look, png

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
    together += ["fixed"]
    for part in ("color", "marker", "ls"):
        assert len({agent_style(name)[part] for name in together}) == len(together)
    assert len({(color, marker) for color, marker, _ in AGENT_STYLES.values()}) == len(AGENT_STYLES)


def test_every_agent_of_the_committed_tables_has_a_style():
    tables = sorted((ROOT / "figures").glob("experiments-*.csv"))
    named = [pd.read_csv(path).get(column) for path in tables for column in ("agent", "rival")]
    agents = set(pd.concat([names for names in named if names is not None]))
    assert len(agents) == 10
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


# --- the explorer: what it shows is what the agent does, and what its sliders set -----------------


@pytest.fixture
def explorer():
    return Explorer(testbed("cpu2"), [60.0, 64.0], np.random.default_rng(1), requests=20)


def small():
    """An explorer whose picture is quickly drawn: of a table of two knobs."""
    a, b = np.mgrid[1:5, 1:5].reshape(2, -1)
    server = TableServer({"a": a, "b": b, "cost": (a - 2.2) ** 2 + (b - 3.1) ** 2 + 1}, ["a", "b"])
    return Explorer(server, [60.0, 115.0], np.random.default_rng(1), requests=5)


@pytest.mark.parametrize("similarity", ["copy", "learned"])
def test_the_view_is_the_agents_own_table_choice_and_region(explorer, similarity):
    explorer.radius, explorer.temperature, explorer.similarity = 1.5, 0.1, similarity
    explorer.step(12)
    view, agent = look(explorer), explorer.agent
    table = agent.tables.nearest(60.0)
    region = view.space.ball(view.measured, 1.5)
    assert view.region.tolist() == region.tolist() == table.last_region.tolist()
    known = table.counts > 0
    for shown, own in ((view.cost, table.values), (view.sd, table.sds)):
        assert np.isnan(shown[~known]).all()
        assert (shown[known] == own[known]).all()
    assert view.space[view.recommended] == agent.best(60.0)
    uniform = SimpleNamespace(random=iter((np.arange(2000) + 0.5) / 2000).__next__)
    cells = agent.region.candidates(table)
    draws = [agent.exploration.choose(table, cells, uniform) for _ in range(2000)]
    drawn = np.bincount(draws, minlength=len(view.space)) / 2000
    assert np.allclose(drawn, view.probability, atol=2 / 2000)


def test_settings_reach_the_agent_and_each_load_has_a_table(explorer):
    explorer.step(3)
    agent, copy = explorer.agent, explorer.agent.similarity
    assert isinstance(copy, Copy)
    assert agent.learning_rate == 0.3
    explorer.load, explorer.radius, explorer.temperature = 64.0, 3.0, 0.3
    explorer.similarity = "learned"
    explorer.step(2)
    assert [table.episodes for table in agent.tables] == [3, 2]
    assert isinstance(agent.similarity, LearnedSimilarity)
    assert (agent.learning_rate, agent.region.radius) == (1.0, 3.0)
    temperature = agent.exploration.temperature
    assert temperature(0) == temperature(10_000) == 0.3
    explorer.similarity = "copy"
    explorer.step()
    assert agent.similarity is copy  # a similarity is kept when another one is tried
    explorer.restart()
    assert not explorer.agent.tables
    assert (explorer.load, explorer.radius) == (64.0, 3.0)


def test_before_a_measurement_at_a_load_the_view_has_at_most_what_serves_first(explorer):
    first = look(explorer)
    explorer.step(4)
    explorer.load = 64.0
    new = look(explorer)
    for view in (first, new):
        assert np.isnan(view.cost).all()
        assert np.isnan(view.sd).all()
        assert not view.region.size
        assert view.measured is view.recommended is None
    assert np.ptp(first.probability) == 0
    explorer.step()
    assert new.probability[explorer.measured[64.0]] == new.probability.sum() == 1


@pytest.mark.parametrize(("knobs", "loads"), [(1, [1.0]), (4, [1.0]), (2, [])])
def test_what_cannot_be_shown_is_refused(knobs, loads):
    names = [f"k{i}" for i in range(knobs)]
    server = TableServer({**{name: [1, 2] for name in names}, "cost": [1.0, 2.0]}, names)
    with pytest.raises(ValueError, match=r"2 or 3 knobs|at least one load"):
        Explorer(server, loads, np.random.default_rng(1))


def test_every_slider_and_button_changes_the_picture_and_the_agent():
    explorer = small()
    panel = Panel(explorer)
    pictures = [panel.picture.value]
    explorer.step(5)
    for name, value in (
        ("radius", 2.5),
        ("temperature", 0.5),
        ("similarity", "learned"),
        ("load", 115.0),
    ):
        panel.settings[name].value = value
        assert getattr(explorer, name) == value
        pictures.append(panel.picture.value)
    for button, episodes in zip(panel.buttons, (6, 26, 0), strict=True):
        button.click()
        assert len(explorer.costs) == episodes
        pictures.append(panel.picture.value)
    assert pictures[3] == pictures[2]  # a similarity shows only after the next episode
    assert len({*pictures}) == len(pictures) - 1


def test_a_panel_carries_its_picture_for_where_there_are_no_widgets():
    bundle = Panel(small())._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    picture = base64.b64decode(bundle["image/png"])
    assert picture[:4] == b"\x89PNG"
    assert picture == png(draw_view(look(small()))), "the same seed gives the same picture"


def test_an_animation_has_a_frame_per_figure_and_is_played_once(tmp_path):
    explorer, truth, views = small(), np.linspace(1.0, 2.0, 16), []
    for _ in range(2):
        explorer.step()
        views.append(look(explorer))
    figures = (draw_episode(views[:k], explorer.costs, truth, 2, default=8) for k in (1, 2))
    with Image.open(save_animation(figures, "learns", tmp_path)) as picture:
        assert picture.n_frames == 2
        assert "loop" not in picture.info, "what moves for ever needs something that stops it"
