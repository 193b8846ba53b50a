"""Tables of days of devices: what was served, and when learning paid.

All agents serve the same arrivals, seed by seed. So each number is computed per seed, against the
default's of the same seed, and then summarised over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.studies.days import KNOWING, Day
from rrl.studies.outcomes import interval
from rrl.studies.sweep_store import Arrays

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]
DEFAULT = "tf-serving-default"


def problem_label(day: Day) -> str:
    """Return a short name of the problem of a day.

    Examples
    --------
    >>> problem_label(Day("cpu2", 60.0, "rrl-gp", 30, 540, 0.05, neighbour=(0.35, 150.0, 300.0)))
    'cpu2 60/s, neighbour'
    """
    return f"{day.testbed} {day.rate:g}/s{', neighbour' if day.neighbour else ''}"


def served_days(found: Mapping[Day, Arrays], rng: np.random.Generator) -> pd.DataFrame:
    """Return what each agent served over the day, its learning included.

    Parameters
    ----------
    found : mapping of Day to arrays
        What :meth:`rrl.studies.sweeps.Sweep.days` returns. Each problem has the default.
    rng : numpy.random.Generator
        For the bootstrap.

    Returns
    -------
    DataFrame
        One row per problem and agent. `latency_s` is the mean latency in seconds, and `ratio` is
        its ratio to the default's. `late` is the fraction of late requests, and `late_more` is the
        difference to the default's fraction. Each is the median over the seeds with the limits of
        its 95 % interval. `worse` is the fraction of the seeds in which the ratio is above 1.
    """
    import pandas as pd

    rows = []
    for day, arrays in found.items():
        mean, late = _totals(day, arrays)
        base_mean, base_late = _totals(day, _of(found, day, DEFAULT))
        row = {"problem": problem_label(day), "agent": day.agent, "seeds": day.seeds}
        row |= interval("latency_s", mean, rng) | interval("ratio", mean / base_mean, rng)
        row |= interval("late", late, rng) | interval("late_more", late - base_late, rng)
        rows.append(row | {"worse": float(np.mean(mean > base_mean))})
    return pd.DataFrame(rows)


def saved_so_far(own: Arrays, base: Arrays) -> Values:
    """Return the latency that was saved by each episode, as a fraction of the default's whole day.

    Parameters
    ----------
    own, base : mapping of str to ndarray
        The arrays of an agent and of the default on the same problem.

    Returns
    -------
    ndarray, shape (seeds, episodes)
        Above 0, learning has paid so far.

    Examples
    --------
    >>> saved_so_far({"mean_s": np.array([[3.0, 1.0]])}, {"mean_s": np.array([[2.0, 2.0]])})
    array([[-0.25,  0.  ]])
    """
    mine, theirs = (np.asarray(each["mean_s"], dtype=float) for each in (own, base))
    return np.cumsum(theirs - mine, axis=1) / theirs.sum(axis=1, keepdims=True)


def pays_from(own: Arrays, base: Arrays) -> Values:
    """Return the hour of the day from which each run has saved latency for good.

    Returns
    -------
    ndarray, shape (seeds,)
        Hours from 0 to 24 since the start of the day: the end of the last episode after which the
        run was not ahead. It is infinite for a run that has not saved by the end of the day.

    Examples
    --------
    >>> base = {"mean_s": np.full((2, 3), 2.0)}
    >>> own = {"mean_s": np.array([[3.0, 0.5, 1.0], [3.0, 2.0, 2.0]])}
    >>> pays_from(own | {"hour": np.array([[5.0, 10.0, 24.0]] * 2)}, base)
    array([ 5., inf])
    """
    ahead = saved_so_far(own, base) > 0
    behind = ahead.shape[1] - np.argmin(ahead[:, ::-1], axis=1)  # episodes to the last one behind
    episodes = np.where(ahead.all(axis=1), 0, behind)
    hours = np.column_stack((np.zeros(len(ahead)), own["hour"]))
    return np.where(ahead[:, -1], hours[np.arange(len(ahead)), episodes], np.inf)


def paying(found: Mapping[Day, Arrays]) -> pd.DataFrame:
    """Return when learning pays: one row per problem and agent but the default and the knowing one.

    Returns
    -------
    DataFrame
        `hour` is the median over the seeds of :func:`pays_from` (of an even number, the later one
        in the middle), `low` and `high` are the quartiles, and `paid` is the fraction of the seeds
        that have saved by the end of the day.
    """
    import pandas as pd

    rows = []
    for day, arrays in found.items():
        if day.agent in (DEFAULT, KNOWING):
            continue
        hours = pays_from(arrays, _of(found, day, DEFAULT))
        low, middle, high = np.quantile(hours, [0.25, 0.5, 0.75], method="higher")
        row = {"problem": problem_label(day), "agent": day.agent, "hour": middle}
        rows.append(row | {"low": low, "high": high, "paid": float(np.mean(np.isfinite(hours)))})
    return pd.DataFrame(rows)


def _totals(day: Day, arrays: Arrays) -> tuple[Values, Values]:
    """Return each run's mean latency (s) and fraction of late requests, both of shape (seeds,)."""
    mean = np.asarray(arrays["mean_s"], dtype=float).mean(axis=1)
    return mean, arrays["late"].mean(axis=1) / day.requests


def _of(found: Mapping[Day, Arrays], day: Day, agent: str) -> Arrays:
    """Return the arrays of another agent on the same problem and seeds."""
    return found[day._replace(agent=agent)]
