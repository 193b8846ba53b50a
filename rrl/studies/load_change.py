"""A changed load: check whether earlier learning helps, and whether it is kept until the return.

A run has three phases: a first load, a second load, and the first load again. We measure how soon
its recommendation is good under the second load. We compare this with a run that learns only under
the second load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.studies.outcomes import Problem, Results, interval
from rrl.studies.scenario import Truth
from rrl.studies.settings import Load
from rrl.support.intervals import ratio_interval
from rrl.support.limits import censored_median

if TYPE_CHECKING:
    import pandas as pd

    from rrl.studies.race import Race

Values = NDArray[np.float64]

WITHIN = 0.1  # a recommendation is good if it costs at most this fraction more than the optimum
STRETCH, MOSTLY = 20, 0.9  # it stays good if this fraction of the next episodes is good


class Change(NamedTuple):
    """A load that changes and returns, on a testbed.

    Parameters
    ----------
    testbed : str
    before, after : float
        These are the first and the second load, in requests per second.
    length : int
        Each phase has this many episodes.

    Examples
    --------
    >>> Change("gpu", 200.0, 500.0, 40).problem
    ('gpu', ('Phases', (0, 41, 81), (0.005, 0.002, 0.005), 121))
    """

    testbed: str
    before: float
    after: float
    length: int = 100

    @property
    def problem(self) -> Problem:
        """The problem with the three phases.

        The first part of the arrivals is not served: it only shows the first load. So the load
        changes one part later than the number of episodes.
        """
        n, gaps = self.length, (1 / self.before, 1 / self.after, 1 / self.before)
        load: Load = ("Phases", (0, n + 1, 2 * n + 1), gaps, 3 * n + 1)
        return self.testbed, load

    @property
    def steady(self) -> tuple[Problem, Problem]:
        """The problems with only one of the loads."""
        return (self.testbed, self.before), (self.testbed, self.after)

    @property
    def name(self) -> str:
        """The change in a few words."""
        return f"{self.testbed} {self.before:g} to {self.after:g}/s"


def episodes_until_good(ratios: Values) -> Values:
    """Return the first episode, from 1, whose recommendation is good and stays good.

    Parameters
    ----------
    ratios : ndarray, shape (seeds, episodes)
        This is the true cost of the recommendation after each episode, divided by the optimum's.

    Returns
    -------
    ndarray, shape (seeds,)
        It is infinite if there is no such episode. A ratio is good if it is at most 1 + `WITHIN`.
        It stays good if a fraction of at least `MOSTLY` of the `STRETCH` episodes from there on is
        good. At the end of the run, only the remaining episodes count.

    Examples
    --------
    >>> episodes_until_good(np.array([[2.0, 1.04, 1.5, 1.1, 1.0], [1.0] * 5, [3.0] * 5]))
    array([ 4.,  1., inf])
    """
    found = np.full(len(ratios), np.inf)
    for seed, good in enumerate(ratios <= 1 + WITHIN):
        stays = (t for t in np.flatnonzero(good) if good[t : t + STRETCH].mean() >= MOSTLY)
        found[seed] = next(stays, np.inf) + 1
    return found


def deployed(runs: Race, costs: Sequence[Values], starts: Sequence[int] = (0,)) -> list[Values]:
    """Return the true cost of the recommendations, divided by the optimum's, per phase.

    Parameters
    ----------
    runs : Race
    costs : sequence of ndarray, shape (configurations,)
        There is one array per phase, with the true cost of each configuration.
    starts : sequence of int
        These are the first episodes of the phases.

    Returns
    -------
    list of ndarray, shape (seeds, episodes of the phase)
    """
    parts = np.split(runs.recommended, list(starts[1:]), axis=1)
    return [cost[part] / cost.min() for cost, part in zip(costs, parts, strict=True)]


def curves(
    change: Change, agent: str, results: Results, truths: Mapping[Problem, Truth]
) -> dict[str, Values]:
    """Return the ratios of `deployed` for one agent under the names fresh, change and back.

    `fresh` is the second load alone, `change` is the second load after the first, and `back` is the
    first load after the return.

    Raises
    ------
    KeyError
        If there is no race of the agent on the change, or on the second load alone.
    """
    raced = {(setting.problem, setting.agent): runs for setting, runs in results.items()}
    before, after = (truths[problem].cost for problem in change.steady)
    starts = range(0, 3 * change.length, change.length)
    _, new, back = deployed(raced[change.problem, agent], (before, after, before), starts)
    (fresh,) = deployed(raced[change.steady[1], agent], (after,))
    return {"fresh": fresh, "change": new, "back": back}


def recoveries(
    changes: Iterable[Change],
    agents: Iterable[str],
    results: Results,
    truths: Mapping[Problem, Truth],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Count episodes until a good recommendation: fresh, after a change, and after the return.

    Returns
    -------
    DataFrame
        It has one row per change and agent. `apart` is the median, over the configurations that
        are good under the first load, of their cost under the second, divided by the optimum's.
        `fresh_episodes`, `change_episodes` and `back_episodes` are medians over the seeds of
        :func:`episodes_until_good`. An infinite number counts as one more than the phase has, and
        the medians are censored there, as :mod:`rrl.studies.outcomes` says.
        `ratio` is the median over the seeds of change divided by fresh. `fresh_cost`,
        `change_cost` and `back_cost` are medians of the mean cost deployed in the first `STRETCH`
        episodes, divided by the optimum's. These medians over the seeds have 95 % intervals.
        `at_once` is the fraction of seeds that are good from the first episode after the change.
    """
    import pandas as pd

    rows, agents = [], list(agents)
    for change in changes:
        before, after = (truths[problem].cost for problem in change.steady)
        good = before <= (1 + WITHIN) * before.min()
        apart = float(np.median(after[good])) / after.min()
        for agent in agents:
            runs = curves(change, agent, results, truths)
            until = {
                name: np.minimum(episodes_until_good(ratios), change.length + 1)
                for name, ratios in runs.items()
            }
            row = {"change": change.name, "apart": apart, "agent": agent}
            row |= {"seeds": len(until["fresh"]), "at_once": np.mean(until["change"] == 1)}
            middle = partial(censored_median, most=change.length + 1)
            for name, episodes in until.items():
                row |= interval(f"{name}_episodes", episodes, rng, middle)
                row |= interval(f"{name}_cost", runs[name][:, :STRETCH].mean(axis=1), rng)
            ends = ratio_interval(until["change"], until["fresh"], rng)
            rows.append(row | dict(zip(("ratio", "ratio_low", "ratio_high"), ends, strict=True)))
    return pd.DataFrame(rows)
