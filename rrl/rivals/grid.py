"""How rivals see a space: as a grid of neighbours, or as points in the unit cube."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rrl.core.space import ConfigSpace, Floats


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
            own = knob.coordinates
            if not knob.categorical:
                own = (own - own.min()) / np.ptp(own)
            columns.append(own[indices])
    return np.concatenate(columns, axis=1)


class Neighbours:
    """Steps along the knobs: neighbours on a grid whose values are ordered by position.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> space, around = paper_cpu(2), Neighbours(paper_cpu(2))
    >>> space[around.step(0, knob=0, by=-1)], around.step(0, knob=0, by=1)
    ({'inter_op': 2, 'intra_op': 0, 'batch_threads': 0}, None)
    """

    def __init__(self, space: ConfigSpace) -> None:
        self.space = space
        self._values = [
            [knob.values[i] for i in np.argsort(knob.positions).tolist()] for knob in space.knobs
        ]

    def ranks(self, index: int) -> list[int]:
        """Rank of the value of each knob, by position."""
        row = self.space.value_indices[index].tolist()
        return [knob.ranks.item(i) for knob, i in zip(self.space.knobs, row, strict=True)]

    def at(self, ranks: list[int]) -> int | None:
        """Return the configuration with these ranks; None if there is none."""
        if not all(0 <= r < size for r, size in zip(ranks, self.space.shape, strict=True)):
            return None
        values = (values[r] for values, r in zip(self._values, ranks, strict=True))
        configuration = dict(zip(self.space.names, values, strict=True))
        return self.space.index(configuration) if configuration in self.space else None

    def nearest(self, ranks: list[int]) -> int:
        """Return the available configuration that is nearest to these ranks."""
        found = self.at(ranks)
        if found is not None:
            return found
        wanted = [
            knob.coordinates[knob.index(values[r])]
            for knob, values, r in zip(self.space.knobs, self._values, ranks, strict=True)
        ]
        away = self.space.positions - np.concatenate(wanted)
        return int(np.linalg.norm(away, axis=1).argmin())

    def step(self, index: int, knob: int, by: int) -> int | None:
        """Return the configuration `by` steps along a knob; None beyond the end or missing."""
        ranks = self.ranks(index)
        ranks[knob] += by
        return self.at(ranks)

    def line(self, index: int, knob: int) -> Iterator[int]:
        """Yield the configurations that differ from one in a single knob, itself included."""
        here = self.ranks(index)
        for rank in range(self.space.shape[knob]):
            there = self.at([*here[:knob], rank, *here[knob + 1 :]])
            if there is not None:
                yield there
