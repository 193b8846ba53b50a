"""Recorded arrivals: a file of timestamps is read, checked and replayed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrl.support.errors import DataError, shown
from rrl.support.files import read_cells
from rrl.workloads.workload import Times, check_size

if TYPE_CHECKING:
    import pandas as pd

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

    def arrivals(self, n: int, rng: np.random.Generator) -> Times:
        """Times of the first `n` requests: seconds, sorted, shape (n,); `rng` is not used."""
        if check_size(n) > len(self.times):
            raise ValueError(
                f"the trace holds {len(self.times)} requests and {n} were asked for: ask for fewer"
            )
        return self.times[:n].copy()


def read_trace(path: str | Path) -> Trace:
    r"""Read a CSV file of timestamps.

    Parameters
    ----------
    path : str or Path
        UTF-8 text with one request per line. Lines end with LF or CRLF, blank lines are ignored,
        and a header is optional. A time is a number of seconds or an ISO 8601 date and time. A date
        and time without an offset counts as UTC. The times are the only column, or the one with a
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
    import pandas as pd

    try:
        table = read_cells(Path(path))
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty: a trace needs one timestamp per line") from None
    except pd.errors.ParserError as error:
        raise DataError(f"{path}: {str(error).strip()}; write decimals with a point") from None
    if table.empty:
        raise DataError(f"{path} is empty: a trace needs one timestamp per line")
    first = table.iloc[0].tolist()
    names = first if _is_header(first) else []
    index = 0 if len(first) == 1 else _column(path, names)
    try:
        return Trace(_times(path, table[index].iloc[int(bool(names)) :]))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _is_header(first: list[str]) -> bool:
    """Return whether the cells of the first row are names of columns."""
    return any(map(_is_time_column, first)) or not any(
        text[:1].isdigit() or text[:1] in ("+", "-", ".") or text.lower() in ("nan", "inf")
        for text in first
    )


def _is_time_column(name: str) -> bool:
    return name.lower() in TIME_COLUMNS


def _times(path: str | Path, cells: pd.Series) -> Times:
    """Return times in seconds; the index of a cell is the number of its line."""
    import pandas as pd

    seconds = pd.to_numeric(cells, errors="coerce").astype(float)
    dates = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce")
    in_seconds = bool(np.isfinite(seconds.head(1)).all())
    read = np.isfinite(seconds) if in_seconds else dates.notna()
    if not read.all():
        line = int(cells.index[~read][0])
        raise DataError(
            f"{path} line {line}: {shown(cells[line])} is not a time as the others are: give "
            "all in seconds, with a point before decimals, or all in ISO 8601"
        )
    if in_seconds:
        return seconds.to_numpy()
    return (dates - dates.iloc[0]).dt.total_seconds().to_numpy()  # microseconds remain


def _column(path: str | Path, names: list[str]) -> int:
    """Return the index of the time column; `names` are those of the header, if there is one."""
    found = [i for i, name in enumerate(names) if _is_time_column(name)]
    if len(found) == 1:
        return found[0]
    has = f"the columns {', '.join(map(shown, names))}" if names else "no header"
    raise DataError(
        f"{path} has {has}: exactly one column has to be {' or '.join(map(shown, TIME_COLUMNS))}; "
        "rename it, and write decimals with a point"
    )
