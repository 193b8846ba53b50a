"""The recommended agent, and the adaptive one, with another region size or another prior.

:mod:`rrl.studies.ablation` compares them. Each differs from `rrl`, `rrl-boltzmann` or
`rrl-adaptive` in one part. Settings of that agent replace single settings.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from rrl.core.learned_similarity import LearnedSimilarity
from rrl.core.reach import FixedReach, RandomReach, ShrinkingReach
from rrl.core.region import Grown
from rrl.core.region_size import RegionSize, recommended_radius
from rrl.core.rrl import RRL
from rrl.core.selected_radius import SelectedRadius
from rrl.core.selected_reach import SelectedReach
from rrl.core.space import ConfigSpace
from rrl.core.variants import boltzmann
from rrl.tuning.recommended import recommended

SEEDS = 2**31
"""Seeds of random sizes are drawn below this number."""


def fixed_reach(
    space: ConfigSpace, rng: np.random.Generator, *, steps: float, **changes: Any
) -> RRL:
    """Make `rrl` with a fixed reach that never widens."""
    return recommended(space, rng, region=Grown(FixedReach(steps), widens=False), **changes)


def shrinking_reach(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl` with a reach that shrinks by a schedule; it widens as that of `rrl` does."""
    return recommended(space, rng, region=Grown(ShrinkingReach()), **changes)


def random_reach(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl` with a reach that is drawn anew in each episode, and that widens as well."""
    region = Grown(RandomReach(int(rng.integers(SEEDS))))
    return recommended(space, rng, region=region, **changes)


def selected_reach(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl` with a reach that Bayesian optimisation selects, and that widens as well."""
    return recommended(space, rng, region=Grown(SelectedReach(space)), **changes)


def other_lengths(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    vary: float | None = None,
    per_knob: bool = True,
    **changes: Any,
) -> RRL:
    """Make `rrl` with other assumptions about its length scales, see `LearnedSimilarity`."""
    assumed: dict[str, Any] = {} if vary is None else {"vary": vary}
    similarity = LearnedSimilarity(per_knob=per_knob, **assumed)
    return recommended(space, rng, similarity=similarity, **changes)


class ScheduledSize(RegionSize):
    """The radius that theory recommends, whatever is observed."""

    def select(self, now: float) -> float:
        """See :meth:`rrl.core.region_size.RegionSize.select`."""
        return min(float(recommended_radius(self.start, now, self.dimensions)), self.widest)


class RandomSize(RegionSize):
    """A radius that is drawn for each block, evenly in log(1 + radius)."""

    def __init__(self, dimensions: int, start: float, widest: float, seed: int = 0) -> None:
        super().__init__(dimensions, start, widest)
        self.seed = seed

    def select(self, now: float) -> float:
        """See :meth:`rrl.core.region_size.RegionSize.select`."""
        uniform = np.random.default_rng([self.seed, self.episode]).random()
        return math.expm1(uniform * math.log1p(self.widest))


def scheduled_radius(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-adaptive` with the prior's schedule alone: nothing is learned about the radius."""
    return boltzmann(space, rng, region=SelectedRadius(space, size=ScheduledSize), **changes)


def flat_radius(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-adaptive` with a flat prior of the radius: all is learned."""
    size = partial(RegionSize, slope=0.0)
    return boltzmann(space, rng, region=SelectedRadius(space, size=size), **changes)


def random_radius(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-adaptive` with a radius that is drawn anew for each block."""
    size = partial(RandomSize, seed=int(rng.integers(SEEDS)))
    return boltzmann(space, rng, region=SelectedRadius(space, size=size), **changes)
