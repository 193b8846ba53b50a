"""What every agent is: a protocol of three methods."""

from __future__ import annotations

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

        ValueError, and nothing learned, if the cost is no number from 0 to 1e30, the configuration
        is not in the space, or nothing was asked before. A cost below 1e-30 counts as 0.
        """
        ...

    def best(self, load: float) -> Configuration:
        """Return the configuration to deploy under `load`. The agent does not change."""
        ...


MakeAgent = Callable[[ConfigSpace, np.random.Generator], Agent]
"""What makes an agent for a space; each run makes one of its own, with its own generator."""
