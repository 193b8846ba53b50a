"""The problems that all agents are compared on, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rrl.simulation.testbeds import TESTBEDS
from rrl.studies.scenario import Scenario, recorded, simulated, surface
from rrl.tuning.presets import paper_cpu

DATA = Path("data")
EPISODES = 300
SEEDS = range(30)
SURFACES = ("wide", "narrow", "pool")
SCENARIOS = (
    *SURFACES,
    *(f"cpu10 {rate}" for rate in (8.3, 12.5, 16.7)),
    *(f"gpu {rate}" for rate in (200, 500, 900)),
    *(f"cpu2 {rate}" for rate in (60, 115, 165)),
    *(f"mobilenet_v2-threads {rate}" for rate in (60, 115, 165)),
    *(f"mobilenet_v2-busy {rate}" for rate in (38, 76, 107)),
    *(f"inception_v3-threads {rate}" for rate in (10, 21, 30)),
)


def open_scenario(name: str, data: Path = DATA) -> Scenario:
    """Make a scenario by its name in `SCENARIOS`: a surface, or a testbed or profile and a rate.

    Examples
    --------
    >>> open_scenario("pool").cost.shape
    (1331,)
    """
    where, _, rate = name.partition(" ")
    if where in SURFACES:
        with np.load(data / "surfaces" / "surfaces.npz") as surfaces:
            return surface(where, paper_cpu(), surfaces[where].ravel())
    if where in TESTBEDS:
        return simulated(where, float(rate))
    return recorded(data / where, float(rate))
