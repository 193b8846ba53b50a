"""The plan of a profile: what is measured, in which order and by which rule.

A plan is fixed before the first episode. The plans by name are those of the profiles under `data/`,
and those of the paper's grids.
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
from rrl.tuning.presets import effective_space, paper_gpu, serving_knob
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


# --- the plans by name ----------------------------------------------------------------------------

_THREADS = {"inter_op": (1, 2, 3, 4), "intra_op": (1, 2, 3, 4), "batch_threads": (0, 1, 2, 3, 4, 8)}
_DEEP_QUEUE = {"grpc_max_threads": 64, "max_enqueued_batches": 1000}

# The loads are about 30, 60 and 85 % of the rate that the best configuration sustained on the
# 2-core machine of the committed profiles. The rates are 192 requests per second for mobilenet_v2
# (126 in the busy hour), 35 for inception_v3 and 1500 for keyword.
PLANS: dict[str, Plan] = {
    "mobilenet_v2-threads": Plan(
        "mobilenet_v2", _THREADS, rates_per_s=(60, 115, 165), repeats=2, finalists=10
    ),
    "mobilenet_v2-busy": Plan(  # the same grid while other users made the machine slower
        "mobilenet_v2", _THREADS, rates_per_s=(38, 76, 107), repeats=2, finalists=10
    ),
    "mobilenet_v2-overload": Plan(  # half way between what the default and the best sustain
        "mobilenet_v2",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 4)},
        rates_per_s=(117,),
        requests=1000,
    ),
    "inception_v3-threads": Plan(
        "inception_v3",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 1, 2, 4)},
        rates_per_s=(10, 21, 30),
        finalists=10,
    ),
    "mobilenet_v2-batching": Plan(
        "mobilenet_v2",
        {
            "max_batch_size": (1, 2, 4, 8),
            "batch_timeout_micros": (0, 2000, 10_000),
            "batch_threads": (1, 2, 4),
        },
        rates_per_s=(60, 115, 165),
        # A waiting request blocks a handler thread, so a full batch needs one thread per request.
        fixed={"inter_op": 2, "intra_op": 1, **_DEEP_QUEUE},
        finalists=10,
    ),
    "keyword-threads": Plan(
        "keyword",
        {"inter_op": (1, 2), "intra_op": (1, 2), "batch_threads": (0, 1, 2, 4)},
        rates_per_s=(450, 900, 1275),
        requests=300,
        repeats=2,
        finalists=10,
    ),
}
"""The plans by name, which is also the name of a profile's folder under `data/`."""

REPEATED = tuple(PLANS)
"""The plans that ``make reproduce-all`` measures again. Those below take hours. And
``mobilenet_v2-joint-279`` stays as it is, because studies name it and its loads."""

# The best settings served 250 requests per second when 300 requests arrived at once (measured three
# times). The loads are 40, 65 and 90 % of that.
PLANS["mobilenet_v2-joint"] = Plan(
    "mobilenet_v2",
    {
        **_THREADS,
        "max_batch_size": (1, 2, 4, 8),
        "batch_timeout_micros": (0, 1000, 2000, 5000, 10_000),
    },
    rates_per_s=(100, 162, 225),
    fixed=_DEEP_QUEUE,
    seed=1,
    distinct=True,
    finalists=30,
)

# A part of that grid, at the same fractions of what another machine sustained.
PLANS["mobilenet_v2-joint-279"] = Plan(
    "mobilenet_v2",
    {
        "inter_op": (1, 2, 4),
        "intra_op": (1, 2, 4),
        "batch_threads": (0, 1, 2, 4),
        "max_batch_size": (1, 2, 4, 8),
        "batch_timeout_micros": (0, 2000, 10_000),
    },
    rates_per_s=(50.2, 81.5, 113.0),
    fixed=_DEEP_QUEUE,
    seed=2,
    distinct=True,
    finalists=10,
)

_INTERARRIVAL_S = (0.07, 0.06, 0.10, 0.12)  # gaps in the phases of the paper's released code
_TO_TEN = tuple(range(11))

PLANS["paper-cpu10"] = Plan(
    "inception_v3",
    {"inter_op": _TO_TEN, "intra_op": _TO_TEN, "batch_threads": _TO_TEN},
    rates_per_s=tuple(round(1 / gap, 2) for gap in _INTERARRIVAL_S),
    fixed=_DEEP_QUEUE,
    finalists=30,
)
PLANS["paper-gpu"] = Plan(
    "inception_v3",
    {knob.name: knob.values for knob in paper_gpu().knobs},
    rates_per_s=(200.0, 500.0, 900.0),
    fixed={"inter_op": 0, "intra_op": 0, **_DEEP_QUEUE, "grpc_max_threads": 256},
    distinct=True,
    finalists=30,
    gpu=True,
)
