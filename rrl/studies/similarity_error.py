"""How well one measurement represents a region: errors of the estimators, by distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.core.similarity import Estimate, FixedSimilarity, Similarity
from rrl.core.space import ConfigSpace
from rrl.studies.scenario import Scenario
from rrl.tuning.objective import MeanLatency
from rrl.workloads.workload import episodes

if TYPE_CHECKING:
    import pandas as pd

REQUESTS = 100  # per episode


class GlobalMean(FixedSimilarity):
    """A trivial estimator for comparison: every estimate is the geometric mean of seen costs.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> space, mean = ConfigSpace([Knob("inter_op", (1, 2))]), GlobalMean()
    >>> _ = mean.estimate(space, 0, 1.0, np.arange(2), load=10.0)
    >>> mean.estimate(space, 1, 4.0, np.arange(2), load=10.0).costs
    array([2., 2.])
    """

    def __init__(self) -> None:
        self._logs: list[float] = []

    def estimate(
        self, space: ConfigSpace, index: int, cost: float, ball: NDArray[np.int64], load: float
    ) -> Estimate:
        """See :meth:`rrl.core.similarity.Similarity.estimate`."""
        self._logs.append(float(np.log(cost)))
        return Estimate(np.full(len(ball), np.exp(np.mean(self._logs))), np.ones(len(ball)))


def correlation_by_distance(
    space: ConfigSpace, cost: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the correlation of the log costs of two configurations, by their distance.

    It is 1 minus half the mean squared difference divided by the variance (the variogram's form).
    So it is 0 if a pair at this distance is as similar as an average pair.

    Parameters
    ----------
    space : ConfigSpace
    cost : ndarray, shape (configurations,)

    Returns
    -------
    distance, correlation : ndarray, shape (distances,)
        Distances are in levels and are rounded to integers.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", range(5))])
    >>> distance, correlation = correlation_by_distance(space, np.exp(np.arange(5.0)))
    >>> correlation.round(2)
    array([ 0.75,  0.  , -1.25, -3.  ])
    """
    logs = np.log(cost)
    total, count = np.zeros(0), np.zeros(0)
    for index in range(len(space)):
        away = np.rint(space.distances(index)).astype(int)
        squares = (logs - logs[index]) ** 2 / 2
        size = max(away.max() + 1, len(total))
        total = np.pad(total, (0, size - len(total))) + np.bincount(away, squares, size)
        count = np.pad(count, (0, size - len(count))) + np.bincount(away, minlength=size)
    distance = np.flatnonzero(count)[1:]  # without each configuration paired with itself
    return distance, 1 - total[distance] / count[distance] / logs.var()


def neighbour_errors(
    space: ConfigSpace, cost: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return the relative errors of using a configuration's cost for its neighbours in a region.

    Examples
    --------
    >>> from rrl import Knob
    >>> line = ConfigSpace([Knob("threads", (1, 2, 3))])
    >>> neighbour_errors(line, np.array([1.0, 2.0, 4.0]), 1).tolist()
    [1.0, 0.5, 1.0, 0.5]
    """
    parts = []
    for centre in range(len(space)):
        ball = space.ball(centre, radius)
        ball = ball[ball != centre]
        parts.append(np.abs(cost[ball] / cost[centre] - 1))
    return np.concatenate(parts)


def repeat_error(scenario: Scenario) -> float:
    """Estimate by how much (%) two equal configurations of a recorded grid would differ.

    The estimate compares two passes, which had different arrivals. It removes the difference that
    all configurations share. A difference of two means over both passes has half the variance of a
    difference between the passes.
    """
    profile = scenario.server.profile
    rows = profile.grid[np.isclose(profile.grid["rate_per_s"], scenario.workload.rate)]
    passes = np.log(rows.groupby([*profile.knobs, "pass"])["mean_s"].mean().unstack().to_numpy())
    between = passes[:, 1] - passes[:, 0]
    return 100 * float(np.expm1(np.median(np.abs(between - np.median(between))) / np.sqrt(2)))


def region_errors(
    scenario: Scenario,
    estimators: Mapping[str, Callable[[], Similarity]],
    measurements: int,
    radius: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Let estimators predict the region around each of some random measurements.

    All estimators get the same measurements in the same order. The first half is used only for
    learning. The measured configuration itself is left out.

    Parameters
    ----------
    scenario : Scenario
    estimators : mapping of str to callable
        Each callable makes a `Similarity`.
    measurements : int
        There are this many episodes, each with a randomly drawn configuration.
    radius : float
        This is the radius of the region, in levels.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        It has one row per prediction: `estimator`, `distance` (rounded to integer levels), `away`
        (the exact distance), and `error`. The error is the absolute value of the logarithm of the
        estimated cost divided by the true cost.
    """
    import pandas as pd

    arrivals_rng, choice_rng, server_rng = rng.spawn(3)
    space, made = scenario.space, {name: make() for name, make in estimators.items()}
    stretch = scenario.workload.arrivals(measurements * REQUESTS, arrivals_rng)
    load, objective, parts = REQUESTS * measurements / float(stretch[-1]), MeanLatency(), []
    for number, arrivals in enumerate(episodes(stretch, REQUESTS)):
        index = int(choice_rng.integers(len(space)))
        cost = objective(scenario.server.measure(space[index], arrivals, server_rng))
        ball = space.ball(index, radius)
        away = space.distances(index)[ball]
        for name, similarity in made.items():
            costs, _ = similarity.estimate(space, index, cost, ball, load)
            if number < measurements // 2:
                continue
            error = np.abs(np.log(costs / scenario.cost[ball]))
            levels = np.rint(away).astype(int)
            table = {"estimator": name, "distance": levels, "away": away, "error": error}
            parts.append(pd.DataFrame(table)[away > 0])
    return pd.concat(parts, ignore_index=True)
