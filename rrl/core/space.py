"""What can be chosen: the configurations that the knobs span, and the regions around them.

A region is a ball in the Euclidean distance of the knobs' positions: the configurations that one
measurement is taken to speak for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.configurations import CACHED, Configurations
from rrl.core.knob import Knob, coordinates

ROUNDING = 1e-9  # relative slack that keeps a closed ball closed when positions are rounded


class ConfigSpace(Configurations):
    """The configurations that may be chosen, with distances between them.

    See :class:`~rrl.core.configurations.Configurations` for the numbers, the parameters and what is
    raised.

    Examples
    --------
    >>> space = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (1, 2, 4))])
    >>> len(space), space.shape
    (6, (2, 3))
    >>> space[5]
    {'inter_op': 2, 'batch_threads': 4}
    >>> space.ball(0, radius=1).tolist()
    [0, 1, 3]
    """

    def __init__(
        self,
        knobs: Sequence[Knob],
        available: ArrayLike | None = None,
        *,
        cores: int | None = None,
    ) -> None:
        super().__init__(knobs, available, cores=cores)
        self._balls: dict[tuple[int, float], NDArray[np.int64]] = {}

    @cached_property
    def positions(self) -> NDArray[np.float64]:
        """Coordinates of every configuration, with one row each and one column per knob.

        A categorical knob has one column per level instead: any two of its levels have distance 1.
        """
        columns = zip(self.knobs, self.level_indices.T, strict=True)
        table = np.concatenate([coordinates(knob)[level] for knob, level in columns], axis=1)
        table.flags.writeable = False
        return table

    @cached_property
    def _ranks(self) -> NDArray[np.int32]:
        """Ranks of the levels of each configuration, by position, shape (n, d)."""
        ranks = [np.argsort(np.argsort(knob.positions)) for knob in self.knobs]
        columns = zip(ranks, self.level_indices.T, strict=True)
        return np.stack([rank[level] for rank, level in columns], axis=1).astype(np.int32)

    def steps(self, index: int) -> NDArray[np.int64]:
        """Return the number of steps from one configuration to each, shape (n,).

        A step changes one knob by one level. Any two levels of a categorical knob are one step
        apart. Configurations that are not available count as steps, too.

        Examples
        --------
        >>> space = ConfigSpace([Knob("threads", (1, 2, 4)), Knob("policy", ("a", "b", "c"))])
        >>> space.steps(0).tolist()
        [0, 1, 1, 1, 2, 2, 2, 3, 3]
        """
        away = np.abs(self._ranks - self._ranks[index])
        if self._unordered.any():
            away[:, self._unordered] = away[:, self._unordered] > 0
        return away.sum(axis=1, dtype=np.int64)

    @property
    def widest(self) -> int:
        """The number of steps across the whole grid, from one corner to the opposite one."""
        spans = zip(self._unordered.tolist(), self.shape, strict=True)
        return sum(min(levels - 1, 1) if unordered else levels - 1 for unordered, levels in spans)

    @cached_property
    def _unordered(self) -> NDArray[np.bool_]:
        return np.array([knob.categorical for knob in self.knobs])

    @cached_property
    def middle(self) -> NDArray[np.int64]:
        """The configurations nearest to the grid's middle, measured in shares of its sides.

        A categorical knob has no middle, so each of its levels is as good.

        Examples
        --------
        >>> from rrl import paper_cpu
        >>> space = paper_cpu(2)
        >>> [space[index] for index in space.middle]
        [{'inter_op': 2, 'intra_op': 2, 'batch_threads': 2}]
        """
        last = np.array(self.shape) - 1.0
        away = self._ranks / np.maximum(last, 1) - 0.5 * (last > 0)
        squared = (away[:, ~self._unordered] ** 2).sum(axis=1)
        return np.flatnonzero(squared <= squared.min() + ROUNDING)

    @cached_property
    def diameter(self) -> float:
        """No two configurations are further apart: the diagonal of the coordinates' ranges.

        A categorical knob with k levels adds k to its square, so that the diagonal is then longer
        than the largest distance.
        """
        return float(np.linalg.norm(np.ptp(self.positions, axis=0)))

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import KDTree  # here, since it takes 0.2 s to load

        return KDTree(self.positions)

    def distances(self, index: int) -> NDArray[np.float64]:
        """Euclidean distance from one configuration to each, shape (n,)."""
        return np.linalg.norm(self.positions - self.positions[index], axis=1)

    def ball(self, index: int, radius: float) -> NDArray[np.int64]:
        """Return the numbers of all available configurations within `radius`, sorted.

        The ball is closed. Its cost follows its own size (a k-d tree query), not the grid's.

        Raises
        ------
        ValueError
            If the radius is negative or NaN.

        Examples
        --------
        >>> from rrl import paper_cpu
        >>> len(paper_cpu().ball(665, radius=3)), len(paper_cpu().ball(665, radius=0))
        (123, 1)
        """
        key = (int(index), float(radius))
        if (known := self._balls.get(key)) is not None:
            return known
        reach = check_radius(radius) * (1 + ROUNDING)
        found = self._tree.query_ball_point(self.positions[index], reach, return_sorted=True)
        ball = np.array(found, dtype=np.int64)
        ball.flags.writeable = False  # it is shared with the next caller
        if len(self._balls) >= CACHED:
            self._balls.pop(next(iter(self._balls)))
        self._balls[key] = ball
        return ball

    def ball_sizes(self, radius: float) -> NDArray[np.int64]:
        """How many configurations each region holds, shape (n,).

        Examples
        --------
        >>> from rrl import paper_cpu
        >>> sizes = paper_cpu().ball_sizes(2)
        >>> sizes.min(), sizes.max()
        (np.int64(11), np.int64(33))
        """
        reach = check_radius(radius) * (1 + ROUNDING)
        return self._tree.query_ball_point(self.positions, reach, return_length=True)


def check_radius(radius: float) -> float:
    """Return the radius if it is a number that is at least 0 (infinity is the whole grid)."""
    if not radius >= 0:
        raise ValueError(f"radius must be a number that is at least 0, got {radius!r}")
    return float(radius)
