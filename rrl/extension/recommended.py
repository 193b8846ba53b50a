"""The recommended agent: our own extension of the method, made of its parts."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.qtable import QTable
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.extension.expected_saving import ExpectedSaving
from rrl.extension.learned_similarity import BESIDE_A_START, ELSEWHERE, LearnedSimilarity
from rrl.extension.whole_space import WholeSpace
from rrl.tuning.defaults import SERVER_DEFAULTS, serving_default
from rrl.tuning.presets import CPUS


class AcrossLoads(RRL):
    """RRL that keeps a table up to date with what was measured at other loads meanwhile.

    When the load comes back to a load level, the similarity predicts the configurations that were
    measured there, and those of the region that was updated last.
    """

    similarity: LearnedSimilarity
    _last_level: int | None = None  # of the last measurement

    def choose(self, table: QTable) -> int:
        """See :meth:`rrl.core.rrl.RRL.choose`."""
        if table.level != self._last_level:
            known, table = table, copy.copy(table)  # who asks writes no value
            table.values, table.sds = known.values.copy(), known.sds.copy()
            self._catch_up(table)
        return super().choose(table)

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`rrl.core.rrl.RRL.tell`."""
        table, _, _ = self.tables.checked(configuration, cost)
        if table.level != self._last_level:
            self._catch_up(table)
        super().tell(configuration, cost)
        self._last_level = table.level

    def _catch_up(self, table: QTable) -> None:
        if table.near is not None and table.episodes:
            cells = np.union1d(table.measured, table.last_region)
            table.values[cells], table.sds[cells] = self.similarity.predict(table, cells)


def recommended(
    space: ConfigSpace,
    rng: np.random.Generator,
    *,
    start: Configuration | None = None,
    **settings: Any,
) -> AcrossLoads:
    """Make the agent `rrl-gp`, which starts from what serves now.

    A Gaussian process estimates the whole space from all measurements. The first trial is the
    middle of the grid. Any other one serves only if it is expected to save more than its price.

    Parameters
    ----------
    space, rng
        See :class:`rrl.core.rrl.RRL`.
    start : configuration, optional
        The configuration that serves now. It serves first. Somebody chose it, so costs far from
        all measurements are expected to be higher than without a start. If it is not given and all
        knobs are knobs of TensorFlow Serving, it is the default of TensorFlow Serving. For other
        knobs, the agent begins in the middle of the grid.
    **settings
        Of :class:`rrl.core.rrl.RRL`; they replace single settings.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = recommended(paper_cpu(), np.random.default_rng(7))
    >>> agent.ask(load=14.0)
    {'inter_op': 0, 'intra_op': 0, 'batch_threads': 0}
    >>> for _ in range(60):
    ...     configuration = agent.ask(load=14.0)
    ...     cost = 1 + sum((threads - 4) ** 2 for threads in configuration.values())
    ...     agent.tell(configuration, cost)
    >>> agent.best(load=14.0)
    {'inter_op': 4, 'intra_op': 4, 'batch_threads': 4}
    """
    if start is None and set(space.names) <= {*SERVER_DEFAULTS, CPUS}:
        start = serving_default(space)
    defaults: dict[str, Any] = {
        "similarity": LearnedSimilarity(ELSEWHERE if start is None else BESIDE_A_START),
        "region": WholeSpace(),
        "exploration": ExpectedSaving(),
        "learning_rate": 1.0,  # each estimate is made of all measurements
    }
    return AcrossLoads(space, rng, start=start, **(defaults | settings))
