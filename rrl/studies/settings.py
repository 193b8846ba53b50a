"""What sweeps run, as literals: the agent, the testbed, the load and the number of runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple

from rrl.rivals.agents import home
from rrl.support.errors import UsageError
from rrl.tuning.slo import parse_objective
from rrl.workloads.modulated import Bursts, Diurnal, FlashCrowd
from rrl.workloads.workload import Fleet, Phases, Poisson, Workload

Load = float | tuple[Any, ...]
Problem = tuple[str, Load]
"""A testbed and a load, by which :func:`rrl.studies.problems.open_scenario` makes a scenario."""
WORKLOADS = {kind.__name__: kind for kind in (Poisson, Phases, Fleet, Bursts, Diurnal, FlashCrowd)}


class Setting(NamedTuple):
    """One agent on one problem, as literals.

    Parameters
    ----------
    testbed : str
        This is a simulated testbed or a recorded profile.
    load : float or tuple
        This is the rate of Poisson arrivals in requests per second, or a workload's name and
        arguments: ``("Phases",)``, ``("Bursts", (5.0, 20.0), (60.0, 10.0))``.
    agent : str
        This is a key of ``rrl.AGENTS`` or of :data:`rrl.rivals.variants.ABLATED`.
    seeds : int
        There are this many runs.
    episodes : int
    objective : str, optional
        The agent minimises this objective, see :func:`rrl.parse_objective`.
    first_seed : int, optional
        The runs have this seed and those that follow.
    """

    testbed: str
    load: Load
    agent: str
    seeds: int
    episodes: int
    objective: str = "mean"
    first_seed: int = 0

    @property
    def problem(self) -> Problem:
        """The testbed and the load. Agents are compared on the same problem."""
        return self.testbed, self.load

    def check(self) -> None:
        """Reject a setting that cannot be run.

        Raises
        ------
        UsageError
            If its workload or numbers are invalid.
        ValueError
            If its agent or objective is unknown.
        """
        home(self.agent)
        if self.seeds < 1 or self.episodes < 1 or self.first_seed < 0:
            raise UsageError(f"{self}: use at least 1 seed and episode, and a first_seed from 0")
        workload(self.load)
        parse_objective(self.objective, most_cpus=1)


class TruthOf(NamedTuple):
    """The truth about a problem, see :func:`rrl.studies.scenario.find_truth`, as literals."""

    testbed: str
    load: Load
    episodes: int
    replications: int

    def check(self) -> None:
        """Reject a load that no workload has."""
        workload(self.load)


def cross(
    problems: Iterable[Problem],
    agents: Mapping[str, int],
    episodes: int,
    first_seed: int = 0,
) -> tuple[Setting, ...]:
    """Return settings for every agent, with its number of seeds, on every problem.

    Examples
    --------
    >>> cross([("gpu", 500.0)], {"rrl-gp": 30, "random": 5}, 100)[1][:5]
    ('gpu', 500.0, 'random', 5, 100)
    """
    pairs = product(problems, agents.items())
    return tuple(
        Setting(*problem, agent, seeds, episodes, first_seed=first_seed)
        for problem, (agent, seeds) in pairs
    )


def literal(value: Any) -> Any:
    """Return a value that JSON or YAML has read, with tuples in place of lists.

    Examples
    --------
    >>> literal(["Bursts", [5.0, 20.0]])
    ('Bursts', (5.0, 20.0))
    """
    return tuple(map(literal, value)) if isinstance(value, list) else value


def workload(load: Load) -> Workload:
    """Make the workload of a setting; a number is the rate of Poisson arrivals.

    Raises
    ------
    UsageError
        If no workload has that name, or its arguments are wrong.

    Examples
    --------
    >>> workload(5.0), workload(("Bursts", (5.0, 100.0), (9.0, 1.0))).rate
    (Poisson(rate=5.0), 14.5)
    """
    if isinstance(load, int | float):
        return Poisson(float(load))
    if not load or load[0] not in WORKLOADS:
        raise UsageError(f"unknown workload {load!r}: use one of {', '.join(WORKLOADS)}")
    try:
        return WORKLOADS[load[0]](*load[1:])
    except (TypeError, ValueError) as error:
        raise UsageError(f"workload {load!r}: {error}") from error
