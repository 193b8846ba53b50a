"""Region-based reinforcement learning: a measurement updates the values of a whole region.

After each episode, RRL answers three questions, and each answer is a part that can be exchanged:

1. *Similarity*: what does the measurement say about other configurations?
2. *Region*: about which other configurations, and which may be tried next?
3. *Exploration*: which one serves next?

The Q-table has the answers to the first two, and the third is read from it.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.agent import check_cost, check_load, restore_rng, rng_state
from rrl.core.deployment import deploy
from rrl.core.exploration import ExpectedSaving, Exploration
from rrl.core.knob import Configuration
from rrl.core.learned_similarity import LearnedSimilarity
from rrl.core.load_levels import LoadLevels
from rrl.core.qtable import Ints, QTable
from rrl.core.region import Grown, Region
from rrl.core.similarity import Similarity
from rrl.core.space import ConfigSpace


class RRL:
    """Region-based reinforcement learning, made of three parts.

    The default parts are the recommended ones. :mod:`rrl.core.variants` makes the paper's.

    Parameters
    ----------
    space : ConfigSpace
        What can be chosen.
    rng : numpy.random.Generator
        All its choices come from it.
    similarity : Similarity, optional
        What a measurement says about others. By default it is a
        :class:`~rrl.core.learned_similarity.LearnedSimilarity`.
    region : Region, optional
        About which others. By default it is :class:`~rrl.core.region.Grown`.
    exploration : Exploration, optional
        What serves next. By default it is :class:`~rrl.core.exploration.ExpectedSaving`.
    start : configuration, optional
        The configuration that serves first, usually the one that serves now. By default the
        exploration chooses it, too. A new load level always starts with the incumbent of the
        nearest other one.
    step : float, optional
        The learning rate, above 0 and at most 1. With 1, an estimate replaces the value: right for
        a similarity that makes each estimate of all measurements.
    average : bool, optional
        Whether values are means of their estimates until the learning rate takes over, see
        :func:`rrl.core.qtable.update_region`.
    loads : LoadLevels, optional
        Which loads share a table.

    Attributes
    ----------
    tables : list of QTable
        One per load level.

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
    >>> for _ in range(60):
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
        step: float = 1.0,
        average: bool = False,
        loads: LoadLevels | None = None,
    ) -> None:
        if not 0 < step <= 1:
            raise ValueError(f"step must be above 0 and at most 1, got {step!r}")
        self.space, self.rng, self.step, self.average = space, rng, step, average
        self.similarity = LearnedSimilarity() if similarity is None else similarity
        self.region = Grown() if region is None else region
        self.exploration = ExpectedSaving() if exploration is None else exploration
        self.start = None if start is None else space.index(start)
        self.loads = LoadLevels() if loads is None else loads
        self.tables: list[QTable] = []
        self._told: int | None = None  # the load level of the last measurement

    def ask(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.ask`."""
        table = self._enter(load)
        if not table.episodes:
            first = self.start if table.near is None else table.near.incumbent
            if first is not None:
                return self.space[first]
        cells = self.region.eligible(table, partial(self._worth, table))
        return self.space[self.exploration.choose(table, cells, self.rng)]

    def _worth(self, table: QTable, cells: Ints, estimate: bool = False) -> NDArray[np.bool_]:
        """Return which configurations are worth a trial; if wanted, estimate their values first."""
        if estimate:
            self._refresh(table, cells)
        return self.exploration.worth(table, cells)

    def _refresh(self, table: QTable, cells: Ints) -> None:
        """Update values with what all measurements say about them now."""
        known = self.similarity.enter(table, cells)
        if known is not None:
            table.update(cells, *known, step=1.0, average=False)

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`rrl.core.agent.Agent.tell`."""
        if self.loads.current is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        cost, index = check_cost(cost), self.space.index(configuration)
        self.loads.count()
        table = self._table(self.loads.current)
        table.record(index, cost)
        cells = self.region.updated(table, index)
        estimate = self.similarity.estimate(table, index, cost, cells)
        if estimate is not None:
            table.update(cells, *estimate, self.step, self.average)
        table.incumbent = deploy(table)
        self.region.learn(table, cost)
        self._told = table.level

    def best(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.best`; it is that of the nearest load level.

        Raises
        ------
        ValueError
            If nothing has been told yet, or the load is not a positive number.
        """
        table = self.table(load)
        if table is None or table.incumbent is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self.space[table.incumbent]

    def table(self, load: float) -> QTable | None:
        """Return the table of the nearest load level with measurements; None if there is none."""
        near = self._nearest(math.log(check_load(load)))
        return None if near is None else self.tables[near]

    def _nearest(self, log_load: float, other_than: int | None = None) -> int | None:
        measured = [t.level for t in self.tables if t.episodes and t.level != other_than]
        return self.loads.nearest(log_load, measured)

    def _table(self, level: int) -> QTable:
        """Return the table of a load level, with the nearest other one as it is now."""
        if level == len(self.tables):
            self.tables.append(QTable(self.space, level))
        table = self.tables[level]
        table.log_load = self.loads.log_loads[level]
        near = self._nearest(table.log_load, level) if len(self.tables) > 1 else None
        table.near = None if near is None else self.tables[near]
        return table

    def _enter(self, load: float) -> QTable:
        """Return the table of a load, with what other load levels say if the level has changed."""
        table = self._table(self.loads.enter(load))
        if table.near is not None and table.level != self._told:
            cells = self.region.eligible(table)
            self._refresh(table, table.measured if cells is None else cells)
        return table

    def state(self) -> dict[str, Any]:
        """See :meth:`rrl.core.agent.Agent.state`. Settings are not part of it."""
        return {
            "agent": "RRL",
            "parts": self._parts,
            "space": self.space.fingerprint,
            "rng": rng_state(self.rng),
            "loads": self.loads.state(),
            "told": self._told,
            "tables": [table.state() for table in self.tables],
            "similarity": self.similarity.state(),
            "region": self.region.state(),
            "exploration": self.exploration.state(self.tables),
        }

    @property
    def _parts(self) -> list[str]:
        return [type(part).__name__ for part in (self.similarity, self.region, self.exploration)]

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`rrl.core.agent.Agent.restore`; the agent must have been made with equal parts.

        Raises
        ------
        ValueError
            If the state is incomplete, or of another agent, space or kind of generator.
        """
        theirs = state.get("agent"), state.get("parts"), state.get("space")
        if theirs != (mine := ("RRL", self._parts, self.space.fingerprint)):
            raise ValueError(
                "the state is of agent {!r} with parts {} on space {!r}, ".format(*theirs)
                + "not {!r} with {} on {!r}: make the agent as it was made before".format(*mine)
            )
        before = self.state()
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            self._restore(before)
            raise ValueError(f"the saved state is incomplete or damaged: {error!r}") from None

    def _restore(self, state: dict[str, Any]) -> None:
        tables = [QTable.from_state(self.space, saved) for saved in state["tables"]]
        self.loads.restore(state["loads"])
        if len(tables) != len(self.loads.log_loads):
            raise ValueError("the numbers of tables and of load levels differ")
        self.similarity.restore(state["similarity"])
        self.region.restore(state["region"])
        self.exploration.restore(state["exploration"], tables)
        restore_rng(self.rng, state["rng"])
        self.tables, self._told = tables, state["told"]
