"""One knob: the levels that it may take and the positions that a distance uses.

The two are kept apart on purpose. *Levels* are what the server is handed; *positions* say which
levels are expected to behave alike. Only positions enter a distance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Level = int | float | str
Configuration = Mapping[str, Level]
Scale = Literal["rank", "value", "log"]


def plain(value: Any) -> Level:
    """Turn a NumPy scalar into the Python number or string that it stands for."""
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True)
class Knob:
    """One setting of the server, and the levels it may take.

    Parameters
    ----------
    name : str
        What the server calls it.
    levels : sequence of int, float or str
        The values it may take, each once.
    positions : sequence of float, optional
        The coordinate of each level, in any unit; 0, 1, 2, ... if not given.

    Attributes
    ----------
    categorical : bool
        Whether the levels have no order, so that any two of them are one step apart. They have none
        if all of them are text and no positions are given.

    Raises
    ------
    ValueError
        If there is no level, a level or position occurs twice or is not finite, or the two
        differ in length.

    Examples
    --------
    >>> Knob("batch_timeout_micros", (0, 1000, 5000)).positions
    (0.0, 1.0, 2.0)
    >>> Knob("allocator", ("glibc", "jemalloc", "tcmalloc")).categorical
    True
    """

    name: str
    levels: tuple[Level, ...]
    positions: tuple[float, ...] | None = None
    categorical: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        levels = tuple(plain(level) for level in self.levels)
        unordered = self.positions is None and all(isinstance(level, str) for level in levels)
        object.__setattr__(self, "categorical", unordered and len(levels) > 0)
        given = range(len(levels)) if self.positions is None else self.positions
        positions = tuple(float(position) for position in given)
        object.__setattr__(self, "levels", levels)  # the dataclass is frozen
        object.__setattr__(self, "positions", positions)
        if not self.name or not isinstance(self.name, str):
            raise ValueError(f"a knob needs a name, got {self.name!r}")
        if not levels:
            raise ValueError(f"knob {self.name!r} has no levels: give it at least one")
        if len(levels) != len(positions):
            raise ValueError(
                f"knob {self.name!r} has {len(levels)} levels but {len(positions)} positions: "
                "give one position per level"
            )
        numbers = [x for x in levels if not isinstance(x, str)]
        for what, values, finite in (
            ("level", levels, numbers),
            ("position", positions, positions),
        ):
            value, times = Counter(values).most_common(1)[0]
            if times > 1:
                raise ValueError(f"knob {self.name!r} has the {what} {value!r} twice")
            if not np.all(np.isfinite(finite)):
                raise ValueError(f"knob {self.name!r} has a {what} that is not finite: {values}")

    @cached_property
    def _index(self) -> dict[Level, int]:
        return {level: i for i, level in enumerate(self.levels)}

    def index(self, level: Level) -> int:
        """Which of the levels this is, counted from 0.

        Raises
        ------
        ValueError
            If it is none of them; the message lists them.

        Examples
        --------
        >>> Knob("inter_op", (1, 2, 0)).index(0)
        2
        """
        try:
            return self._index[level]
        except (KeyError, TypeError):
            raise ValueError(
                f"knob {self.name!r} has no level {level!r}: choose one of {list(self.levels)}"
            ) from None


def spread(name: str, levels: Sequence[Level], scale: Scale) -> Sequence[float] | None:
    """Return the positions of sorted levels on a scale; None for text, which has no order.

    Raises
    ------
    ValueError
        If the scale is unknown or does not fit the levels.

    Examples
    --------
    >>> spread("max_batch_size", (1, 4, 64), "log")
    [0.0, 2.0, 6.0]
    """
    if scale == "rank":
        return None if all(isinstance(level, str) for level in levels) else range(len(levels))
    if scale not in ("value", "log"):
        raise ValueError(f"unknown scale {scale!r} for knob {name!r}: use rank, value or log")
    if any(isinstance(level, str) for level in levels):
        raise ValueError(f"knob {name!r} has levels that are no numbers: use scale 'rank'")
    if scale == "log" and min(levels) <= 0:
        raise ValueError(
            f"knob {name!r} has the level {min(levels)}: a log scale needs positive ones"
        )
    return np.log2(levels).tolist() if scale == "log" else levels


def coordinates(knob: Knob, unit: float = 1.0) -> NDArray[np.float64]:
    """Return the coordinates of a knob's levels, one row each; positions are in units of `unit`.

    Examples
    --------
    >>> coordinates(Knob("threads", (1, 2, 4)), unit=2.0).ravel()
    array([0. , 0.5, 1. ])
    >>> x = coordinates(Knob("policy", ("a", "b")))
    >>> round(float(np.linalg.norm(x[0] - x[1])), 9)
    1.0
    """
    if knob.categorical:
        return np.eye(len(knob.levels)) / np.sqrt(2)
    return np.array(knob.positions)[:, None] / unit


def column(table: Mapping[str, ArrayLike], name: str) -> list[Level]:
    """Return the levels in a column of a table.

    Raises
    ------
    ValueError
        If the column is missing, or has a value that is no level, such as NaN.

    Examples
    --------
    >>> column({"threads": np.array([1, 2])}, "threads")
    [1, 2]
    """
    if name not in table:
        raise ValueError(f"the table has no column {name!r}: it has {list(table)}")
    given = table[name]
    mixed = isinstance(given, list | tuple)  # NumPy would turn numbers beside text into text
    values = [plain(x) for x in np.asarray(given, dtype=object if mixed else None).reshape(-1)]
    for row, value in enumerate(values):
        if not isinstance(value, Level) or (isinstance(value, float) and isnan(value)):
            raise ValueError(f"column {name!r}, row {row}: {value!r} is not a level")
    return values
