"""The plan of a profile: what is measured, in which order and by which rule.

A plan is fixed before the first episode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration, Value
from rrl.core.space import ConfigSpace
from rrl.recording.steadiness import Rule
from rrl.serving.process_knobs import is_process_knob
from rrl.serving.settings import ADAPTIVE
from rrl.support.errors import UsageError
from rrl.tuning.presets import effective_space, serving_knob
from rrl.workloads.workload import Poisson

PROCESS = ("inter_op", "intra_op", "batch_threads", "grpc_max_threads")
"""A pass visits together the configurations that differ in other knobs than these and than those of
a process, as the recordings are that a server made which could change the others while it ran."""

START_S, SWITCH_S, OVERHEAD_S = 3.0, 3.0, 0.4  # seconds per process, per setting, per episode

Visit = tuple[int, int, list[tuple[int, int]]]
"""A visit to a configuration: the pass, its number, and its (rate index, repeat) pairs."""


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
        Loads in requests per second. They may be empty if `shares` are given.
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
    again : int
        Number of further passes. They measure only the configurations that `worth` selects.
    worth : float
        A configuration is selected at a load if its mean over the first passes is below this many
        times the best mean.
    adaptive : sequence of int
        Largest batch sizes with which TensorFlow's adaptive scheduler is measured in addition to
        the grid, for each pair of thread pools. Its number of batch threads is written as -1.
    finalists : int
        Number of each half's best configurations that enter the finals of a load; see
        `rrl.recording.finals`.
    rule : Rule, optional
        The rule for which episodes count. Without it, only the load generator's delay matters.
    cpus : int, optional
        Number of cores for the server and the load generator. The machine must have them.
    gpu : bool
        Whether the machine must have a GPU that TensorFlow can use.
    about : mapping, optional
        What identifies one's own model and its requests. A recording continues only with the same.
    shares : sequence of float
        Loads as fractions of the rate that the machine sustains. They become `rates_per_s` when a
        recording begins; see `rrl.recording.calibration`.

    Raises
    ------
    UsageError
        If a number is out of range.

    Examples
    --------
    >>> plan = Plan("keyword", {"inter_op": (1, 2)}, rates_per_s=(50.0,), passes=2)
    >>> plan.episodes
    4
    """

    model: str
    knobs: Mapping[str, Sequence[Value]]
    rates_per_s: Sequence[float] = ()
    requests: int = 100
    passes: int = 2
    repeats: int = 1
    fixed: Configuration = field(default_factory=dict)
    seed: int = 0
    distinct: bool = False
    again: int = 0
    worth: float = 2.0
    adaptive: Sequence[int] = ()
    finalists: int = 10
    rule: Rule | None = None
    cpus: int | None = None
    gpu: bool = False
    about: Mapping[str, Any] | None = None
    shares: Sequence[float] = ()

    def __post_init__(self) -> None:
        for name in ("requests", "passes", "repeats"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        rates, fractions = list(self.rates_per_s), list(self.shares)
        if not (rates or fractions) or not all(0 < rate < np.inf for rate in rates):
            raise UsageError(f"rates must be above 0 requests/s, got {rates}")
        if not all(0 < fraction < 1 for fraction in fractions):
            raise UsageError(
                f"fractions of the sustained rate must be between 0 and 1, got {fractions}"
            )

    @cached_property
    def space(self) -> ConfigSpace:
        """The grid of configurations."""
        if self.distinct:
            return effective_space(self.knobs)
        return ConfigSpace([serving_knob(name, values) for name, values in self.knobs.items()])

    @cached_property
    def configurations(self) -> list[Configuration]:
        """All measured configurations: first the grid, then the adaptive scheduler's settings."""
        pairs = {(c.get("inter_op"), c.get("intra_op")) for c in self.space}
        rest = {knob.name: knob.values[0] for knob in self.space.knobs}
        beside = [
            rest
            | {"inter_op": inter, "intra_op": intra}
            | {"batch_threads": ADAPTIVE, "max_batch_size": size}
            for inter, intra in sorted(pairs)
            for size in self.adaptive
        ]
        return [*self.space, *beside]

    @property
    def episodes(self) -> int:
        """Number of episodes of the passes over the whole grid."""
        loads = len(self.rates_per_s) or len(self.shares)
        return len(self.configurations) * loads * self.passes * self.repeats

    def seconds(self, configurations: Sequence[Configuration], repeats: int) -> float:
        """Return about how many seconds one pass over some configurations takes at all loads.

        Parameters
        ----------
        configurations : sequence of configuration
        repeats : int
            Number of episodes per configuration and load.
        """
        sending = sum(self.requests / rate + OVERHEAD_S for rate in self.rates_per_s) * repeats
        processes = {process(c) for c in configurations}
        return len(configurations) * (sending + SWITCH_S) + len(processes) * START_S

    @property
    def grid_passes(self) -> int:
        """Number of passes before the finals."""
        return self.passes + self.again

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
        content = {**vars(self), "rule": self.rule and vars(self.rule)}
        names = [field.name for field in fields(self)]  # the rest is what was computed before
        return json.loads(json.dumps({name: content[name] for name in names}))

    def is_stored(self, content: Any) -> bool:
        """Return whether this plan was stored as `content`, where a newer field may be missing.

        Examples
        --------
        >>> plan = Plan("keyword", {"inter_op": (1, 2)}, rates_per_s=(50.0,))
        >>> content = plan.to_json()
        >>> del content["gpu"]
        >>> plan.is_stored(content), plan.is_stored({**content, "seed": 1})
        (True, False)
        """
        usual = Plan("", {}, rates_per_s=(1.0,)).to_json()
        return isinstance(content, dict) and usual | content == self.to_json()


def process(configuration: Configuration) -> tuple[Any, ...]:
    """Return the settings of a configuration that need their own process."""
    own = [value for name, value in configuration.items() if is_process_knob(name)]
    return (*(configuration.get(name) for name in PROCESS), *own)


def ordered(plan: Plan, wanted: Mapping[int, Sequence[tuple[int, int]]], pass_: int) -> list[Visit]:
    """Return the visits of a pass in a random order that keeps the settings of a process together.

    Each pass has its own order. So slow drift of the machine appears as scatter between passes and
    not as a false difference between neighbours. The order is random for the processes, for the
    configurations of a process, and for the episodes of a configuration.

    Parameters
    ----------
    plan : Plan
    wanted : mapping of int to sequence of (int, int)
        The (rate index, repeat) pairs of each configuration, by its number.
    pass_ : int
        Number of the pass. It is part of the seed of the order, with the plan's seed.
    """
    rng = np.random.default_rng([plan.seed, pass_])
    processes: dict[tuple[Any, ...], list[int]] = {}
    for index in sorted(wanted):
        processes.setdefault(process(plan.configurations[index]), []).append(index)
    groups = list(processes.values())
    return [
        (pass_, group[i], [wanted[group[i]][k] for k in rng.permutation(len(wanted[group[i]]))])
        for group in (groups[g] for g in rng.permutation(len(groups)))
        for i in rng.permutation(len(group))
    ]
