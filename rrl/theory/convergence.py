"""How the running system converges: the agent's table against the truth, episode by episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.exploration import Temperature
from rrl.core.knob import Configuration, Knob
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace
from rrl.simulation.simulator import SimulatedServer
from rrl.tuning.episode import Server
from rrl.tuning.experiments import tune
from rrl.workloads.workload import Poisson

Floats = NDArray[np.float64]
UNIFORM = Temperature(1e9, 1e9)
"""So hot that every configuration is as likely as any other: what the theorems assume."""


def subgrid(server: SimulatedServer, levels: Sequence[int]) -> SimulatedServer:
    """Return a simulated server that offers only these levels of each of its knobs.

    The levels lie at the positions 0, 1, 2, ... in the order given.

    Examples
    --------
    >>> from rrl import testbed
    >>> len(subgrid(testbed("cpu10"), (1, 2, 4)).space)
    27
    """
    space = ConfigSpace([Knob(name, tuple(levels)) for name in server.space.names])
    return replace(server, space=space)


@dataclass(frozen=True, eq=False)
class Curves:
    """What an agent's table was like after each episode; arrays of shape (seeds, episodes).

    Parameters
    ----------
    worst : ndarray
        Largest error of the table, in seconds: the maximum norm of the theory.
    typical : ndarray
        Median over the configurations of the relative error.
    greedy : ndarray
        True cost of the table's minimum over the optimum's, minus 1: the loss of the theory.
    deployed : ndarray
        The same for what the agent recommended.
    radius : ndarray
        The agent's, which an adaptive one changes.
    chosen : ndarray of int
        What was measured.
    """

    worst: Floats
    typical: Floats
    greedy: Floats
    deployed: Floats
    radius: Floats
    chosen: NDArray[np.int64]


class _Watched:
    """Passes everything on to the agent, and notes what its table is like afterwards."""

    def __init__(self, agent: RRL, truth: Floats) -> None:
        self.agent, self.truth = agent, truth
        self.rows: list[tuple[float, float, float, float]] = []

    def ask(self, load: float) -> Configuration:
        return self.agent.ask(load)

    def tell(self, configuration: Configuration, cost: float) -> None:
        self.agent.tell(configuration, cost)
        (table,) = self.agent.tables.values()
        error = np.abs(table.values - self.truth)
        greedy = self.truth[table.values.argmin()] / self.truth.min() - 1
        typical = float(np.median(error / self.truth))
        self.rows.append((error.max(), typical, greedy, self.agent.radius))

    def best(self, load: float) -> Configuration:
        return self.agent.best(load)

    def state(self) -> dict[str, Any]:
        return self.agent.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.agent.restore(state)


def watch_table(
    server: Server,
    rate_per_s: float,
    truth: ArrayLike,
    seeds: int,
    episodes: int,
    make: type[RRL] = RRL,
    **settings: Any,
) -> Curves:
    """Let RRL learn from each seed and keep what its table was like after each episode.

    Seed by seed, all settings meet the same arrivals. One table serves the whole run.

    Parameters
    ----------
    server : Server
    rate_per_s : float
        Of the Poisson arrivals.
    truth : array_like, shape (configurations,)
        True mean cost of each configuration in seconds.
    seeds, episodes : int
    make : type, optional
        :class:`rrl.RRL`, or an agent derived from it.
    **settings
        Of the agent, for example ``radius=2``.

    Raises
    ------
    ValueError
        If the truth has another number of configurations than the space.

    Examples
    --------
    >>> from rrl.studies.scenario import surface
    >>> line = surface("line", ConfigSpace([Knob("inter_op", (1, 2, 4))]), [3.0, 1.0, 2.0], 0.0)
    >>> curves = watch_table(line.server, 10.0, line.cost, seeds=2, episodes=40, radius=0)
    >>> curves.worst.shape, curves.worst[:, -1].max().round(9)
    ((2, 40), np.float64(0.0))
    """
    truth, space = np.asarray(truth, dtype=float), server.space
    if truth.shape != (len(space),):
        raise ValueError(f"the truth has shape {truth.shape}, the space holds {len(space)}")
    rows, deployed, chosen = [], [], []
    for seed in range(seeds):
        agent = make(space, np.random.default_rng([seed, 0]), load_bins=math.inf, **settings)
        watched, rng = _Watched(agent, truth), np.random.default_rng([seed, 1])
        run = tune(server, watched, Poisson(rate_per_s), episodes, rng)
        rows.append(watched.rows)
        deployed.append(truth[[space.index(c) for c in run.recommended]] / truth.min() - 1)
        chosen.append([space.index(c) for c in run.configurations])
    worst, typical, greedy, radius = np.moveaxis(np.array(rows), -1, 0)
    return Curves(worst, typical, greedy, np.array(deployed), radius, np.array(chosen))


def cut(curves: Curves, episodes: int) -> Curves:
    """Return the first episodes of the curves."""
    return Curves(**{name: array[:, :episodes] for name, array in vars(curves).items()})


def cover_ends(near: NDArray[np.bool_], chosen: NDArray[np.int64]) -> list[int]:
    """Return the episodes, counted from 1, at which a cover of the space ended.

    Examples
    --------
    >>> from rrl.theory.cover import cells
    >>> cover_ends(cells(4, 2), np.array([0, 1, 2, 3, 0]))
    [3, 5]
    """
    ends, seen = [], np.zeros(len(near), dtype=bool)
    for episode, visited in enumerate(chosen.tolist(), start=1):
        seen |= near[visited]
        if seen.all():
            ends.append(episode)
            seen[:] = False
    return ends


def first_cover(near: NDArray[np.bool_], curves: Curves) -> Floats:
    """Episodes until the first cover ended, for each seed; infinite where none did."""
    return np.array([(cover_ends(near, run) or [math.inf])[0] for run in curves.chosen])


def first_below(curve: Floats, level: float) -> Floats:
    """Episodes until each row first is at most `level`; infinite where it never is.

    Examples
    --------
    >>> first_below(np.array([[3.0, 1.0, 2.0], [3.0, 3.0, 3.0]]), 2.0)
    array([ 2., inf])
    """
    below = curve <= level
    return np.where(below.any(axis=1), below.argmax(axis=1) + 1.0, np.inf)


def slope_interval(
    x: ArrayLike, samples: ArrayLike, rng: np.random.Generator, resamples: int = 1000
) -> tuple[float, float, float]:
    """Slope of the log of the means against log x, with a 95 % bootstrap interval over the runs.

    Parameters
    ----------
    x : array_like, shape (m,)
    samples : array_like, shape (m, runs)
        Column by column from the same seed, so whole columns are drawn.
    rng : numpy.random.Generator
    resamples : int, optional

    Returns
    -------
    slope, low, high : float

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> slope_interval(x, x[:, None] ** 2 * np.ones(5), np.random.default_rng(0))
    (2.0, 2.0, 2.0)
    """
    samples, logs = np.asarray(samples, dtype=float), np.log(np.asarray(x, dtype=float))
    centred = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    drawn = rng.integers(samples.shape[1], size=(resamples, samples.shape[1]))
    slopes = centred @ np.log(samples[:, drawn].mean(axis=-1))
    low, high = np.quantile(slopes, (0.025, 0.975))
    slope = centred @ np.log(samples.mean(axis=1))
    return float(round(slope, 12)), float(round(low, 12)), float(round(high, 12))


def falling_radius(
    visits: NDArray[np.int64],
    radii: Floats,
    errors: Floats,
    rng: np.random.Generator,
    resamples: int = 500,
) -> tuple[Floats, tuple[float, float, float]]:
    """Best radius at each number of visits, and the power of the visits with which it falls.

    Parameters
    ----------
    visits : ndarray of int, shape (n,)
    radii : ndarray, shape (m,)
    errors : ndarray, shape (n, m, tables)
        Largest error of each table.
    rng : numpy.random.Generator
    resamples : int, optional
        Of the tables, for the interval.

    Returns
    -------
    best : ndarray, shape (n,)
    exponent, low, high : float
        Least-squares slope of the logarithms, with its 95 % bootstrap interval over the tables.

    Examples
    --------
    >>> visits, radii = np.array([10, 100, 1000]), np.array([1.0, 0.1, 0.01])
    >>> errors = np.abs(np.log(radii)[None, :, None] + np.log(visits / 10)[:, None, None])
    >>> best, (exponent, *_) = falling_radius(visits, radii, errors, np.random.default_rng(0))
    >>> best.tolist(), round(exponent, 3)
    ([1.0, 0.1, 0.01], -1.0)
    """
    logs = np.log(visits) - np.log(visits).mean()
    best = radii[errors.mean(axis=2).argmin(axis=1)]
    drawn = rng.integers(errors.shape[2], size=(resamples, errors.shape[2]))
    again = radii[errors[:, :, drawn].mean(axis=-1).argmin(axis=1)]
    slope, spread = (logs @ np.log(r) / (logs**2).sum() for r in (best, again))
    low, high = np.quantile(spread, (0.025, 0.975))
    return best, (float(slope), float(low), float(high))
