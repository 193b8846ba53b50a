"""Regions: about which configurations a measurement says something, and what may be tried next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl.core.qtable import Ints, QTable
from rrl.core.reach import FixedReach, Reach
from rrl.core.space import check_radius

HOPELESS = 4.0  # the search leaves the first configuration if it costs so many times the middle
TRUSTED = 2  # episodes before what was best elsewhere may be tried
FAR = np.iinfo(np.int64).max  # steps, as long as nothing was measured
MOST = 2000  # more candidates at once would make decisions slow

Worth = Callable[..., NDArray[np.bool_]]
"""Takes configurations, and returns which are worth a trial. With True as a second argument, their
values are estimated first."""


class Region(Protocol):
    """Two sets of configurations: those that are updated, and those that may be tried."""

    def updated(self, table: QTable, index: int) -> Ints:
        """Return the configurations whose values a measurement at `index` updates, sorted."""
        ...

    def eligible(self, table: QTable, worth: Worth | None = None) -> Ints | None:
        """Return the configurations that may be tried next; None means all.

        A region may ask which of them are worth a trial.
        """
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

    def eligible(self, table: QTable, worth: Worth | None = None) -> None:
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


@dataclass
class _Around:
    """How far every configuration lies from what was measured, for one table and its near one."""

    table: QTable
    near: QTable | None
    steps: Ints
    counted: tuple[int, int] = (0, 0)  # measured configurations in the two tables
    made: tuple[int, ...] = ()  # what `inside` was made of
    inside: Ints | None = None


class Grown:
    """What was measured, and what lies within reach: the region grows towards where costs fall.

    Both sets are the same: the values of all configurations within reach of a measured one are
    updated, and any of them may be tried. What was measured under the nearest other load level is
    in the region, too, but the region does not grow from there. With a reach of one step, a cliff
    is met one step at a time.

    Before the first measurement, the region is the middle of the grid. After a first one elsewhere,
    the middle is measured once: if the first configuration costs more than `HOPELESS` times the
    middle, the region grows from both, and otherwise from the first one only.

    If no configuration within reach is worth a trial, the region widens to the nearest ones that
    are. So it does not end where combinations are missing, and not at a local optimum. If none in
    the whole space is worth a trial, that is checked again when the run is a tenth older. Of a
    space with more than `MOST` configurations, it looks at so many, evenly spread.

    Parameters
    ----------
    reach : Reach, optional
        How far from what was measured a trial may lie. By default it is one step.
    widens : bool, optional
        Whether the region widens if nothing within reach is worth a trial.
    elsewhere : int, optional
        The configuration that was best under other conditions. It may be tried from the third
        episode on, when the first two have shown how alike the conditions are. After a first
        measurement, the middle is then not looked at.

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

    def __init__(
        self, reach: Reach | None = None, widens: bool = True, elsewhere: int | None = None
    ) -> None:
        self.reach = FixedReach(1) if reach is None else reach
        self.widens, self.elsewhere = widens, elsewhere
        self._around: dict[int, _Around] = {}  # by load level
        self._looks: dict[int, int] = {}  # the next episode in which the whole space is looked at

    def updated(self, table: QTable, index: int) -> Ints:
        """See :meth:`Region.updated`; a look at the middle that was of no use is forgotten."""
        second = table.episodes == 2 and len(table.measured) == 2 and table.near is None
        if second and self.elsewhere is None:
            first, looked = table.measured
            hopeless = table.means[first] > HOPELESS * table.means[looked]
            middle = table.space.middle
            if not hopeless and looked in middle and first not in middle:
                table.forget(int(looked))
        return self._inside(table)

    def eligible(self, table: QTable, worth: Worth | None = None) -> Ints:
        """See :meth:`Region.eligible`."""
        middle = table.space.middle
        alone = table.episodes == 1 and table.measured[0] not in middle
        if table.near is None and (not table.episodes or (alone and self.elsewhere is None)):
            return middle
        inside, look = self._inside(table), self._looks.get(table.level, 0)
        if worth is None or not self.widens or table.episodes < look or worth(inside).any():
            return inside
        beyond = np.setdiff1d(spread_out(np.arange(len(table.space)), MOST), inside)
        beyond = beyond[worth(beyond, True)]
        if not len(beyond):
            self._looks[table.level] = table.episodes + 1 + table.episodes // 10
            return inside
        away = self._around[table.level].steps[beyond]
        return np.union1d(inside, beyond[away == away.min()])

    def _inside(self, table: QTable) -> Ints:
        """Return what lies within reach, sorted; at least the nearest that was not measured."""
        around, widest = self._counted(table), table.space.widest
        made = (
            *around.counted,
            table.episodes >= TRUSTED,
            int(min(self.reach(table, widest), widest)),
        )
        if around.inside is None or around.made != made:
            steps = around.steps
            reach, new = made[-1], (table.visits == 0) & (steps < FAR)
            if new.any():  # where combinations are missing, the nearest may lie beyond the reach
                reach = max(reach, steps[new].min())
            cells = np.flatnonzero(steps <= reach)
            close = steps[cells] <= 1
            around.inside = np.union1d(cells[close], spread_out(cells[~close], MOST))
            around.made = made
        return around.inside

    def _counted(self, table: QTable) -> _Around:
        """Bring the steps of a table up to date with what was measured."""
        around, near = self._around.get(table.level), table.near
        if around is None or around.table is not table or around.near is not near:
            steps = np.full(len(table.space), FAR)
            around = self._around[table.level] = _Around(table, near, steps)
        for index in table.measured[around.counted[0] :].tolist():
            np.minimum(around.steps, table.space.steps(index), out=around.steps)
        others = np.empty(0, dtype=np.int64) if near is None else near.measured
        around.steps[others[around.counted[1] :]] = 0
        if self.elsewhere is not None and table.episodes >= TRUSTED:
            around.steps[self.elsewhere] = 0
        around.counted = len(table.measured), len(others)
        return around

    def learn(self, table: QTable, cost: float) -> None:
        """Let the reach learn; all else that the region depends on is in the table."""
        self.reach.learn(table, cost)

    def state(self) -> dict[str, Any]:
        """Return the episodes of the next looks by load level, and the state of the reach."""
        return {"looks": [list(pair) for pair in self._looks.items()], "reach": self.reach.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`Region.restore`."""
        self._looks = {int(level): int(episode) for level, episode in state["looks"]}
        self.reach.restore(state["reach"])
        self._around.clear()


def spread_out(cells: Ints, most: int) -> Ints:
    """Return at most so many cells, evenly spread over the given ones.

    Examples
    --------
    >>> spread_out(np.arange(10), 4)
    array([0, 3, 6, 9])
    """
    if len(cells) <= most:
        return cells
    return cells[np.linspace(0, len(cells) - 1, most).round().astype(np.int64)]
