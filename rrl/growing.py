"""The default agent: a region that grows from what serves now, step by step, downhill.

1. Serve an episode with what serves now, and one with the configuration in the middle of the grid.
   If the former is hopeless, several times worse, the region begins in the middle; else that look
   is forgotten. The region is where it begins, and the configurations one level away from it in
   one knob. If nothing serves yet, it begins in the middle.
2. After each episode, the belief about the log cost of the whole region is computed from all
   measurements (:mod:`rrl.learned`: the similarity between configurations is learned too).
3. The incumbent is the measured configuration whose believed cost is lowest; another one takes
   over only if it is lower by the standard deviation of their difference.
4. Next serves what pays: for each configuration of the region, the saving to be expected from it
   (expected improvement on the incumbent) over `horizon` episodes, less what trying it is
   expected to cost more than the incumbent. If no trial pays, the incumbent serves.
5. What is measured belongs to the region, with its neighbours. So the region grows towards where
   costs fall, and a cliff is met one step at a time.
6. Each level of the load has measurements and a region of its own. Those of the nearest other
   load count too, by the load's learned length: a new load starts from what was best there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.agent_state import check_cost, check_load, restore_rng, rng_state
from rrl.belief import Belief, Prior, compress, expected_improvement, learn
from rrl.defaults import serving_default
from rrl.learned import Coordinates, Tally, expected_prior
from rrl.moves import TIE, Moves
from rrl.presets import SERVING_KNOBS
from rrl.space import ConfigSpace, Configuration

Floats = NDArray[np.float64]

SAME_LOAD = math.log(1.35)  # loads nearer than this are one; an estimate is off by 10 %
HOPELESS = 4.0  # what serves now is left at once if it costs so many times the middle


@dataclass
class Level:
    """What is known under one level of the load.

    Parameters
    ----------
    log_load : float
        Mean logarithm of the loads (requests per second) that belong to it.
    asked : int
        How many these are.
    tally : Tally
        The measurements.
    told : int
        How many these are.
    incumbent : int or None
        Number of the configuration to deploy.
    reference : float
        Its believed log cost.
    learn_at : int
        After how many measurements the similarity is learned again.
    """

    log_load: float
    asked: int = 0
    tally: Tally = field(default_factory=Tally)
    told: int = 0
    incumbent: int | None = None
    reference: float = 0.0
    learn_at: int = 4


class GrowingRegion:
    """Region-based learning with a learned similarity; the method is in the module's text.

    Parameters
    ----------
    space : ConfigSpace
    rng : numpy.random.Generator
        Breaks ties, such as those between the neighbours of the first configuration.
    start : configuration, optional
        What serves now.
    horizon : float, optional
        Episodes over which a better configuration has to pay for the search. Longer ones search
        more.

    Raises
    ------
    ValueError
        If the horizon is not a positive number, or the start is not in the space.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = GrowingRegion(paper_cpu(), np.random.default_rng(7))
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
        start: Configuration | None = None,
        horizon: float = 300.0,
    ) -> None:
        if not 0 < horizon < math.inf:
            raise ValueError(f"horizon must be a positive number of episodes, got {horizon!r}")
        self.space, self.rng, self.horizon = space, rng, horizon
        self.start = None if start is None else space.index(start)
        self.expected = expected_prior(len(space.knobs))
        self.prior = self.expected
        self.levels: list[Level] = []
        self._current: Level | None = None  # that of the load last asked for
        self._strange = False  # whether that load was unlike all known ones
        self._coordinates, self._moves = Coordinates(space), Moves(space)

    def ask(self, load: float) -> Configuration:
        """See :meth:`rrl.agent.Agent.ask`."""
        self._current = level = self._level(math.log(check_load(load)))
        if level.told and not self._looks(level):
            return self.space[self._pick(*self._gains(level))]
        near = self._nearest(level.log_load, other_than=level)
        if near is not None:
            return self.space[near.incumbent]
        if self.start is not None and not level.told:
            return self.space[self.start]
        away = self._moves.from_the_middle()
        return self.space[self._pick(range(len(away)), -away)]

    def _looks(self, level: Level) -> bool:
        """Whether the middle is due: what served before was measured once, at the first load."""
        return level.tally.indices == [self.start] and level.told == 1 and len(self.levels) == 1

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`rrl.agent.Agent.tell`."""
        level = self._current
        if level is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        cost, index = check_cost(cost), self.space.index(configuration)
        looked = self._looks(level)
        level.tally.add(index, cost)
        level.told += 1
        if looked and len(level.tally.rows) == 2:
            (_, _, at_start, _), (_, _, at_middle, _) = level.tally.rows
            if at_start <= HOPELESS * at_middle:
                level.tally = Tally(level.tally.rows[:1])
        self._settle(level)

    def best(self, load: float) -> Configuration:
        """See :meth:`rrl.agent.Agent.best`; of the nearest load that something is known of.

        Raises
        ------
        ValueError
            If nothing has been told yet, or the load is not a positive number.
        """
        level = self._nearest(math.log(check_load(load)))
        if level is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self.space[level.incumbent]

    def _nearest(self, log_load: float, other_than: Level | None = None) -> Level | None:
        known = [level for level in self.levels if level.told and level is not other_than]
        return min(known, key=lambda level: abs(level.log_load - log_load), default=None)

    def _level(self, log_load: float) -> Level:
        """The level of a load; a new one if the load is strange twice, or very strange once."""
        near = min(self.levels, key=lambda level: abs(level.log_load - log_load), default=None)
        away = math.inf if near is None else abs(near.log_load - log_load)
        again, self._strange = self._strange, away > SAME_LOAD
        if self._strange and (again or away > 2 * SAME_LOAD):
            self._strange, near = False, Level(log_load)
            self.levels.append(near)
        if not self._strange:
            near.asked += 1
            near.log_load += (log_load - near.log_load) / near.asked
        return near

    def _evidence(self, level: Level) -> tuple[Floats, Floats, Floats]:
        """Measurements of a level and of the one nearest to it: places, log costs, variances."""
        near = self._nearest(level.log_load, other_than=level)
        parts = [level] if near is None else [level, near]
        x = [self._places(part, part.tally.indices) for part in parts]
        y = [compress(part.tally.log_means() - part.reference) for part in parts]
        variance = [part.tally.variances() for part in parts]
        return np.concatenate(x), np.concatenate(y), np.concatenate(variance)

    def _places(self, level: Level, indices: list[int]) -> Floats:
        loads = np.full(len(indices), level.log_load)
        return np.column_stack([self._coordinates(indices), loads])

    def _settle(self, level: Level) -> None:
        """Choose the incumbent anew, and at times learn the similarity."""
        if level.told == 1:
            level.reference = float(level.tally.log_means()[0])
        evidence = self._evidence(level)
        if level.told >= level.learn_at:
            self.prior = learn(*evidence, self.prior, self.expected)
            level.learn_at = level.told * 3 // 2 + 1
        known = level.tally.indices
        rows = np.arange(len(known))
        mean, deviation = Belief(*evidence, self.prior)(self._places(level, known), rows)
        best = int(mean.argmin())
        if level.incumbent is not None:
            now = level.tally.row[level.incumbent]
            if mean[now] - mean[best] < math.hypot(deviation[now], deviation[best]):
                best = now
        level.incumbent = known[best]
        level.reference += float(mean[best])

    def _gains(self, level: Level) -> tuple[list[int], Floats]:
        """The region, and what each of its configurations promises as a share of the cost."""
        known = level.tally.row
        region = list(
            dict.fromkeys([*known, *(c for i in known for c in self._moves.neighbours(i))])
        )
        rows = np.array([known.get(index, -1) for index in region])
        belief = Belief(*self._evidence(level), self.prior)
        mean, deviation = belief(self._places(level, region), rows)
        incumbent = known[level.incumbent]  # the region begins with what is known
        gap = np.maximum(mean - mean[incumbent], 0.0)
        others = np.delete(gap[: len(known)], incumbent)
        price = np.expm1(np.minimum(gap + deviation**2 / 2, 30.0))
        price[incumbent] = 0.0
        gap[incumbent] = others.min(initial=1.0)  # the incumbent may turn out to be the worse
        return region, self.horizon * expected_improvement(gap, deviation) - price

    def _pick(self, indices: Any, merits: Floats) -> int:
        """The index with the highest merit, at random among ties."""
        ties = np.flatnonzero(merits >= merits.max() - TIE)
        return int(indices[ties[int(self.rng.random() * len(ties))]])

    def state(self) -> dict[str, Any]:
        """See :meth:`rrl.agent.Agent.state`. The horizon is not part of it."""
        current = None if self._current is None else self.levels.index(self._current)
        return {
            "agent": "GrowingRegion",
            "space": self.space.fingerprint,
            "rng": rng_state(self.rng),
            "lengths": self.prior.lengths.tolist(),
            "amplitude": self.prior.amplitude,
            "current": current,
            "strange": self._strange,
            "levels": [
                vars(level) | {"tally": [list(row) for row in level.tally.rows]}
                for level in self.levels
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`rrl.agent.Agent.restore`.

        Raises
        ------
        ValueError
            If the state is incomplete, or of another agent, space or kind of generator.
        """
        if state.get("agent") != "GrowingRegion" or state.get("space") != self.space.fingerprint:
            raise ValueError(
                f"the state is of agent {state.get('agent')!r} on space {state.get('space')!r}, "
                f"not 'GrowingRegion' on {self.space.fingerprint!r}: make the agent as before"
            )
        try:
            levels = [
                Level(**{**saved, "tally": Tally(saved["tally"])}) for saved in state["levels"]
            ]
            lengths = np.array([float(length) for length in state["lengths"]])
            prior = Prior(lengths, float(state["amplitude"]))
            current = None if state["current"] is None else levels[state["current"]]
            rng, strange = state["rng"], bool(state["strange"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"the saved state is incomplete or damaged: {error!r}") from None
        restore_rng(self.rng, rng)
        self.levels, self._current, self.prior, self._strange = levels, current, prior, strange


def default_agent(
    space: ConfigSpace, rng: np.random.Generator, *, start: Configuration | None = None
) -> GrowingRegion:
    """Make the agent to use unless there is a reason for another.

    Parameters
    ----------
    space : ConfigSpace
    rng : numpy.random.Generator
    start : configuration, optional
        What serves now. If it is not said, and the knobs are those of TensorFlow Serving, its
        default.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = default_agent(paper_cpu(), np.random.default_rng(7))
    >>> agent.ask(load=14.0)
    {'inter_op': 0, 'intra_op': 0, 'batch_threads': 0}
    >>> agent.tell(agent.ask(load=14.0), 0.5)
    >>> agent.ask(load=14.0)
    {'inter_op': 6, 'intra_op': 6, 'batch_threads': 6}
    """
    if start is None and set(space.names) <= set(SERVING_KNOBS):
        start = serving_default(space)
    return GrowingRegion(space, rng, start=start)
