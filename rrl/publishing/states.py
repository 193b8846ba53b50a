"""States of an explorer, computed beforehand, for a page without a server.

The page of the explorer (``explorer.js``) shows them. It computes nothing of the agent itself, so
what it shows is what the package does.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from rrl.plotting.cells import on_grid, value_order
from rrl.plotting.shared import KNOB_LABELS, MS, label, value_label
from rrl.publishing.explorer import SIMILARITIES, Explorer, look
from rrl.tuning.episode import Server

RADII = (0.0, 1.0, 2.0, 3.0)
TEMPERATURES = (0.005, 0.02, 0.1)
EPISODES = (*range(21), *range(25, 61, 5))  # the numbers of episodes that can be looked at


def states(server: Server, truth: dict[float, Any], seed: int = 1) -> dict[str, Any]:
    """Run the explorer's agent with all settings of the page, and collect what it shows.

    Parameters
    ----------
    server : Server
        A server with three knobs.
    truth : dict of float to array_like
        For each load to choose from, in requests per second, the true cost of each configuration
        in seconds.
    seed : int, optional
        Seed of every run, so that runs differ by their settings alone.

    Returns
    -------
    dict
        Can be written as JSON. ``runs`` has a list of states for each "load radius similarity
        temperature". A state holds the number of episodes, the costs in milliseconds, the
        probabilities and standard deviations in per cent, the numbers of the measured and of the
        recommended configuration, and by how many per cent the latter is above the best.
    """
    space = server.space
    down, middle, across = space.knobs
    runs = {}
    for load, radius, similarity, temperature in product(truth, RADII, SIMILARITIES, TEMPERATURES):
        explorer = Explorer(server, [load], np.random.default_rng(seed), truth=truth)
        explorer.radius, explorer.similarity = radius, similarity
        explorer.temperature = temperature
        key = f"{load:g} {radius:g} {similarity} {temperature:g}"
        runs[key] = [_state(explorer, episodes) for episodes in EPISODES]
    numbers = np.arange(len(space))
    regions = {
        f"{r:g}": [sorted(map(int, space.ball(i, r))) for i in range(len(space))] for r in RADII
    }
    return {
        "loads": [f"{load:g}" for load in truth],
        "radii": [f"{radius:g}" for radius in RADII],
        "similarities": list(SIMILARITIES),
        "temperatures": [f"{temperature:g}" for temperature in TEMPERATURES],
        "configurations": [label(configuration) for configuration in space],
        "regions": regions,
        "axes": [
            {"name": KNOB_LABELS.get(knob.name, knob.name), "values": _value_names(knob)}
            for knob in (down, middle, across)
        ],
        "panels": [
            on_grid(space, numbers, index).astype(int).tolist() for index in value_order(middle)
        ],
        "colours": {name: _colours(name) for name in ("cividis_r", "Greys", "Purples")},
        "runs": runs,
    }


def _value_names(knob: Any) -> list[str]:
    return [value_label(knob.name, knob.values[index]) for index in value_order(knob)]


def _state(explorer: Explorer, episodes: int) -> list[Any]:
    """Go on to this number of episodes, and return a state as :func:`states` describes it."""
    explorer.step(episodes - len(explorer.costs))
    view, truth = look(explorer), explorer.truth[explorer.load]
    above = None
    if view.recommended is not None:
        above = round(100 * float(truth[view.recommended] / np.nanmin(truth) - 1))
    shown = (MS * view.cost, 100 * view.probability, 100 * view.sd)
    return [episodes, *map(_short, shown), view.measured, view.recommended, above]


def _short(values: NDArray[np.float64]) -> list[float | None]:
    """Round to three digits; what is too small to be seen becomes 0, and NaN becomes None."""
    return [
        None if np.isnan(value) else float(f"{value:.3g}") if value >= 0.001 else 0
        for value in values
    ]


def _colours(name: str) -> list[str]:
    return [mpl.colors.to_hex(colour) for colour in mpl.colormaps[name](np.linspace(0, 1, 32))]


def write_states(profile: Path, out: Path) -> None:
    """Write the states of the agent on a recorded profile as a script that a page can load.

    A page that was opened from a file may load a script, but no JSON.
    """
    from rrl.recording.replay import RecordedServer

    server = RecordedServer(profile)
    truth = {load: server.profile.surface(load) for load in server.profile.rates_per_s}
    text = json.dumps(states(server, truth), separators=(",", ":"))
    out.write_text(f"const STATES = {text};\n", encoding="utf-8")
