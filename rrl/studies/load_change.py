"""A changed load: what was learned before helps, or does not, and is still known on return.

A run has three phases: a load, another one, and the first again. How soon its recommendation is
good in the second is compared with a run that knows the second load alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.studies.outcomes import Problem, Results, interval
from rrl.studies.scenario import Truth
from rrl.studies.settings import Load
from rrl.support.intervals import ratio_interval

if TYPE_CHECKING:
    import pandas as pd

    from rrl.studies.race import Race

Values = NDArray[np.float64]

WITHIN = 0.1  # a recommendation this near to the optimum is good
STRETCH, MOSTLY = 20, 0.9  # it stays good if so many of the next episodes are


class Change(NamedTuple):
    """A load that changes and returns, on a testbed.

    Parameters
    ----------
    testbed : str
    before, after : float
        Requests per second.
    length : int
        Episodes of each phase.

    Examples
    --------
    >>> Change("gpu", 200.0, 500.0, 40).problem
    ('gpu', ('Phases', (0, 40, 80), (0.005, 0.002, 0.005), 120))
    """

    testbed: str
    before: float
    after: float
    length: int = 100

    @property
    def problem(self) -> Problem:
        """The three phases."""
        n, gaps = self.length, (1 / self.before, 1 / self.after, 1 / self.before)
        load: Load = ("Phases", (0, n, 2 * n), gaps, 3 * n)
        return self.testbed, load

    @property
    def steady(self) -> tuple[Problem, Problem]:
        """Each load alone."""
        return (self.testbed, self.before), (self.testbed, self.after)

    @property
    def name(self) -> str:
        """It in a few words."""
        return f"{self.testbed} {self.before:g} to {self.after:g}/s"


def episodes_until_good(ratios: Values) -> Values:
    """First episode whose recommendation is good and stays so, counted from 1; infinite if none.

    Parameters
    ----------
    ratios : ndarray, shape (seeds, episodes)
        True cost of what is recommended after each episode, over the optimum's.

    Returns
    -------
    ndarray, shape (seeds,)
        Good is within `WITHIN`; it stays if that holds in at least `MOSTLY` of the next `STRETCH`
        episodes (of those that are left, at the end).

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
    """True cost of what is recommended, over the optimum's, phase by phase.

    Parameters
    ----------
    runs : Race
    costs : sequence of ndarray, shape (configurations,)
        What each configuration truly costs in each phase.
    starts : sequence of int
        First episode of each phase.

    Returns
    -------
    list of ndarray, shape (seeds, episodes of the phase)
    """
    parts = np.split(runs.recommended, list(starts[1:]), axis=1)
    return [cost[part] / cost.min() for cost, part in zip(costs, parts, strict=True)]


def curves(
    change: Change, agent: str, results: Results, truths: Mapping[Problem, Truth]
) -> dict[str, Values]:
    """`deployed` of the second load, come to by a `change` and `fresh`, and of the first, `back`.

    Raises
    ------
    KeyError
        If the agent was not raced on the change and on the second load alone.
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
    """Episodes until a good recommendation: from a fresh start, after a change, back again.

    Returns
    -------
    DataFrame
        A row for each change and agent. `apart` is what those configurations that are good under
        the first load cost under the second, over the optimum there (median); `fresh_episodes`,
        `change_episodes` and `back_episodes` are medians over the seeds of
        :func:`episodes_until_good`, one more than the phase has where there is none; `share` is
        the median of change over fresh, seed by seed. `fresh_cost`, `change_cost` and `back_cost`
        are medians of the cost deployed in the first `STRETCH` episodes, over the optimum's. All
        with 95 % intervals. `at_once` is the share of seeds that are good from the first episode
        after the change.
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
            for name, episodes in until.items():
                row |= interval(f"{name}_episodes", episodes, rng)
                row |= interval(f"{name}_cost", runs[name][:, :STRETCH].mean(axis=1), rng)
            ends = ratio_interval(until["change"], until["fresh"], rng)
            rows.append(row | dict(zip(("share", "share_low", "share_high"), ends, strict=True)))
    return pd.DataFrame(rows)
