"""The whole space as the region: the similarity says itself how little it knows far away."""

from __future__ import annotations

import math

import numpy as np

from rrl.core.qtable import QTable
from rrl.core.region import Region
from rrl.core.space import ROUNDING, ConfigSpace, Ints

LARGE = 5_000  # configurations; a larger space is updated in part, to limit a decision's time
PART = 2000  # configurations of this part, apart from a few
SHIFT = 0.618  # of the way to the next spread configuration, from one episode to the next


class WholeSpace(Region):
    """All configurations are updated, and any may be tried.

    Nothing else is tried before the middle of the grid was measured. So the costs of two distant
    configurations are known at the first choice, and a bad start is left at once.

    Of a space with more than `LARGE` configurations, a measurement updates a part. This part
    contains what was measured, the configurations within one step of the incumbent, and `PART`
    evenly spread configurations. It changes with the incumbent, and each time that the number of
    episodes has grown by a tenth. The next trial is in it.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("a", (1, 2, 3)), Knob("b", (1, 2, 3))]))
    >>> region = WholeSpace()
    >>> region.candidates(table), region.around(table, 4)
    (array([4]), array([0, 1, 2, 3, 4, 5, 6, 7, 8]))
    """

    def __init__(self) -> None:
        self._part, self._of = np.empty(0, dtype=np.int64), tuple[int | None, ...]()

    def candidates(self, table: QTable) -> Ints:
        """See :meth:`rrl.core.region.Region.candidates`: the middle, then what was updated last."""
        begins = table.near is None and len(table.measured) <= 1
        if begins and not table.visits[middle(table.space)].any():
            return middle(table.space)
        return table.last_region

    def around(self, table: QTable, index: int) -> Ints:
        """See :meth:`rrl.core.region.Region.around`."""
        size = len(table.space)
        if size <= LARGE:
            return np.arange(size)
        turn = int(math.log(table.episodes) / math.log(1.1))
        incumbent, of = table.incumbent, (table.level, table.incumbent, turn)
        if of != self._of or not np.isin(index, self._part):
            spread = (np.arange(PART) + turn * SHIFT % 1) * size / PART
            known = [spread.astype(np.int64), table.measured]
            if incumbent is not None:
                known.append(np.flatnonzero(table.space.steps(incumbent) <= 1))
            self._of, self._part = of, np.unique(np.concatenate(known))
        return self._part


def middle(space: ConfigSpace) -> Ints:
    """Return the configurations nearest to the grid's middle, measured in fractions of its sides.

    A knob with two values or with a category has no middle. Its first value takes that place, since
    an option is usually off, or as its maker set it.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> space = paper_cpu(2)
    >>> [space[index] for index in middle(space)]
    [{'inter_op': 2, 'intra_op': 2, 'batch_threads': 2}]
    """
    squared = np.zeros(len(space))
    for knob, indices in zip(space.knobs, space.value_indices.T, strict=True):
        last = max(len(knob.values) - 1, 1)
        first = knob.categorical or last == 1
        middle = np.array(knob.positions) / last - (0.0 if first else 0.5)
        squared += (middle**2)[indices]
    return np.flatnonzero(squared <= squared.min() + ROUNDING)
