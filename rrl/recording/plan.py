"""The plan of a profile: what is measured, in which order and by which rule.

A plan is fixed before the first episode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration, Value
from rrl.core.space import ConfigSpace
from rrl.support.errors import UsageError
from rrl.tuning.presets import effective_space, serving_knob
from rrl.workloads.workload import Poisson

HALVES = (0, 1)
"""The halves of a recording: the passes 0, 2, ... and the passes 1, 3, ...."""

ROUNDS, REPEATS = 4, 4
"""Passes of each half over the finalists, and episodes per finalist and load in such a pass."""

START_S, OVERHEAD_S = 6.0, 0.4  # seconds per start of a server, and per episode

Key = tuple[int, int, int, int]
"""An episode: its pass, the numbers of its configuration and of its rate, and its repeat."""


@dataclass(frozen=True)
class Plan:
    """The plan of a profile.

    Parameters
    ----------
    model : str
        Name of a known model, or of one's own.
    knobs : mapping of str to sequence of values
        Values of each knob.
    rates_per_s : sequence of float
        Loads in requests per second.
    requests : int
        Requests per episode.
    passes : int
        Number of passes over the whole grid. Each pass has its own random order, so that drift of
        the machine can be seen. Passes 0, 2, ... are one half of the data, and passes 1, 3, ... are
        the other half.
    repeats : int
        Number of episodes per configuration and load within a pass.
    fixed : configuration
        Settings that hold for every configuration.
    seed : int
        Seed of the orders and the arrivals.
    distinct : bool
        Whether to leave out configurations that differ only in settings without effect; see
        `rrl.tuning.presets.effective_space`.
    finalists : int
        Number of each half's best configurations that enter the *finals* of a load: after the grid,
        further passes measure only them. The smallest of many noisy means is partly small by luck,
        and the finals tell which configurations are good (:mod:`rrl.recording.truth`).
    gpu : bool
        Whether the machine must have a GPU that TensorFlow can use.
    about : mapping, optional
        What identifies one's own model and its requests. A recording continues only with the same.

    Raises
    ------
    UsageError
        If a number is out of range, or two rates differ by less than 0.01 %.

    Examples
    --------
    >>> plan = Plan("keyword", {"inter_op": (1, 2)}, rates_per_s=(50.0,), passes=2)
    >>> plan.episodes
    4
    """

    model: str
    knobs: Mapping[str, Sequence[Value]]
    rates_per_s: Sequence[float]
    requests: int = 100
    passes: int = 2
    repeats: int = 1
    fixed: Configuration = field(default_factory=dict)
    seed: int = 0
    distinct: bool = False
    finalists: int = 0
    gpu: bool = False
    about: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("requests", "passes", "repeats"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.finalists and self.passes < len(HALVES):
            raise UsageError("finals need two passes or more, so that each half has one")
        rates = list(self.rates_per_s)
        if not rates or not all(0 < rate < np.inf for rate in rates):
            raise UsageError(f"rates must be above 0 requests/s, got {rates}")
        # A row has six digits of its rate, and readers take nearly equal rates for one.
        if any(high < 1.0001 * low for low, high in pairwise(sorted(rates))):
            raise UsageError(f"rates must differ by 0.01 % or more, got {rates}; leave one out")

    @cached_property
    def space(self) -> ConfigSpace:
        """The grid of configurations."""
        if self.distinct:
            return effective_space(self.knobs)
        return ConfigSpace([serving_knob(name, values) for name, values in self.knobs.items()])

    @property
    def episodes(self) -> int:
        """Number of episodes of the passes over the whole grid."""
        return len(self.space) * len(self.rates_per_s) * self.passes * self.repeats

    def seconds(self, configurations: int, repeats: int) -> float:
        """Return about how many seconds one pass over some configurations takes at all loads.

        Parameters
        ----------
        configurations : int
            Number of configurations.
        repeats : int
            Number of episodes per configuration and load.
        """
        sending = sum(self.requests / rate + OVERHEAD_S for rate in self.rates_per_s)
        return configurations * (repeats * sending + START_S)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The (rate index, repeat) pairs of a configuration's episodes in one pass."""
        rates = range(len(self.rates_per_s))
        return [(rate, repeat) for rate in rates for repeat in range(self.repeats)]

    def arrivals(self, pass_: int, rate_index: int, repeat: int) -> tuple[int, NDArray[np.float64]]:
        """Return the seed and the Poisson arrivals (s); they are the same for all configurations.

        These are common random numbers, which make comparisons more precise.
        """
        seed = int(
            np.random.SeedSequence([self.seed, pass_, rate_index, repeat]).generate_state(1)[0]
        )
        rate = self.rates_per_s[rate_index]
        return seed, Poisson(rate).arrivals(self.requests, np.random.default_rng(seed))

    def to_json(self) -> dict[str, Any]:
        """Return the plan in a form for JSON, without tuples."""
        return json.loads(json.dumps(asdict(self)))


def ordered(plan: Plan, wanted: Mapping[int, Sequence[tuple[int, int]]], pass_: int) -> list[Key]:
    """Return the episodes of a pass in a random order; those of a configuration stay together.

    Each pass has its own order. So slow drift of the machine appears as scatter between passes and
    not as a false difference between neighbours. The order is random for the configurations, and
    for the episodes of a configuration.

    Parameters
    ----------
    plan : Plan
    wanted : mapping of int to sequence of (int, int)
        The (rate index, repeat) pairs of each configuration, by its number.
    pass_ : int
        Number of the pass. It is part of the seed of the order, with the plan's seed.
    """
    rng = np.random.default_rng([plan.seed, pass_])
    return [
        (pass_, index, *wanted[index][k])
        for index in rng.permutation(sorted(wanted)).tolist()
        for k in rng.permutation(len(wanted[index]))
    ]
