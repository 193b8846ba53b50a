"""Neighbours on a grid: which configurations are next to each other along which knob."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np

from rrl.core.knob import coordinates
from rrl.core.space import ConfigSpace

TIE = 1e-9  # differences below this are rounding


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
        order = [np.argsort(knob.positions).tolist() for knob in space.knobs]
        self._values = [
            [knob.values[i] for i in ranks] for knob, ranks in zip(space.knobs, order, strict=True)
        ]
        self._around: dict[int, list[int]] = {}
        self._rank = [{value: r for r, value in enumerate(values)} for values in self._values]
        self._found: dict[tuple[int, ...], int] | None = None  # of a space that lacks combinations
        if len(space) < math.prod(space.shape):
            columns = zip(order, space.value_indices.T, strict=True)
            ranks = np.column_stack([np.argsort(ranked)[column] for ranked, column in columns])
            self._found = {tuple(row): index for index, row in enumerate(ranks.tolist())}

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each knob."""
        return self.space.shape

    def ranks(self, index: int) -> list[int]:
        """Rank of the value of each knob, by position."""
        values = self.space[index].values()
        return [rank[value] for rank, value in zip(self._rank, values, strict=True)]

    def at(self, ranks: list[int]) -> int | None:
        """Return the configuration with these ranks; None if there is none."""
        if self._found is not None:
            return self._found.get(tuple(ranks))
        if not all(0 <= r < size for r, size in zip(ranks, self.shape, strict=True)):
            return None
        values = (values[r] for values, r in zip(self._values, ranks, strict=True))
        return self.space.index(dict(zip(self.space.names, values, strict=True)))

    def nearest(self, ranks: list[int]) -> int:
        """Return the available configuration that is nearest to these ranks."""
        found = self.at(ranks)
        if found is not None:
            return found
        wanted = [
            coordinates(knob)[knob.index(values[r])]
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
        for rank in range(self.shape[knob]):
            there = self.at([*here[:knob], rank, *here[knob + 1 :]])
            if there is not None:
                yield there

    def __call__(self, index: int) -> list[int]:
        """Return the next available configurations along each knob, both ways.

        All values of a categorical knob are next to each other. Where combinations are missing, the
        nearest ones off these lines belong to them, too.
        """
        if index not in self._around:
            here = self.ranks(index)
            found: list[int] = []
            for knob, size in enumerate(self.shape):
                if self.space.knobs[knob].categorical:
                    found += [i for i in self.line(index, knob) if i != index]
                    continue
                for ranks in (range(here[knob] + 1, size), range(here[knob] - 1, -1, -1)):
                    line = (self.at([*here[:knob], r, *here[knob + 1 :]]) for r in ranks)
                    found += islice((i for i in line if i is not None), 1)
            self._around[index] = found
            if len(self.space) < math.prod(self.shape):
                self._around[index] += self._closest(index)
        return self._around[index]

    def _closest(self, index: int) -> list[int]:
        """The available configurations that are nearest, all that tie."""
        away = self.space.distances(index)
        away[index] = np.inf
        return np.flatnonzero(away <= away.min() * (1 + TIE)).tolist() if len(away) > 1 else []
