"""How well one measurement represents a region: errors of the estimators, and their honesty.

An estimator is honest if its errors are as large as the standard deviations that it states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from rrl.core.qtable import QTable
from rrl.core.rrl import deploy
from rrl.core.similarity import CONTRAST, CONTRAST_WEIGHT, Estimate, Similarity
from rrl.core.space import Floats, Ints
from rrl.extension.learned_similarity import log_costs
from rrl.studies.scenario import Scenario
from rrl.tuning.objective import MeanLatency
from rrl.workloads.workload import cut_into_episodes


class GlobalMean(Similarity):
    """A trivial estimator for comparison: every estimate is the geometric mean of seen costs.

    Its standard deviation is that of the logarithms of these costs. As for
    :class:`rrl.core.similarity.Copy`, an expected one counts for some measurements.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("inter_op", (1, 2))]))
    >>> for index, cost in ((0, 1.0), (1, 4.0)):
    ...     table.record(index, cost)
    ...     estimate = GlobalMean().estimate(table, index, cost, np.arange(2))
    >>> estimate.costs, estimate.sds.round(2)
    (array([2., 2.]), array([0.47, 0.47]))
    """

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """See :meth:`rrl.core.similarity.Similarity.estimate`."""
        logs, counts = log_costs(table.means[table.measured]), table.visits[table.measured]
        mean = float(np.average(logs, weights=counts))
        squares = counts @ (logs - mean) ** 2 + CONTRAST_WEIGHT * CONTRAST**2
        sd = np.sqrt(squares / (counts.sum() + CONTRAST_WEIGHT))
        return Estimate(np.full(len(cells), np.exp(mean)), np.full(len(cells), sd))


def error_again(scenario: Scenario, rng: np.random.Generator) -> float:
    """Return the error of measuring a configuration again; no copy can be expected to err less.

    Each configuration is measured in one episode, and compared with the truth.

    Returns
    -------
    float
        The median of the absolute logarithms of the measured cost over the true one.
    """
    arrivals_rng, server_rng = rng.spawn(2)
    measured = _measure(scenario, np.arange(len(scenario.space)), arrivals_rng, server_rng)
    return float(np.median(np.abs(np.log(measured / scenario.cost))))


def region_errors(
    scenario: Scenario,
    estimators: Mapping[str, Callable[[], Similarity]],
    measurements: int,
    radius: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Let estimators predict the region around each of some random measurements.

    All estimators get the same measurements in the same order. The first half is used only for
    learning. The measured configuration itself is left out. A prediction is compared with the
    truth. If the configuration has not been measured yet, the prediction is also compared with a
    first measurement of it, which no estimator sees.

    Parameters
    ----------
    scenario : Scenario
    estimators : mapping of str to callable
        Each callable makes a `Similarity`.
    measurements : int
        There are this many episodes, each with a randomly drawn configuration.
    radius : float
        This is the radius of the region, in steps.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        It has one row per prediction: `estimator`, `distance` (rounded to whole steps), `error`,
        `stated` and `sds_off`. The error is the absolute value of the logarithm of the estimated
        cost divided by the true cost. `stated` is the standard deviation of the log cost of a
        measurement: that of the estimate and that of the noise, added in quadrature. `sds_off`
        is the absolute value of the logarithm of the estimated cost divided by the measured cost,
        in units of `stated`. It is NaN if the configuration was measured before.
    """
    arrivals_rng, choice_rng, server_rng, later_rng = rng.spawn(4)
    space, found = scenario.space, []
    made = {name: (make(), QTable(space)) for name, make in estimators.items()}
    later = _measure(scenario, np.arange(len(space)), later_rng, later_rng)
    choices = choice_rng.integers(len(space), size=measurements)
    costs = _measure(scenario, choices, arrivals_rng, server_rng)
    for number, (index, cost) in enumerate(zip(choices.tolist(), costs.tolist(), strict=True)):
        ball = space.ball(index, radius)
        away = space.distances(index)[ball]
        for name, (similarity, table) in made.items():
            table.log_load = table.last_log_load = float(np.log(scenario.workload.rate))
            table.record(index, cost)
            estimate = similarity.estimate(table, index, cost, ball)
            table.update(ball, *estimate, learning_rate=1.0)
            table.incumbent = deploy(table)
            if number < measurements // 2:
                continue
            stated = np.hypot(estimate.sds, table.noise)
            off = np.abs(np.log(estimate.costs / later[ball])) / stated
            columns = {
                "estimator": name,
                "distance": np.rint(away).astype(int),
                "error": np.abs(np.log(estimate.costs / scenario.cost[ball])),
                "stated": stated,
                "sds_off": np.where(table.visits[ball] == 0, off, np.nan),
            }
            found.append(pd.DataFrame(columns)[away > 0])
    return pd.concat(found, ignore_index=True)


def _measure(
    scenario: Scenario,
    indices: Ints,
    arrivals_rng: np.random.Generator,
    server_rng: np.random.Generator,
) -> Floats:
    """Measure configurations by number, one episode each, and return their costs."""
    objective, server, space = MeanLatency(), scenario.server, scenario.space
    requests = scenario.requests
    stretch = scenario.workload.arrivals(len(indices) * requests, arrivals_rng)
    return np.array(
        [
            objective(server.measure(space[index], arrivals, server_rng))
            for index, arrivals in zip(indices, cut_into_episodes(stretch, requests), strict=True)
        ]
    )
