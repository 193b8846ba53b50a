"""How far from what was measured a trial may lie, in steps (see `ConfigSpace.steps`).

A wide reach finds a good configuration sooner, because a distant trial tells more. A narrow one
costs less and settles sooner, because a Gaussian process is reliable near its measurements. The
recommended agent has a reach of one step, and :class:`~rrl.core.region.Grown` widens the region to
the nearest configuration that is worth a trial if none within reach is. The other reaches here are
what that rule is compared with (:mod:`rrl.studies.ablation`).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from rrl.core.qtable import QTable


class Reach(Protocol):
    """Whatever says how far from what was measured a trial may lie."""

    def __call__(self, table: QTable, widest: int) -> float:
        """Return the reach of the next trial in steps.

        Parameters
        ----------
        table : QTable
        widest : int
            The number of steps across the whole space.
        """
        ...

    def learn(self, table: QTable, cost: float) -> None:
        """Take in the cost of an episode, after the table was updated."""
        ...

    def state(self) -> Any:
        """Return what was learned, fit for JSON."""
        ...

    def restore(self, state: Any) -> None:
        """Continue from such a state."""
        ...


class Unlearned:
    """A reach that learns nothing, so it has no state."""

    def learn(self, table: QTable, cost: float) -> None:
        """Do nothing."""

    def state(self) -> None:
        """Return nothing."""

    def restore(self, state: None) -> None:
        """Do nothing."""


class FixedReach(Unlearned):
    """The same reach in every episode; infinity is the whole space.

    Raises
    ------
    ValueError
        If the reach is below 1.
    """

    def __init__(self, steps: float = 1.0) -> None:
        if not steps >= 1:
            raise ValueError(f"a reach is at least 1 step, got {steps!r}")
        self.steps = steps

    def __call__(self, table: QTable, widest: int) -> float:
        """See :class:`Reach`."""
        return self.steps


class ShrinkingReach(Unlearned):
    """A reach that begins with a share of the space and shrinks towards one step.

    After t episodes it is ``share * widest * (1 + t / onset) ** -rate`` steps, and at least 1. A
    new load level counts the episodes of the nearest other one, too, because its measurements are
    known.

    Parameters
    ----------
    share : float, optional
        The first reach, as a share of the number of steps across the space.
    onset : float, optional
        Number of episodes after which the reach begins to shrink.
    rate : float, optional
        How fast it shrinks. By theory, the error of a table learned from copies is least with a
        rate of 1 / (d + 2) for d knobs (:mod:`rrl.core.region_size`). That theory does not hold for
        a Gaussian process. The default rate was chosen, not derived.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from rrl.core.space import ConfigSpace, Knob
    >>> table, reach = QTable(ConfigSpace([Knob("threads", range(21))])), ShrinkingReach(0.5)
    >>> for _ in range(3):
    ...     print(round(reach(table, widest=20), 1))
    ...     table.episodes += 50
    10.0
    4.7
    3.4
    """

    def __init__(self, share: float = 0.5, onset: float = 20.0, rate: float = 0.6) -> None:
        if not (0 < share <= 1 and 0 < onset < math.inf and 0 <= rate < math.inf):
            raise ValueError(
                f"need 0 < share <= 1, onset > 0 and rate >= 0, got {share}, {onset} and {rate}"
            )
        self.share, self.onset, self.rate = share, onset, rate

    def __call__(self, table: QTable, widest: int) -> float:
        """See :class:`Reach`."""
        episodes = table.episodes + (0 if table.near is None else table.near.episodes)
        return max(1.0, self.share * widest * (1 + episodes / self.onset) ** -self.rate)


class RandomReach(Unlearned):
    """A reach that is drawn for each episode, from 1 step to the whole space, evenly in logarithms.

    It is what a selection of the reach has to beat. The draws depend only on the seed, the load
    level and the number of its episodes.

    Examples
    --------
    >>> from rrl.core.space import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("threads", range(21))]))
    >>> 1 <= RandomReach()(table, widest=20) <= 20
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, table: QTable, widest: int) -> float:
        """See :class:`Reach`."""
        rng = np.random.default_rng([self.seed, table.level, table.episodes])
        return float(max(widest, 1) ** rng.random())
