"""Region-based reinforcement learning: a measurement updates the values of a whole region.

An episode with one configuration was measured. The agent answers three questions, and each answer
is a part that can be exchanged:

1. *Similarity*: what does the measurement say about other configurations?
2. *Region*: about which others, and which of them may be tried next?
3. *Exploration*: which one serves next?

Each load level has a table (:class:`~rrl.core.qtable.QTable`): the expected cost of every
configuration, and how sure that is. :meth:`RRL.tell` learns. :meth:`RRL.ask` only chooses: it moves
the generator and remembers the load, and it writes no value.

:class:`RRL` is the paper's method with our settings. :func:`adaptive` selects the radius of the
region by Bayesian optimisation, and :func:`released` takes the settings of the released code. Our
own extension is made of other parts, see :func:`rrl.extension.recommended.recommended`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from rrl.core.exploration import Boltzmann, Exploration
from rrl.core.knob import Configuration
from rrl.core.qtable import QTable, Tables
from rrl.core.region import FixedRadius, Region, SelectedRadius
from rrl.core.similarity import Copy, NetworkSimilarity, Similarity
from rrl.core.space import ConfigSpace, Floats, Ints


class RRL:
    """Region-based reinforcement learning, made of three parts; by default the paper's.

    A measurement is copied to all configurations within a fixed radius, and the next configuration
    is drawn from Boltzmann probabilities. What differs from the released code: the probabilities
    (see :func:`rrl.core.exploration.action_probabilities`), values that are means at first, what is
    deployed, and the load levels.

    Parameters
    ----------
    space : ConfigSpace
        What can be chosen.
    rng : numpy.random.Generator
        The agent draws all its random numbers from this generator.
    similarity : Similarity, optional
        What a measurement says about others: a :class:`~rrl.core.similarity.Copy` by default.
    region : Region, optional
        About which others: a :class:`~rrl.core.region.FixedRadius` of 1 by default.
    exploration : Exploration, optional
        What serves next: :class:`~rrl.core.exploration.Boltzmann` by default.
    start : configuration, optional
        The configuration that serves first, usually the one that serves now. By default the
        exploration chooses it, too. A new load level always starts with the incumbent of the
        nearest other one.
    learning_rate : float, optional
        Above 0 and at most 1. With 1, an estimate replaces the value.
    average : bool, optional
        Whether values are means of their estimates until the learning rate takes over, see
        :func:`rrl.core.qtable.update_region`.
    ratio : float, optional
        Loads that differ by less than this factor share a table, see
        :class:`~rrl.core.qtable.Tables`.

    Attributes
    ----------
    tables : Tables
        A list with one table per load level.

    Raises
    ------
    ValueError
        If the learning rate is out of range, or the start is not in the space.

    References
    ----------
    Qin et al., "Reinforcement-Learning-Empowered MLaaS Scheduling for Serving Intelligent
    Internet of Things", IEEE Internet of Things Journal 7(7), 2020, and the code released with
    its SC'19 precursor.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = RRL(paper_cpu(), np.random.default_rng(7))
    >>> for _ in range(100):
    ...     configuration = agent.ask(load=14.0)
    ...     cost = 1 + sum((threads - 4) ** 2 for threads in configuration.values())
    ...     agent.tell(configuration, cost)
    >>> agent.best(load=14.0)
    {'inter_op': 4, 'intra_op': 4, 'batch_threads': 4}
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        similarity: Similarity | None = None,
        region: Region | None = None,
        exploration: Exploration | None = None,
        start: Configuration | None = None,
        learning_rate: float = 0.03,
        average: bool = True,
        ratio: float = 1.35,
    ) -> None:
        if not 0 < learning_rate <= 1:
            raise ValueError(f"learning_rate must be above 0 and at most 1, got {learning_rate!r}")
        self.space, self.rng = space, rng
        self.similarity: Similarity = Copy() if similarity is None else similarity
        self.region: Region = FixedRadius() if region is None else region
        self.exploration: Exploration = Boltzmann() if exploration is None else exploration
        self.start = None if start is None else space.index(start)
        self.learning_rate, self.average = learning_rate, average
        self.tables = Tables(space, ratio)

    def ask(self, load: float) -> Configuration:
        """Choose the configuration of the next episode.

        `load` is in requests per second, estimated from arrivals so far. ValueError if it is not
        a positive number.
        """
        table = self.tables.at(load)
        if not table.episodes:
            first = self.start if table.near is None else table.near.incumbent
            if first is not None:
                return self.space[first]
        return self.space[self.choose(table)]

    def choose(self, table: QTable) -> int:
        """Return the index of the configuration that serves next. The table does not change."""
        return self.exploration.choose(table, self.region.candidates(table), self.rng)

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn what an episode cost under the load that was last asked for.

        ValueError, and nothing learned, if the cost is no number from 0 to 1e30, the configuration
        is not in the space, or nothing was asked before. A cost below 1e-30 counts as 0.
        """
        table, index, cost = self.tables.checked(configuration, cost)
        table.record(index, cost)
        cells = self.region.around(table, index)
        estimate = self.similarity.estimate(table, index, cost, cells)
        table.update(cells, *estimate, self.learning_rate, self.average)
        table.incumbent = deploy(table)
        self.region.learn(table, index, cost)

    def best(self, load: float) -> Configuration:
        """Return the configuration to deploy under `load`. The agent does not change."""
        return self.space[self.tables.deployed(load)]


def deploy(table: QTable) -> int:
    """Return the configuration to deploy: the incumbent, unless another one is clearly better.

    The challenger is the configuration whose upper limit is lowest: its expected cost times
    exp(2 sds), where an sd is a fraction of the cost. It replaces the incumbent if the
    incumbent's expected cost is higher by at least the sd of the difference. So one lucky
    measurement rarely changes anything. Only a measured configuration is deployed, see
    :func:`expected_cost`.

    Parameters
    ----------
    table : QTable
        It contains at least one measurement. If it has no incumbent, the configuration that was
        measured first counts as the incumbent.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("threads", (1, 2))]))
    >>> for index, cost in enumerate((1.0, 0.9)):
    ...     table.record(index, cost)
    >>> table.values[:], table.incumbent = (1.0, 0.9), 0
    >>> table.sds[:] = 0.1
    >>> deploy(table)
    0
    >>> table.sds[:] = 0.05
    >>> deploy(table)
    1
    """
    incumbent = table.measured[0] if table.incumbent is None else table.incumbent
    columns = table.values, table.sds, table.means, table.visits
    return int(_decide(*columns, table.measured, table.noise, incumbent))


@njit(cache=True)
def expected_cost(
    value: float, sd: float, mean: float, visits: int, noise: float
) -> tuple[float, float]:
    """Return the expected cost of a measured configuration, and its sd as a fraction.

    Two numbers say what a configuration costs: the value of the table, and the mean of its own
    measurements, each with the given `noise`. The more precise number is taken. So copies from
    neighbours no longer count once the configuration itself was measured often enough.

    Examples
    --------
    >>> expected_cost(1.0, 0.05, 1.2, visits=4, noise=0.2)
    (1.0, 0.05)
    >>> expected_cost(1.0, 0.15, 1.2, visits=4, noise=0.2)
    (1.2, 0.1)
    """
    of_mean = noise / math.sqrt(visits)
    return (value, sd) if sd <= of_mean else (mean, of_mean)


@njit(cache=True)
def _decide(
    values: Floats,
    sds: Floats,
    means: Floats,
    visits: Ints,
    measured: Ints,
    noise: float,
    incumbent: int,
) -> int:
    challenger, lowest = incumbent, math.inf  # the lowest upper limit so far
    for c in measured:
        cost, sd = expected_cost(values[c], sds[c], means[c], visits[c], noise)
        limit = cost * math.exp(2 * sd)
        if limit < lowest:
            challenger, lowest = c, limit
    i, j = challenger, incumbent
    new, new_sd = expected_cost(values[i], sds[i], means[i], visits[i], noise)
    old, old_sd = expected_cost(values[j], sds[j], means[j], visits[j], noise)
    if new <= 0:  # nothing is better than a cost of 0, and a tie changes nothing
        return incumbent if old <= 0 else challenger
    difference = math.log(max(old, new)) - math.log(new)
    return incumbent if difference < math.hypot(new_sd, old_sd) else challenger


def adaptive(
    space: ConfigSpace, rng: np.random.Generator, *, radius: float | None = None, **settings: Any
) -> RRL:
    """Make the paper's adaptive agent: Bayesian optimisation selects the radius.

    Parameters
    ----------
    space, rng
        See :class:`RRL`.
    radius : float, optional
        The first radius, see :class:`~rrl.core.region.SelectedRadius`.
    **settings
        See :class:`RRL`.
    """
    return RRL(space, rng, region=SelectedRadius(space, radius), **settings)


def released(space: ConfigSpace, rng: np.random.Generator, **settings: Any) -> RRL:
    """Make the agent with the settings of the released code.

    A network estimates the region of radius 3, the learning rate is 0.3, and all loads share one
    table. Choices are nearly greedy: near the minimum, a temperature of 0.002 gives the
    probabilities of the released exp(500 Qmin / Q).

    Parameters
    ----------
    space, rng
        See :class:`RRL`.
    **settings
        Of :class:`RRL`; they replace single settings.
    """
    defaults: dict[str, Any] = {
        "similarity": NetworkSimilarity(),
        "region": FixedRadius(3.0),
        "exploration": Boltzmann(0.002, 0.002),
        "learning_rate": 0.3,
        "average": False,
        "ratio": math.inf,
    }
    return RRL(space, rng, **(defaults | settings))
