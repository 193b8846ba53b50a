"""The region Q-table: what each configuration is expected to cost, learned region by region.

:class:`QTable` holds the arrays of one load level; what is done to them is in
:mod:`rrl.core.region_update` and :mod:`rrl.core.exploration`.

Costs are at least 0 and smaller is better. The table has one step and no next state, as in the
code released with the paper: Q[c] is the expected cost of an episode under configuration c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.exploration import draw, fill_tree, mend_tree
from rrl.core.region_update import hear_region, rescale, update_region

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRUST = 2.0  # measurements that what another load says of a configuration counts for
SCALED = 8  # first measurements of a load that set the scale of what it inherited
FLOOR = 0.01  # of about the lowest positive cost: keeps the logarithm of a cost of 0 finite


class QTable:
    """The region Q-table of one workload level, and a sum tree to draw actions from.

    Parameters
    ----------
    size : int
        Number of configurations, n.
    trust : float, optional
        How many measurements the word of another load counts for.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Expected cost of each configuration; all equal the first measurement at first.
    evidence : ndarray, shape (n,)
        Sum of the weights of all estimates so far.
    own : ndarray of bool, shape (n,)
        Whether a measurement under this load was among them.
    visits, means : ndarray, shape (n,)
        How often a configuration was measured itself, and the mean cost then.
    episodes : int
        Measurements so far.
    scale : float
        How dear this load is, relative to the one whose table was the first.

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

    def __init__(self, size: int, trust: float = TRUST) -> None:
        self.values = np.zeros(size)
        self.evidence = np.zeros(size)
        self.own = np.zeros(size, dtype=np.bool_)
        self.visits = np.zeros(size, dtype=np.int64)
        self.means = np.zeros(size)
        self.initial: float | None = None  # the value of configurations that nothing speaks for
        self.episodes = 0
        self.floor = 0.0
        self.trust, self.scale, self._scaled = trust, 1.0, SCALED
        self._visited: dict[int, None] = {}  # here or, inherited, elsewhere; an ordered set
        self._tree: Floats | None = None  # built when first drawn from
        self._tree_scale = (0.0, 1.0, 1.0)

    def successor(self) -> QTable:
        """Return the table of another load that starts from what is known here.

        All is still to be measured: a value counts for `trust` measurements at most, and the
        first ones tell by what factor that load is dearer or cheaper as a whole.
        """
        new = QTable(len(self.values), self.trust)
        new.values[:], new.initial, new.floor = self.values, self.initial, self.floor
        np.minimum(self.evidence, self.trust, out=new.evidence)
        new._visited, new.scale, new._scaled = dict(self._visited), self.scale, 0
        return new

    def hear(self, ball: Ints, estimates: Floats, weights: Floats, scale: float) -> None:
        """Take in what a measurement under a load of another `scale` says about a ball."""
        if self.initial is not None:
            estimates = estimates * (self.scale / scale)
            hear_region(self.values, self.evidence, self.own, ball, estimates, weights, self.trust)
            self._tree = None  # drawn from when this load returns

    def _rescale(self, index: int, cost: float) -> None:
        """Multiply what was inherited by the mean ratio of the first costs to what it said."""
        self._scaled += 1
        ratio = (cost + self.floor) / (self.values[index] + self.floor)
        factor = ratio ** (1 / self._scaled)  # makes a running geometric mean
        rescale(self.values, self.own, factor)
        self.initial, self.scale, self._tree = (
            self.initial * factor,
            self.scale * factor,
            None,
        )

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
        told = self.evidence[index] > 0 and not self.own[index]
        if told and self._scaled < SCALED and self.floor > 0:
            self._rescale(index, cost)
        self._visited.setdefault(int(index))
        self.episodes += 1
        self.visits[index] += 1
        self.means[index] += (cost - self.means[index]) / self.visits[index]
        self.own[ball] = True
        update_region(self.values, self.evidence, ball, estimates, weights, step, average)
        if self._tree is not None:
            mend_tree(self._tree, self.values, ball, self._tree_scale)

    def choose(self, uniform: float, temperature: float) -> int:
        """Draw a configuration by :func:`action_probabilities`, given a number from [0, 1)."""
        if self.floor == 0:  # every cost so far was 0: nothing to tell them apart
            return int(uniform * len(self.values))
        spent = self._tree is not None and not 1e-100 < self._tree[1] < 1e100
        if self._tree is None or spent or self._tree_scale[2] != temperature:
            self._plant((self.floor, float(self.values.min() + self.floor), temperature))
        return int(draw(self._tree, uniform))

    def _plant(self, scale: tuple[float, float, float]) -> None:
        self._tree_scale = scale
        self._tree = np.zeros(2 << (len(self.values) - 1).bit_length())
        fill_tree(self._tree, self.values, scale)

    def recommend(self, how: str = "observed", shrinkage: float = 3.0, caution: float = 0.0) -> int:
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
        caution : float
            At least 0. A configuration measured n times counts as dearer by
            ``caution / sqrt(1 + n)``, as a share, so that a newcomer must be clearly better.

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
        seen = np.fromiter(self._visited, dtype=np.int64, count=len(self._visited))
        visits, values = self.visits[seen], self.values[seen]
        prior = np.where(visits > 0, shrinkage, 1.0)  # inherited ones have their value only
        expected = (visits * self.means[seen] + prior * values) / (visits + prior)
        expected *= 1 + caution / np.sqrt(1 + visits)
        return int(seen[np.argmin(expected)])  # ties: the one tried first

    def state(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers; only what was touched is listed."""
        touched, seen = (
            np.flatnonzero(self.values != (self.initial or 0.0)),
            list(self._visited),
        )
        touched = np.union1d(touched, np.flatnonzero(self.evidence))
        return {
            "size": len(self.values),
            "initial": self.initial,
            "episodes": self.episodes,
            "floor": self.floor,
            "trust": self.trust,
            "scale": self.scale,
            "scaled": self._scaled,
            "tree": None if self._tree is None else list(self._tree_scale),
            "touched": touched.tolist(),
            "values": self.values[touched].tolist(),
            "evidence": self.evidence[touched].tolist(),
            "own": np.flatnonzero(self.own).tolist(),
            "visited": seen,
            "visits": self.visits[seen].tolist(),
            "means": self.means[seen].tolist(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> QTable:
        """Return the table that :meth:`state` described, equal to the last bit."""
        table = cls(state["size"], state["trust"])
        table.initial, table.episodes = state["initial"], state["episodes"]
        table.floor, table._visited = state["floor"], dict.fromkeys(state["visited"])
        table.scale, table._scaled = state["scale"], state["scaled"]
        table.values[:] = table.initial or 0.0
        _scatter(state["touched"], table.values, state["values"])
        _scatter(state["touched"], table.evidence, state["evidence"])
        table.own[state["own"]] = True
        _scatter(state["visited"], table.visits, state["visits"])
        _scatter(state["visited"], table.means, state["means"])
        if state["tree"] is not None:
            table._plant(tuple(state["tree"]))
        return table


def _scatter(indices: Sequence[int], array: NDArray[Any], values: Sequence[float]) -> None:
    if len(indices) != len(values):
        raise ValueError(f"a saved table lists {len(indices)} cells but {len(values)} values")
    array[np.array(indices, dtype=np.int64)] = values
