"""The agents of the paper's method with one part exchanged.

Notebook 05 compares them. Each differs from `rrl`, `rrl-released` or `rrl-adaptive` in one part.
Settings of that agent replace single settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rrl.core.exploration import Boltzmann
from rrl.core.region import FixedRadius, RadiusSelection, SelectedRadius, theoretical_radius
from rrl.core.rrl import RRL, released
from rrl.core.similarity import Copy
from rrl.core.space import ConfigSpace

# --- parts of no other agent ----------------------------------------------------------------------


class ScheduledSelection(RadiusSelection):
    """The radius that theory recommends, whatever is observed."""

    def select(self, age: float) -> float:
        """Return the theoretical radius at an age of so many episodes."""
        return float(theoretical_radius(self.start, age, self.dimensions))


# --- the agents -----------------------------------------------------------------------------------


def exchanged(
    make: Callable[..., RRL], **parts: Callable[[ConfigSpace, np.random.Generator], Any]
) -> Callable[..., RRL]:
    """Return a function that makes an agent with other parts; each agent gets parts of its own."""

    def made(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
        own = {name: part(space, rng) for name, part in parts.items()}
        return make(space, rng, **(own | changes))

    return made


def _fixed(radius: float) -> Callable[..., RRL]:
    return exchanged(RRL, region=lambda *_: FixedRadius(radius))


def _scheduled(start: float | None = None) -> Callable[..., RRL]:
    def region(space: ConfigSpace, _: np.random.Generator) -> SelectedRadius:
        return SelectedRadius(space, start, ScheduledSelection)

    return exchanged(RRL, region=region)


def one_cell(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    temperature: tuple[float, float, int],
    **settings: Any,
) -> RRL:
    """Make `rrl` with a region of one cell: a measurement updates its own configuration only.

    This is a weak control. All cells start at the first measurement. So once something is better
    than that, all that was not measured looks worse, and the agent stops exploring.

    Parameters
    ----------
    space, rng
        See :class:`~rrl.core.rrl.RRL`.
    temperature : (float, float, int)
        Of :class:`~rrl.core.exploration.Boltzmann`: the start, the end and the half-life.
    **settings
        Of :class:`~rrl.core.rrl.RRL`.
    """
    exploration = Boltzmann(*temperature)
    return RRL(space, rng, region=FixedRadius(0.0), exploration=exploration, **settings)


wide = _fixed(3.0)  # as released
released_copy = exchanged(released, similarity=lambda *_: Copy())  # without its network

ABLATED: dict[str, Callable[..., RRL]] = {
    "rrl-radius-0": _fixed(0.0),
    "rrl-radius-1.5": _fixed(1.5),
    "rrl-radius-2": _fixed(2.0),
    # nothing is learned about the radius: theory says how it falls from the first one
    "rrl-schedule-1.5": _scheduled(1.5),
    "rrl-schedule": _scheduled(),
    "rrl-schedule-3": _scheduled(3.0),
    "rrl-schedule-4": _scheduled(4.0),
}
"""Agents with another radius, or another way to choose it, for notebook 05 only."""
