"""What clients pay: the measures against their formulas; roughness, noise and made surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.studies import surfaces
from rrl.studies.measures import (
    LONGEST,
    excess,
    level,
    median_speed_up,
    ratio_of_excesses,
    speed_up,
    stuck,
)
from rrl.studies.problems import open_scenario
from rrl.studies.roughness import (
    Half,
    episode_noise,
    half_of_profile,
    roughness,
    smooth_costs,
)
from rrl.studies.surfaces import HIGHEST, JUDGING_KINDS, TUNING_KINDS, cube, made_surface

COSTS = st.floats(1.0, 50.0)


@given(st.data(), st.integers(1, 3), st.integers(1, 130))
def test_excess_and_level_are_means_of_the_first_episodes_and_of_their_end(data, seeds, episodes):
    rows = st.lists(COSTS, min_size=episodes + 3, max_size=episodes + 3)
    served = data.draw(st.lists(rows, min_size=seeds, max_size=seeds))
    last = min(episodes, max(episodes // 10, 10))
    wanted = [sum(row[:episodes]) / episodes / 2.0 - 1 for row in served]
    ends = [sum(row[episodes - last : episodes]) / last / 2.0 - 1 for row in served]
    assert excess(served, 2.0, episodes) == pytest.approx(wanted)
    assert level(served, 2.0, episodes) == pytest.approx(ends)
    near = any(abs(end - 0.25) < 1e-9 for end in ends)
    assert near or stuck(served, 2.0, episodes) == np.mean([end > 0.25 for end in ends])


@given(st.lists(COSTS, min_size=3, max_size=3), st.lists(COSTS, min_size=60, max_size=60))
def test_a_speed_up_counts_until_the_mean_excess_stays_no_more_than_the_agents(ours, theirs):
    needed = [
        n
        for n in range(1, LONGEST * 3 + 1)
        if all(
            excess([theirs], 1.0, m) <= excess([ours], 1.0, 3) + 1e-12
            for m in range(n, LONGEST * 3 + 1)
        )
    ]
    wanted = needed[0] / 3 if needed else np.inf
    assert speed_up([ours], [theirs], 1.0, 3) == pytest.approx(wanted)


def test_an_agent_is_as_fast_as_itself_and_a_rival_that_loses_again_is_not_there_yet():
    agent = np.array([[4.0] * 5 + [2.0] * 5 + [1.0] * 190])  # 2 above the best after 10
    assert speed_up(agent, agent, 1.0, 10) == 1.0
    late = [[1.0] * 30 + [11.0] * 20 + [1.0] * 150]  # below 2 after 1, above after 37, at last 1
    assert speed_up(agent, late, 1.0, 10) == 10.0
    assert speed_up(agent, [[1.0] * 200], 1.0, 10) == 0.1


def test_too_few_episodes_are_refused():
    with pytest.raises(ValueError, match="need 1 to 3 episodes, as the runs have, got 4"):
        excess(np.ones((2, 3)), 1.0, 4)
    with pytest.raises(ValueError, match="got 0"):
        level(np.ones((2, 3)), 1.0, 0)
    with pytest.raises(ValueError, match="need 1 to 30 episodes, as the runs have, got 60"):
        speed_up(np.ones((2, 3)), np.ones((2, 30)), 1.0, 3)


def test_averages_over_surfaces_pair_them_and_have_intervals():
    rng = np.random.default_rng(0)
    hard = rng.lognormal(0, 2, 40)
    centre, low, high = ratio_of_excesses(0.5 * hard, hard, rng)
    assert centre == pytest.approx(0.5, rel=0.01)
    assert high - low < 0.01, "each surface is paired with itself"
    assert ratio_of_excesses([0.0, 0.0], [0.0, 0.0], rng)[0] == 1
    assert median_speed_up([3.0, np.inf], rng) == (6.0, 3.0, np.inf)
    assert median_speed_up([np.inf] * 3, rng) == (np.inf, np.inf, np.inf)


# --- The axes: roughness and noise ----------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "noise"), [(0.05, 0.3), (0.15, 0.1)])
def test_noise_cancels_out_of_the_roughness(wanted, noise):
    """Two noisy halves tell the roughness of the true costs; one half with itself does not."""
    pairs, rng = cube()[1], np.random.default_rng(1)
    cost = made_surface("bowl", wanted, 5)
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
    server = open_scenario("keyword-threads", 900.0).server
    halves = [half_of_profile(server.profile, 900.0, half) for half in (0, 1)]
    grid = server.profile.grid
    rows = grid[np.isclose(grid["rate_per_s"], 900.0) & (grid["valid"] == 1)]
    assert sum(half.episodes.sum() for half in halves) == len(rows)
    total = sum(float(np.nansum(half.means * half.episodes)) for half in halves)
    assert total == pytest.approx(rows["mean_s"].sum())


# --- Made surfaces --------------------------------------------------------------------------------


def test_a_surface_is_as_rough_as_wanted_and_no_two_are_alike():
    every = [(kind, 0.05, 5) for kind in (*TUNING_KINDS, *JUDGING_KINDS)]
    every += [("bowl", wanted, 8) for wanted in (0.005, 0.05)]
    every += [(kind, 0.5, 8) for kind in ("cone", "rugged")]  # not by every draw
    sized = [(*one, size) for one in every for size in (5, 11)]
    drawn = [made_surface(*one) for one in sized]
    for (_, wanted, _, size), cost in zip(sized, drawn, strict=True):
        assert roughness(cost, cost, cube(size)[1]) == pytest.approx(wanted, rel=0.021)
        assert cost.shape == (size**3,)
        assert cost.min() == 1
        assert cost.max() <= HIGHEST * (1 + 1e-9)
    assert len({cost.tobytes() for cost in drawn}) == len(drawn)


def test_a_surface_that_no_draw_can_give_is_refused(monkeypatch):
    monkeypatch.setattr(surfaces, "ATTEMPTS", 2)
    with pytest.raises(ValueError, match="no surface of the kind 'bowl' with 11 values"):
        made_surface("bowl", 5.0, 1)  # neighbours below twice the best differ by less
    with pytest.raises(ValueError, match="at least 3 values"):
        made_surface("bowl", 0.05, 1, size=2)
