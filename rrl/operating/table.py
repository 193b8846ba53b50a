"""Read a table of measurements that somebody else made, and say what is wrong with it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rrl.core.knob import Value
from rrl.support.errors import DataError, UsageError, shown
from rrl.support.files import read_text

MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "?", "inf", "-inf")
"""Cells of a column of numbers that mean "not known", in lower case."""

MOST = 1e100
"""The largest number of a table; sums of larger ones would not be finite."""

Row = tuple[int, list[str]]
"""The number of a row's last line in the file, and its cells without spaces around them."""


def read_table(
    path: Path, cost: str, knobs: Sequence[str] | None = None
) -> tuple[dict[str, list[Value]], list[str]]:
    r"""Read a CSV file of measurements whose cost column holds numbers.

    A column of numbers becomes numbers. A column with any other text becomes text, also where a
    cell is a number. In such a column "NA" is a value like the others. In a column of numbers it is
    a missing value, and an empty cell is a missing value in every column.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8 text with a header. Lines end with LF or CRLF, and blank lines are ignored.
    cost : str
        Name of the cost column. Costs are numbers from 0 to `MOST`.
    knobs : sequence of str, optional
        Names of the knob columns. By default, they are all other columns.

    Returns
    -------
    table : dict of str to list
        The knob columns and the cost column.
    knobs : list of str

    Raises
    ------
    UsageError
        If a knob is the cost column, or is named twice.
    DataError
        If the file is not such a table. The message names the line and the value.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mine.csv")
    ...     _ = path.write_text("threads,mode,p99\n1,NA,0.3\n2,fast,0.2\n")
    ...     read_table(path, "p99")[0]
    {'threads': [1, 2], 'mode': ['NA', 'fast'], 'p99': [0.3, 0.2]}
    """
    header, rows = _read(path)
    names = [name for name in header if name != cost] if knobs is None else _stripped(knobs)
    if cost in names:
        raise UsageError(f"--knobs: {cost!r} is the cost, so it cannot be a knob too")
    for name, option in ((cost, "--cost"), *((name, "--knobs") for name in names)):
        if not name:
            raise DataError(f"{path}: a column has no name; name it, or remove it")
        if name not in header:
            remedy = f"name yours with {option}"
            if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
                remedy = "separate the columns by commas"
            raise DataError(f"{path}: no column {name!r}, it has {', '.join(header)}; {remedy}")
        if header.count(name) > 1:
            raise DataError(f"{path}: more than one column is {name!r}; rename one of them")
        if names.count(name) > 1:
            raise UsageError(f"--knobs names {name!r} twice; name it once")
    if not names:
        raise DataError(f"{path}: it has the cost only; it needs a column for each knob")
    columns = {name: [(line, row[header.index(name)]) for line, row in rows] for name in header}
    table = {name: _values(path, name, columns[name]) for name in names}
    return {**table, cost: [_cost(path, cost, *cell) for cell in columns[cost]]}, names


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Return the header and the rows of a CSV file, all with the same number of cells."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    try:
        lines = [(reader.line_num, _stripped(row)) for row in reader]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: no table of comma-separated values ({error})"
        ) from None
    rows = [(line, row) for line, row in lines if any(row)]
    if len(rows) < 2:
        raise DataError(f"{path}: no table of comma-separated values; give a header and its rows")
    header = rows[0][1]
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: no table of comma-separated values, because the line has "
                f"{len(row)} cells and the header has {len(header)}; write decimals with a point"
            )
    return header, rows[1:]


def _stripped(cells: Sequence[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _values(path: Path, name: str, cells: Sequence[tuple[int, str]]) -> list[Value]:
    """Return a column of values: whole numbers, numbers or text."""
    numbers = [_number(text) for _, text in cells]
    other = [cell for cell, value in zip(cells, numbers, strict=True) if value is None]
    among = len(other) < len(cells) and all(text.lower() in MISSING for _, text in other)
    for line, text in other:
        if not text or among:
            raise DataError(
                f"{path}, line {line}: {name} is {shown(text)}, so a value is missing; "
                "fill it in, or remove the line"
            )
    if other:
        return [text for _, text in cells]
    return [value for value in numbers if value is not None]


def _number(text: str) -> int | float | None:
    """Return the number that a text stands for; None if it is none or is beyond `MOST`."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not abs(value) <= MOST or not text.isascii() or "_" in text:  # Python accepts 1_000
        return None
    whole = text.lstrip("+-").isdecimal() and abs(value) < 2**53
    return int(text) if whole else value


def _cost(path: Path, name: str, line: int, text: str) -> float:
    value = _number(text)
    if value is None or value < 0:
        hint = "; write decimals with a point" if "," in text else ""
        raise DataError(
            f"{path}, line {line}: {name} is {shown(text)}: it must be a number from 0 to "
            f"{MOST:g}{hint}"
        )
    return float(value)
