"""A radius that is selected by Bayesian optimisation, from what the episodes cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rrl.core.qtable import Floats, Ints, QTable
from rrl.core.region import Worth
from rrl.core.region_size import LevelSizes, RegionSize
from rrl.core.space import ConfigSpace, check_radius


class SelectedRadius:
    """A region whose radius is selected by Bayesian optimisation, see `RegionSize`.

    Each load level has its own radius, as it has its own table.

    In the ablation (``data/ablation``: ten problems, 30 seeds, 150 episodes), the cost while
    learning is 0.98 times that of a fixed radius of 1. With the prior's schedule alone it is 0.98
    times as high, too, and with a flat prior 1.21 times. So what this radius gains is in its prior.

    Parameters
    ----------
    space : ConfigSpace
    radius : float, optional
        The first radius. By default it is a twelfth of the grid's diagonal, between 1.25 (direct
        neighbours, for the first 40 episodes) and 6.
    widest : float, optional
        The largest radius that may be selected. By default it is twice the first one, plus 1, but
        not more than the diameter of the space, unless the first one is.
    size : callable, optional
        What selects a radius: :class:`RegionSize`, or another one with the same parameters.

    Attributes
    ----------
    radius : float
        Of the last measurement's region.

    Raises
    ------
    ValueError
        If the first radius is negative or larger than the widest.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> from rrl.core.variants import adaptive
    >>> agent = adaptive(paper_cpu(), np.random.default_rng(7))
    >>> for _ in range(100):
    ...     configuration = agent.ask(load=14.0)
    ...     cost = 1 + sum((threads - 4) ** 2 for threads in configuration.values())
    ...     agent.tell(configuration, cost)
    >>> agent.best(load=14.0), agent.region.radius < agent.region.start
    ({'inter_op': 4, 'intra_op': 4, 'batch_threads': 4}, True)
    """

    def __init__(
        self,
        space: ConfigSpace,
        radius: float | None = None,
        widest: float | None = None,
        size: Callable[[int, float, float], RegionSize] = RegionSize,
    ) -> None:
        if radius is None:
            radius = min(max(1.25, space.diameter / 12), 6.0, space.diameter)
        self.start = self.radius = check_radius(radius)
        if widest is None:
            widest = max(self.start, min(2 * self.start + 1, space.diameter))
        self.widest = widest
        self._levels = LevelSizes(lambda: size(len(space.knobs), self.start, self.widest))

    @property
    def sizes(self) -> dict[int, RegionSize]:
        """What is known of the radius at each load level."""
        return self._levels.sizes

    def updated(self, table: QTable, index: int) -> Ints:
        """See :meth:`rrl.core.region.Region.updated`."""
        self.radius = self._levels.at(table.level).radius
        return table.space.ball(index, self.radius)

    def eligible(self, table: QTable, worth: Worth | None = None) -> None:
        """See :meth:`rrl.core.region.Region.eligible`: any configuration may be tried."""
        return

    def learn(self, table: QTable, cost: float) -> None:
        """See :meth:`rrl.core.region.Region.learn`; the end of a block selects a new radius."""

        def excess(costs: Floats) -> Floats:
            best = table.means[table.incumbent] + table.floor
            return np.log((costs + table.floor) / best) if best > 0 else np.zeros(len(costs))

        self._levels.add(table.level, cost, excess)
        self.radius = self._levels.at(table.level).radius

    def state(self) -> dict[str, Any]:
        """See :meth:`rrl.core.region.Region.state`."""
        return {"radius": self.radius, "levels": self._levels.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`rrl.core.region.Region.restore`."""
        radius = check_radius(state["radius"])
        self._levels.restore(state["levels"])
        self.radius = radius
