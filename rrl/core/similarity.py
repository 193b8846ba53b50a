"""Region-similarity estimation: what one measurement says about the configurations near it.

An estimator hands back, for each configuration of the region, a cost and how sure it is of it.
The weight scales the learning rate, so a doubtful estimate moves the table less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import ConfigSpace


class Estimate(NamedTuple):
    """Estimated costs of a region, shape (m,), and how sure they are, from 0 to 1."""

    costs: NDArray[np.float64]
    weights: NDArray[np.float64]


class Similarity(Protocol):
    """Whatever can estimate the costs across a region from a measurement in its middle."""

    def estimate(
        self, space: ConfigSpace, index: int, cost: float, ball: NDArray[np.int64], load: float
    ) -> Estimate:
        """Say what a measurement means for the configurations `ball`.

        It is called once for every measurement, in order, so an estimator that learns does so
        here.

        Parameters
        ----------
        space : ConfigSpace
            What `index` and `ball` are numbers in.
        index : int
            The configuration that was measured.
        cost : float
            Its cost.
        ball : ndarray of int, shape (m,)
            The region: all configurations within the radius, sorted, with `index` among them.
        load : float
            Requests per second, as estimated when the configuration was chosen.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return what was learned, fit for JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        ...


class FixedSimilarity:
    """An estimator that learns nothing has no state."""

    def state(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Check that the state is empty.

        Raises
        ------
        ValueError
            If it is not: another estimator saved it.
        """
        if state:
            raise ValueError(f"{self} learns nothing, but the saved state holds {list(state)}")


@dataclass(frozen=True)
class Copy(FixedSimilarity):
    """The whole region costs what was measured, with full weight everywhere.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> space = ConfigSpace([Knob("inter_op", (1, 2, 3))])
    >>> Copy().estimate(space, 1, 0.5, space.ball(1, 1), load=10.0).costs
    array([0.5, 0.5, 0.5])
    """

    def estimate(
        self, space: ConfigSpace, index: int, cost: float, ball: NDArray[np.int64], load: float
    ) -> Estimate:
        """See :meth:`Similarity.estimate`."""
        return Estimate(np.full(len(ball), cost), np.ones(len(ball)))


@dataclass(frozen=True)
class DistanceWeighted(FixedSimilarity):
    """The region costs what was measured, with a weight of exp(-d² / 2 length²) at distance d.

    Parameters
    ----------
    length : float, optional
        The distance, in units of the knobs' positions, at which the weight is 0.61.

    Raises
    ------
    ValueError
        If the length is not a positive number.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> space = ConfigSpace([Knob("inter_op", (1, 2, 3))])
    >>> DistanceWeighted(1.0).estimate(space, 0, 0.5, space.ball(0, 2), load=10.0).weights.round(2)
    array([1.  , 0.61, 0.14])
    """

    length: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.length < np.inf:
            raise ValueError(f"length must be a positive number, got {self.length!r}")

    def estimate(
        self, space: ConfigSpace, index: int, cost: float, ball: NDArray[np.int64], load: float
    ) -> Estimate:
        """See :meth:`Similarity.estimate`."""
        away = space.positions[ball] - space.positions[index]
        squared = np.einsum("ij,ij->i", away, away)
        return Estimate(np.full(len(ball), cost), np.exp(squared / (-2 * self.length**2)))
