"""The load levels of an agent, each with its table."""

from __future__ import annotations

import math

from rrl.core.agent import check_load
from rrl.core.qtable import QTable
from rrl.core.space import ConfigSpace


class Tables(list[QTable]):
    """One table per load level, a group of loads that are treated as one.

    Estimates of a load are noisy, and each load level has to learn from its own episodes. So there
    should be few. All agents group loads with this class.

    A load belongs to the nearest load level. A load that differs from the nearest one by more than
    a factor of `ratio` begins a new load level: at once if the factor is above the square of the
    ratio, and otherwise only if the next load also differs by more than `ratio` from every load
    level, in either direction. Until then, the load belongs to the nearest load level. So a single
    noisy estimate begins no new one.

    Parameters
    ----------
    space : ConfigSpace
    ratio : float, optional
        Above 1. An estimate from 100 requests is off by about 10 %. With infinity, all loads
        belong to one load level.

    Raises
    ------
    ValueError
        If the ratio is not above 1.

    Examples
    --------
    >>> from rrl import Knob
    >>> tables = Tables(ConfigSpace([Knob("threads", (1, 2, 4))]))
    >>> for load in (10.0, 11.0, 15.0, 10.0, 15.0, 16.0, 40.0):
    ...     tables.record(tables.at(load), index=0, cost=1.0)
    >>> [round(math.exp(table.log_load), 1) for table in tables]  # 15 counts when it comes again
    [10.3, 16.0, 40.0]
    """

    def __init__(self, space: ConfigSpace, ratio: float = 1.35) -> None:
        super().__init__()
        if not ratio > 1:
            raise ValueError(f"the ratio of load levels must be above 1, got {ratio!r}")
        self.space, self.width = space, math.log(ratio)
        self._level: int | None = None  # of the last load
        self._log_load = 0.0  # of the last load
        self._outlier = False  # whether the last load is far from all load levels

    def at(self, load: float) -> QTable:
        """Return the table of a load (requests per second), which is empty if it begins a level."""
        self._log_load = math.log(check_load(load))
        table = _nearest(self, self._log_load)
        distance = math.inf if table is None else abs(table.log_load - self._log_load)
        again, self._outlier = self._outlier, distance > self.width
        if table is None or (self._outlier and (again or distance > 2 * self.width)):
            table, self._outlier = QTable(self.space, len(self), self._log_load), False
            self.append(table)
            self._find_nearest()
        self._level = table.level
        return table

    @property
    def current(self) -> QTable:
        """The table of the last load.

        Raises
        ------
        ValueError
            If there was no load yet.
        """
        if self._level is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        return self[self._level]

    def record(self, table: QTable, index: int, cost: float) -> None:
        """Let the table of the last load, or its successor, take in the cost measured at `index`.

        The load counts for the mean of its load level, unless it is an outlier.
        """
        self[table.level] = table
        if not self._outlier:
            table.loads += 1
            table.log_load += (self._log_load - table.log_load) / table.loads
        table.record(index, cost)
        if len(self) > 1:
            self._find_nearest()

    def _find_nearest(self) -> None:
        for one in self:
            others = [table for table in self if table.episodes and table is not one]
            one.near = _nearest(others, one.log_load)

    def nearest(self, load: float) -> QTable | None:
        """Return the table with measurements whose load level is nearest; None if there is none."""
        measured = [table for table in self if table.episodes]
        return _nearest(measured, math.log(check_load(load)))

    def deployed(self, load: float) -> int:
        """Return the configuration to deploy: the incumbent of the nearest load level.

        Raises
        ------
        ValueError
            If nothing has been told yet, or the load is not a positive number.
        """
        table = self.nearest(load)
        if table is None or table.incumbent is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return table.incumbent


def _nearest(tables: list[QTable], log_load: float) -> QTable | None:
    if len(tables) < 2:  # as in most runs
        return tables[0] if tables else None
    return min(tables, key=lambda table: abs(table.log_load - log_load))
