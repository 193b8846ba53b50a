"""Decide whether paired differences have a typical value other than 0, with a look after each one.

The two members of a pair are assumed to be exchangeable if there is no typical difference, whatever
the earlier pairs were. Then the signs of the differences are fair coins, whatever their sizes are
(Efron 1969). So the sum of the signed sizes is a random walk of which only the directions are
unknown. Its distribution is computed exactly, step by step, for the walks that have not been
stopped yet (Armitage, McPherson and Rowe 1969). After each pair, a walk stops if it is so far from
0 that this has a small chance. The chances of all looks together never exceed 5 %, however many
pairs follow. Therefore one may look after each pair, stop early, and add pairs later. Nothing is
assumed about the distribution of the sizes. The size of a step is limited, so that a pair in which
the machine was disturbed counts little more than others. But a disturbance that harms the same one
of the two in several pairs in a row looks like a difference.

:func:`budget` divides the 5 % among the looks (Lan and DeMets 1983). Most of it is for the looks
near round 15, the default of `rrl tune`.

References
----------
Armitage, McPherson & Rowe, "Repeated significance tests on accumulating data", Journal of the Royal
Statistical Society A 132(2), 1969.
Efron, "Student's t-test under symmetry conditions", Journal of the American Statistical Association
64(328), 1969.
Lan & DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70(3), 1983.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95  # of all looks together
PLANNED = 15  # rounds; most of the budget is spent by then
BY_THEN = 0.9  # this fraction of it
GROWTH = 2.5  # with this power of the round, so that clear cases end early and others lose little

LONGEST = 10  # length of the longest step of the walk
LIMIT = 1.5  # a size of this many medians, or a larger one, makes the longest step
GRID = 1000  # quantiles that may be the ends of an interval: 71 from one of 15 values to the next
FEWEST = 8  # rounds before the first decision: fewer equal signs are too likely by chance


def budget(looks: int) -> float:
    """Return the chance of a false decision that may be spent in the first `looks` looks.

    Examples
    --------
    >>> [round(budget(n), 4) for n in (5, 8, 15, 30, 10**9)]
    [0.0029, 0.0093, 0.045, 0.0475, 0.05]
    """
    late = 1 - (1 - BY_THEN) * PLANNED / max(looks, PLANNED)
    return (1 - LEVEL) * (late if looks > PLANNED else BY_THEN * (looks / PLANNED) ** GROWTH)


def step_lengths(values: ArrayLike) -> NDArray[np.int64]:
    """Return the lengths of the steps of the walk, whole numbers from 0 to `LONGEST`.

    A length depends on the size of its value, divided by the median of the sizes until then. Later
    values and all signs do not matter. Only a value of 0 makes no step. The arrays have the shape
    (runs, rounds).

    Examples
    --------
    >>> step_lengths([[1.0, -1.0, 0.0, 0.5, -600.0]])
    array([[ 7,  7,  0,  5, 10]])
    """
    sizes = np.abs(np.asarray(values, dtype=float))
    medians = [np.median(sizes[:, : i + 1], axis=1) for i in range(sizes.shape[1])]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.minimum(sizes / np.transpose(medians), LIMIT)
    return np.where(sizes > 0, np.ceil(LONGEST / LIMIT * relative), 0).astype(np.int64)


def first_decisions(values: ArrayLike) -> NDArray[np.int64]:
    """Return the round at which each run decides that its typical value is not 0, and its sign.

    At most 5 % of the runs without a typical difference ever decide. A decision is final.

    Parameters
    ----------
    values : array_like, shape (runs, rounds)
        Each row has the differences of one run, in order of time.

    Returns
    -------
    ndarray of int, shape (runs,)
        The number of rounds until the decision, with a minus if the typical value is below 0, or 0
        if there was no decision.

    Examples
    --------
    Equal differences decide at round 8: all the same sign has a chance of 2 / 2**8 there.

    >>> first_decisions([[0.1] * 9, [-0.1] * 9, [0.1, -0.1] * 4 + [0.1]])
    array([ 8, -8,  0])
    """
    values = np.asarray(values, dtype=float)
    lengths = step_lengths(values)
    runs, rounds = values.shape
    place = np.cumsum(lengths * np.sign(values).astype(np.int64), axis=1)
    chance = np.ones((runs, 1))  # of a place this far to the right, or as far to the left
    spent, first = np.zeros(runs), np.zeros(runs, dtype=np.int64)
    for i in range(rounds):
        far, step = np.arange(chance.shape[1] + LONGEST + 1), lengths[:, [i]]
        known = np.pad(chance, ((0, 0), (0, 2 * LONGEST + 1)))
        back, on = (np.take_along_axis(known, to, 1) for to in (abs(far - step), far + step))
        chance = (back + on) / 2
        beyond = 2 * np.cumsum(chance[:, ::-1], axis=1)[:, ::-1]  # on both sides
        limit = np.argmax(beyond <= budget(i + 1) - spent[:, None] + 1e-12, axis=1)
        spent += np.take_along_axis(beyond, limit[:, None], 1)[:, 0]
        chance = np.where(far < limit[:, None], chance, 0.0)[:, : limit.max()]
        now = (first == 0) & (abs(place[:, i]) >= limit)
        first[now] = (i + 1) * np.sign(place[now, i])
    return first


def symmetric_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Compute the typical value of a sample, and its interval, which is valid at any time.

    The interval has all values that :func:`first_decisions` has not excluded so far. It contains
    the true centre at all looks together with a chance of 95 % or more, if the differences from
    the centre are symmetric. Only 0, the median and `GRID` quantiles of the sample are judged, so
    an end other than 0 may be up to one such quantile too near to the centre.

    Returns
    -------
    centre, low, high : float
        The median, moved into the interval if it is outside, and the two ends. The ends are
        infinite if there are fewer than `FEWEST` values, or if they contradict one another, so that
        no centre is left.

    Examples
    --------
    >>> symmetric_interval([3.0, 1.0, 2.0])
    (2.0, -inf, inf)
    >>> symmetric_interval([2.0] * 8)
    (2.0, 2.0, 2.0)
    """
    values = np.asarray(values, dtype=float)
    centre = float(np.median(values))
    quantiles = np.quantile(values, np.linspace(0, 1, GRID + 1))
    # 0 decides the verdict, so it is judged itself.
    candidates = np.append(quantiles, [centre, 0.0])
    kept = candidates[first_decisions(values - candidates[:, None]) == 0]
    if len(values) < FEWEST or not len(kept):
        return centre, -np.inf, np.inf
    low, high = float(kept.min()), float(kept.max())
    return min(max(centre, low), high), low, high
