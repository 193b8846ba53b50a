r"""What clients pay: the three measures by which agents are judged, and their averages.

All measures count *true* costs: the mean cost that the configuration of an episode has, without the
noise of that episode. Costs have any unit, as long as the best cost has the same. For one run,
let :math:`c_t` be the true cost of episode :math:`t`, and :math:`c^*` the lowest true cost of all
configurations. A run has :math:`T` episodes, or its first :math:`T` are looked at.

- The *excess* is what clients paid above the best: :math:`\frac1T\sum_{t \le T} c_t / c^* - 1`.
- The *level* is the same of the last tenth of these episodes. It says what the agent arrived at.
- The *speed-up* of an agent over a rival is the number of episodes that the rival needs until its
  excess is, and stays, no more than the agent's after :math:`T` episodes, divided by :math:`T`.

A mean hides the runs that never come near the best. So beside a mean stands the share of the runs
that are *stuck*: their level is above 25 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import gmean

from rrl.core.space import Floats
from rrl.support.intervals import bootstrap_interval

STUCK = 0.25
"""A run whose level is above this fraction is stuck."""

LONGEST = 20
"""A speed-up is searched for up to this multiple of the agent's episodes."""

LEAST_TAIL = 10
"""Episodes that a level rests on at least, if the run has so many."""

NOTHING = 1e-4
"""This is added to both excesses of a ratio, so that an agent may also start at the best."""


def excess(served: ArrayLike, best: float, episodes: int) -> Floats:
    r"""Return what clients paid above the best cost, as a fraction of it.

    .. math:: \frac{1}{T} \sum_{t=1}^{T} \frac{c_t}{c^*} - 1

    Parameters
    ----------
    served : array_like, shape (seeds, at least `episodes`)
        The true cost of each episode of each run.
    best : float
        The lowest true cost of all configurations, in the unit of `served`.
    episodes : int
        The number of episodes that count, :math:`T`.

    Returns
    -------
    ndarray, shape (seeds,)
        0.1 if the clients paid 10 % more than with the best configuration from the start.

    Raises
    ------
    ValueError
        If the runs have fewer episodes, or `episodes` is below 1.

    Examples
    --------
    >>> served = [[4.0, 2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0]]
    >>> excess(served, best=2.0, episodes=2).tolist()
    [0.5, 0.0]
    >>> excess(served, best=2.0, episodes=4).tolist()
    [0.25, 0.0]
    """
    return _first(served, episodes).mean(axis=-1) / best - 1


def level(served: ArrayLike, best: float, episodes: int) -> Floats:
    r"""Return what clients paid above the best cost in the last tenth of the episodes.

    .. math:: \frac{1}{n} \sum_{t=T-n+1}^{T} \frac{c_t}{c^*} - 1,
              \quad n = \min(T, \max(\lfloor T/10 \rfloor, 10))

    For the parameters, see :func:`excess`.

    Returns
    -------
    ndarray, shape (seeds,)

    Raises
    ------
    ValueError
        If the runs have fewer episodes, or `episodes` is below 1.

    Examples
    --------
    >>> served = np.array([[6.0] * 90 + [3.0] * 10])
    >>> level(served, best=2.0, episodes=100), level(served, best=2.0, episodes=5)
    (array([0.5]), array([2.]))
    """
    tail = max(episodes // 10, LEAST_TAIL)
    return _first(served, episodes)[..., -tail:].mean(axis=-1) / best - 1


def stuck(served: ArrayLike, best: float, episodes: int) -> float:
    """Return the share of the runs whose :func:`level` is above `STUCK`.

    Examples
    --------
    >>> served = np.array([[6.0] * 90 + [3.0] * 10, [2.0] * 100])
    >>> stuck(served, best=2.0, episodes=100)
    0.5
    """
    return float((level(served, best, episodes) > STUCK).mean())


def speed_up(agent: ArrayLike, rival: ArrayLike, best: float, episodes: int) -> float:
    r"""Return how many times the agent's episodes a rival needs to let clients pay as little.

    .. math:: \frac{1}{T} \min\bigl\{n : \bar e_\text{rival}(m) \le \bar e_\text{agent}(T)
              \text{ for all } m \text{ with } n \le m \le 20\,T\bigr\}

    Here :math:`\bar e(n)` is the mean :func:`excess` of all runs in their first n episodes.

    Parameters
    ----------
    agent : array_like, shape (seeds, at least `episodes`)
    rival : array_like, shape (seeds, at least `LONGEST` times `episodes`)
        The true cost of each episode of each run.
    best : float
        The lowest true cost of all configurations.
    episodes : int
        The agent's episodes, :math:`T`.

    Returns
    -------
    float
        Above 1 if the agent is faster. Infinity means "over 20": the rival does not get there.

    Raises
    ------
    ValueError
        If the runs have fewer episodes, or `episodes` is below 1.

    Examples
    --------
    >>> agent, rival = [[4.0, 2.0]], [[4.0] * 4 + [2.0] * 36]
    >>> speed_up(agent, rival, best=2.0, episodes=2)  # half above the best, after 2 and 8 episodes
    4.0
    >>> speed_up(agent, [[3.5] * 40], best=2.0, episodes=2)
    inf
    """
    goal = _mean_excess(agent, best, episodes)[-1]
    above = np.flatnonzero(_mean_excess(rival, best, LONGEST * episodes) > goal)
    needed = int(above[-1]) + 2 if len(above) else 1  # one after the last, counted from 1
    return needed / episodes if needed <= LONGEST * episodes else np.inf


def ratio_of_excesses(
    ours: ArrayLike, theirs: ArrayLike, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return the geometric mean of the ratios ours / theirs over surfaces, with its interval.

    Parameters
    ----------
    ours, theirs : array_like, shape (surfaces,)
        The mean excess on each surface. `NOTHING` is added to both.
    rng : numpy.random.Generator
        Surfaces are drawn again for the interval (percentile bootstrap, 95 %).

    Returns
    -------
    centre, low, high : float
        Below 1 if clients pay less above the best with ours.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> [round(x, 2) for x in ratio_of_excesses([0.1, 0.2, 0.4], [0.2, 0.4, 0.8], rng)]
    [0.5, 0.5, 0.5]
    """
    ratios = (np.asarray(ours, dtype=float) + NOTHING) / (np.asarray(theirs, dtype=float) + NOTHING)
    return bootstrap_interval(ratios, rng, statistic=gmean)


def median_speed_up(speed_ups: ArrayLike, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the median of speed-ups over surfaces, with its interval.

    Of an even number, it is the harmonic mean of the middle two, so that infinity has a place.

    Parameters
    ----------
    speed_ups : array_like, shape (surfaces,)
        See :func:`speed_up`.
    rng : numpy.random.Generator
        Surfaces are drawn again for the interval (percentile bootstrap, 95 %).

    Returns
    -------
    centre, low, high : float

    Examples
    --------
    >>> median_speed_up([2.0, 4.0, np.inf], np.random.default_rng(0))
    (4.0, 2.0, inf)
    """
    with np.errstate(divide="ignore"):
        slowness = 1 / np.asarray(speed_ups, dtype=float)
        centre, high, low = 1 / np.array(bootstrap_interval(slowness, rng))
    return float(centre), float(low), float(high)


def _first(served: ArrayLike, episodes: int) -> Floats:
    costs = np.asarray(served, dtype=float)
    if not 1 <= episodes <= costs.shape[-1]:
        raise ValueError(f"need 1 to {costs.shape[-1]} episodes, as the runs have, got {episodes}")
    return costs[..., :episodes]


def _mean_excess(served: ArrayLike, best: float, episodes: int) -> Floats:
    """Return the mean excess of all runs after each of the first episodes, shape (episodes,)."""
    sums = np.cumsum(_first(served, episodes).mean(axis=0))
    return sums / np.arange(1, episodes + 1) / best - 1
