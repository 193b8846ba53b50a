"""The race of radii over many episodes: what its files hold, and what is not in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL
from rrl.studies import results
from rrl.studies.horizons import ADAPTIVE, RACED, RadiusRace, learning_surface, race_radii
from rrl.studies.race import surface_episodes
from rrl.studies.sweeps import Sweep

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def pool():
    return {"pool": learning_surface("pool", DATA)}


def test_a_race_has_a_row_per_run_and_horizon_and_the_blocks_of_the_adaptive_agent(pool):
    raced = race_radii(pool, [3, 4], [10, 40], [0.0, 2.0])
    assert len(raced.runs) == 3 * 2 * 2
    assert set(raced.runs["agent"]) == {"radius 0", "radius 2", ADAPTIVE}
    (scenario,) = pool.values()
    agent = RRL(scenario.space, np.random.default_rng([3, 0]), region=FixedRadius(2.0))
    served = [scenario.cost[index] for index, _ in surface_episodes(scenario, agent, 3, 10)]
    of_it = raced.runs.set_index(["agent", "seed", "horizon"])["cost"]
    assert of_it["radius 2", 3, 10] == pytest.approx(np.mean(served) / scenario.optimum)
    assert (of_it >= 1).all(), "over the optimum's"
    assert raced.radii.groupby("seed")["episode"].first().tolist() == [0, 0]


def test_the_finer_surface_agrees_where_both_have_a_configuration(pool):
    coarse, fine = (learning_surface(name, DATA) for name in ("wide", RACED[-1]))
    assert fine.cost.min() == pytest.approx(coarse.cost.min())
    assert len(fine.space) == 41**3


def test_a_stopped_table_goes_on_where_it_was(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RACED", ("pool",))
    monkeypatch.setattr(results, "SEEDS", 2)
    monkeypatch.setattr(results, "HORIZONS", (10, 40))
    monkeypatch.setattr(results, "RADII", (0.0, 2.0))
    sweep, folder = Sweep((), data=DATA, build=tmp_path, workers=1), tmp_path / "table"
    write = results.tables()["horizons"].write
    write(folder, sweep)
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in RadiusRace._fields}
    whole = race_radii(pool, range(2), (10, 40), (0.0, 2.0))
    for name, table in tables.items():
        assert len(table.merge(getattr(whole, name))) == len(table) == len(getattr(whole, name))
    lost, kept = sorted(sweep.folder.iterdir())
    lost.unlink()
    before = kept.stat().st_mtime_ns
    write(folder, sweep)
    assert (lost.exists(), kept.stat().st_mtime_ns) == (True, before), "only the lost one is raced"
    for name, table in tables.items():
        pd.testing.assert_frame_equal(pd.read_csv(folder / f"{name}.csv"), table)
    monkeypatch.setattr(results, "HORIZONS", (10, 20))
    write(folder, sweep)
    assert set(pd.read_csv(folder / "runs.csv")["horizon"]) == {10, 20}, "other horizons are raced"
