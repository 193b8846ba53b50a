"""What every agent is: the protocol, and the checks of what it is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace


class Agent(Protocol):
    """An agent sees costs and load estimates, and nothing else. It chooses configurations.

    All random choices come from the generator that the agent was made with. So a run that is
    replayed gives the same agent.
    """

    def ask(self, load: float) -> Configuration:
        """Choose the configuration of the next episode.

        `load` is in requests per second, estimated from arrivals so far. ValueError if it is not
        a positive number.
        """
        ...

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn what an episode cost under the load that was last asked for.

        ValueError, and nothing learned, if the cost is no number from 0 to `HIGHEST`, the
        configuration is not in the space, or nothing was asked before.
        """
        ...

    def best(self, load: float) -> Configuration:
        """Return the configuration to deploy under `load`. The agent does not change."""
        ...


HIGHEST = 1e150  # the square of a cost must be finite, and sums of such squares
MakeAgent = Callable[[ConfigSpace, np.random.Generator], Agent]


def check_load(load: float) -> float:
    """Return the load, in requests per second, if it is a positive number.

    Examples
    --------
    >>> check_load(14)
    14.0
    """
    if not 0 < load < math.inf:
        raise ValueError(f"load must be a positive number of requests per second, got {load!r}")
    return float(load)


def check_cost(cost: float) -> float:
    """Return the cost if it is a number from 0 to `HIGHEST`.

    Examples
    --------
    >>> check_cost(0)
    0.0
    """
    if not 0 <= cost <= HIGHEST:
        raise ValueError(f"a cost must be a number from 0 to {HIGHEST:g}, got {cost!r}")
    return float(cost)
