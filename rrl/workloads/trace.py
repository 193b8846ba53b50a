"""Recorded arrivals: a file of timestamps is read, checked and replayed."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rrl.support.errors import DataError, shown
from rrl.support.files import read_text
from rrl.workloads.workload import Times, check_size, positive

TIME_COLUMNS = ("timestamp", "time", "arrival")
"""The usual names of a column of arrival times, in any case."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded arrival times, replayed from the first one.

    Parameters
    ----------
    times : array_like, shape (n,)
        Arrival times in seconds, in any order. They are stored sorted and start at 0. Duplicates
        are kept.

    Raises
    ------
    ValueError
        If there are fewer than two distinct times, or a time is not finite.

    Examples
    --------
    >>> Trace([7.0, 5.0, 9.0]).arrivals(2, np.random.default_rng(0))
    array([0., 2.])
    """

    times: Times

    def __post_init__(self) -> None:
        times = np.sort(np.array(self.times, dtype=float).reshape(-1))
        if not np.all(np.isfinite(times)):
            raise ValueError("a trace's times must be finite numbers of seconds")
        if len(times) < 2 or times[0] == times[-1]:
            raise ValueError("a trace needs at least two distinct times to have a rate")
        times -= times[0]
        times.flags.writeable = False
        object.__setattr__(self, "times", times)

    @property
    def rate(self) -> float:
        """Requests per second over the whole trace."""
        return (len(self.times) - 1) / float(self.times[-1])

    def faster(self, times: float) -> Trace:
        """Return the trace with all times divided by a number.

        Raises
        ------
        ValueError
            If the number is not positive and finite.

        Examples
        --------
        >>> Trace([0.0, 1.0, 4.0]).faster(2).times
        array([0. , 0.5, 2. ])
        """
        positive("speed", times, "times")
        return Trace(self.times / times)

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,); `rng` is not used."""
        if check_size(n) > len(self.times):
            raise ValueError(
                f"the trace holds {len(self.times)} requests and {n} were asked for: ask for fewer"
            )
        return self.times[:n].copy()


def read_trace(path: str | Path, column: str | None = None) -> Trace:
    r"""Read a CSV file of timestamps.

    Parameters
    ----------
    path : str or Path
        UTF-8 text with one request per line. Lines end with LF or CRLF, blank lines are ignored,
        and a header is optional. A time is a number of seconds or an ISO 8601 date and time. A date
        and time without an offset counts as UTC.
    column : str, optional
        Name of the time column in the header. By default, it is the only column, or the one with a
        name of `TIME_COLUMNS`.

    Returns
    -------
    Trace
        The times, sorted and counted from the earliest one. Duplicates are kept.

    Raises
    ------
    DataError
        If the file is empty, is not UTF-8 or has no such column, or if a value is not a time. The
        message names the line and the value. A DataError is also a ValueError.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "gateway.csv")
    ...     _ = file.write_text("time\n2024-05-01T12:00:01Z\n2024-05-01T12:00:00.250Z\n")
    ...     read_trace(file).times
    array([0.  , 0.75])
    """
    reader = csv.reader(io.StringIO(read_text(Path(path)), newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:  # such as a field of more than 128 KiB
        raise DataError(
            f"{path} line {reader.line_num}: {error}; is a quotation mark not closed?"
        ) from None
    if not rows:
        raise DataError(f"{path} is empty: a trace needs one timestamp per line")
    first, width = rows[0][1], len(rows[0][1])
    header = _is_header(first)
    index = _column(path, first if header else None, width, column)
    values = []
    for line, row in rows[header:]:
        if len(row) != width or (width > 1 and not header):
            text = ",".join(row)
            hint = "; write decimals with a point" if len(row) == width + 1 or not header else ""
            raise DataError(f"{path} line {line}: {shown(text)} has {len(row)} fields{hint}")
        values.append(_parse(path, line, row[index].strip()))
    dates = [value for value in values if isinstance(value, datetime)]
    seconds = [value for value in values if not isinstance(value, datetime)]
    if dates and seconds:
        kinds = [isinstance(value, datetime) for value in values]
        line = rows[header:][kinds.index(not kinds[0])][0]
        raise DataError(f"{path} line {line}: seconds and dates are mixed; use one of them")
    # Dates are subtracted before they become floats, to keep microseconds.
    seconds = seconds or [(date - dates[0]).total_seconds() for date in dates]
    try:
        return Trace(np.array(seconds, dtype=float))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _is_header(row: list[str]) -> bool:
    """Return whether the first row names columns: no cell in it is a number, or starts like one."""
    cells = [cell.strip() for cell in row if cell.strip()]  # pandas writes an index without a name
    return not any(cell[0].isdigit() or cell[0] in "+-." or _is_number(cell) for cell in cells)


def _is_number(text: str) -> bool:
    """Return whether Python takes it for a number, as also nan and Infinity."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(path: str | Path, header: list[str] | None, width: int, name: str | None) -> int:
    """Return the index of the time column."""
    names = [cell.strip() for cell in header or ()]
    if name is None and (width == 1 or header is None):
        return 0
    if name is None:
        found = [i for i, own in enumerate(names) if own.lower() in TIME_COLUMNS]
        which = "name the one with the times by --time-column"
    else:
        found = [i for i, own in enumerate(names) if own == name]
        which = f"{'none' if not found else 'more than one'} is {name!r}"
    if len(found) == 1:
        return found[0]
    known = f"the columns {', '.join(map(shown, names))}" if names else "no header"
    raise DataError(f"{path} has {known}; {which}")


def _parse(path: str | Path, line: int, text: str) -> float | datetime:
    """Return one timestamp: seconds, or a date and time with UTC as the default offset."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if math.isfinite(seconds):
            return seconds
        raise DataError(f"{path} line {line}: {shown(text)} is not a finite number of seconds")
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        hint = "; write decimals with a point" if "," in text else ""
        raise DataError(
            f"{path} line {line}: {shown(text)} is neither seconds nor an ISO 8601 time{hint}"
        ) from None
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
