"""Settings of sweeps, in literals: which agent, on which testbed, under which load, how often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from rrl.rivals.agents import AGENTS
from rrl.support.errors import UsageError
from rrl.tuning.objective import parse_objective
from rrl.workloads.modulated import Bursts, Diurnal, FlashCrowd
from rrl.workloads.workload import Fleet, Phases, Poisson, Workload

Load = float | tuple[Any, ...]
WORKLOADS = {kind.__name__: kind for kind in (Poisson, Phases, Fleet, Bursts, Diurnal, FlashCrowd)}


class Setting(NamedTuple):
    """One agent on one problem, in literals.

    Parameters
    ----------
    testbed : str
        A simulated testbed, or a recorded profile.
    load : float or tuple
        Poisson requests per second, or a workload's name and arguments: ``("Phases",)``,
        ``("Bursts", (5.0, 20.0), (60.0, 10.0))``.
    agent : str
        A key of ``rrl.AGENTS``.
    seeds : int
        Runs from the seeds 0, 1, ...
    episodes : int
    objective : str, optional
        What the agent minimises, see :func:`rrl.parse_objective`.
    """

    testbed: str
    load: Load
    agent: str
    seeds: int
    episodes: int
    objective: str = "mean"

    @property
    def problem(self) -> tuple[str, Load]:
        """Testbed and load: what agents are compared on."""
        return self.testbed, self.load


def cross(
    problems: Iterable[tuple[str, Load]], agents: Mapping[str, int], episodes: int
) -> tuple[Setting, ...]:
    """Every agent, with its number of seeds, on every problem.

    Examples
    --------
    >>> cross([("gpu", 500.0)], {"rrl": 30, "random": 5}, 100)[1]
    Setting(testbed='gpu', load=500.0, agent='random', seeds=5, episodes=100, objective='mean')
    """
    pairs = product(problems, agents.items())
    return tuple(Setting(*problem, agent, seeds, episodes) for problem, (agent, seeds) in pairs)


def workload(load: Load) -> float | Workload:
    """Make the workload of a setting.

    Raises
    ------
    UsageError
        If there is no workload of that name, or its arguments are not right.

    Examples
    --------
    >>> workload(5.0), workload(("Poisson", 5.0))
    (5.0, Poisson(rate=5.0))
    """
    if isinstance(load, int | float):
        return float(load)
    if not load or load[0] not in WORKLOADS:
        raise UsageError(f"unknown workload {load!r}: use one of {', '.join(WORKLOADS)}")
    try:
        return WORKLOADS[load[0]](*load[1:])
    except (TypeError, ValueError) as error:
        raise UsageError(f"workload {load!r}: {error}") from error


def check(setting: Setting) -> None:
    """Refuse a setting that cannot be run.

    Raises
    ------
    UsageError
        If its agent, workload or numbers make no sense.
    ValueError
        If its objective is unknown.
    """
    if setting.agent not in AGENTS:
        raise UsageError(f"unknown agent {setting.agent!r}: use one of {', '.join(AGENTS)}")
    if setting.seeds < 1 or setting.episodes < 1:
        raise UsageError(f"{setting}: seeds and episodes must be at least 1")
    workload(setting.load)
    parse_objective(setting.objective)


def available(agents: Mapping[str, int]) -> dict[str, int]:
    """Those agents that can be made here; a line says which cannot, and why."""
    from rrl.tuning.presets import paper_cpu

    found = {}
    for name, seeds in agents.items():
        try:
            AGENTS[name](paper_cpu(2), np.random.default_rng(0))
            found[name] = seeds
        except (AttributeError, ImportError, UsageError) as error:
            print(f"left out: {name} ({error})")
    return found
