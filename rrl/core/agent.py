"""What every agent is: the protocol, checks of what it is told, its generator saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace


class Agent(Protocol):
    """Whatever can tune: it sees costs and load estimates, and nothing else."""

    def ask(self, load: float) -> Configuration:
        """Choose the configuration of the next episode.

        `load` is in requests per second, estimated from arrivals so far. ValueError if it is not
        a positive number.
        """
        ...

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn what an episode cost under the load that was last asked for.

        ValueError, and nothing learned, if the cost is negative, NaN or infinite, the
        configuration is not in the space, or nothing was asked before.
        """
        ...

    def best(self, load: float) -> Configuration:
        """Return the configuration to deploy under `load`. It does not change the agent."""
        ...

    def state(self) -> dict[str, Any]:
        """Return all that the next choices depend on, the generator included, fit for JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state as if never interrupted."""
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
    """Return the cost if it is a number that is at least 0, and not too large to be squared.

    Examples
    --------
    >>> check_cost(0)
    0.0
    """
    if not 0 <= cost < math.inf:
        raise ValueError(f"a cost must be a finite number that is at least 0, got {cost!r}")
    if cost > HIGHEST:
        raise ValueError(f"a cost must be at most {HIGHEST:g}, got {cost!r}; use another unit")
    return float(cost)


def rng_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return a generator's state with arrays as lists, fit for JSON.

    Examples
    --------
    >>> rng_state(np.random.default_rng(1))["bit_generator"]
    'PCG64'
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    return plain(rng.bit_generator.state)


def restore_rng(rng: np.random.Generator, state: dict[str, Any]) -> None:
    """Put a generator into a state that :func:`rng_state` returned.

    Raises
    ------
    ValueError
        If it belongs to another kind of generator.
    """
    kind = rng.bit_generator.state["bit_generator"]
    if state.get("bit_generator") != kind:
        raise ValueError(
            f"the state was saved with a {state.get('bit_generator')} generator: "
            f"restore it into an agent with the same, not {kind}"
        )
    rng.bit_generator.state = state
