"""The map of regions: its axes, its surfaces, what counts as an arrival, and its factors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rrl.plotting.region_map import plot_best_radius, plot_region_map
from rrl.studies import map_cells, region_map
from rrl.studies.map_cells import (
    COLUMNS,
    HIGHEST,
    JUDGING_KINDS,
    TUNING_KINDS,
    agent_settings,
    agent_with,
    map_surface,
    paper_grid,
    run_cell,
    run_measures,
)
from rrl.studies.map_factors import (
    MIDDLE,
    NUMBERS,
    ROUGHNESSES,
    _about_places,
    by_radius,
    chosen_settings,
    factor_of,
    map_factors,
    place_factors,
    theory_radius,
)
from rrl.studies.problems import open_scenario
from rrl.studies.roughness import (
    Half,
    episode_noise,
    half_of_profile,
    roughness,
    smooth_costs,
)
from rrl.studies.sweeps import Sweep

DATA = Path(__file__).parent.parent / "data"


# --- The axes: roughness and noise ----------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "noise"), [(0.05, 0.3), (0.15, 0.1)])
def test_noise_cancels_out_of_the_roughness(wanted, noise):
    """Two noisy halves tell the roughness of the true costs; one half with itself does not."""
    pairs, rng = paper_grid()[1], np.random.default_rng(1)
    cost = map_surface("bowl", wanted, 5)
    first, second = (cost * np.exp(noise * rng.standard_normal(len(cost))) for _ in range(2))
    found = roughness(first, second, pairs, smooth_costs(first, second, pairs))
    assert found == pytest.approx(wanted, rel=0.35)
    assert roughness(first, first, pairs, smooth_costs(first, first, pairs)) > 1.2 * wanted


def test_the_noise_is_that_of_one_episode_and_a_slower_half_does_not_count():
    rng, n, episodes = np.random.default_rng(2), 800, 4
    counts = np.full(n, float(episodes))
    means = [np.exp(0.2 / episodes**0.5 * rng.standard_normal(n)) for _ in range(2)]
    first, second = Half(means[0], counts), Half(1.5 * means[1], counts)
    assert episode_noise(first, second, np.ones(n)) == pytest.approx(0.2, rel=0.1)


def test_a_configuration_that_a_half_lacks_is_left_out():
    first, second = np.array([1.0, 1.1, np.nan, 1.2]), np.array([1.0, 1.1, 1.3, 1.2])
    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    level = smooth_costs(first, second, pairs)
    assert not np.isnan(level).any()
    assert roughness(first, second, pairs, level) == pytest.approx(0.1)
    halves = Half(first, np.array([1.0, 1, 0, 1])), Half(second, np.ones(4))
    assert np.isfinite(episode_noise(*halves, level))


def test_a_half_of_a_profile_has_the_means_of_its_passes_over_the_grid():
    server = open_scenario("keyword-threads", 900.0, DATA).server
    halves = [half_of_profile(server.profile, 900.0, half) for half in (0, 1)]
    grid = server.profile.grid
    rows = grid[np.isclose(grid["rate_per_s"], 900.0) & (grid["valid"] == 1)]
    assert sum(half.episodes.sum() for half in halves) == len(rows)
    total = sum(float(np.nansum(half.means * half.episodes)) for half in halves)
    assert total == pytest.approx(rows["mean_s"].sum())


# --- The surfaces ---------------------------------------------------------------------------------


def test_a_surface_is_as_rough_as_wanted_and_no_two_are_alike():
    every = [(kind, 0.05, 5) for kind in (*TUNING_KINDS, *JUDGING_KINDS)]
    every += [("bowl", wanted, 8) for wanted in (ROUGHNESSES[0], 0.05)]
    every += [(kind, ROUGHNESSES[-1], 8) for kind in ("cone", "rugged")]  # not by every draw
    drawn = [map_surface(*one) for one in every]
    for (_, wanted, _), cost in zip(every, drawn, strict=True):
        assert roughness(cost, cost, paper_grid()[1]) == pytest.approx(wanted, rel=0.021)
        assert cost.min() == 1
        assert cost.max() <= HIGHEST * (1 + 1e-9)
    assert len({cost.tobytes() for cost in drawn}) == len(drawn)


def test_a_surface_that_no_draw_can_give_is_refused(monkeypatch):
    monkeypatch.setattr(map_cells, "ATTEMPTS", 2)
    with pytest.raises(ValueError, match="no surface of the kind 'bowl'"):
        map_surface("bowl", 5.0, 1)  # neighbours below twice the best differ by less


# --- Arrivals -------------------------------------------------------------------------------------


def test_what_is_served_is_judged_by_the_mean_of_twenty_and_its_excess_counts_until_then():
    """One bad episode in twenty is within 20 % if it costs up to four times the excess allowed."""
    served = np.ones(200)
    served[100] = 4.9
    deployed = np.concatenate([np.full(10, 3.0), np.ones(190)])
    arrivals, excess = (
        dict(zip(COLUMNS, values, strict=True)) for values in run_measures(served, deployed)
    )
    assert (arrivals["served_20"], arrivals["recommended_5"]) == (1, 11)
    assert arrivals["served_10"] == 102, "the first window without the bad episode"
    assert (excess["served_20"], excess["served_10"]) == (0, pytest.approx(3.9))
    never, all_of_it = run_measures(np.full(200, 1.5), np.full(200, 1.5))
    assert np.isinf(never).all()
    assert all_of_it == pytest.approx(np.full(6, 100.0))


# --- Runs of a cell -------------------------------------------------------------------------------


def test_every_agent_can_be_made_with_its_settings():
    for agent, settings in agent_settings().items():
        assert len(set(settings)) == len(settings)
        for setting in settings[:: len(settings) - 1]:
            agent_with(agent, setting)(paper_grid()[0], np.random.default_rng(0)).ask(10.0)


def test_a_run_depends_on_its_own_seed_alone():
    setting = agent_settings()["rrl"][0]
    both, alone = (
        run_cell(0.05, 0.07, "rrl", setting, "cone", 1, seeds, 60)["measures"]
        for seeds in ([3, 4], [4])
    )
    assert both.shape == (2, 2, len(COLUMNS))
    assert (alone[0] == both[1]).all()


# --- Factors --------------------------------------------------------------------------------------


def test_a_factor_is_a_ratio_of_medians_with_an_interval_over_surfaces_and_seeds():
    rng = np.random.default_rng(3)
    ours = np.exp(rng.normal(np.log(20), 0.1, (5, 6)))
    alike = factor_of(ours, 3 * ours, 3000, np.random.default_rng(0))
    assert alike.factor == pytest.approx(3)
    assert alike.low == pytest.approx(alike.high), "both draw the same surfaces and seeds"
    across = 3 * ours * np.array([0.2, 0.5, 1.0, 2.0, 5.0])[:, None]  # surfaces differ, not seeds
    found = factor_of(ours, across, 3000, np.random.default_rng(0))
    assert found.low < 2 < 4 < found.high


def test_a_side_that_never_arrives_gives_a_bound():
    some, never = np.full((5, 6), 30.0), np.full((5, 6), np.inf)
    rng = np.random.default_rng(0)
    assert factor_of(some, never, 3000, rng)[::3] == (90.0, "at least")
    assert factor_of(never, some, 3000, rng)[::3] == (pytest.approx(1 / 90), "at most")
    assert factor_of(never, never, 3000, rng).bound == "neither"


def tuned(agent, setting, **numbers):
    """A row of the table of the tuning; what is not given is 100 episodes in every run."""
    row = {"agent": agent, "setting": setting, "roughness": 0.05, "noise": 0.07}
    for column in COLUMNS:
        row |= {column: 100.0, f"{column}_never": 0.0, f"{column}_excess": 5.0}
    return row | numbers


def test_the_tuning_chooses_by_episodes_then_by_arrivals_then_by_excess():
    rows = [
        tuned("rrl", "first", served_5=np.inf, served_5_never=0.9, recommended_20=90.0),
        tuned("rrl", "second", served_5=np.inf, served_5_never=0.6, served_5_excess=9.0)
        | {"served_10_excess": 4.0},
        tuned("deep-q-network", "a", served_5=1.0),
        tuned("deep-q-network", "b", served_10=90.0),
    ]
    chosen = chosen_settings(pd.DataFrame(rows)).set_index(["agent", "column"])["setting"]
    assert chosen["rrl", "recommended_20"] == "first", "fewer episodes"
    assert chosen["rrl", "served_5"] == "second", "more runs arrive"
    assert chosen["rrl", "served_10"] == "second", "less excess"
    assert chosen["rrl", "recommended_5"] == "first", "the order of the settings"
    assert chosen["deep-q-network", "served_5"] == "b", "by the middle tolerance"


def test_the_best_radius_is_that_of_the_best_setting_and_none_if_no_run_arrives():
    rows = [
        tuned("rrl", json.dumps({"radius": r, "n": n}), served_5=np.inf, served_10=50.0 * r)
        for r in (1.0, 2.0)
        for n in (1, 2)
    ]
    found = by_radius(pd.DataFrame(rows)).set_index("column")
    assert found.loc["served_10", "best"] == 1.0
    assert np.isnan(found.loc["served_5", "best"])
    assert found.loc["served_5", "theory"] == theory_radius(0.05, 0.07)


def test_small_grids_and_places_without_a_forecast_do_not_count_for_the_agreement():
    places = pd.DataFrame(
        {
            "cells": [300, 400, 500, 600, 16, 16, 700],
            "column": "served_10",
            "factor": [1.0, 2.0, 3.0, 4.0, 0.1, 99.0, 9.0],
            "predicted": [1.0, 3.0, 4.0, 9.0, 50.0, 0.1, np.nan],
            "roughness": [0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.9],
            "noise": 0.1,
            "within_10": [0.1, 0.2, 0.2, 0.3, 0.5, 0.5, 0.9],
        }
    )
    (said,) = _about_places(places)
    assert "on 4 replays of large grids have a rank correlation of 1.00" in said
    assert f"{NUMBERS['roughness']} alone correlates most (-1.00; the best of 2 numbers)" in said


def test_no_surface_and_no_seed_is_both_tuned_and_judged_by():
    plan = region_map.whole_plan(DATA)
    assert not set(plan.tuning.kinds) & set(plan.judging.kinds)
    assert not set(plan.tuning.seeds) & set(plan.judging.seeds)


# --- A small map from end to end ------------------------------------------------------------------


def test_a_map_has_a_row_per_setting_and_run_and_a_factor_per_cell_and_measure(tmp_path):
    """A plan of two cells and a recorded place, each half of which is replayed."""
    cells, every = ((0.15, 0.07), (0.5, 0.3)), agent_settings()
    settings = {"rrl": every["rrl"][::24], "q-learning": every["q-learning"][:2]}
    plan = region_map.Plan(
        [
            region_map.Tried(*cell, agent, one)
            for cell in cells
            for agent in settings
            for one in settings[agent]
        ],
        region_map.Stage(("bowl", "cone"), range(1, 3), 60),
        region_map.Stage(("valley", "ridge"), range(3, 5), 80),
        (("keyword-threads", 900.0),),
    )
    tables = region_map.make_map(Sweep((), data=DATA, build=tmp_path, workers=1), plan)
    assert len(tables["tuning"]) == len(plan.tried)
    runs = tables["runs"]
    assert set(runs["surface"]) == {"valley", "ridge"}
    assert (runs.groupby(["roughness", "noise", "agent", "setting"]).size() == 4).all()
    assert set(tables["place_runs"]["half"]) == {0, 1}
    factors = map_factors(tables["tuning"], runs, 80)
    assert set(factors["agent"]) == {"rrl"}
    assert len(factors) == 2 * len(COLUMNS)
    for row in factors[factors["bound"] == ""].itertuples():
        assert row.factor == row.rival_episodes / row.episodes
    at = place_factors(tables["places"], tables["place_runs"], factors, 80)
    assert len(at) == 2 * 2  # halves and measures
    figure, middle = plot_region_map(factors, at), factors[factors["column"].isin(MIDDLE)]
    panels, bounds = figure.axes[:2], middle["bound"].isin(["at least", "at most"]).sum()
    written = [text.get_text() for ax in panels for text in ax.texts if text.get_text()]
    assert len(written) == middle["factor"].notna().sum()
    assert sum(bool({*text} & {*"≥≤"}) for text in written) == bounds
    assert sum(bool(cell.get_hatch()) for ax in panels for cell in ax.patches) == bounds
    assert sum(len(ax.lines) for ax in panels) == len(at), "a mark per replay"
    radii = by_radius(tables["tuning"])
    never = radii.loc[radii["column"] == MIDDLE[0], "best"].isna().sum()
    best = plot_best_radius(factors, radii).axes[0].texts
    assert sum(text.get_text().startswith("none") for text in best) == never
