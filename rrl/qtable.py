"""The region Q-table: what each configuration is expected to cost, learned region by region.

Pure functions on arrays come first (compiled with Numba, so that one decision costs microseconds
whatever the grid's size), then :class:`QTable`, which holds the arrays of one workload level.

Costs are at least 0 and smaller is better. The table has one step and no next state, as in the
code released with the paper: Q[c] is the expected cost of an episode under configuration c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rrl.exploration import draw, fill_tree, mend_tree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FLOOR = 0.01  # of about the lowest positive cost: keeps the logarithm of a cost of 0 finite


@njit(cache=True)
def update_region(
    values: Floats,
    evidence: Floats,
    ball: Ints,
    estimates: Floats,
    weights: Floats,
    step: float,
    average: bool,
) -> None:
    """Move the values of one region towards their estimates, in place.

    For every c in the ball, ``Q[c] = (1 - g) Q[c] + g estimate[c]``. The released code has
    ``g = step``. Here g is ``step * weight``, and with `average` at least ``weight / evidence``,
    which makes Q a weighted mean until the step takes over: the first estimate replaces the
    initial guess instead of being mixed with it.

    Parameters
    ----------
    values, evidence : ndarray, shape (n,)
        Q, and the sum of the weights that went into it.
    ball : ndarray of int, shape (m,)
        Indices of the region.
    estimates, weights : ndarray, shape (m,)
        Estimated cost, and how sure it is, from 0 to 1.
    step : float
        The learning rate, above 0 and at most 1.
    average : bool
        Whether evidence counts.

    References
    ----------
    Released code of "Swift Machine Learning Model Serving Scheduling", SC'19.

    Examples
    --------
    >>> values, evidence, ball = np.full(4, 9.0), np.zeros(4), np.array([1, 2])
    >>> update_region(values, evidence, ball, np.full(2, 5.0), np.ones(2), 0.25, False)
    >>> values
    array([9., 8., 8., 9.])
    """
    for j in range(len(ball)):
        c, weight = ball[j], weights[j]
        if weight > 0:
            evidence[c] += weight
            gain = step * weight
            if average:
                gain = max(gain, weight / evidence[c])
            values[c] = (1 - gain) * values[c] + gain * estimates[j]


class QTable:
    """The region Q-table of one workload level, and a sum tree to draw actions from.

    Parameters
    ----------
    size : int
        Number of configurations, n.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Expected cost of each configuration; all equal the first measurement at first.
    evidence : ndarray, shape (n,)
        Sum of the weights of all estimates so far.
    visits, means : ndarray, shape (n,)
        How often a configuration was measured itself, and the mean cost then.
    episodes : int
        Measurements so far.

    Examples
    --------
    >>> table, one = QTable(3), np.ones(1)
    >>> for c, cost in enumerate([4.0, 1.0, 2.0]):
    ...     table.update(c, cost, np.array([c]), cost * one, one)
    >>> table.values, table.recommend()
    (array([4., 1., 2.]), 1)
    >>> table.choose(uniform=0.5, temperature=0.01)
    1
    """

    def __init__(self, size: int) -> None:
        self.values = np.zeros(size)
        self.evidence = np.zeros(size)
        self.visits = np.zeros(size, dtype=np.int64)
        self.means = np.zeros(size)
        self.initial: float | None = None  # the value of configurations that nothing speaks for
        self.episodes = 0
        self.floor = 0.0
        self._visited: list[int] = []  # in the order of their first visit
        self._tree: Floats | None = None  # built when first drawn from
        self._scale = (0.0, 1.0, 1.0)

    def successor(self) -> QTable:
        """Return a table that starts from these values, with everything still to be measured."""
        new = QTable(len(self.values))
        new.values[:], new.initial, new.floor = self.values, self.initial, self.floor
        return new

    def update(
        self,
        index: int,
        cost: float,
        ball: Ints,
        estimates: Floats,
        weights: Floats,
        step: float = 0.3,
        average: bool = True,
    ) -> None:
        """Take in the cost measured at `index`, and what it says about the sorted `ball`."""
        if self.initial is None:
            self.initial = cost
            self.values[:] = cost
        if cost > 0 and (self.floor == 0 or FLOOR * cost < self.floor / 2):
            self.floor, self._tree = FLOOR * cost, None
        if self.visits[index] == 0:
            self._visited.append(int(index))
        self.episodes += 1
        self.visits[index] += 1
        self.means[index] += (cost - self.means[index]) / self.visits[index]
        update_region(self.values, self.evidence, ball, estimates, weights, step, average)
        if self._tree is not None:
            mend_tree(self._tree, self.values, ball, self._scale)

    def choose(self, uniform: float, temperature: float) -> int:
        """Draw a configuration by :func:`action_probabilities`, given a number from [0, 1)."""
        if self.floor == 0:  # every cost so far was 0: nothing to tell them apart
            return int(uniform * len(self.values))
        spent = self._tree is not None and not 1e-100 < self._tree[1] < 1e100
        if self._tree is None or spent or self._scale[2] != temperature:
            self._plant((self.floor, float(self.values.min() + self.floor), temperature))
        return int(draw(self._tree, uniform))

    def _plant(self, scale: tuple[float, float, float]) -> None:
        self._scale = scale
        self._tree = np.zeros(2 << (len(self.values) - 1).bit_length())
        fill_tree(self._tree, self.values, scale)

    def recommend(self, how: str = "observed", shrinkage: float = 3.0) -> int:
        """Return the configuration to deploy.

        Parameters
        ----------
        how : {"observed", "table"}
            "observed": of those measured, the one whose mean is lowest after it was mixed with
            the table's value, as if that were `shrinkage` more measurements; so one lucky
            episode does not win. "table": the table's minimum, a poor choice when regions are
            wide, since a whole region shares its value.
        shrinkage : float
            At least 0.

        Raises
        ------
        ValueError
            If nothing was measured, or `how` is unknown.
        """
        if not self._visited:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        if how == "table":
            return int(self.values.argmin())
        if how != "observed":
            raise ValueError(f"unknown recommendation {how!r}: use 'observed' or 'table'")
        seen = np.array(self._visited)
        visits = self.visits[seen]
        total = visits * self.means[seen] + shrinkage * self.values[seen]
        return int(seen[np.argmin(total / (visits + shrinkage))])  # ties: the one tried first

    def state(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers; only what was touched is listed."""
        touched, seen = np.flatnonzero(self.values != (self.initial or 0.0)), self._visited
        touched = np.union1d(touched, np.flatnonzero(self.evidence))
        return {
            "size": len(self.values),
            "initial": self.initial,
            "episodes": self.episodes,
            "floor": self.floor,
            "scale": None if self._tree is None else list(self._scale),
            "touched": touched.tolist(),
            "values": self.values[touched].tolist(),
            "evidence": self.evidence[touched].tolist(),
            "visited": list(seen),
            "visits": self.visits[seen].tolist(),
            "means": self.means[seen].tolist(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> QTable:
        """Return the table that :meth:`state` described, equal to the last bit."""
        table = cls(state["size"])
        table.initial, table.episodes = state["initial"], state["episodes"]
        table.floor, table._visited = state["floor"], list(state["visited"])
        table.values[:] = table.initial or 0.0
        _scatter(state["touched"], table.values, state["values"])
        _scatter(state["touched"], table.evidence, state["evidence"])
        _scatter(table._visited, table.visits, state["visits"])
        _scatter(table._visited, table.means, state["means"])
        if state["scale"] is not None:
            table._plant(tuple(state["scale"]))
        return table


def _scatter(indices: Sequence[int], array: NDArray[Any], values: Sequence[float]) -> None:
    if len(indices) != len(values):
        raise ValueError(f"a saved table lists {len(indices)} cells but {len(values)} values")
    array[np.array(indices, dtype=np.int64)] = values
