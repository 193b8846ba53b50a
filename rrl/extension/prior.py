"""The region as a prior: what a configuration itself was measured to cost takes over.

In the paper's method, a measurement is copied to a region, and the value of a configuration is the
mean of all copies that it got. So the value stays blurred: however often a configuration was
measured itself, its neighbours count as much. Here the copies are only what is expected beforehand.

The agent `rrl-prior` does not know how wrong a copy is. Once all neighbours of the best known
configuration are expected to cost more, it hardly tries anything else. The next step is a
similarity that is learned, with the sd of each estimate
(:mod:`rrl.extension.learned_similarity`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rrl.core.qtable import QTable
from rrl.core.region import Nearest
from rrl.core.rrl import RRL
from rrl.core.similarity import Copy, Estimate
from rrl.core.space import ConfigSpace, Ints


class Prior(Copy):
    """A mean of copies counts as one measurement, beside those of the configuration itself.

    The value of a configuration is ``(copies + sum of own) / (1 + number of own)``: `copies` is the
    mean of all measurements in whose regions it lies, and `own` are its own measurements. A
    configuration in no region of a measurement is expected to cost the mean value of those that
    are in one. So once something better than this mean is known, trials stay near it.

    An estimate is made of all measurements, so it should replace the value of the table: it needs a
    learning rate of 1.

    Examples
    --------
    >>> from rrl import Knob
    >>> table, similarity = QTable(ConfigSpace([Knob("threads", (1, 2, 4, 8))])), Prior()
    >>> for index, cost, region in ((0, 4.0, [0, 1]), (1, 1.0, [0, 1, 2])):
    ...     table.record(index, cost)
    ...     estimate = similarity.estimate(table, index, cost, np.array(region))
    ...     table.update(np.array(region), *estimate, learning_rate=1.0)
    >>> table.values.round(2)  # those of 1 and 2 threads: (2.5 + 4) / 2 and (2.5 + 1) / 2
    array([3.25, 1.75, 1.  , 4.  ])
    """

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """See :meth:`rrl.core.similarity.Similarity.estimate`.

        It also writes the values of configurations that no region has reached.
        """
        sds, here = super().estimate(table, index, cost, cells).sds, cells == index
        own, sums = table.visits[cells], table.visits[cells] * table.means[cells]
        # The values are those from before this measurement, so they tell what the copies were:
        copies = (1 + own - here) * table.values[cells] - (sums - here * cost)
        copies += (cost - copies) / (1 + table.counts[cells])
        reached = table.counts > 0
        if reached.any():
            table.values[~reached] = table.values[reached].mean()
        values = np.maximum(copies + sums, 0) / (1 + own)  # rounding may take a cost of 0 below it
        return Estimate(values, sds / np.sqrt(1 + own))


def prior(space: ConfigSpace, rng: np.random.Generator, **settings: Any) -> RRL:
    """Make the agent `rrl-prior`: the paper's, with a region that is a prior.

    Parameters
    ----------
    space, rng
        See :class:`rrl.core.rrl.RRL`.
    **settings
        Of :class:`rrl.core.rrl.RRL`; they replace single settings.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = prior(paper_cpu(), np.random.default_rng(7))
    >>> for _ in range(100):
    ...     configuration = agent.ask(load=14.0)
    ...     cost = 1 + sum((threads - 4) ** 2 for threads in configuration.values())
    ...     agent.tell(configuration, cost)
    >>> agent.best(load=14.0)
    {'inter_op': 4, 'intra_op': 4, 'batch_threads': 4}
    """
    defaults: dict[str, Any] = {
        "similarity": Prior(),
        "region": Nearest(13),
        "learning_rate": 1.0,  # each estimate is made of all measurements
    }
    return RRL(space, rng, **(defaults | settings))
