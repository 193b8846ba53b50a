"""The default agent: a region that grows from what serves now, step by step, downhill.

1. Serve an episode with what serves now, and one with the configuration in the middle of the grid.
   If the former is hopeless, several times worse, the region begins in the middle; else that look
   is forgotten. The region is where it begins, and the configurations one level away from it in
   one knob. If nothing serves yet, it begins in the middle.
2. After each episode, the belief about the log cost of the whole region is computed from all
   measurements (:mod:`rrl.core.learned_similarity`: the similarity between configurations is
   learned too).
3. The incumbent is the measured configuration whose believed cost is lowest; another one takes
   over only if it is lower by the standard deviation of their difference.
4. Next serves what pays: for each configuration of the region, the saving to be expected from it
   (expected improvement on the incumbent) over `horizon` episodes, less what trying it is
   expected to cost more than the incumbent. If no trial pays, the incumbent serves.
5. What is measured belongs to the region, with its neighbours. So the region grows towards where
   costs fall, and a cliff is met one step at a time.
6. Each level of the load has measurements and a region of its own. Those of the nearest other
   load count too, by the load's learned length: a new load starts from what was best there, and
   what was measured there belongs to its region.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.agent import check_cost, check_load, restore_rng, rng_state
from rrl.core.gaussian_process import Belief, Prior, compress, expected_improvement, learn
from rrl.core.knob import Configuration
from rrl.core.learned_similarity import Coordinates, Tally, expected_prior
from rrl.core.measured_levels import MeasuredLevel, MeasuredLevels
from rrl.core.neighbours import TIE, Moves
from rrl.core.space import ConfigSpace

Floats = NDArray[np.float64]

HOPELESS = 4.0  # what serves now is left at once if it costs so many times the middle


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
        self.levels = MeasuredLevels()
        self._coordinates, self._moves = Coordinates(space), Moves(space)
        self._belief: tuple[MeasuredLevel, Belief] | None = None  # since the last tell

    def ask(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.ask`."""
        level = self.levels.enter(math.log(check_load(load)))
        if level.told and not self._looks(level):
            return self.space[self._pick(*self._gains(level))]
        near = self.levels.nearest(level.log_load, other_than=level)
        if near is not None:
            return self.space[near.incumbent]
        if self.start is not None and not level.told:
            return self.space[self.start]
        away = self._moves.from_the_middle()
        return self.space[self._pick(range(len(away)), -away)]

    def _looks(self, level: MeasuredLevel) -> bool:
        """Whether the middle is due: what served before was measured once, at the first load."""
        return level.tally.indices == [self.start] and level.told == 1 and len(self.levels) == 1

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`rrl.core.agent.Agent.tell`."""
        level = self.levels.current
        if level is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        cost, index = check_cost(cost), self.space.index(configuration)
        self.levels.took_place()
        looked = self._looks(level)
        level.tally.add(index, cost)
        level.told += 1
        if looked and len(level.tally.rows) == 2:
            (_, _, at_start, _), (_, _, at_middle, _) = level.tally.rows
            if at_start <= HOPELESS * at_middle:
                level.tally = Tally(level.tally.rows[:1])
        self._settle(level)

    def best(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.best`; of the nearest load that something is known of.

        Raises
        ------
        ValueError
            If nothing has been told yet, or the load is not a positive number.
        """
        level = self.levels.nearest(math.log(check_load(load)))
        if level is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self.space[level.incumbent]

    def _parts(self, level: MeasuredLevel) -> list[MeasuredLevel]:
        """A level and the one nearest to it: their measurements are the evidence."""
        near = self.levels.nearest(level.log_load, other_than=level)
        return [level] if near is None else [level, near]

    def _log_costs(self, parts: list[MeasuredLevel]) -> Floats:
        """Of the evidence, each level's from its own reference."""
        return np.concatenate([compress(p.tally.log_means() - p.reference) for p in parts])

    def _evidence(self, parts: list[MeasuredLevel]) -> tuple[Floats, Floats, Floats]:
        """Places, log costs and the variances of these."""
        x = [self._places(part, part.tally.indices) for part in parts]
        variance = [part.tally.variances() for part in parts]
        return np.concatenate(x), self._log_costs(parts), np.concatenate(variance)

    def _believe(self, level: MeasuredLevel) -> Belief:
        """The belief on a level; after a `tell` only what its reference is can have changed."""
        parts = self._parts(level)
        if self._belief is not None and self._belief[0] is level:
            return self._belief[1].given(self._log_costs(parts))
        return Belief(*self._evidence(parts), self.prior)

    def _places(self, level: MeasuredLevel, indices: list[int]) -> Floats:
        loads = np.full(len(indices), level.log_load)
        return np.column_stack([self._coordinates(indices), loads])

    def _settle(self, level: MeasuredLevel) -> None:
        """Choose the incumbent anew, and at times learn the similarity."""
        if level.told == 1:
            level.reference = float(level.tally.log_means()[0])
        evidence = self._evidence(self._parts(level))
        if level.told >= level.learn_at:
            self.prior = learn(*evidence, self.prior, self.expected)
            level.learn_at = level.told * 3 // 2 + 1
        known, belief = level.tally.indices, Belief(*evidence, self.prior)
        self._belief = level, belief
        mean = belief.means()[: len(known)]  # the evidence begins with this level's
        best = int(mean.argmin())
        if level.incumbent is not None:
            now = level.tally.row[level.incumbent]
            if mean[now] - mean[best] < math.hypot(*belief.deviations(np.array([now, best]))):
                best = now
        level.incumbent = known[best]
        level.reference += float(mean[best])

    def _gains(self, level: MeasuredLevel) -> tuple[list[int], Floats]:
        """The region, and what each of its configurations promises as a share of the cost."""
        known = level.tally.row
        near = [part.tally.row for part in self._parts(level)[1:]]
        region = list(dict.fromkeys(chain(known, *map(self._moves.neighbours, known), *near)))
        belief, m = self._believe(level), len(known)
        mean, deviation = belief(self._places(level, region[m:]))
        mean = np.concatenate([belief.means()[:m], mean])
        deviation = np.concatenate([belief.deviations(np.arange(m)), deviation])
        incumbent = known[level.incumbent]  # the region begins with what is known
        gap = np.maximum(mean - mean[incumbent], 0.0)
        others = np.delete(gap[:m], incumbent)
        price = np.expm1(np.minimum(gap + deviation**2 / 2, 30.0))
        price[incumbent] = 0.0
        gap[incumbent] = others.min(initial=1.0)  # the incumbent may turn out to be the worse
        return region, self.horizon * expected_improvement(gap, deviation) - price

    def _pick(self, indices: Any, merits: Floats) -> int:
        """The index with the highest merit, at random among ties."""
        ties = np.flatnonzero(merits >= merits.max() - TIE)
        return int(indices[ties[int(self.rng.random() * len(ties))]])

    def state(self) -> dict[str, Any]:
        """See :meth:`rrl.core.agent.Agent.state`. The horizon is not part of it."""
        return {
            "agent": "GrowingRegion",
            "space": self.space.fingerprint,
            "rng": rng_state(self.rng),
            "prior": self.prior.numbers,
            "levels": self.levels.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`rrl.core.agent.Agent.restore`.

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
            levels, rng = MeasuredLevels.restored(state["levels"]), state["rng"]
            prior = Prior.of(state["prior"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"the saved state is incomplete or damaged: {error!r}") from None
        restore_rng(self.rng, rng)
        self.levels, self.prior, self._belief = levels, prior, None
