"""Configurations by number: the combinations of the knobs' levels that may be chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration, Knob, Level, column

MOST = 1 << 62  # combinations of levels, available or not
CACHED = 4096  # an agent that has found its region asks for the same again and again


class Configurations:
    """The configurations that may be chosen, numbered from 0.

    ``all_of[i]`` is a configuration and ``all_of.index(configuration)`` its number. Those that are
    not available have no number, so nothing can choose them. The last knob varies fastest.

    Parameters
    ----------
    knobs : sequence of Knob
        At least one, each name once.
    available : array_like, optional
        Which combinations exist: a boolean mask of shape `shape`, or the level indices of each
        available one, shape (n, d), in any order. All, if not given.
    cores : int, optional
        Of the machine whose server the knobs belong to, if that is known: what "automatic" means
        there. Spaces that differ in nothing else are equal.

    Raises
    ------
    ValueError
        If names repeat, the mask has another shape, nothing is available, or there are more than
        `MOST` combinations.

    Examples
    --------
    >>> all_of = Configurations([Knob("inter_op", (1, 2)), Knob("batch_threads", (1, 2, 4))])
    >>> len(all_of), all_of.shape
    (6, (2, 3))
    >>> all_of[5]
    {'inter_op': 2, 'batch_threads': 4}
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
        self.shape = tuple(len(knob.levels) for knob in self.knobs)
        if not self.knobs:
            raise ValueError("a configuration space needs at least one knob")
        if prod(self.shape) > MOST:
            raise ValueError(
                f"the knobs span {float(prod(self.shape)):.3g} combinations, more than can be "
                "numbered (4e18): leave out knobs, or give those of many values fewer levels"
            )
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"knob names must differ, got {list(self.names)}")
        self._cells = self._available_cells(available)  # sorted cells of the full grid
        self._cells.flags.writeable = False
        self._whole = len(self._cells) == prod(self.shape)
        self._expected = frozenset(self.names)
        self._made: dict[int, dict[str, Level]] = {}
        self._numbers: dict[tuple[tuple[str, Level], ...], int] = {}

    def _available_cells(self, available: ArrayLike | None) -> NDArray[np.int64]:
        if available is None:
            return np.arange(prod(self.shape))
        given = np.asarray(available)
        if given.size == 0 or (given.dtype == bool and not given.any()):
            raise ValueError("no configuration is available: at least one must be")
        if given.dtype == bool:
            if given.shape != self.shape:
                raise ValueError(f"the mask has shape {given.shape}, the knobs span {self.shape}")
            return np.flatnonzero(given)
        if given.ndim != 2 or given.shape[1] != len(self.knobs):
            raise ValueError(
                f"available level indices have shape {given.shape}, expected (n, {len(self.knobs)})"
            )
        return np.unique(np.ravel_multi_index(tuple(given.T), self.shape)).astype(np.int64)

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: int) -> dict[str, Level]:
        if (made := self._made.get(index)) is None:
            if len(self._made) >= CACHED:
                self._made.clear()
            made = self._made[index] = self._make(int(self._cells[index]))
        return made.copy()

    def _make(self, cell: int) -> dict[str, Level]:
        levels = []
        for knob in reversed(self.knobs):  # the plain loop is faster than np.unravel_index
            cell, level = divmod(cell, len(knob.levels))
            levels.append(knob.levels[level])
        return dict(zip(self.names, reversed(levels), strict=True))

    def __iter__(self) -> Iterator[dict[str, Level]]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, configuration: object) -> bool:
        try:
            self.index(configuration)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Configurations):
            return NotImplemented
        return self.knobs == other.knobs and np.array_equal(self._cells, other._cells)

    def __hash__(self) -> int:
        return hash((self.knobs, len(self)))

    def __repr__(self) -> str:
        spans = " x ".join(f"{knob.name}[{len(knob.levels)}]" for knob in self.knobs)
        return f"{type(self).__name__}({spans}, {len(self)} available)"

    def index(self, configuration: Configuration) -> int:
        """Return the number of a configuration.

        Raises
        ------
        ValueError
            If a knob is unknown or left out, a level is unknown, or it is not available.

        Examples
        --------
        >>> from rrl import paper_cpu
        >>> paper_cpu().index({"inter_op": 0, "intra_op": 1, "batch_threads": 2})
        13
        """
        if not isinstance(configuration, Mapping):
            raise TypeError(f"a configuration maps knob names to levels, got {configuration!r}")
        asked = tuple(configuration.items())
        try:
            return self._numbers[asked]
        except (KeyError, TypeError):  # TypeError: a level that is not hashable is none
            number = self._number(configuration)
        if len(self._numbers) >= CACHED:
            self._numbers.clear()
        self._numbers[asked] = number
        return number

    def _number(self, configuration: Configuration) -> int:
        if configuration.keys() != self._expected:
            unknown = [name for name in configuration if name not in self.names]
            missing = [name for name in self.names if name not in configuration]
            what = f"unknown knob {unknown[0]!r}" if unknown else f"no level for {missing[0]!r}"
            raise ValueError(
                f"{what} in configuration {dict(configuration)}: the knobs are {list(self.names)}"
            )
        cell = 0
        for knob in self.knobs:
            cell = cell * len(knob.levels) + knob.index(configuration[knob.name])
        if self._whole:
            return cell
        found = int(self._cells.searchsorted(cell))
        if found == len(self) or self._cells[found] != cell:
            raise ValueError(f"configuration {dict(configuration)} is not available in {self}")
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell spaces apart, for files that belong to one."""
        digest = sha256(repr(tuple(map(_whole_numbers, self.knobs))).encode())
        texts = (knob for knob in self.knobs if all(isinstance(x, str) for x in knob.levels))
        if ordered := [knob.name for knob in texts if not knob.categorical]:
            digest.update(repr(ordered).encode())  # a categorical knob has positions, too
        digest.update(self._cells.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def level_indices(self) -> NDArray[np.int64]:
        """Which level of each knob a configuration takes, shape (n, d)."""
        return np.stack(np.unravel_index(self._cells, self.shape), axis=1).astype(np.int64)

    def indices(self, table: Mapping[str, ArrayLike]) -> NDArray[np.int64]:
        """Return the number of each row of a table (a DataFrame, or a mapping of columns).

        Raises
        ------
        ValueError
            As :meth:`index`, for the first row that is wrong.

        Examples
        --------
        >>> all_of = Configurations([Knob("inter_op", (1, 2))])
        >>> all_of.indices({"inter_op": [2, 1, 2], "cost": [0.1, 0.3, 0.1]}).tolist()
        [1, 0, 1]
        """
        columns = [column(table, name) for name in self.names]
        rows = zip(*columns, strict=True)
        return np.array([self.index(dict(zip(self.names, row, strict=True))) for row in rows], int)


def _whole_numbers(knob: Knob) -> Knob:
    """Return the same knob, with 1 for a level of 1.0 or True, since these are equal."""
    numbers = [x if isinstance(x, str) or x != int(x) else int(x) for x in knob.levels]
    return replace(knob, levels=tuple(numbers))
