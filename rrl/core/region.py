"""Regions: about which configurations a measurement says something, and what may be tried next."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from rrl.core.neighbours import Neighbours
from rrl.core.qtable import Ints, QTable
from rrl.core.space import check_radius

HOPELESS = 4.0  # the search leaves the first configuration if it costs so many times the middle


class Region(Protocol):
    """Two sets of configurations: those that are updated, and those that may be tried."""

    def updated(self, table: QTable, index: int) -> Ints:
        """Return the configurations whose values a measurement at `index` updates, sorted."""
        ...

    def eligible(self, table: QTable) -> Ints | None:
        """Return the configurations that may be tried next; None means all."""
        ...

    def learn(self, table: QTable, cost: float) -> None:
        """Take in the cost of an episode, after the table was updated."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what was learned, fit for JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from such a state; KeyError if it is incomplete."""
        ...


class FixedRadius:
    """The paper's region: all configurations within a radius are updated, and any may be tried.

    Parameters
    ----------
    radius : float, optional
        In units of the knobs' positions; it may be changed between episodes. A wide region finds
        a good configuration sooner, a narrow one settles on a better one.

    Raises
    ------
    ValueError
        If the radius is negative or NaN.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("a", (1, 2, 3)), Knob("b", (1, 2, 3))]))
    >>> FixedRadius(1.0).updated(table, 0), FixedRadius(1.0).eligible(table)
    (array([0, 1, 3]), None)
    """

    def __init__(self, radius: float = 1.0) -> None:
        self.radius = check_radius(radius)

    def updated(self, table: QTable, index: int) -> Ints:
        """See :meth:`Region.updated`."""
        return table.space.ball(index, self.radius)

    def eligible(self, table: QTable) -> None:
        """See :meth:`Region.eligible`."""
        return

    def learn(self, table: QTable, cost: float) -> None:
        """Do nothing: the radius is fixed."""

    def state(self) -> dict[str, Any]:
        """See :meth:`Region.state`."""
        return {"radius": self.radius}

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`Region.restore`."""
        self.radius = check_radius(state["radius"])


class Grown:
    """What was measured, and its neighbours: the region grows towards where costs fall.

    Both sets are the same. A trial is at most one level of one knob away from a measured
    configuration, so a cliff is met one step at a time. What was measured under the nearest other
    load level is in the region, too. Before the first measurement, the region is the middle of the
    grid. After a first one elsewhere, the middle is measured once: if the first configuration costs
    more than `HOPELESS` times the middle, the region grows from both, and otherwise from the first
    one only.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("a", (1, 2, 3)), Knob("b", (1, 2, 3))]))
    >>> region = Grown()
    >>> region.eligible(table)
    array([4])
    >>> table.record(4, 1.0)
    >>> region.updated(table, 4)
    array([1, 3, 4, 5, 7])
    """

    def __init__(self) -> None:
        self._neighbours: Neighbours | None = None
        self._grown_from: tuple[Any, ...] = ()  # what the cells were computed from
        self._cells = np.empty(0, dtype=np.int64)

    def updated(self, table: QTable, index: int) -> Ints:
        """See :meth:`Region.updated`; a look at the middle that was of no use is forgotten."""
        if table.episodes == 2 and len(table.measured) == 2 and table.near is None:
            first, looked = table.measured
            if (
                table.means[first] <= HOPELESS * table.means[looked]
                and looked in self._of(table).middle
            ):
                table.forget(int(looked))
        return self._around(table)

    def eligible(self, table: QTable) -> Ints:
        """See :meth:`Region.eligible`."""
        alone = table.episodes == 1 and table.near is None
        if not table.episodes or (alone and table.measured[0] not in self._of(table).middle):
            return self._of(table).middle
        return self._around(table)

    def _of(self, table: QTable) -> Neighbours:
        if self._neighbours is None or self._neighbours.space is not table.space:
            self._neighbours = Neighbours(table.space)
        return self._neighbours

    def _around(self, table: QTable) -> Ints:
        near = table.near
        grown_from = table, len(table.measured), near, 0 if near is None else len(near.measured)
        if grown_from != self._grown_from:  # most episodes measure nothing new
            neighbours, cells = self._of(table), set(table.measured.tolist())
            for index in table.measured.tolist():
                cells.update(neighbours(index))
            if near is not None:
                cells.update(near.measured.tolist())
            self._cells = np.array(sorted(cells), dtype=np.int64)
            self._grown_from = grown_from
        return self._cells

    def learn(self, table: QTable, cost: float) -> None:
        """Do nothing: the table has all that the region depends on."""

    def state(self) -> dict[str, Any]:
        """Return nothing: the table has all that the region depends on."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing."""
