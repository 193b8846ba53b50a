"""The paper's agents with single settings changed, for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from rrl.core.region import FixedRadius
from rrl.core.rrl import RRL, released
from rrl.core.similarity import Copy
from rrl.core.space import ConfigSpace


def with_radius(
    space: ConfigSpace, rng: np.random.Generator, *, radius: float, **changes: Any
) -> RRL:
    """Make `rrl` with another radius; all other settings are equal."""
    return RRL(space, rng, region=FixedRadius(radius), **changes)


def released_copy(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> RRL:
    """Make `rrl-released` without its network: a copy estimates the similarity."""
    return released(space, rng, similarity=Copy(), **changes)
