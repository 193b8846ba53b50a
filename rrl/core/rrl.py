"""Region-based reinforcement learning: a measurement updates the whole region around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from rrl.core.agent import check_cost, restore_rng, rng_state
from rrl.core.exploration import Temperature
from rrl.core.knob import Configuration
from rrl.core.load_levels import LoadLevels
from rrl.core.qtable import TRUST, QTable
from rrl.core.similarity import Copy, Similarity
from rrl.core.space import ConfigSpace, check_radius


class RRL:
    """Region-based reinforcement learning.

    Each episode, a configuration is drawn by Boltzmann exploration over the Q-table; its cost
    then updates every configuration within `radius` of it. Each level of the load has its own
    table.

    Parameters
    ----------
    space : ConfigSpace
        What can be chosen.
    rng : numpy.random.Generator
        Where its choices come from; one number is drawn for each `ask`.
    radius : float, optional
        Of the region, in units of the knobs' positions; may be set between episodes. Wide
        regions find a good configuration sooner, narrow ones settle on a better one. With a
        `DistanceWeighted` similarity 2 is a good radius, with `Copy` 1.
    step : float, optional
        Learning rate, above 0 and at most 1.
    similarity : Similarity, optional
        What a measurement says about the region: `Copy` by default.
    temperature : Temperature, optional
        Of the exploration, by episodes under this level of load.
    average : bool, optional
        Whether values are means of what is known until `step` takes over (see
        :func:`rrl.core.region_update.update_region`), or only ever move by `step`, as in the
        released code.
    recommend : {"observed", "table"}, optional
        What `best` returns: see :meth:`rrl.core.qtable.QTable.recommend`.
    shrinkage, caution : float, optional
        See there: how many measurements the table's value counts for, and how much better a
        newcomer must be.
    load_bins : float or sequence of float, optional
        Where one level of the load ends: the ratio between the edges of a logarithmic scale
        (infinity: one table for all), or the edges themselves in requests per second, rising.
    load_noise : float, optional
        Relative standard error of the load estimates, see :class:`rrl.core.load_levels.LoadLevels`.
    transfer : bool, optional
        Whether the table of a new load starts from the values of the nearest known load. If not,
        all its values equal its first measurement.
    reach : float, optional
        Width, in load levels, of the region across loads: the table of a load that is k levels
        away also hears of a measurement, with a weight of ``exp(-k² / 2 reach²)``, and only
        where that load has not spoken for itself. 0: no table hears of another load.
    trust : float, optional
        How many measurements such a word, or an inherited value, counts for at most.

    Raises
    ------
    ValueError
        If a parameter is out of range; a radius must not exceed the grid's diagonal.

    References
    ----------
    Qin et al., "Reinforcement-Learning-Empowered MLaaS Scheduling for Serving Intelligent
    Internet of Things", IEEE Internet of Things Journal 7(7), 2020, and the code released with
    its SC'19 precursor. What differs: the exploration (see
    :func:`rrl.core.exploration.action_probabilities`), `average`, `recommend`, and all about loads.

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
        radius: float = 1.0,
        step: float = 0.3,
        similarity: Similarity | None = None,
        temperature: Temperature | None = None,
        average: bool = True,
        recommend: str = "observed",
        shrinkage: float = 0.5,
        caution: float = 0.3,
        load_bins: float | Sequence[float] = 1.5,
        load_noise: float = 0.1,
        transfer: bool = True,
        reach: float = 1.0,
        trust: float = TRUST,
    ) -> None:
        if not 0 < step <= 1:
            raise ValueError(f"step must be above 0 and at most 1, got {step!r}")
        numbers = {
            "shrinkage": shrinkage,
            "caution": caution,
            "reach": reach,
            "trust": trust,
        }
        for name, value in numbers.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number that is at least 0, got {value!r}")
        if recommend not in ("observed", "table"):
            raise ValueError(f"unknown recommend {recommend!r}: use 'observed' or 'table'")
        self.space, self.rng, self.radius, self.step = space, rng, radius, step
        self.similarity = Copy() if similarity is None else similarity
        self.temperature = Temperature() if temperature is None else temperature
        self.average, self.recommend = average, recommend
        self.shrinkage, self.caution = shrinkage, caution
        self.levels = LoadLevels(load_bins, load_noise)
        self.transfer, self.reach, self.trust = transfer, reach, trust
        self.tables: dict[int, QTable] = {}  # by level of the load
        self._load: float | None = None  # what was last asked for

    @classmethod
    def as_released(cls, space: ConfigSpace, rng: np.random.Generator, **changes: Any) -> Self:
        """Return the agent with the settings of the released code, its network apart.

        Radius 3, every update by 0.3, one table for all loads, nearly greedy choices, and the
        table's minimum as the recommendation. Keywords change single settings.
        """
        released: dict[str, Any] = {
            "radius": 3.0,
            "average": False,
            "recommend": "table",
            "temperature": Temperature(0.002, 0.002),  # exp(500 Qmin / Q), close to the minimum
            "load_bins": math.inf,
            "transfer": False,
            "reach": 0.0,
        }
        return cls(space, rng, **(released | changes))

    @property
    def radius(self) -> float:
        """Radius of the region, in units of the knobs' positions."""
        return self._radius

    @radius.setter
    def radius(self, radius: float) -> None:
        check_radius(radius)
        if self.space.diameter and radius > self.space.diameter:
            raise ValueError(
                f"radius {radius!r} is beyond the grid: choose at most {self.space.diameter:.6g}"
            )
        self._radius = float(radius)

    def level(self, load: float) -> int:
        """Return the number of the load level that `load` (requests/s) falls into."""
        return self.levels.level(load)

    def ask(self, load: float) -> Configuration:
        """See :meth:`Agent.ask`."""
        table = self._table(self.levels.settle(load))
        self._load = float(load)
        return self.space[table.choose(self.rng.random(), self.temperature(table.episodes))]

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`Agent.tell`."""
        if self._load is None or self.levels.place is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        cost, index = check_cost(cost), self.space.index(configuration)
        ball, here = self.space.ball(index, self._radius), self.levels.place.level
        costs, weights = self.similarity.estimate(self.space, index, cost, ball, self._load)
        table = self._table(here)
        table.update(index, cost, ball, costs, weights, self.step, self.average)
        for level, other in self.tables.items():
            if level != here and abs(level - here) <= 2 * self.reach:
                heard = math.exp(-(((level - here) / self.reach) ** 2) / 2)
                other.hear(ball, costs, heard * weights, table.scale)

    def best(self, load: float) -> Configuration:
        """See :meth:`Agent.best`; where nothing is known, it is that of the nearest known load.

        Raises
        ------
        ValueError
            If nothing has been told yet, or the load is not a positive number.
        """
        table = self._nearest(self.levels.guess(load))
        if table is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self.space[table.recommend(self.recommend, self.shrinkage, self.caution)]

    def _nearest(self, level: int) -> QTable | None:
        known = [other for other, table in self.tables.items() if table.episodes]
        return self.tables[min(known, key=lambda other: abs(other - level))] if known else None

    def _table(self, level: int) -> QTable:
        if level not in self.tables:
            near = self._nearest(level) if self.transfer else None
            self.tables[level] = near.successor() if near else QTable(len(self.space), self.trust)
        return self.tables[level]

    def state(self) -> dict[str, Any]:
        """See :meth:`Agent.state`. Settings are not part of it, apart from the radius."""
        return {
            "agent": type(self).__name__,
            "space": self.space.fingerprint,
            "radius": self._radius,
            "load": self._load,
            "levels": self.levels.state(),
            "rng": rng_state(self.rng),
            "similarity": self.similarity.state(),
            "tables": [[level, table.state()] for level, table in self.tables.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`Agent.restore`; the agent must have been made with the same settings.

        Raises
        ------
        ValueError
            If the state is incomplete, or of another agent, space or kind of generator.
        """
        kind = type(self).__name__
        if state.get("agent") != kind or state.get("space") != self.space.fingerprint:
            raise ValueError(
                f"the state is of agent {state.get('agent')!r} on space {state.get('space')!r}, "
                f"not {kind!r} on {self.space.fingerprint!r}: make the agent as it was made before"
            )
        try:
            tables = {level: QTable.from_state(saved) for level, saved in state["tables"]}
            similarity, rng, levels = state["similarity"], state["rng"], state["levels"]
            self.radius, self._load = state["radius"], state["load"]
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"the saved state is incomplete or damaged: {error!r}") from None
        self.similarity.restore(similarity)
        self.levels.restore(levels)
        restore_rng(self.rng, rng)
        self.tables = tables
