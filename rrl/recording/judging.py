"""Judging finalists: which configuration is best, and which are separated from it or tied.

Episodes are paired, and the centre of their ratios is a robust one: a neighbour on a shared machine
may slow one episode in ten several times.
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
    """Centre of a symmetric distribution with one-sided confidence limits, robust to outliers.

    The Hodges-Lehmann estimate: the median of all pairwise means. Its limits come from Wilcoxon's
    signed-rank statistic (normal approximation, with a continuity correction). One episode in ten
    may be several times too slow because of a neighbour on the machine; a mean and its t-interval
    would follow it.

    Parameters
    ----------
    values : ndarray, shape (n,)
    confidence : float
        Of each of the two limits.

    Returns
    -------
    centre, low, high : float
        The limits are infinite when there are too few values for this confidence.

    References
    ----------
    Hodges and Lehmann, "Estimates of location based on rank tests", Annals of Mathematical
    Statistics 34(2), 1963.

    Examples
    --------
    >>> centre_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 600.0]))
    (3.5, 2.0, 302.0)
    """
    from scipy import stats

    n = len(values)
    if not n:
        return np.nan, -np.inf, np.inf
    first, second = np.triu_indices(n)
    means = np.sort((values[first] + values[second]) / 2)
    variance = n * (n + 1) * (2 * n + 1) / 24
    cut = int(np.floor(n * (n + 1) / 4 - 0.5 - stats.norm.ppf(confidence) * np.sqrt(variance)))
    if cut < 0:
        return float(np.median(means)), -np.inf, np.inf
    return float(np.median(means)), float(means[cut]), float(means[-1 - cut])


@dataclass(frozen=True)
class Verdict:
    """How a finalist compares with the best: cost ratio with its limits, and the word for it."""

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
    """Compare finalists over episodes.

    Parameters
    ----------
    means : ndarray, shape (episodes, finalists)
        Mean latency (s) of each finalist in each episode; NaN where it took no part. Rows are
        paired: one episode's arrivals and a few minutes of the machine are shared.
    tolerance : float
        A rival is tied when its cost is surely within this share of the best's, above or below.
    confidence : float
        Of each limit on the log ratio, see `centre_interval`.
    contenders : int, optional
        The best is one of the first so many columns; of all by default.

    Returns
    -------
    best : int
        Column with the smallest typical cost, by median polish: finalists that were dropped early
        took part in other episodes than the rest.
    verdicts : list of Verdict, length finalists
        Their word is "best", "separated", "tied" or "undecided".

    Raises
    ------
    ValueError
        If nothing was measured.

    Examples
    --------
    >>> rounds = np.linspace(1, 2, 6)[:, None] * [1.0, 1.5, 1.01]
    >>> best, verdicts = judge(rounds)
    >>> best, [verdict.word for verdict in verdicts]
    (0, ['best', 'separated', 'tied'])
    """
    logs = np.log(means)
    if logs.shape[1] == 0 or np.isnan(logs).all():
        raise ValueError("no episode to judge by: measure a round first")
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
    """Effect of each column when rows have effects too and cells may be missing (Tukey, 1977)."""
    columns = np.zeros(logs.shape[1])
    for _ in range(sweeps):
        rows = np.nanmedian(logs - columns, axis=1, keepdims=True)
        columns = np.nanmedian(logs - rows, axis=0)
    return columns


def _ratios(logs: NDArray[np.float64], column: int) -> list[NDArray[np.float64]]:
    """Log ratios of each finalist to one of them, in the episodes that both took part in."""
    differences = (logs - logs[:, [column]]).T
    return [row[~np.isnan(row)] for row in differences]
