"""Figures show what they are given, and the same data give the same bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.colors import to_rgb
from test_profile import PLAN, FakeServer, record

from rrl import read_profile
from rrl.plotting.claims import plot_by_problem
from rrl.plotting.goals import plot_choices
from rrl.plotting.profile import plot_finals, plot_knob, plot_noise, plot_surface
from rrl.plotting.runs import plot_comparison, plot_tuning
from rrl.plotting.shared import AGENT_STYLES, agent_style, radius_style, save, style
from rrl.tuning.experiments import Run

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles") / "profile"
    record(folder, FakeServer())
    return read_profile(folder)


@pytest.fixture(autouse=True)
def _figure():
    style()
    plt.figure()
    yield
    plt.close("all")


def test_the_style_sheet_is_seaborns_theme_and_little_more():
    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme(context="paper", style="ticks", palette="colorblind")
        theme = dict(mpl.rcParams)
        mpl.rcdefaults()
        style()
        ours = dict(mpl.rcParams)
    own = {"figure.dpi", "savefig.dpi", "legend.frameon", "axes.formatter.min_exponent"}
    rest = {name for name in theme if theme[name] != ours[name]} - own - {"image.cmap"}
    cycle = "axes.prop_cycle"
    assert [to_rgb(c["color"]) for c in theme[cycle]] == [to_rgb(c["color"]) for c in ours[cycle]]
    for name in rest - {cycle}:  # 1.2 for 1.2000000000000002
        assert theme[name] == pytest.approx(ours[name])
    assert {ours[name] for name in own} == {110, 200, False, 4}


def test_saving_twice_gives_the_same_bytes(tmp_path, profile):
    written = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        fig, ax = plt.subplots()
        plot_knob(profile, "inter_op", PLAN.space[0], ax)
        png = save(fig, "figure", folder)
        written.append((png.read_bytes(), png.with_suffix(".pdf").read_bytes()))
    assert written[0] == written[1]


def test_tuning_shows_every_episode_in_milliseconds():
    run = Run(configurations=[{}] * 3, costs=[0.1, 0.02, 0.05], loads=[1.0] * 3)
    ax = plot_tuning(run, "rrl", {"tf-serving-default": 0.2})
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([100, 20, 50])
    assert "ms" in ax.get_ylabel()
    assert ax.get_legend().get_texts()[1].get_text() == "tf-serving-default: 200.0 ms"


def test_a_knob_is_drawn_at_every_level_and_load(profile):
    ax = plot_knob(profile, "inter_op", PLAN.space[0])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "4"]
    assert len(ax.containers) == 2


def test_the_ring_is_at_the_best(profile):
    ax = plot_surface(profile, 20.0, ("batch_threads", "inter_op"))
    assert ax.patches[-1].center == (0.5, 1.5)  # inter-op 1, batching off
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["2", "off"]


def test_comparison_noise_and_finals_have_an_entry_for_each(profile):
    costs = {"20/s": {"a": np.array([1.0, 2.0]), "b": np.array([0.5, 0.6])}}
    legend = plot_comparison(costs).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    plt.figure()
    assert len(plot_noise(profile).lines) == 2
    plt.figure()
    finalists = [
        {"inter_op": 1, "batch_threads": 0, "ratio": 2.0, "verdict": "separated"},
        {"inter_op": 2, "batch_threads": 2, "ratio": 1.0, "verdict": "best"},
    ]
    ax = plot_finals(finalists, ["inter_op", "batch_threads"])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["2 / 2", "1 / off"]


def test_agents_that_are_drawn_together_differ_in_a_grey_print_too():
    together = ["rrl", "rrl-boltzmann", "rrl-adaptive", "tf-serving-default", "heuristic"]
    together += ["q-learning", "deep-q-network", "coordinate-descent", "hill-climbing", "random"]
    for part in ("color", "marker", "ls"):
        assert len({agent_style(name)[part] for name in together}) == len(together)
    assert len({(color, marker) for color, marker, _ in AGENT_STYLES.values()}) == len(AGENT_STYLES)


def test_every_agent_of_the_committed_tables_has_a_style():
    tables = sorted((ROOT / "figures").glob("experiments-*.csv"))
    named = [pd.read_csv(path).get(column) for path in tables for column in ("agent", "rival")]
    agents = set(pd.concat([names for names in named if names is not None]))
    assert len(agents) > 10
    assert agents <= set(AGENT_STYLES)


def test_a_wider_radius_is_darker_and_radius_one_is_the_agent_itself():
    shades = [sum(to_rgb(radius_style(radius)["color"])) for radius in (0, 0.5, 1, 2, 4, 9)]
    assert shades == sorted(shades, reverse=True)
    own, one = agent_style("rrl-boltzmann"), radius_style(1)
    assert (one["marker"], one["ls"]) == (own["marker"], own["ls"])
    assert to_rgb(one["color"]) == pytest.approx(to_rgb(own["color"]))


def test_figures_use_the_style_of_each_agent():
    costs = {"20/s": {name: np.array([1.0, 2.0]) for name in ("tf-serving-default", "rrl")}}
    markers = [line.get_marker() for line in plot_comparison(costs).lines]
    assert {agent_style(name)["marker"] for name in costs["20/s"]} <= set(markers)
    rows = {"problem": ["a", "b"] * 2, "agent": ["rrl"] * 2 + ["q-learning"] * 2}
    plt.figure()
    ax = plot_by_problem(pd.DataFrame(rows | {"value": [1.0, 2.0, 3.0, 4.0]}), 1.0, 1.0)
    assert [line.get_marker() for line in ax.lines[:2]] == ["o", "v"]


def test_choices_at_one_point_lie_side_by_side():
    names = ["rrl", "random", "q-learning"]
    ax = plot_choices(dict.fromkeys(names, 4.0), dict.fromkeys(names, 1.0))
    assert len({line.get_xdata()[0] for line in ax.lines}) == 3
