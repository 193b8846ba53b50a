"""What can be chosen: the configurations that the knobs span, and the distances between them.

The paper's region is a ball in the Euclidean distance of the knobs' positions
(:mod:`rrl.core.region`). Distances in steps count the changes of a knob to its next value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration, Knob, Value

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUNDING = 1e-9  # relative slack: a configuration at the radius is in the ball


class ConfigSpace:
    """The configurations that may be chosen, each with an index from 0, and their distances.

    ``space[i]`` is a configuration and ``space.index(configuration)`` its index. Those that are
    not available have no index, so nothing can choose them. The last knob varies fastest.

    Parameters
    ----------
    knobs : sequence of Knob
        At least one, each name once.
    available : array_like, optional
        The value indices of each combination that exists, shape (n, d), in any order. All exist
        if it is not given.
    cores : int, optional
        Number of cores of the machine, if it is known: this is what "automatic" means for its
        server. Two spaces that differ in nothing else are equal.

    Attributes
    ----------
    value_indices : ndarray of int, shape (n, d)
        The index of the value that each configuration gives to each knob.

    Raises
    ------
    ValueError
        If a name occurs twice, a value index is out of range, nothing is available, or a whole grid
        has more than 10^8 combinations.

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
        self.knobs, self.cores = tuple(knobs), cores
        self.names = tuple(knob.name for knob in self.knobs)
        self.shape = tuple(len(knob.values) for knob in self.knobs)
        if not self.knobs:
            raise ValueError("a configuration space needs at least one knob")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"knob names must differ, got {list(self.names)}")
        self.value_indices = self._sorted_rows(available)
        self.value_indices.flags.writeable = False
        self._balls: dict[tuple[int, float], Ints] = {}

    def _sorted_rows(self, available: ArrayLike | None) -> Ints:
        """Return the value indices of the available configurations, sorted: shape (n, d)."""
        if available is None:
            return _grid(self.shape)
        given = np.asarray(available)
        if given.size == 0:
            raise ValueError("no configuration is available: at least one must be")
        wanted = given.ndim == 2 and given.shape[1] == len(self.knobs)
        if not (wanted and np.issubdtype(given.dtype, np.integer)):
            raise ValueError(
                f"available value indices must be whole numbers of shape (n, {len(self.knobs)}), "
                f"got {given.dtype} of shape {given.shape}"
            )
        rows = given.astype(np.int64)
        if not ((rows >= 0) & (rows < self.shape)).all():
            raise ValueError("invalid entry among the available value indices")
        return np.unique(rows, axis=0)

    # --- configurations and their indices ---------------------------------------------------------

    def __len__(self) -> int:
        return len(self.value_indices)

    def __getitem__(self, index: int) -> dict[str, Value]:
        try:
            number = range(len(self))[index]  # a negative index counts from the end
        except IndexError:
            raise IndexError(f"{self} has no configuration number {index}") from None
        row = self.value_indices[number].tolist()
        return {knob.name: knob.values[i] for knob, i in zip(self.knobs, row, strict=True)}

    def __iter__(self) -> Iterator[dict[str, Value]]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, configuration: object) -> bool:
        try:
            self.index(configuration)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConfigSpace):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        spans = " x ".join(f"{knob.name}[{len(knob.values)}]" for knob in self.knobs)
        return f"{type(self).__name__}({spans}, {len(self)} available)"

    def index(self, configuration: Configuration) -> int:
        """Return the index of a configuration.

        Raises
        ------
        ValueError
            If a knob is unknown or left out, a value is unknown, or it is not available.

        Examples
        --------
        >>> from rrl import paper_cpu
        >>> paper_cpu().index({"inter_op": 0, "intra_op": 1, "batch_threads": 2})
        13
        """
        if not isinstance(configuration, Mapping):
            raise TypeError(f"a configuration maps knob names to values, got {configuration!r}")
        if configuration.keys() != set(self.names):
            unknown = [name for name in configuration if name not in self.names]
            missing = [name for name in self.names if name not in configuration]
            what = f"unknown knob {unknown[0]!r}" if unknown else f"no value for {missing[0]!r}"
            raise ValueError(
                f"{what} in configuration {dict(configuration)}: the knobs are {list(self.names)}"
            )
        row = tuple(knob.index(configuration[knob.name]) for knob in self.knobs)
        if len(self) == prod(self.shape):  # a dictionary of a large grid takes much memory
            index = 0
            for i, size in zip(row, self.shape, strict=True):
                index = index * size + i
            return index
        if row not in self._index_of:
            raise ValueError(f"configuration {dict(configuration)} is not available in {self}")
        return self._index_of[row]

    @cached_property
    def _index_of(self) -> dict[tuple[int, ...], int]:
        return {tuple(row): index for index, row in enumerate(self.value_indices.tolist())}

    def indices(self, table: Mapping[str, ArrayLike]) -> Ints:
        """Return the index of each row of a table (a DataFrame, or a mapping of columns).

        Raises
        ------
        ValueError
            As :meth:`index`, for the first row that is wrong.

        Examples
        --------
        >>> space = ConfigSpace([Knob("inter_op", (1, 2))])
        >>> space.indices({"inter_op": [2, 1, 2], "cost": [0.1, 0.3, 0.1]}).tolist()
        [1, 0, 1]
        """
        columns = [np.asarray(table[name], dtype=object).tolist() for name in self.names]
        rows = zip(*columns, strict=True)
        return np.array([self.index(dict(zip(self.names, row, strict=True))) for row in rows], int)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell spaces apart, for files that belong to one."""
        told = []
        for knob in self.knobs:  # 1, 1.0 and True are one value, and one fraction
            values = [x if isinstance(x, str) else Fraction(x) for x in knob.values]
            positions = tuple(map(float, knob.positions))  # as files have them
            told.append((knob.name, values, positions, knob.categorical))
        rows = self.value_indices.astype("<i8").tobytes()
        return sha256(repr(told).encode() + rows).hexdigest()[:16]

    # --- distances --------------------------------------------------------------------------------

    @cached_property
    def positions(self) -> Floats:
        """The coordinates of every configuration, one row each and one column per knob.

        A categorical knob has more columns, see :attr:`rrl.core.knob.Knob.coordinates`.
        """
        columns = zip(self.knobs, self.value_indices.T, strict=True)
        table = np.concatenate([knob.coordinates[indices] for knob, indices in columns], axis=1)
        table.flags.writeable = False
        return table

    @cached_property
    def fractions(self) -> Floats:
        """The positions as fractions of the way from a knob's first value to its last one."""
        spans = [
            1 if knob.categorical else max(len(knob.values) - 1, 1)
            for knob in self.knobs
            for _ in range(knob.coordinates.shape[1])
        ]
        return self.positions / spans

    def distances(self, index: int) -> Floats:
        """Euclidean distance from one configuration to each, shape (n,)."""
        return _distances(self.positions, index)

    @cached_property
    def diameter(self) -> float:
        """No two configurations are further apart: the diagonal of the coordinates' ranges.

        A categorical knob with k > 1 values adds k / 2 to its square. With k > 2, the diagonal is
        longer than the largest distance.
        """
        return float(np.linalg.norm(np.ptp(self.positions, axis=0)))

    def ball(self, index: int, radius: float) -> Ints:
        """Return the indices of all available configurations within `radius`, sorted.

        The ball is closed.

        Examples
        --------
        >>> from rrl import paper_cpu
        >>> len(paper_cpu().ball(665, radius=3)), len(paper_cpu().ball(665, radius=0))
        (123, 1)
        """
        radius = float(radius)
        inside = lambda: self.distances(index) <= radius * (1 + ROUNDING)  # noqa: E731
        return self._kept((int(index), radius), inside)

    def nearest(self, index: int, count: int) -> Ints:
        """Return the indices of the `count` nearest available configurations, sorted.

        The configuration itself counts. All that are as far away as the last of them are returned,
        too. A distance is that of the :attr:`fractions`. So the next of 1000 values is near, and
        the other one of two values is far.

        Examples
        --------
        >>> from rrl import paper_cpu
        >>> space = paper_cpu()
        >>> space.nearest(665, 7).tolist() == space.ball(665, radius=1).tolist()
        True
        """

        def inside() -> Bools:
            away, last = _distances(self.fractions, index), min(count, len(self)) - 1
            return away <= np.partition(away, last)[last] * (1 + ROUNDING)

        return self._kept((int(index), -count), inside)

    def _kept(self, asked: tuple[int, float], inside: Callable[[], Bools]) -> Ints:
        """Return the indices `inside` a ball, or what was returned for it before."""
        ball = self._balls.get(asked)  # an agent that has found its region asks for few
        if ball is None:
            if len(self._balls) >= 4096:  # the largest balls have as many bytes as the space
                self._balls.clear()
            ball = np.flatnonzero(inside())
            ball.flags.writeable = False  # it is shared with the next caller
            self._balls[asked] = ball
        return ball

    # --- steps along the knobs --------------------------------------------------------------------

    def steps(self, index: int) -> Ints:
        """Return the number of steps from one configuration to each, shape (n,).

        A step changes one knob to its next value. Any two values of a categorical knob are one step
        apart. The way may lead through combinations that are not available.

        Examples
        --------
        >>> space = ConfigSpace([Knob("threads", (1, 2, 4)), Knob("policy", ("a", "b", "c"))])
        >>> space.steps(0).tolist()
        [0, 1, 1, 1, 2, 2, 2, 3, 3]
        """
        away = np.zeros(len(self), dtype=np.int64)
        for knob, indices in zip(self.knobs, self.value_indices.T, strict=True):
            steps = np.abs(np.array(knob.positions) - knob.positions[indices[index]])
            away += (np.minimum(steps, 1) if knob.categorical else steps)[indices]
        return away


def _distances(coordinates: Floats, index: int) -> Floats:
    from scipy.spatial.distance import cdist  # here, since it takes long to load

    return cdist(coordinates[[index]], coordinates)[0]


def _grid(shape: tuple[int, ...]) -> Ints:
    """Return the value indices of all combinations; the last knob varies fastest."""
    most = 10**8  # the positions of more need several gigabytes
    if prod(shape) > most:
        raise ValueError(
            f"the knobs span {Decimal(prod(shape)):.3g} combinations, and a grid may have "
            f"{most:,}: leave out knobs, or values of the knobs that have many"
        )
    columns, rest = [], np.arange(prod(shape))
    for size in reversed(shape):  # np.unravel_index takes no more than 64 knobs
        rest, indices = np.divmod(rest, size)
        columns.append(indices)
    return np.stack(columns[::-1], axis=1)
