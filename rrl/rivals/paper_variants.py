"""The paper's agents with single settings changed, for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from rrl.core.agent import Agent
from rrl.core.similarity import Copy
from rrl.core.space import ConfigSpace
from rrl.core.variants import boltzmann, released


def wide(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> Agent:
    """Make `rrl-boltzmann` with the released radius of 3 levels; all other settings are equal."""
    return boltzmann(space, rng, **({"radius": 3.0} | changes))


def released_copy(space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> Agent:
    """Make `rrl-released` without its network: a copy estimates the similarity."""
    return released(space, rng, similarity=Copy(), **changes)
