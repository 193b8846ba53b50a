"""The recommended agent, and the adaptive one, with another region or another prior.

:mod:`rrl.studies.ablation` compares them. Each differs from `rrl-gp`, `rrl` or
`rrl-adaptive` in one part. Settings of that agent replace single settings.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from rrl.core.gaussian_process import Hyperparameters, fit_hyperparameters
from rrl.core.grown import Grown
from rrl.core.learned_similarity import LearnedSimilarity
from rrl.core.qtable import QTable
from rrl.core.region import RegionSize, SelectedRadius, recommended_radius
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.tuning.recommended import recommended

SEEDS = 2**31
"""Seeds of random radii are drawn below this number."""


def fixed_steps(
    space: ConfigSpace, rng: np.random.Generator, *, radius: float, **changes: Any
) -> RRL:
    """Make `rrl-gp` with a radius, in steps, that never widens."""
    return recommended(space, rng, region=Grown(radius, widens=False), **changes)


class ShrinkingSteps:
    """A radius that begins with a fraction of the space and shrinks towards one step.

    After t episodes it is ``fraction * widest * (1 + t / onset) ** -rate`` steps, and at least 1. A
    new load level counts the episodes of the nearest other one, too, because its measurements are
    known.

    Parameters
    ----------
    fraction : float, optional
        The first radius, as a fraction of the number of steps across the space.
    onset : float, optional
        Number of episodes after which the radius begins to shrink.
    rate : float, optional
        How fast it shrinks. By theory, the error of a table learned from copies is least with a
        rate of 1 / (d + 2) for d knobs (:mod:`rrl.core.region`). That theory does not hold for a
        Gaussian process. The default rate was chosen, not derived.

    Examples
    --------
    >>> from rrl.core.knob import Knob
    >>> table = QTable(ConfigSpace([Knob("threads", range(21))]))
    >>> for _ in range(3):
    ...     print(round(ShrinkingSteps(0.5)(table), 1))
    ...     table.episodes += 50
    10.0
    4.7
    3.4
    """

    def __init__(self, fraction: float = 0.5, onset: float = 20.0, rate: float = 0.6) -> None:
        self.fraction, self.onset, self.rate = fraction, onset, rate

    def __call__(self, table: QTable) -> float:
        """Return the radius of the next trial in steps."""
        episodes = table.episodes + (0 if table.near is None else table.near.episodes)
        first = self.fraction * table.space.widest
        return max(1.0, first * (1 + episodes / self.onset) ** -self.rate)


def random_steps(table: QTable, seed: int = 0) -> float:
    """Return a radius from 1 step to the whole space, drawn evenly in logarithms.

    The draw depends only on the seed, the load level and the number of its episodes.

    Examples
    --------
    >>> from rrl.core.knob import Knob
    >>> table = QTable(ConfigSpace([Knob("threads", range(21))]))
    >>> 1 <= random_steps(table) <= 20
    True
    """
    rng = np.random.default_rng([seed, table.level, table.episodes])
    return float(max(table.space.widest, 1) ** rng.random())


def shrinking_steps(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-gp` with a radius that shrinks by a schedule, and that widens as well."""
    return recommended(space, rng, region=Grown(ShrinkingSteps()), **changes)


def randomised_steps(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-gp` with a radius that is drawn anew in each episode, and that widens as well."""
    radius = partial(random_steps, seed=int(rng.integers(SEEDS)))
    return recommended(space, rng, region=Grown(radius), **changes)


class OtherFit(LearnedSimilarity):
    """A learned similarity that fits its hyperparameters in another way.

    Parameters
    ----------
    how : {"flat prior", "prior alone", "one length"}
        With a flat prior, only the likelihood counts. With the prior alone, nothing is fitted. With
        one length, the prior's length scales of all knobs are multiplied by one factor.
    """

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def fitted(self, data: Any, start: Hyperparameters, prior: Hyperparameters) -> Hyperparameters:
        """See :meth:`rrl.core.learned_similarity.LearnedSimilarity.fitted`."""
        if self.how == "prior alone":
            return prior
        knobs = len(prior.length_scales) - 1  # the last one is the load's
        flat = {"prior_sd": math.inf} if self.how == "flat prior" else {"together": knobs}
        return fit_hyperparameters(*data, start, prior, process=self.process, **flat)


def other_fit(space: ConfigSpace, rng: np.random.Generator, *, how: str, **changes: Any) -> RRL:
    """Make `rrl-gp` with another way to fit its hyperparameters, see :class:`OtherFit`."""
    return recommended(space, rng, similarity=OtherFit(how), **changes)


class ScheduledSize(RegionSize):
    """The radius that theory recommends, whatever is observed."""

    def select(self, now: float) -> float:
        """See :meth:`rrl.core.region.RegionSize.select`."""
        return min(float(recommended_radius(self.start, now, self.dimensions)), self.widest)


class RandomSize(RegionSize):
    """A radius that is drawn for each block, evenly in log(1 + radius)."""

    def __init__(self, dimensions: int, start: float, widest: float, seed: int = 0) -> None:
        super().__init__(dimensions, start, widest)
        self.seed = seed

    def select(self, now: float) -> float:
        """See :meth:`rrl.core.region.RegionSize.select`."""
        uniform = np.random.default_rng([self.seed, self.episode]).random()
        return math.expm1(uniform * math.log1p(self.widest))


def scheduled_radius(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-adaptive` with the prior's schedule alone: nothing is learned about the radius."""
    return RRL(space, rng, region=SelectedRadius(space, size=ScheduledSize), **changes)


def flat_radius(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-adaptive` with a flat prior of the radius: all is learned."""
    size = partial(RegionSize, slope=0.0)
    return RRL(space, rng, region=SelectedRadius(space, size=size), **changes)


def random_radius(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-adaptive` with a radius that is drawn anew for each block."""
    size = partial(RandomSize, seed=int(rng.integers(SEEDS)))
    return RRL(space, rng, region=SelectedRadius(space, size=size), **changes)
