"""What agents share: checks of what they are told, and generators saved and restored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


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
    """Return the cost if it is a number that is at least 0.

    Examples
    --------
    >>> check_cost(0)
    0.0
    """
    if not 0 <= cost < math.inf:
        raise ValueError(f"a cost must be a finite number that is at least 0, got {cost!r}")
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
