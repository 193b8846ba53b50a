"""Days of devices among the registered problems: what to run, and what the claims read of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.studies.day_tables import DEFAULT, problem_label
from rrl.studies.days import KNOWING, Day
from rrl.studies.registered import DAY, DayProblem, Registration

if TYPE_CHECKING:
    import pandas as pd


def day_settings(registered: Registration, days: Iterable[DayProblem], seeds: int) -> list[Day]:
    """Return the days of all registered agents, of the default and of the agent that knows.

    Examples
    --------
    >>> from rrl.studies.registration import read_registration
    >>> registered = read_registration("data")
    >>> one = day_settings(registered, registered.days[:1], 30)
    >>> len(one) == len(registered.agents) + 2, one[-1].agent
    (True, 'knowing')
    """
    agents = (*registered.agents, DEFAULT, KNOWING)
    return [one.day._replace(agent=name, seeds=seeds) for one in days for name in agents]


def gather_days(
    days: Iterable[DayProblem], found: Mapping[Day, Mapping[str, NDArray[Any]]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of days of devices, for the tables `facts` and `served` of :class:`Evidence`.

    The `simple_regret` of the default is its mean latency above that of the agent that knows the
    best configuration of each load level, divided by the latter. Other facts are not known of a
    day.

    Parameters
    ----------
    days : iterable of DayProblem
    found : mapping of Day to arrays
        What :meth:`rrl.studies.sweeps.Sweep.days` returns for :func:`day_settings`.
    """
    import pandas as pd

    facts, served = [], []
    for kind, problem in days:
        head = {"problem": f"{problem_label(problem)}, day", "kind": kind, "workload": DAY}
        own = {day.agent: arrays for day, arrays in found.items() if day.problem == problem.problem}
        means = {
            agent: np.mean(arrays["mean_s"], axis=1, dtype=float) for agent, arrays in own.items()
        }
        best, default = (float(np.median(means[agent])) for agent in (KNOWING, DEFAULT))
        known = {"testbed": problem.testbed, "judged": False, "best_s": best, "default_s": default}
        facts.append(head | known | {"simple_regret": default / best - 1})
        for agent, latency_s in means.items():
            if agent != KNOWING:
                about = {"agent": agent, "seed": np.arange(len(latency_s)), "latency_s": latency_s}
                served.append(pd.DataFrame(head | about))
    rows = pd.concat(served, ignore_index=True) if served else pd.DataFrame()
    return pd.DataFrame(facts), rows
