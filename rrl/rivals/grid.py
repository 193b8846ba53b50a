"""How rivals see a space: as a grid of neighbours, or as points in the unit cube."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.space import ConfigSpace, Floats, Ints


def unit_cube(space: ConfigSpace) -> Floats:
    """Return coordinates of all configurations, each from 0 to 1: shape (configurations, columns).

    A knob whose values have an order has one column, with its positions shifted and scaled. A
    category has one column per value, with equal distances of 1 between any two of its values. A
    knob with a single value has no column.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("device", ("cpu", "gpu")), Knob("batch", (1, 4, 6))])
    >>> unit_cube(space)[-1].round(2)
    array([0.  , 0.71, 1.  ])
    """
    columns = [np.empty((len(space), 0))]
    for knob, indices in zip(space.knobs, space.value_indices.T, strict=True):
        if len(knob.values) > 1:
            longest = 1 if knob.categorical else len(knob.values) - 1
            columns.append(knob.coordinates[indices] / longest)
    return np.concatenate(columns, axis=1)


def near(space: ConfigSpace, index: int, radius: float) -> Ints:
    """Return the configurations near one, without itself: those of a ball, or else the nearest.

    Within a radius of 1 are the next values of each knob with an order, and all values of each
    category. If combinations are missing, that may be nothing.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", (1, 2, 4)), Knob("policy", ("a", "b", "c"))])
    >>> [space[index] for index in near(space, 0, 1.0)][0]
    {'threads': 1, 'policy': 'b'}
    >>> near(space, 0, 1.0).tolist(), near(space, 0, 0.5).tolist()
    ([1, 2, 3], [1, 2, 3])
    """
    ball = space.ball(index, radius)
    if len(ball) == 1 and len(space) > 1:
        ball = space.ball(index, np.partition(space.distances(index), 1)[1])
    return ball[ball != index]


class Neighbours:
    """A grid whose values are ordered by position: its lines, and what is nearest to a place.

    Attributes
    ----------
    ranks : ndarray of int, shape (configurations, knobs)
        The rank, by position, of the value that each configuration gives to each knob.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> space, around = paper_cpu(2), Neighbours(paper_cpu(2))
    >>> [space[index]["inter_op"] for index in around.line(0, knob=0)]  # 0: one per core
    [1, 2, 0]
    """

    def __init__(self, space: ConfigSpace) -> None:
        self.space = space
        columns = zip(space.knobs, space.value_indices.T, strict=True)
        self.ranks = np.stack([np.array(knob.positions)[i] for knob, i in columns], axis=1)

    def nearest(self, ranks: ArrayLike) -> int:
        """Return the available configuration that is nearest to these ranks."""
        wanted = [
            knob.coordinates[np.argsort(knob.positions)[rank]]
            for knob, rank in zip(self.space.knobs, np.asarray(ranks), strict=True)
        ]
        away = self.space.positions - np.concatenate(wanted)
        return int(np.linalg.norm(away, axis=1).argmin())

    def line(self, index: int, knob: int) -> list[int]:
        """Return the configurations that differ from one in a single knob, itself included."""
        others = np.delete(self.ranks, knob, axis=1)
        cells = np.flatnonzero((others == others[index]).all(axis=1))
        return [int(cell) for cell in cells[np.argsort(self.ranks[cells, knob])]]
