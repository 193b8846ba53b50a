"""What is registered: the claims, the rules, and the problems that decide about them.

:mod:`rrl.studies.registration` reads all of it from `data/claims.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rrl.rivals.agents import AGENTS
from rrl.studies.days import Day
from rrl.studies.settings import Load

DAY = "DeviceDay"
"""The name of the load of a day of devices, among the `workloads` of a claim."""


@dataclass(frozen=True)
class ClaimPart:
    """A number that a claim needs, and its threshold.

    Parameters
    ----------
    metric, statistic : str
        A metric and a statistic.
    against : str
        What the agent is compared with: another agent, or a word that the metric explains.
    direction : float
        The part has the claim's direction if its interval lies beyond this number.
    above, below : float, optional
        The threshold. Exactly one of them is given.
    least_ceiling : float, optional
        A problem counts only if the other agent is slow enough for this factor.
    """

    metric: str
    statistic: str
    against: str
    direction: float
    above: float | None = None
    below: float | None = None
    least_ceiling: float = 0.0


@dataclass(frozen=True)
class Rules:
    """Numbers that hold for all claims; `data/claims.yaml` says what each one means."""

    seeds: int
    confidence: float
    steady_episodes: int
    deployed_after: int
    least_episodes: float
    least_reached: float
    least_gap: float
    least_late: float
    late_factor: float
    similarity_episodes: int


@dataclass(frozen=True)
class RegisteredClaim:
    """A claim of the paper with all that decides about it.

    Parameters
    ----------
    paper, words, source : str
        The claim in short, in the paper's words, and where it stands.
    ours, unit : str
        What is measured, and the unit of the first part.
    parts : tuple of ClaimPart
    selection, correction : str
        Which problems count, and what is done because there are many.
    needs : mapping of str to str
        What each verdict needs.
    about : str
        The agent that the verdict of the claim is about. It is empty if the claim is about none.
    also : tuple of str
        Further agents that the claim is measured for.
    workloads : tuple of str
        The kinds of changing loads that count. Without any, the loads are those that stay.
    earlier : float, optional
        The number of the earlier paper.
    history : str
        Numbers reported before.
    objective : str
        What the agents minimise: "mean" (the mean latency) or "late" (the fraction of late
        requests).
    """

    paper: str
    words: str
    source: str
    ours: str
    unit: str
    parts: tuple[ClaimPart, ...]
    selection: str
    correction: str
    needs: Mapping[str, str]
    about: str = ""
    also: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    earlier: float | None = None
    history: str = ""
    objective: str = "mean"


@dataclass(frozen=True)
class Problem:
    """A problem that agents are judged on: a testbed under a load, for a number of episodes."""

    kind: str
    testbed: str
    load: Load
    episodes: int

    @property
    def workload(self) -> str:
        """The name of a load that changes; it is empty for one that stays."""
        return "" if isinstance(self.load, int | float) else str(self.load[0])


class DayProblem(NamedTuple):
    """A day of devices that agents are judged on. Its `day` names no agent and no seeds."""

    kind: str
    day: Day


@dataclass(frozen=True)
class Registration:
    """All that `data/claims.yaml` says.

    Parameters
    ----------
    paper_agents, recommended, rivals : tuple of str
    rules : Rules
    decided_by : tuple of str
        The kinds of problems that decide, the first one that can.
    problems : tuple of Problem
    days : tuple of DayProblem
    claims : mapping of str to RegisteredClaim
    changes : tuple of mapping
    digest : str
        The SHA-256 of the file.
    """

    paper_agents: tuple[str, ...]
    recommended: tuple[str, ...]
    rivals: tuple[str, ...]
    rules: Rules
    decided_by: tuple[str, ...]
    problems: tuple[Problem, ...]
    days: tuple[DayProblem, ...]
    claims: Mapping[str, RegisteredClaim]
    changes: tuple[Mapping[str, str], ...]
    digest: str = field(compare=False)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of problems, those that decide first."""
        found = (problem.kind for problem in (*self.problems, *self.days))
        return tuple(dict.fromkeys((*self.decided_by, *found)))

    @property
    def agents(self) -> tuple[str, ...]:
        """Every agent that a claim is measured for or compared with."""
        own = (*self.recommended, *self.paper_agents, *self.rivals)
        also = [name for claim in self.claims.values() for name in claim.also]
        return tuple(dict.fromkeys((*own, *also)))

    @property
    def only_compared(self) -> tuple[str, ...]:
        """The agents that parts of claims are against, and that no claim is measured for."""
        parts = [part for claim in self.claims.values() for part in claim.parts]
        found = dict.fromkeys(part.against for part in parts if part.against in AGENTS)
        return tuple(name for name in found if name not in self.agents)

    def present(self, data: str | os.PathLike[str]) -> tuple[Problem, ...]:
        """Return the problems that can be run: simulated ones, and profiles in the folder `data`.

        Examples
        --------
        >>> from rrl.studies.registration import read_registration
        >>> registered = read_registration("data")
        >>> {p.testbed for p in registered.present("/no/profiles")} == {"cpu10", "gpu"}
        True
        """
        return tuple(problem for problem in self.problems if _is_present(problem.testbed, data))

    def present_days(self, data: str | os.PathLike[str]) -> tuple[DayProblem, ...]:
        """Return the days that can be run, as :meth:`present` does.

        Examples
        --------
        >>> from rrl.studies.registration import read_registration
        >>> registered = read_registration("data")
        >>> {p.kind for p in registered.present_days("/no/profiles")}
        {'simulated'}
        """
        return tuple(one for one in self.days if _is_present(one.day.testbed, data))


def _is_present(testbed: str, data: str | os.PathLike[str]) -> bool:
    """Return whether a testbed is simulated, or is a profile in the folder `data`."""
    from rrl.simulation.testbeds import TESTBEDS

    return testbed in TESTBEDS or (Path(data) / testbed / "profile.json").is_file()
