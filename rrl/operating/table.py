"""Read a table of measurements that somebody else made, and say what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from rrl.core.knob import Value
from rrl.support.errors import DataError, shown
from rrl.support.files import read_cells

MISSING = (
    *("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "-", "?"),
    *("inf", "-inf", "infinity", "-infinity"),
)
"""Cells of a column of numbers that mean "not known", in lower case."""

MOST = 1e100
"""The largest number of a table; sums of larger ones would not be finite."""


def read_table(path: Path, cost: str) -> tuple[dict[str, list[Value]], list[str]]:
    r"""Read a CSV file of measurements: a column of costs, and a column for each knob.

    A column of numbers becomes numbers. A column with any other text becomes text, also where a
    cell is a number. In such a column "NA" is a value like the others. In a column of numbers it is
    a missing value, and an empty cell is a missing value in every column.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8 text with a header. Lines end with LF or CRLF, and blank lines are ignored.
    cost : str
        Name of the cost column. Costs are numbers from 0 to `MOST`.

    Returns
    -------
    table : dict of str to list
    knobs : list of str
        The names of all columns but the costs.

    Raises
    ------
    DataError
        If the file is not such a table, or has one configuration only. The message names the line
        and the value.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mine.csv")
    ...     _ = path.write_text("threads,mode,p99\n1,NA,0.3\n2,fast,0.2\n")
    ...     read_table(path, "p99")[0]
    {'threads': [1, 2], 'mode': ['NA', 'fast'], 'p99': [0.3, 0.2]}
    """
    columns = _columns(path)
    if cost not in columns:
        raise DataError(
            f"{path}: no column {cost!r}, it has {', '.join(columns)}; separate the columns by "
            "commas, and name yours with --cost"
        )
    names = [name for name in columns if name != cost]
    if not names:
        raise DataError(f"{path}: it has the cost only; it needs a column for each knob")
    table = {name: _values(path, name, columns[name]) for name in names}
    if len(set(zip(*table.values(), strict=True))) < 2:
        raise DataError(f"{path}: it has one configuration only, so there is nothing to choose")
    return {**table, cost: _costs(path, cost, columns[cost])}, names


def _columns(path: Path) -> dict[str, dict[int, str]]:
    """Return the cells of each column by their lines, without spaces around them."""
    import pandas as pd

    try:
        cells = read_cells(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: no table of comma-separated values ({error})") from None
    if len(cells) < 2:
        raise DataError(f"{path}: no table of comma-separated values; give a header and its rows")
    header = cells.iloc[0].tolist()
    for name in header:
        if not name or header.count(name) > 1:
            which = f"more than one column is {name!r}" if name else "a column has no name"
            raise DataError(f"{path}: {which}; rename it, or remove it")
    return {name: cells.iloc[1:, n].to_dict() for n, name in enumerate(header)}


def _values(path: Path, name: str, cells: dict[int, str]) -> list[Value]:
    """Return a column of values: whole numbers, numbers or text."""
    numbers = [_number(text) for text in cells.values()]
    other = {line: cells[line] for line, value in zip(cells, numbers, strict=True) if value is None}
    among = len(other) < len(cells) and all(text.lower() in MISSING for text in other.values())
    for line, text in other.items():
        if not text or among:
            raise DataError(
                f"{path}, line {line}: {name} is {shown(text)}, so a value is missing; "
                "fill it in, or remove the line"
            )
    return list(cells.values()) if other else [value for value in numbers if value is not None]


def _costs(path: Path, name: str, cells: dict[int, str]) -> list[Value]:
    for line, text in cells.items():
        value = _number(text)
        if value is None or value < 0:
            raise DataError(
                f"{path}, line {line}: {name} is {shown(text)}: it must be a number from 0 to "
                f"{MOST:g}, with a point for decimals"
            )
    return [float(text) for text in cells.values()]


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
