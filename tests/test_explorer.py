"""The explorer: what it shows is what the agent does, and what its sliders set."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rrl import Copy, LearnedSimilarity, TableServer, testbed
from rrl.plotting.explorer import draw_episode, draw_view, save_animation
from rrl.publishing.explorer import Explorer, Panel, look, png


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
