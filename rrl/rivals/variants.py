"""The agents of the paper's method with one part exchanged.

Notebook 05 compares them. Each differs from `rrl`, `rrl-released` or `rrl-adaptive` in one part.
Settings of that agent replace single settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rrl.core.exploration import Boltzmann
from rrl.core.region import FixedRadius, RadiusSelection, SelectedRadius, theoretical_radius
from rrl.core.rrl import RRL, released
from rrl.core.similarity import Copy
from rrl.core.space import ConfigSpace, Floats

SEEDS = 2**31
"""Seeds of random radii are drawn below this number."""


# --- parts of no other agent ----------------------------------------------------------------------


class ScheduledSelection(RadiusSelection):
    """The radius that theory recommends, whatever is observed."""

    def select(self, now: float) -> float:
        """See :meth:`rrl.core.region.RadiusSelection.select`."""
        return min(float(theoretical_radius(self.start, now, self.dimensions)), self.widest)


class RandomSelection(RadiusSelection):
    """A radius that is drawn for each block but the first, evenly in log(1 + radius)."""

    def __init__(self, dimensions: int, start: float, widest: float, seed: int) -> None:
        super().__init__(dimensions, start, widest)
        self.seed = seed

    def select(self, now: float) -> float:
        """See :meth:`rrl.core.region.RadiusSelection.select`."""
        uniform = np.random.default_rng([self.seed, self.episode]).random()
        return math.expm1(uniform * math.log1p(self.widest))


class FlatSelection(RadiusSelection):
    """A radius of which nothing is expected, so that all is learned."""

    def prior(self, radius: Floats, age: Floats | float) -> Floats:
        """See :meth:`rrl.core.region.RadiusSelection.prior`."""
        return np.zeros(len(radius))


# --- the agents -----------------------------------------------------------------------------------


def exchanged(
    make: Callable[..., RRL], **parts: Callable[[ConfigSpace, np.random.Generator], Any]
) -> Callable[..., RRL]:
    """Return a function that makes an agent with other parts; each agent gets parts of its own."""

    def made(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
        own = {name: part(space, rng) for name, part in parts.items()}
        return make(space, rng, **(own | changes))

    return made


def _selecting(selection: Callable[..., RadiusSelection]) -> Callable[..., RRL]:
    return exchanged(RRL, region=lambda space, _: SelectedRadius(space, selection=selection))


def _random_radius(space: ConfigSpace, rng: np.random.Generator) -> SelectedRadius:
    return SelectedRadius(space, selection=partial(RandomSelection, seed=int(rng.integers(SEEDS))))


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


wide = exchanged(RRL, region=lambda *_: FixedRadius(3.0))  # as released
released_copy = exchanged(released, similarity=lambda *_: Copy())  # without its network

ABLATED: dict[str, Callable[..., RRL]] = {
    "rrl-radius-0": exchanged(RRL, region=lambda *_: FixedRadius(0.0)),
    "rrl-radius-2": exchanged(RRL, region=lambda *_: FixedRadius(2.0)),
    "rrl-radius-4": exchanged(RRL, region=lambda *_: FixedRadius(4.0)),
    # nothing is learned about the radius, or it is drawn anew for each block, or all is learned
    "rrl-schedule": _selecting(ScheduledSelection),
    "rrl-random-radius": exchanged(RRL, region=_random_radius),
    "rrl-adaptive-flat-prior": _selecting(FlatSelection),
}
"""Agents with another radius, or another way to choose it, for notebook 05 only."""
