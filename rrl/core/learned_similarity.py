"""Learned similarity: how far one measurement reaches is estimated from the measurements.

:class:`Tally` keeps what was measured, :class:`Coordinates` says where the model sees it, and
:class:`LearnedSimilarity` turns the belief (:mod:`rrl.core.gaussian_process`) into estimates
for a region.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.gaussian_process import Belief, Floats, Prior, compress, expand, learn
from rrl.core.similarity import Estimate
from rrl.core.space import ConfigSpace

LENGTH = 3.0  # levels: what a length is expected to be before anything is known
LOAD_LENGTH = 2.0  # loads that differ by a factor of 7.4 are one length apart
NOISE = 0.1  # coefficient of variation of a measurement, where nothing estimates it
EXPECTED_NOISE, NOISE_WEIGHT = 0.15, 4.0  # the same before any repeat, worth so many repeats


def expected_prior(knobs: int) -> Prior:
    """What is assumed of a space with so many knobs before anything is measured."""
    return Prior(np.array([LENGTH] * knobs + [LOAD_LENGTH]), 1.0)


class Tally:
    """What was measured under one load: how often, the mean cost, and its scatter.

    Examples
    --------
    >>> tally = Tally()
    >>> for index, cost in ((3, 1.0), (3, 1.2), (8, 2.0)):
    ...     tally.add(index, cost)
    >>> tally.indices, tally.log_means().round(3), round(tally.noise, 3)
    ([3, 8], array([0.095, 0.693]), 0.146)
    """

    def __init__(self, rows: ArrayLike = ()) -> None:
        self.rows = [[int(index), int(n), mean, square] for index, n, mean, square in rows]
        self.row = {row[0]: place for place, row in enumerate(self.rows)}

    def add(self, index: int, cost: float) -> None:
        """Take in a measurement (Welford's update)."""
        if index not in self.row:
            self.row[index] = len(self.rows)
            self.rows.append([int(index), 0, 0.0, 0.0])
        row = self.rows[self.row[index]]
        away = cost - row[2]
        row[1] += 1
        row[2] += away / row[1]
        row[3] += away * (cost - row[2])

    @property
    def indices(self) -> list[int]:
        """The configurations measured, in the order of their first measurement."""
        return list(self.row)

    @property
    def noise(self) -> float:
        """Coefficient of variation of a measurement, from the repeats."""
        _, n, mean, square = np.array(self.rows).T
        scatter = (square[mean > 0] / mean[mean > 0] ** 2).sum() + NOISE_WEIGHT * EXPECTED_NOISE**2
        return math.sqrt(scatter / ((n - 1)[mean > 0].sum() + NOISE_WEIGHT))

    def log_means(self) -> Floats:
        """Logarithms of the mean costs; a cost of 0 counts as half the lowest above it."""
        means = np.array([row[2] for row in self.rows])
        lowest = means[means > 0].min(initial=np.inf)
        return np.log(np.where(means > 0, means, lowest / 2 if math.isfinite(lowest) else 1.0))

    def variances(self) -> Floats:
        """Variance of the noise that is left in the logarithms of the means."""
        return self.noise**2 / np.array([row[1] for row in self.rows])


class Coordinates:
    """Where the model sees a configuration: positions in units of a knob's mean spacing.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("timeout", (0, 10, 40), positions=(0, 10, 40)), Knob("a", (7,))])
    >>> Coordinates(space)([2, 1])
    array([[2. , 0. ],
           [0.5, 0. ]])
    """

    def __init__(self, space: ConfigSpace) -> None:
        self.space, self._of = space, []
        for knob in space.knobs:
            low, high = min(knob.positions), max(knob.positions)
            unit = (high - low) / max(len(knob.levels) - 1, 1) or 1.0
            places = [(position - low) / unit for position in knob.positions]
            self._of.append(dict(zip(knob.levels, places, strict=True)))
        self._known: dict[int, list[float]] = {}

    def __call__(self, indices: list[int]) -> Floats:
        """Coordinates of configurations by number, shape (m, d)."""
        for index in indices:
            if index not in self._known:
                levels = self.space[index].values()
                self._known[index] = [of[x] for of, x in zip(self._of, levels, strict=True)]
        places = [self._known[index] for index in indices]
        return np.array(places).reshape(len(indices), len(self._of))


class LearnedSimilarity:
    """What all measurements so far say about a region, for :class:`rrl.RRL`.

    The load is a coordinate like the knobs, so what was learned at one load counts at the next.
    Weights are the share of the prior variance that is explained. The prior is learned again
    whenever the number of measurements has doubled.

    Parameters
    ----------
    window : int, optional
        How many of the last measurements count.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", (1, 2, 4, 8))])
    >>> similarity, ball = LearnedSimilarity(), np.arange(4)
    >>> _ = similarity.estimate(space, 0, 1.0, ball, load=10.0)
    >>> similarity.estimate(space, 3, 2.0, ball, load=10.0).costs.round(2)
    array([1.01, 1.24, 1.62, 2.  ])
    """

    def __init__(self, window: int = 100) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window!r}")
        self.window = window
        self._seen: list[list[float]] = []  # [index, log load, cost]
        self._asked = 0
        self._prior: Prior | None = None
        self._coordinates: Coordinates | None = None

    def estimate(
        self, space: ConfigSpace, index: int, cost: float, ball: NDArray[np.int64], load: float
    ) -> Estimate:
        """See :meth:`rrl.core.similarity.Similarity.estimate`."""
        self._seen = [*self._seen, [int(index), math.log(load), float(cost)]][-self.window :]
        self._asked += 1
        if self._coordinates is None or self._coordinates.space is not space:
            self._coordinates = Coordinates(space)
        belief, reference = self._believe(len(space.knobs))
        loads = np.full(len(ball), math.log(load))
        points = np.column_stack([self._coordinates(ball.tolist()), loads])
        mean, deviation = belief(points)
        costs = np.exp(np.minimum(expand(mean) + reference, 500.0))
        total = belief.prior.amplitude**2 + belief.prior.own**2
        weights = np.clip(1 - deviation**2 / total, 0, 1)
        here = ball == index
        return Estimate(np.where(here, cost, costs), np.where(here, 1.0, weights))

    def _believe(self, knobs: int) -> tuple[Belief, float]:
        """The belief from all that is kept, and the log cost that it counts from."""
        where, loads, costs = np.array(self._seen).T
        x = np.column_stack([self._coordinates(where.astype(int).tolist()), loads])
        floor = costs[costs > 0].min(initial=np.inf) / 2
        logs = np.log(np.maximum(costs, floor if math.isfinite(floor) else 1.0))
        reference = float(logs.min())
        y, noise = compress(logs - reference), np.full(len(logs), NOISE**2)
        expected = expected_prior(knobs)
        prior = self._prior or expected
        if self._asked >= 4 and self._asked & (self._asked - 1) == 0:  # 4, 8, 16, ...
            prior = learn(x, y, noise, prior, expected)
        self._prior = prior
        return Belief(x, y, noise, prior), reference

    def state(self) -> dict[str, Any]:
        """Return the measurements, and what was learned of the similarity."""
        prior = None if self._prior is None else self._prior.numbers
        seen = [list(row) for row in self._seen]
        return {"seen": seen, "asked": self._asked, "prior": prior}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state.

        Raises
        ------
        ValueError
            If it is incomplete.
        """
        try:
            seen, self._asked, prior = state["seen"], state["asked"], state["prior"]
        except KeyError as error:
            raise ValueError(f"the saved similarity is incomplete: no {error}") from None
        self._seen = [[int(row[0]), row[1], row[2]] for row in seen]
        self._prior = None if prior is None else Prior.of(prior)
