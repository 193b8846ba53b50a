"""The problems that all agents are compared on, by name."""

from __future__ import annotations

from pathlib import Path

from rrl.studies.scenario import SURFACES

DATA = Path("data")
EPISODES = 300
SEEDS = range(30)
SCENARIOS = (
    *SURFACES,
    *(f"cpu10 {rate}" for rate in (8.3, 12.5, 16.7)),
    *(f"gpu {rate}" for rate in (200, 500, 900)),
    *(f"cpu2 {rate}" for rate in (60, 115, 165)),
    *(f"mobilenet_v2-threads {rate}" for rate in (60, 115, 165)),
    *(f"mobilenet_v2-busy {rate}" for rate in (38, 76, 107)),
    *(f"inception_v3-threads {rate}" for rate in (10, 21, 30)),
)
"""Each name is a surface, or it is a testbed or profile with a rate in requests per second.

See :func:`rrl.studies.scenario.open_scenario`.
"""
