"""Any agent with other constants, for the tuning study (:mod:`rrl.studies.standings`).

A rival's constants are arguments of its class. Those of `rrl-gp` and of `rrl` belong to
their parts, so :func:`other_constants` and :func:`paper_constants` make the parts. The names are
those in the study's table, ``tuning.csv``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from rrl.core.agent import MakeAgent
from rrl.core.exploration import ExpectedSaving
from rrl.core.gaussian_process import Hyperparameters
from rrl.core.learned_similarity import BESIDE_A_START, LearnedSimilarity, prior_hyperparameters
from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import maker
from rrl.tuning.recommended import recommended


class OtherPrior(LearnedSimilarity):
    """A learned similarity that expects other length scales, another amplitude or other costs.

    Parameters
    ----------
    lengths : float
        The expected length scales of the knobs are multiplied by this.
    amplitude : float
        This is the expected amplitude.
    elsewhere : float
        This is how far log costs are expected to be above the incumbent's.
    """

    def __init__(self, lengths: float, amplitude: float, elsewhere: float) -> None:
        super().__init__((elsewhere, BESIDE_A_START[1]))
        self.lengths, self.amplitude = lengths, amplitude

    def prior(self, space: ConfigSpace) -> Hyperparameters:
        """See :meth:`rrl.core.learned_similarity.LearnedSimilarity.prior`."""
        length_scales = prior_hyperparameters(space).length_scales.copy()
        length_scales[:-1] *= self.lengths  # the last one is the load's
        return Hyperparameters(length_scales, self.amplitude)


def other_constants(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    horizon: float = 60.0,
    lengths: float = 1.0,
    amplitude: float = 1.0,
    elsewhere: float = BESIDE_A_START[0],
) -> RRL:
    """Make `rrl-gp` with other constants; the defaults are its own.

    Parameters
    ----------
    space, rng
        See :func:`rrl.tuning.recommended.recommended`.
    horizon : float, optional
        See :class:`rrl.core.exploration.ExpectedSaving`, in episodes.
    lengths, amplitude, elsewhere : float, optional
        See :class:`OtherPrior`.

    Raises
    ------
    ValueError
        If the horizon is out of range.
    """
    return recommended(
        space,
        rng,
        similarity=OtherPrior(lengths, amplitude, elsewhere),
        exploration=ExpectedSaving(horizon),
    )


def paper_constants(
    space: ConfigSpace, rng: np.random.Generator, *, radius: float = 1.0, learning_rate: float = 0.3
) -> RRL:
    """Make `rrl` with another radius or another learning rate."""
    return RRL(space, rng, region=FixedRadius(radius), learning_rate=learning_rate)


MAKERS: dict[str, Callable[..., RRL]] = {"rrl-gp": other_constants, "rrl": paper_constants}


def with_constants(name: str, constants: Mapping[str, Any]) -> MakeAgent:
    """Return a function that makes the named agent with some constants of its own.

    Raises
    ------
    ValueError
        If no agent has this name.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = with_constants("rrl-gp", {"horizon": 50.0})(paper_cpu(), np.random.default_rng(0))
    >>> agent.exploration.horizon
    50.0
    """
    make = MAKERS.get(name)
    return maker(name, **constants) if make is None else partial(make, **constants)
