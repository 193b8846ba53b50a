"""Recorded arrivals: a file of timestamps is read, checked and replayed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rrl.support.errors import DataError, shown
from rrl.support.files import read_text
from rrl.workloads.workload import Times, check_size

_TIME = re.compile(r"[-+.\d].*|nan|inf", re.IGNORECASE)
"""What looks like a number or a date; a first line that looks otherwise is a header."""


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
    r"""Read a file of timestamps.

    Parameters
    ----------
    path : str or Path
        UTF-8 text with the time of one request per line. Lines end with LF or CRLF, blank lines are
        ignored, and a header is optional. A time is a number of seconds or an ISO 8601 date and
        time, also in double quotes. A date and time without an offset counts as UTC.

    Returns
    -------
    Trace
        The times, sorted and counted from the earliest one. Duplicates are kept.

    Raises
    ------
    DataError
        If the file is empty or is not UTF-8, or if a line is not a time. The message names the line
        and the value. A DataError is also a ValueError.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "gateway.csv")
    ...     _ = file.write_text("time\n2024-05-01T12:00:01Z\n2024-05-01T12:00:00.250Z\n")
    ...     read_trace(file).times
    array([0.  , 0.75])
    """
    stripped = (line.strip().strip('"') for line in read_text(Path(path)).split("\n"))
    lines = {number: line for number, line in enumerate(stripped, 1) if line}
    first = next(iter(lines), 0)
    if first and not _TIME.fullmatch(lines[first]):
        del lines[first]
    if not lines:
        raise DataError(f"{path} is empty: a trace needs one timestamp per line")
    times = _times(path, lines)
    try:
        return Trace(times)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def _times(path: str | Path, lines: dict[int, str]) -> Times:
    """Return the times of lines, which are given by their numbers, in seconds."""
    import pandas as pd

    texts = pd.Series(lines)
    seconds = pd.to_numeric(texts, errors="coerce").astype(float)
    dates = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    in_seconds = bool(np.isfinite(seconds.iloc[0]))
    read = np.isfinite(seconds) if in_seconds else dates.notna()
    if not read.all():
        line = int(texts.index[~read][0])
        raise DataError(
            f"{path} line {line}: {shown(texts[line])} is not a time as the others are: give one "
            "per line, all in seconds, with a point before decimals, or all in ISO 8601"
        )
    if in_seconds:
        return seconds.to_numpy()
    return (dates - dates.iloc[0]).dt.total_seconds().to_numpy()  # microseconds remain
