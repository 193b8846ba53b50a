"""Bayesian optimisation in a trust region: TuRBO-1 on a grid."""

from __future__ import annotations

import numpy as np

from rrl.core.learned_similarity import fit_is_due
from rrl.core.space import ConfigSpace
from rrl.rivals.bayesian import FIRST_FIT, Ints, Surrogate
from rrl.rivals.neighbours import Neighbours
from rrl.rivals.search import Search, Searcher
from rrl.rivals.unit_cube import Floats, UnitCube, latin_hypercube

FIRST, SHORTEST, LONGEST = 0.8, 0.5**7, 1.6  # sides of the trust region
BETTER = 1e-3  # an improvement lowers the lowest cost by at least this fraction
CANDIDATES_PER_KNOB, MOST_CANDIDATES = 100, 5000
ROUNDING = 1e-9  # relative slack, so that a value just at the edge is in the box


class TuRBO(Searcher):
    """Bayesian optimisation in one trust region, TuRBO-1: Thompson sampling around the best.

    The region is a box in the unit cube around the measured configuration with the lowest posterior
    mean. Knobs with longer length scales get longer sides; the sides' product is that of a cube.
    Improvements in a row double the sides, and failures in a row halve them. Then a function is
    drawn from the posterior, and the configuration of the region where it is lowest is measured.
    If the region is too small, the search starts anew with other first configurations and forgets
    all measurements. Its recommendation does not: it is the lowest mean of all measurements.

    The published method is for continuous variables. Here a value stands for an equal part of the
    knob's range, and it is in the box if this part reaches into the box. All values of a category
    are next to each other. The search also starts anew when the box holds nothing but its centre,
    since a smaller box would hold the same. The method assumes no missing combinations; here
    candidates are the available ones, and at most 100 per knob are drawn. The published code draws
    new values for only some knobs where there are more than 20; this one never does.

    Parameters
    ----------
    space, rng
    initial : int, optional
        Each start measures a Latin hypercube of this many configurations; the first start of a load
        level begins with what serves. The default is twice the number of knobs.
    side : float, optional
        The first sides of the region, as a fraction of a knob's range.
    successes : int, optional
        This number of improvements in a row doubles the sides.
    failures : int, optional
        This number of failures in a row, or the number of knobs if that is more, halves the sides.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Eriksson, Pearce, Gardner, Turner & Poloczek, "Scalable Global Optimization via Local Bayesian
    Optimization", NeurIPS 2019, and its code for the numbers above.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", tuple(range(1, 30)))])
    >>> agent = TuRBO(space, np.random.default_rng(0))
    >>> for _ in range(20):
    ...     chosen = agent.ask(10.0)
    ...     agent.tell(chosen, 1 + (chosen["threads"] - 6) ** 2)
    >>> agent.best(10.0)
    {'threads': 6}
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        initial: int | None = None,
        side: float = FIRST,
        successes: int = 3,
        failures: int = 4,
    ) -> None:
        super().__init__(space, rng)
        self.cube, self._neighbours = UnitCube(space), Neighbours(space)
        self._free = np.unique(self.cube.knobs)
        self.initial = 2 * max(len(self._free), 1) if initial is None else initial
        if self.initial < 1:
            raise ValueError(f"need initial >= 1, got {initial}")
        if not SHORTEST <= side <= LONGEST or successes < 1 or failures < 1:
            raise ValueError(
                f"need {SHORTEST} <= side <= {LONGEST}, successes >= 1 and failures >= 1, "
                f"got {side}, {successes} and {failures}"
            )
        self.side, self.successes = side, successes
        self.failures = max(failures, len(self._free))
        self._gaps = [self._gaps_of(k) for k in self._free.tolist()]

    def _gaps_of(self, k: int) -> Floats:
        """Return how far a box around one value reaches before it meets another one's part."""
        knob, size = self.space.knobs[k], self.space.shape[k]
        positions = np.asarray(knob.positions)
        away = np.abs(positions[:, None] - positions) / np.ptp(positions) * (size - 1) / size
        if knob.categorical:
            away = (1 - np.eye(size)) / size
        return np.maximum(away - 0.5 / size, 0)

    def begin(self, search: Search, start: int) -> None:
        """See :meth:`Searcher.begin`."""
        self._start_anew(search)
        search.memory["todo"][0] = start

    def _start_anew(self, search: Search) -> None:
        todo = latin_hypercube(self._neighbours, self.initial, self.rng)
        counts = {"side": self.side, "successes": 0, "failures": 0, "hyperparameters": None}
        search.memory = {"todo": todo, "since": len(search.history)} | counts

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        memory = search.memory
        if not memory["todo"] and len(self.space) > 1:
            known = self._known(search)
            region = self._region(known, memory["side"])
            if memory["side"] >= SHORTEST and len(region) > 1:
                most = min(CANDIDATES_PER_KNOB * len(self._free), MOST_CANDIDATES)
                if len(region) > most:
                    region = np.sort(self.rng.choice(region, most, replace=False))
                return int(region[known.drawn(region, self.rng).argmin()])
            self._start_anew(search)
        return (search.memory["todo"] or [0])[0]

    def _known(self, search: Search) -> Surrogate:
        """Return the model of the measurements since the last start."""
        recent = search.history[search.memory["since"] :]
        return Surrogate(self.cube, recent, search.memory["hyperparameters"])

    def _region(self, known: Surrogate, side: float) -> Ints:
        """Return the numbers of the configurations in the trust region."""
        logs = np.log(known.hyperparameters.length_scales)
        lengths = np.array([logs[self.cube.knobs == k].mean() for k in self._free])
        halves = side / 2 * np.exp(lengths - lengths.mean())
        inside, centre = np.ones(len(self.space), dtype=bool), known.lowest
        for k, gaps, half in zip(self._free, self._gaps, halves, strict=True):
            indices = self.space.value_indices[:, k]
            inside &= gaps[indices[centre], indices] <= half * (1 + ROUNDING)
        return np.flatnonzero(inside)

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        memory = search.memory
        before = [other for _, other in search.history[memory["since"] : -1]]
        if index in memory["todo"]:
            memory["todo"].remove(index)
        else:
            self._count(search, success=not before or cost < (1 - BETTER) * min(before))
        if fit_is_due(len(before) + 1, FIRST_FIT):
            memory["hyperparameters"] = self._known(search).fit()

    def _count(self, search: Search, success: bool) -> None:
        """Count successes and failures in a row, and change the sides after enough of them."""
        memory = search.memory
        memory["successes"] = memory["successes"] + 1 if success else 0
        memory["failures"] = 0 if success else memory["failures"] + 1
        if memory["successes"] == self.successes:
            memory |= {"side": min(2 * memory["side"], LONGEST), "successes": 0}
        elif memory["failures"] == self.failures:
            memory |= {"side": memory["side"] / 2, "failures": 0}
