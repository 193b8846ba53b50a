"""The region of the recommended agent: it grows from what was measured.

Distances are in steps here, see :meth:`rrl.core.space.ConfigSpace.steps`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rrl.core.qtable import Ints, QTable
from rrl.core.region import Region

HOPELESS = 4.0  # times the middle's cost: then the search leaves the first configuration
TRUSTED = 2  # episodes before the best configuration of a warm start may be tried
FAR = np.iinfo(np.int64).max  # steps, as long as nothing was measured
MOST = 2000  # more candidates at once would make decisions slow
NOTHING = np.empty(0, dtype=np.int64)


class Grown(Region):
    """All configurations within a radius of a measured one: the region grows to where costs fall.

    Their values are updated, and any of them may be tried. What was measured under the nearest
    other load level is in the region, too, but the region does not grow from there. With a radius
    of one step, a cliff is met one step at a time.

    Before the first measurement, the region is the middle of the grid. After a first one elsewhere,
    the middle is measured once: if the first configuration costs more than `HOPELESS` times the
    middle, the region grows from both, and otherwise from the first one only.

    If no configuration within the radius is worth a trial, the region widens to the nearest ones
    that are. So it does not end where combinations are missing, and not at a local optimum. If
    none in the whole space is worth a trial, the region looks again when the run is a tenth older.
    Of a space with more than `MOST` configurations, it looks at `MOST`, evenly spread.

    Parameters
    ----------
    radius : float or callable, optional
        How far from what was measured a trial may lie, in steps, at least 1. Infinity is the whole
        space. A callable takes the table and returns the radius of the next trial.
    widens : bool, optional
        Whether the region widens if nothing within the radius is worth a trial.
    guess : int, optional
        The configuration that was best under other conditions. It may be tried from the third
        episode on, when the first two have shown how alike the conditions are. After a first
        measurement, the middle is then not looked at.

    Raises
    ------
    ValueError
        If the radius is below 1.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("a", (1, 2, 3)), Knob("b", (1, 2, 3))]))
    >>> region = Grown()
    >>> region.candidates(table)
    array([4])
    >>> table.record(4, 1.0)
    >>> region.around(table, 4)
    array([1, 3, 4, 5, 7])
    """

    def __init__(
        self,
        radius: float | Callable[[QTable], float] = 1.0,
        widens: bool = True,
        guess: int | None = None,
    ) -> None:
        if not callable(radius) and not radius >= 1:
            raise ValueError(f"the radius of a grown region is at least 1 step, got {radius!r}")
        self.radius, self.widens, self.guess = radius, widens, guess
        self._grown: dict[int, _Growth] = {}  # by load level
        self._looks: dict[int, int] = {}  # the next episode in which the whole space is looked at

    def around(self, table: QTable, index: int) -> Ints:
        """See :meth:`Region.around`: the whole region, not only what is near the measurement."""
        return self._growth(table).inside

    def candidates(self, table: QTable) -> Ints:
        """See :meth:`Region.candidates`."""
        return table.space.middle if self._begins(table) else self._growth(table).inside

    def further(self, table: QTable) -> Ints | None:
        """See :meth:`Region.further`."""
        due = table.episodes >= self._looks.get(table.level, 0)
        if not self.widens or not due or self._begins(table):
            return None
        return self._growth(table).outside

    def widened(self, table: QTable, worth: Ints) -> Ints:
        """See :meth:`Region.widened`; if none is worth a trial, the next look is later."""
        growth = self._growth(table)
        if not len(worth):
            self._looks[table.level] = table.episodes + 1 + table.episodes // 10
            return growth.inside
        steps = growth.steps[worth]
        return np.union1d(growth.inside, worth[steps == steps.min()])

    def forgotten(self, table: QTable) -> list[int]:
        """See :meth:`Region.forgotten`: a look at the middle that was of no use."""
        second = table.episodes == 2 and len(table.measured) == 2 and table.near is None
        if not second or self.guess is not None:
            return []
        first, looked = table.measured.tolist()
        hopeless = table.means[first] > HOPELESS * table.means[looked]
        middle = table.space.middle
        return [looked] if not hopeless and looked in middle and first not in middle else []

    def _begins(self, table: QTable) -> bool:
        """Return whether the middle is tried next, as nothing or only the start was measured."""
        if table.near is not None:
            return False
        alone = table.episodes == 1 and table.measured[0] not in table.space.middle
        return not table.episodes or (alone and self.guess is None)

    def _growth(self, table: QTable) -> _Growth:
        """Return the region of a table, brought up to date with what was measured."""
        growth = self._grown.get(table.level)
        if growth is None or growth.table is not table or growth.near is not table.near:
            growth = self._grown[table.level] = _Growth(table, table.near)
        trusted = table.episodes >= TRUSTED
        growth.take_in(self.guess if trusted else None)
        radius = self.radius(table) if callable(self.radius) else self.radius
        growth.set_region(trusted, int(min(radius, table.space.widest)))
        return growth


class _Growth:
    """How far every configuration lies from what was measured, for one table and its near one.

    Attributes
    ----------
    steps : ndarray of int, shape (n,)
    inside : ndarray of int
        What lies within the radius, sorted; at least the nearest that was not measured.
    outside : ndarray of int
        All others, or an evenly spread part of them, sorted.
    """

    def __init__(self, table: QTable, near: QTable | None) -> None:
        self.table, self.near = table, near
        self.steps = np.full(len(table.space), FAR)
        self.inside = self.outside = NOTHING
        self._counted = 0, 0  # measured configurations in the two tables
        self._made: tuple[object, ...] = ()  # what `inside` was made of

    def take_in(self, guess: int | None) -> None:
        """Bring the steps up to date with what was measured."""
        own, others = self._counted
        for index in self.table.measured[own:].tolist():
            np.minimum(self.steps, self.table.space.steps(index), out=self.steps)
        near = NOTHING if self.near is None else self.near.measured
        self.steps[near[others:]] = 0
        if guess is not None:
            self.steps[guess] = 0
        self._counted = len(self.table.measured), len(near)

    def set_region(self, trusted: bool, radius: int) -> None:
        """Set what lies inside and outside, unless that is made of the same already."""
        made = (*self._counted, trusted, radius)
        if made == self._made:
            return
        new = (self.table.visits == 0) & (self.steps < FAR)
        if new.any():  # where combinations are missing, the nearest may lie beyond the radius
            radius = max(radius, self.steps[new].min())
        cells = np.flatnonzero(self.steps <= radius)
        close = self.steps[cells] <= 1
        self.inside = np.union1d(cells[close], spread_out(cells[~close], MOST))
        everywhere = spread_positions(len(self.steps), MOST)
        self.outside = everywhere[~np.isin(everywhere, self.inside, assume_unique=True)]
        self._made = made


def spread_out(cells: Ints, most: int) -> Ints:
    """Return the cells, or `most` of them, evenly spread, if there are more.

    Examples
    --------
    >>> spread_out(np.array([5, 6, 7, 8]), 2)
    array([5, 8])
    """
    return cells if len(cells) <= most else cells[spread_positions(len(cells), most)]


def spread_positions(size: int, most: int) -> Ints:
    """Return the numbers from 0 to below `size`, or `most` of them, evenly spread.

    Examples
    --------
    >>> spread_positions(10, 4)
    array([0, 3, 6, 9])
    """
    if size <= most:
        return np.arange(size)
    return np.linspace(0, size - 1, most).round().astype(np.int64)
