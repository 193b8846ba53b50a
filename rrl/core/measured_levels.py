"""What was measured at each level of the load, and which level a load belongs to.

Levels are not cut in advance: a load belongs to the nearest one that was met, and one unlike all
of those makes a level of its own. An estimate of a load is noisy, so one that is merely strange
has to be strange again. Compare :mod:`rrl.core.load_levels`, whose levels lie on a fixed scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rrl.core.learned_similarity import Tally

SAME_LOAD = math.log(1.35)  # loads nearer than this are one; an estimate is off by 10 %


@dataclass
class MeasuredLevel:
    """What is known under one level of the load.

    Parameters
    ----------
    log_load : float
        Mean logarithm of the loads (requests per second) that belong to it.
    asked : int
        How many these are.
    tally : Tally
        The measurements.
    told : int
        How many these are.
    incumbent : int or None
        Number of the configuration to deploy.
    reference : float
        Its believed log cost.
    learn_at : int
        After how many measurements the similarity is learned again.
    """

    log_load: float
    asked: int = 0
    tally: Tally = field(default_factory=Tally)
    told: int = 0
    incumbent: int | None = None
    reference: float = 0.0
    learn_at: int = 4


class MeasuredLevels:
    """The levels met so far, and the one that the load is at.

    Examples
    --------
    >>> loads = MeasuredLevels()
    >>> for load in (10.0, 11.0, 15.0, 10.0, 15.0, 16.0, 40.0):
    ...     level = loads.enter(math.log(load))
    ...     loads.took_place()
    >>> [round(math.exp(level.log_load), 1) for level in loads]  # 15 counts when it comes again
    [10.3, 16.0, 40.0]
    """

    def __init__(self) -> None:
        self._all: list[MeasuredLevel] = []
        self.current: MeasuredLevel | None = None
        self._log_load: float | None = None  # that was entered last
        self._strange = False  # whether it was unlike all known ones

    def __iter__(self) -> Iterator[MeasuredLevel]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, log_load: float) -> MeasuredLevel:
        """The level of a load; a new one if the load is strange twice, or very strange once."""
        near = min(self._all, key=lambda level: abs(level.log_load - log_load), default=None)
        away = math.inf if near is None else abs(near.log_load - log_load)
        again, self._strange = self._strange, away > SAME_LOAD
        if self._strange and (again or away > 2 * SAME_LOAD):
            self._strange, near = False, MeasuredLevel(log_load)
            self._all.append(near)
        self.current, self._log_load = near, log_load
        return near

    def took_place(self) -> None:
        """Let the load that was entered count for the mean of its level."""
        if not self._strange:
            self.current.asked += 1
            self.current.log_load += (self._log_load - self.current.log_load) / self.current.asked

    def nearest(
        self, log_load: float, other_than: MeasuredLevel | None = None
    ) -> MeasuredLevel | None:
        """The nearest level that something is known of."""
        known = [level for level in self._all if level.told and level is not other_than]
        return min(known, key=lambda level: abs(level.log_load - log_load), default=None)

    def state(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        return {
            "current": None if self.current is None else self._all.index(self.current),
            "log_load": self._log_load,
            "strange": self._strange,
            "levels": [
                vars(level) | {"tally": [list(row) for row in level.tally.rows]}
                for level in self._all
            ],
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> MeasuredLevels:
        """Make it anew from such a state.

        Raises
        ------
        KeyError, TypeError, ValueError, IndexError
            If that is incomplete.
        """
        made = cls()
        made._all = [
            MeasuredLevel(**{**saved, "tally": Tally(saved["tally"])}) for saved in state["levels"]
        ]
        made.current = None if state["current"] is None else made._all[state["current"]]
        made._log_load, made._strange = state["log_load"], bool(state["strange"])
        return made
