"""Plain rivals of RRL: fixed settings, exhaustive, random and local search, an optimistic table.

Each agent is a :class:`rrl.rivals.search.Searcher`: it runs one search per load level. The settings
are tuned: ``data/README.md`` says how.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Ints
from rrl.rivals.grid import Neighbours, near
from rrl.rivals.search import Search, Searcher
from rrl.tuning.defaults import heuristic_candidates, serving_default


class Candidates(Searcher):
    """Measure some configurations in turn, then serve with the one of lowest mean cost.

    With one candidate this is a fixed setting. With all configurations it is exhaustive search.

    Parameters
    ----------
    space, rng, start
    candidates : sequence of int, optional
        These are the indices of the configurations, in the order of the trials. By default they
        are all configurations, in the grid's order.
    repeats : int, optional
        Each candidate is measured in this many episodes.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> agent = Candidates(ConfigSpace([Knob("a", (1, 2))]), np.random.default_rng(0))
    >>> for cost in (3.0, 1.0):
    ...     agent.tell(agent.ask(10.0), cost)
    >>> agent.ask(10.0)
    {'a': 2}
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        candidates: Sequence[int] | None = None,
        repeats: int = 1,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        self.candidates = range(len(space)) if candidates is None else list(candidates)
        self.repeats = repeats

    def begin(self, search: Search) -> None:
        """See :meth:`Searcher.begin`."""
        search.todo = [index for index in self.candidates for _ in range(self.repeats)]

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        return search.lowest


def fixed_default(
    space: ConfigSpace, rng: np.random.Generator, *, start: Configuration | None = None
) -> Candidates:
    """Return the agent that never tunes: it serves the start, or :func:`serving_default`."""
    served = serving_default(space) if start is None else start
    return Candidates(space, rng, candidates=[space.index(served)])


def heuristic(
    space: ConfigSpace, rng: np.random.Generator, *, start: Configuration | None = None
) -> Candidates:
    """Return the agent that tries :func:`heuristic_candidates`, the guide's, three times each."""
    candidates = [space.index(c) for c in heuristic_candidates(space)]
    return Candidates(space, rng, candidates=candidates, repeats=3, start=start)


class RandomSearch(Searcher):
    """Draw configurations at random; none is repeated before all are measured.

    Parameters
    ----------
    space, rng, start
    budget : int
        After this many episodes, the configuration with the lowest mean cost serves.

    References
    ----------
    Bergstra & Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13, 2012.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        budget: int,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        self.budget = budget

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        if search.table.episodes >= self.budget:
            return search.lowest
        whole = len(search.table.measured) == len(self.space)
        while True:
            index = int(self.rng.integers(len(self.space)))
            if whole or not search.table.visits[index]:
                return index


class CoordinateDescent(Searcher):
    """Try all values of one knob, keep the best one, then go on with the next knob.

    Parameters
    ----------
    space, rng, start
    repeats : int
        Each value is measured in this many episodes before the best one is chosen.
    rounds : int
        After this many rounds over all knobs, the configuration with the lowest mean cost serves.

    References
    ----------
    Wright, "Coordinate descent algorithms", Mathematical Programming 151, 2015. The batching
    guide also tunes one knob at a time.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        repeats: int,
        rounds: int,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        self.repeats, self.rounds, self._neighbours = repeats, rounds, Neighbours(space)

    def begin(self, search: Search) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"lines": 0}
        self._plan(search, search.start)

    def _plan(self, search: Search, at: int) -> None:
        """Plan the line through a configuration along the next knob."""
        line = self._neighbours.line(at, search.memory["lines"] % len(self.space.knobs))
        search.memory |= {"line": line, "lines": search.memory["lines"] + 1}
        search.todo = [index for index in line for _ in range(self.repeats)]

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        if search.memory["lines"] >= self.rounds * len(self.space.knobs):
            return search.lowest
        self._plan(search, min(search.memory["line"], key=search.mean))
        return search.todo[0]


class HillClimbing(Searcher):
    """Hill climbing that measures again before it believes: a strong control for the region.

    With some probability, it tries a configuration near the one where it stands that was not
    measured. Else it serves the one whose lower limit is lowest, among those that were measured
    near, so what looks good is measured again. It moves to the one whose upper limit is lowest. A
    limit is the mean times exp(`sure` sds of the mean), by the noise that the repeats show.

    Parameters
    ----------
    space, rng, start
    radius : float
        How far a move goes, in steps of a knob, see :func:`rrl.rivals.grid.near`.
    tries : float
        The probability of a trial while something near was not measured.
    sure : float
        The number of sds between a mean and its limits; at least 0.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Hill climbing: Russell & Norvig, *Artificial Intelligence: A Modern Approach*, section 4.1;
    the limits: Maron & Moore, "Hoeffding Races", NIPS'93.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        radius: float,
        tries: float,
        sure: float,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        if not (radius > 0 and 0 <= tries <= 1 and sure >= 0):
            raise ValueError(
                f"need radius > 0, 0 <= tries <= 1 and sure >= 0, got {radius}, {tries} and {sure}"
            )
        self.radius, self.tries, self.sure = radius, tries, sure

    def begin(self, search: Search) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"at": search.start}

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        at, visits = search.memory["at"], search.table.visits
        if not visits[at]:
            return int(at)
        around = near(self.space, at, self.radius)
        new = around[visits[around] == 0]
        if len(new) and self.rng.random() < self.tries:
            return int(self.rng.choice(new))
        return _lowest_limit(search, np.append(around, at), -self.sure)

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        at = search.memory["at"]
        if search.table.visits[at]:
            around = np.append(near(self.space, at, self.radius), at)
            search.memory["at"] = _lowest_limit(search, around, self.sure)


class OptimisticTable(Searcher):
    """A bandit with an arm per configuration, which takes each for as good as it may well be.

    There are often more configurations than episodes. So the number of those that are in play
    grows with the episodes: it is ``share * episodes**growth``, rounded up. While fewer were
    measured, a random new one serves. Else it is the one whose lower limit is lowest: the mean
    times exp(-`sure` sds of the mean), by the noise that the repeats show.

    Parameters
    ----------
    space, rng, start
    share : float
        Above 0.
    growth : float
        At least 0, and below 1.
    sure : float
        The number of sds between a mean and its limit; at least 0.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Wang, Audibert & Munos, "Algorithms for Infinitely Many-Armed Bandits", NIPS 2008.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        share: float,
        growth: float,
        sure: float,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        if not (share > 0 and 0 <= growth < 1 and sure >= 0):
            raise ValueError(
                f"need share > 0, 0 <= growth < 1 and sure >= 0, got {share}, {growth} and {sure}"
            )
        self.share, self.growth, self.sure = share, growth, sure

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        table, measured = search.table, search.table.measured
        if not table.episodes:
            return search.start
        in_play = self.share * table.episodes**self.growth
        if len(measured) < min(in_play, len(self.space)):
            return int(self.rng.choice(np.flatnonzero(table.visits == 0)))
        return _lowest_limit(search, measured, -self.sure)


def _lowest_limit(search: Search, cells: Ints, sds: float) -> int:
    """Return the measured configuration of `cells` with the lowest limit of its mean."""
    table = search.table
    cells = cells[table.visits[cells] > 0]
    limits = table.means[cells] * np.exp(sds * table.noise / np.sqrt(table.visits[cells]))
    return int(cells[limits.argmin()])
