"""Agents: ask one for a configuration, serve an episode with it, tell it the cost.

:class:`Agent` is what every tuner here keeps to, the baselines as well. :class:`RRL` is
region-based reinforcement learning: a measurement updates the whole region around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol, Self

import numpy as np

from rrl.exploration import Temperature
from rrl.qtable import QTable
from rrl.similarity import Copy, Similarity
from rrl.space import ConfigSpace, Configuration, check_radius


class Agent(Protocol):
    """Whatever can tune: it sees costs and load estimates, and nothing else."""

    def ask(self, load: float) -> Configuration:
        """Choose the configuration of the next episode.

        `load` is in requests per second, estimated from arrivals so far. ValueError if it is not
        a positive number.
        """
        ...

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn what an episode cost under the load that was last asked for.

        ValueError, and nothing learned, if the cost is negative, NaN or infinite, the
        configuration is not in the space, or nothing was asked before.
        """
        ...

    def best(self, load: float) -> Configuration:
        """Return the configuration to deploy under `load`. It does not change the agent."""
        ...

    def state(self) -> dict[str, Any]:
        """Return all that the next choices depend on, the generator included, fit for JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state as if never interrupted."""
        ...


def check_load(load: float) -> float:
    """Return the load, in requests per second, if it is a positive number."""
    if not 0 < load < math.inf:
        raise ValueError(f"load must be a positive number of requests per second, got {load!r}")
    return float(load)


def check_cost(cost: float) -> float:
    """Return the cost if it is a number that is at least 0."""
    if not 0 <= cost < math.inf:
        raise ValueError(f"a cost must be a finite number that is at least 0, got {cost!r}")
    return float(cost)


def rng_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return a generator's state with arrays as lists, fit for JSON.

    Examples
    --------
    >>> rng_state(np.random.default_rng(1))["bit_generator"]
    'PCG64'
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    return plain(rng.bit_generator.state)


def restore_rng(rng: np.random.Generator, state: dict[str, Any]) -> None:
    """Put a generator into a state that :func:`rng_state` returned.

    Raises
    ------
    ValueError
        If it belongs to another kind of generator.
    """
    kind = rng.bit_generator.state["bit_generator"]
    if state.get("bit_generator") != kind:
        raise ValueError(
            f"the state was saved with a {state.get('bit_generator')} generator: "
            f"restore it into an agent with the same, not {kind}"
        )
    rng.bit_generator.state = state


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
        :func:`rrl.qtable.update_region`), or only ever move by `step`, as in the released code.
    recommend : {"observed", "table"}, optional
        What `best` returns: see :meth:`rrl.qtable.QTable.recommend`.
    shrinkage : float, optional
        How many measurements the table's value counts for in that.
    load_bins : float or sequence of float, optional
        Where one level of the load ends: the ratio between the edges of a logarithmic scale
        (infinity: one table for all), or the edges themselves in requests per second, rising.
    transfer : bool, optional
        Whether the table of a new load starts from the values of the nearest known load. If not,
        all its values equal its first measurement.

    Raises
    ------
    ValueError
        If a parameter is out of range; a radius must not exceed the grid's diagonal.

    References
    ----------
    Qin et al., "Reinforcement-Learning-Empowered MLaaS Scheduling for Serving Intelligent
    Internet of Things", IEEE Internet of Things Journal 7(7), 2020, and the code released with
    its SC'19 precursor. What differs: the exploration (see
    :func:`rrl.exploration.action_probabilities`), `average`, `recommend`, `load_bins`, `transfer`.

    Examples
    --------
    >>> from rrl.presets import paper_cpu
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
        shrinkage: float = 3.0,
        load_bins: float | Sequence[float] = 1.5,
        transfer: bool = True,
    ) -> None:
        if not 0 < step <= 1:
            raise ValueError(f"step must be above 0 and at most 1, got {step!r}")
        if not 0 <= shrinkage < math.inf:
            raise ValueError(f"shrinkage must be a number that is at least 0, got {shrinkage!r}")
        if recommend not in ("observed", "table"):
            raise ValueError(f"unknown recommend {recommend!r}: use 'observed' or 'table'")
        self.space, self.rng, self.radius, self.step = space, rng, radius, step
        self.similarity = Copy() if similarity is None else similarity
        self.temperature = Temperature() if temperature is None else temperature
        self.average, self.recommend, self.shrinkage = average, recommend, shrinkage
        self.load_bins, self.transfer = _check_bins(load_bins), transfer
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
        """Return the number of the load level that `load` (requests/s) belongs to."""
        load = check_load(load)
        if isinstance(self.load_bins, tuple):
            return int(np.searchsorted(self.load_bins, load, side="right"))
        if math.isinf(self.load_bins):
            return 0
        return math.floor(math.log(load) / math.log(self.load_bins))

    def ask(self, load: float) -> Configuration:
        """See :meth:`Agent.ask`."""
        table = self._table(load)
        self._load = float(load)
        return self.space[table.choose(self.rng.random(), self.temperature(table.episodes))]

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`Agent.tell`."""
        if self._load is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        cost, index = check_cost(cost), self.space.index(configuration)
        ball = self.space.ball(index, self._radius)
        costs, weights = self.similarity.estimate(self.space, index, cost, ball, self._load)
        table = self._table(self._load)
        table.update(index, cost, ball, costs, weights, self.step, self.average)

    def best(self, load: float) -> Configuration:
        """See :meth:`Agent.best`; where nothing is known, it is that of the nearest known load.

        Raises
        ------
        ValueError
            If nothing has been told yet, or the load is not a positive number.
        """
        table = self._nearest(self.level(load))
        if table is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self.space[table.recommend(self.recommend, self.shrinkage)]

    def _nearest(self, level: int) -> QTable | None:
        known = [other for other, table in self.tables.items() if table.episodes]
        return self.tables[min(known, key=lambda other: abs(other - level))] if known else None

    def _table(self, load: float) -> QTable:
        level = self.level(load)
        if level not in self.tables:
            near = self._nearest(level) if self.transfer else None
            self.tables[level] = near.successor() if near else QTable(len(self.space))
        return self.tables[level]

    def state(self) -> dict[str, Any]:
        """See :meth:`Agent.state`. Settings are not part of it, apart from the radius."""
        return {
            "agent": "RRL",
            "space": self.space.fingerprint,
            "radius": self._radius,
            "load": self._load,
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
        if state.get("agent") != "RRL" or state.get("space") != self.space.fingerprint:
            raise ValueError(
                f"the state is of agent {state.get('agent')!r} on space {state.get('space')!r}, "
                f"not 'RRL' on {self.space.fingerprint!r}: make the agent as it was made before"
            )
        try:
            tables = {level: QTable.from_state(saved) for level, saved in state["tables"]}
            similarity, rng = state["similarity"], state["rng"]
            self.radius, self._load = state["radius"], state["load"]
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"the saved state is incomplete or damaged: {error!r}") from None
        self.similarity.restore(similarity)
        restore_rng(self.rng, rng)
        self.tables = tables


def _check_bins(bins: float | Sequence[float]) -> float | tuple[float, ...]:
    if isinstance(bins, (int, float)):
        if not bins > 1:
            raise ValueError(f"the ratio of load_bins must exceed 1, got {bins!r}")
        return float(bins)
    edges = tuple(float(edge) for edge in bins)
    if not all(0 < a < b for a, b in pairwise((*edges, math.inf))):
        raise ValueError(f"the edges of load_bins must be positive, finite and rise, got {edges}")
    return edges
