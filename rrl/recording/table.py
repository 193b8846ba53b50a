"""A table of measurements, such as your own: its space, and a server that replays it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration, Knob, Value, plain
from rrl.core.space import ConfigSpace
from rrl.support.errors import DataError
from rrl.tuning.episode import Episode, Status, check_arrivals


def from_table(table: Mapping[str, ArrayLike], knobs: Sequence[str]) -> ConfigSpace:
    """Build the space that a table of measurements covers.

    The values of a knob are those of its column, sorted. For another order, make the knobs, and
    give the rows as `available` to :class:`ConfigSpace`.

    Parameters
    ----------
    table : DataFrame or mapping of str to array_like
        One row a measurement. Rows may repeat and combinations may be missing.
    knobs : sequence of str
        The columns that are knobs.

    Raises
    ------
    ValueError
        If a column is missing, contains NaN, or has another number of rows than the others, or if
        `knobs` is a string.

    Examples
    --------
    >>> table = {"batch": [1, 8, 8, 64], "threads": [1, 1, 2, 2], "p99": [0.3, 0.1, 0.2, 0.4]}
    >>> from_table(table, ["batch", "threads"])
    ConfigSpace(batch[3] x threads[2], 4 available)
    """
    if isinstance(knobs, str):  # its letters would be taken for the columns
        raise ValueError(f"the columns that are knobs must be a list of names: give [{knobs!r}]")
    columns = {name: _column(table, name) for name in knobs}
    sizes = {name: len(rows) for name, rows in columns.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the columns differ in their number of rows: {sizes}")
    made = [
        Knob(name, sorted(set(rows), key=lambda value: (isinstance(value, str), value)))
        for name, rows in columns.items()
    ]
    rows = [[knob.index(value) for value in columns[knob.name]] for knob in made]
    return ConfigSpace(made, available=np.array(rows, dtype=np.int64).T)


def _column(table: Mapping[str, ArrayLike], name: str) -> list[Value]:
    """Return the values in a column of a table.

    Raises
    ------
    ValueError
        If the column is missing, or contains NaN or another value that a knob cannot take.
    """
    if name not in table:
        raise ValueError(f"the table has no column {name!r}: it has {list(table)}")
    given = table[name]
    mixed = isinstance(given, list | tuple)  # NumPy would turn numbers beside text into text
    values = [plain(x) for x in np.asarray(given, dtype=object if mixed else None).reshape(-1)]
    for row, value in enumerate(values):
        if not isinstance(value, Value) or (isinstance(value, float) and isnan(value)):
            raise ValueError(f"column {name!r}, row {row}: {value!r} is not a value of a knob")
    return values


class TableServer:
    """Replay any table with knob columns and a cost column, such as your own measurements.

    For each episode, one row of its configuration is drawn. All requests have the cost of this row.

    Parameters
    ----------
    table : DataFrame or mapping of str to array_like
        One row per measurement. A configuration may have several rows.
    knobs : sequence of str
        Names of the knob columns.
    cost : str
        Name of the cost column. Costs are finite and not negative.

    Raises
    ------
    DataError
        If the cost column is missing or has another number of rows, or a cost is not a finite
        number of 0 or more.

    Examples
    --------
    >>> table = {"threads": [1, 1, 2], "p99": [0.3, 0.5, 0.2]}
    >>> server = TableServer(table, ["threads"], cost="p99")
    >>> episode = server.measure({"threads": 2}, [0.0], np.random.default_rng(0))
    >>> float(episode.latency[0])
    0.2
    """

    def __init__(
        self, table: Mapping[str, ArrayLike], knobs: Sequence[str], cost: str = "cost"
    ) -> None:
        if cost not in table:
            raise DataError(f"the table has no column {cost!r}; it has {', '.join(table)}")
        try:
            values = np.asarray(table[cost], dtype=float)
        except (TypeError, ValueError) as error:
            raise DataError(f"{cost!r} is no column of numbers: {error}") from None
        for row in np.flatnonzero(~(np.isfinite(values) & (values >= 0))):
            raise DataError(f"{cost!r} in row {row} is {values[row]}: it must be finite, 0 or more")
        self.space = from_table(table, knobs)
        indices = self.space.indices(table)
        if len(values) != len(indices):
            raise DataError(f"{cost!r} has {len(values)} rows, and the knobs have {len(indices)}")
        self._values = [values[indices == i] for i in range(len(self.space))]

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Draw a recorded cost of `configuration` and use it for every request."""
        arrivals = check_arrivals(arrivals)
        value = rng.choice(self._values[self.space.index(configuration)])
        n = len(arrivals)
        latency, status = np.full(n, value), np.full(n, Status.OK.value)
        return Episode(configuration, arrivals, latency, status, info={"server": "table"})
