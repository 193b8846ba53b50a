"""Judge finalists: find the best configuration, and those that are separated from it or tied.

Episodes are paired, and the centre of their ratios is robust. On a shared machine, other users may
make one episode in ten several times slower.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.05
CONFIDENCE = 0.95


def centre_interval(
    values: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Estimate the centre of a symmetric distribution and its one-sided confidence limits.

    The estimate is that of Hodges and Lehmann: the median of all pairwise means. Its limits come
    from Wilcoxon's signed-rank statistic (normal approximation, with a continuity correction). A
    few episodes that are several times too slow change it little. They would change a mean and its
    t-interval much.

    Parameters
    ----------
    values : ndarray, shape (n,)
    confidence : float
        Confidence level of each of the two limits.

    Returns
    -------
    centre, low, high : float
        The limits are infinite if there are too few values for this confidence level.

    References
    ----------
    Hodges and Lehmann, "Estimates of location based on rank tests", Annals of Mathematical
    Statistics 34(2), 1963.

    Examples
    --------
    >>> centre_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 600.0]))
    (3.5, 2.0, 302.0)
    """
    from scipy.special import ndtri

    n = len(values)
    if not n:
        return np.nan, -np.inf, np.inf
    first, second = np.triu_indices(n)
    means = np.sort((values[first] + values[second]) / 2)
    variance = n * (n + 1) * (2 * n + 1) / 24
    cut = int(np.floor(n * (n + 1) / 4 - 0.5 - ndtri(confidence) * np.sqrt(variance)))
    if cut < 0:
        return float(np.median(means)), -np.inf, np.inf
    return float(np.median(means)), float(means[cut]), float(means[-1 - cut])


@dataclass(frozen=True)
class Verdict:
    """A finalist compared with the best: the cost ratio with its limits, and a word for it."""

    word: str
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0


def judge(
    means: NDArray[np.float64],
    tolerance: float = TOLERANCE,
    confidence: float = CONFIDENCE,
    contenders: int | None = None,
) -> tuple[int, list[Verdict]]:
    """Compare finalists over paired episodes.

    Parameters
    ----------
    means : ndarray, shape (episodes, finalists)
        Mean latency in seconds of each finalist in each episode; NaN if it took no part. The values
        of a row are paired: they share the arrivals and a few minutes of the machine's time.
    tolerance : float
        A finalist is tied if both limits of its ratio to the best differ from 1 by less than this.
    confidence : float
        Confidence level of each limit of the log ratio; see `centre_interval`.
    contenders : int, optional
        The best is one of the first `contenders` columns. The default is all columns.

    Returns
    -------
    best : int
        Column with the smallest typical cost. Median polish estimates this cost, because finalists
        that were left out early took part in fewer episodes. So a finalist that is nearly as good
        may have a ratio a little below 1.
    verdicts : list of Verdict, length finalists
        Each word is "best", "separated", "tied" or "undecided".

    Raises
    ------
    ValueError
        If there are no measurements.

    Examples
    --------
    >>> rounds = np.linspace(1, 2, 6)[:, None] * [1.0, 1.5, 1.01]
    >>> best, verdicts = judge(rounds)
    >>> best, [verdict.word for verdict in verdicts]
    (0, ['best', 'separated', 'tied'])
    """
    logs = np.log(means)
    if logs.shape[1] == 0 or np.isnan(logs).all():
        raise ValueError("there are no episodes: measure a round first")
    best = int(np.nanargmin(_median_polish(logs)[:contenders]))
    verdicts = []
    for ratios in _ratios(logs, best):
        centre, low, high = centre_interval(ratios, confidence)
        tied = max(-low, high) < np.log1p(tolerance)
        word = "tied" if tied else "separated" if low > 0 else "undecided"
        verdicts.append(Verdict(word, *np.exp([centre, low, high]).tolist()))
    verdicts[best] = Verdict("best")
    return best, verdicts


def _median_polish(logs: NDArray[np.float64], sweeps: int = 20) -> NDArray[np.float64]:
    """Return the effect of each column; rows have effects too, cells may be NaN (Tukey, 1977)."""
    columns = np.zeros(logs.shape[1])
    for _ in range(sweeps):
        rows = _medians(logs - columns, axis=1)
        columns = _medians(logs - rows, axis=0)[0]
    return columns


def _medians(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return what `np.nanmedian` does with `keepdims`, which takes ten times as long here."""
    ordered = np.sort(values, axis=axis)  # NaN comes last
    count = (~np.isnan(values)).sum(axis=axis, keepdims=True)
    lower = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis)
    return (lower + np.take_along_axis(ordered, count // 2, axis)) / 2


def _ratios(logs: NDArray[np.float64], column: int) -> list[NDArray[np.float64]]:
    """Return each finalist's log ratios to one of them, in the episodes that have both."""
    differences = (logs - logs[:, [column]]).T
    return [row[~np.isnan(row)] for row in differences]
