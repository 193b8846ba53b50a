"""One knob: the values that it may take, and their order.

The two are kept apart on purpose. *Values* are what the server is handed; *positions* say which
values are expected to behave alike. Only positions enter a distance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = int | float | str
Configuration = Mapping[str, Value]


def plain(value: Any) -> Value:
    """Turn a NumPy scalar into the Python number or string that it stands for."""
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True, init=False)
class Knob:
    """One setting of the server, and the values it may take.

    Parameters
    ----------
    name : str
        What the server calls it.
    values : sequence of int, float or str
        The values it may take, each once.
    positions : sequence of int, optional
        The position of each value in the order of their effect: the numbers from 0, each once. By
        default the values are given in their order. Two values next to each other are one step
        apart, and that is the unit of a region's radius.

    Attributes
    ----------
    categorical : bool
        Whether the values have no order, so that any two of them are one step apart. This is so if
        all values are text and no positions are given.

    Raises
    ------
    ValueError
        If there is no value, a value occurs twice or is not finite, or the positions are not the
        numbers from 0, one for each value.

    Examples
    --------
    >>> Knob("batch_timeout_micros", (0, 1000, 5000)).positions
    (0, 1, 2)
    >>> Knob("allocator", ("glibc", "jemalloc", "tcmalloc")).categorical
    True
    """

    name: str
    values: tuple[Value, ...]
    positions: tuple[int, ...]
    categorical: bool = field(init=False, repr=False)

    def __init__(
        self, name: str, values: Iterable[Value], positions: Iterable[int] | None = None
    ) -> None:
        values = tuple(plain(value) for value in values)
        unordered = positions is None and all(isinstance(value, str) for value in values)
        positions = tuple(range(len(values)) if positions is None else positions)
        if not name or not isinstance(name, str):
            raise ValueError(f"a knob needs a name, got {name!r}")
        if not values:
            raise ValueError(f"knob {name!r} has no values: give it at least one")
        one, times = Counter(values).most_common(1)[0]
        if times > 1:
            raise ValueError(f"knob {name!r} has the value {one!r} twice")
        if sorted(positions) != list(range(len(values))):
            raise ValueError(
                f"knob {name!r} has {len(values)} values, so its positions are the numbers from 0 "
                f"to {len(values) - 1}, each once; got {positions}"
            )
        numbers = [x for x in values if not isinstance(x, str)]
        if not all(map(isfinite, numbers)):  # NumPy has no integers beyond 64 bits
            raise ValueError(f"knob {name!r} has a value that is not finite: {values}")
        order = tuple(map(int, positions))
        fields = {"name": str(name), "values": values, "positions": order, "categorical": unordered}
        vars(self).update(fields)  # the class is frozen

    @cached_property
    def _index(self) -> dict[Value, int]:
        return {value: i for i, value in enumerate(self.values)}

    @cached_property
    def coordinates(self) -> NDArray[np.float64]:
        """The coordinates of the values, one row each: their positions.

        Those of a categorical knob have a column per value instead, so that any two of its values
        have distance 1.

        Examples
        --------
        >>> Knob("threads", (1, 2, 4)).coordinates.ravel()
        array([0., 1., 2.])
        >>> a, b = Knob("policy", ("a", "b")).coordinates
        >>> round(float(np.linalg.norm(a - b)), 9)
        1.0
        """
        if self.categorical:
            return np.eye(len(self.values)) / np.sqrt(2)
        return np.array(self.positions, dtype=float)[:, None]

    def index(self, value: Value) -> int:
        """Return the index of a value, counted from 0.

        Raises
        ------
        ValueError
            If the knob has no such value; the message lists its values.

        Examples
        --------
        >>> Knob("inter_op", (1, 2, 0)).index(0)
        2
        """
        try:
            return self._index[value]
        except (KeyError, TypeError):
            raise ValueError(
                f"knob {self.name!r} has no value {value!r}: choose one of {list(self.values)}"
            ) from None
