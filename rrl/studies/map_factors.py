"""The factors of the map of regions: how many times sooner an agent arrives than Q-learning.

A factor is the median number of episodes of the rival over that of the agent. The median is that
over the surfaces of the medians over the seeds. The interval draws surfaces as well as seeds again
(percentile bootstrap), and it draws the same ones for both, because they met the same noise. A run
that never arrives counts with its last possible arrival. Where the median run of one side never
arrives, the factor is therefore a bound. Where neither arrives, there is none.

Each agent has the settings that the tuning chose for this cell, measure and tolerance
(:func:`chosen_settings`). The deep Q-network has those of the middle tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rrl.core.space import Floats
from rrl.studies.map_cells import COLUMNS, LATEST, MEASURES, TOLERANCES, paper_grid
from rrl.theory.bounds import best_radius, noise_scale
from rrl.theory.cover import neighbours

ROUGHNESSES = (0.005, 0.015, 0.05, 0.15, 0.5)
NOISES = (0.02, 0.07, 0.15, 0.30)
CELL = ["roughness", "noise"]
MIDDLE = tuple(f"{measure}_{100 * TOLERANCES[1]:g}" for measure in MEASURES)
"""The columns of the middle tolerance."""

RIVAL = "q-learning"
RESAMPLES = 2000
LARGE_GRID = 200
"""Smaller grids are hollow on the map, and do not count for its rank correlation."""

PAPER_CONDITIONS = {"roughness": (0.015, 0.05, 0.15), "noise": (0.15, 0.30)}
"""The cells that fit the paper's setting, declared before the map was computed.

A smoke run of three cells had been seen by then, and a first factor of ``cpu10``. The simulated
paper's grid at the paper's loads (``cpu10``) has a roughness of 9 to 11 % and a noise of 16 to
32 %. The levels on either side count, and one more on the smooth side: half of its neighbours
differ by less than 2 %, and a quarter by more than 5 %.
"""

ENOUGH = 8.0
"""The factor that the paper claims."""

NUMBERS = {
    "roughness": "the difference of neighbours",
    "noise": "the noise of an episode",
    f"within_{100 * TOLERANCES[1]:g}": "the fraction of good configurations",
}
"""What can be measured at a place before an agent runs."""

THEORY_EPISODES = 100.0
"""The number of episodes after which the theory's best radius is asked."""


def chosen_settings(tuning: pd.DataFrame) -> pd.DataFrame:
    """Return the setting of each agent that the tuning found best, by cell and column.

    The lowest median number of episodes wins, then the lowest fraction of runs that never arrive,
    then the lowest mean excess, then the order of the settings.

    Returns
    -------
    DataFrame
        The columns are roughness, noise, agent, column, setting and `tuned`, the median number of
        episodes with this setting in the tuning.
    """
    rows = []
    middle = dict(zip(COLUMNS, np.repeat(MIDDLE, len(TOLERANCES)).tolist(), strict=True))
    for (*cell, agent), tried in tuning.groupby([*CELL, "agent"], sort=False):
        for column in COLUMNS:
            by = middle[column] if agent == "deep-q-network" else column
            order = [by, f"{by}_never", f"{by}_excess"]
            best = tried.sort_values(order, kind="stable").iloc[0]
            rows.append((*cell, agent, column, best["setting"], best[column]))
    return pd.DataFrame(rows, columns=[*CELL, "agent", "column", "setting", "tuned"])


def typical(episodes: Floats) -> Any:
    """Return the median over surfaces of the medians over seeds, shape (..., surfaces, seeds)."""
    return np.median(np.median(episodes, axis=-1), axis=-1)


class Factor(NamedTuple):
    """A factor with its 95 % interval; `bound` is "", "at least", "at most" or "neither"."""

    factor: float
    low: float
    high: float
    bound: str


def factor_of(ours: Floats, theirs: Floats, length: int, rng: np.random.Generator) -> Factor:
    """Return how many times sooner we arrive.

    Parameters
    ----------
    ours, theirs : ndarray, shape (surfaces, seeds)
        Episodes until the arrival; infinite without one.
    length : int
        Episodes of a run.
    rng : numpy.random.Generator

    Examples
    --------
    >>> ours, theirs = np.full((2, 3), 10.0), np.full((2, 3), np.inf)
    >>> factor_of(ours, theirs, 1000, np.random.default_rng(0))
    Factor(factor=90.0, low=90.0, high=90.0, bound='at least')
    """
    late, never = np.isinf(typical(ours)), np.isinf(typical(theirs))
    if late and never:
        return Factor(np.nan, np.nan, np.nan, "neither")
    ours, theirs = (np.minimum(side, LATEST * length) for side in (ours, theirs))
    surfaces, seeds = ours.shape
    rows = rng.integers(surfaces, size=(RESAMPLES, surfaces))[..., None]
    columns = rng.integers(seeds, size=(RESAMPLES, surfaces, seeds))
    drawn = typical(theirs[rows, columns]) / typical(ours[rows, columns])
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    bound = "at most" if late else "at least" if never else ""
    return Factor(float(typical(theirs) / typical(ours)), low, high, bound)


def _sample(runs: pd.DataFrame, column: str) -> Floats:
    """Return a column of runs, shape (surfaces, seeds)."""
    return runs.pivot(index="surface", columns="seed", values=column).to_numpy(dtype=float)


def map_factors(
    tuning: pd.DataFrame, runs: pd.DataFrame, length: int, rival: str = RIVAL
) -> pd.DataFrame:
    """Return the factors of all agents over a rival, one row per cell, column and agent.

    Parameters
    ----------
    tuning, runs : DataFrame
        See :mod:`rrl.studies.region_map`.
    length : int
        Episodes of a judging run.
    rival : str, optional
        Against ``rrl-adaptive``, the factor of `rrl` is what the selection of the radius loses.

    Returns
    -------
    DataFrame
        The columns are those of a cell, `column`, `agent` and `setting`, `episodes` and
        `rival_episodes` (medians), and those of :class:`Factor`.
    """
    settings = chosen_settings(tuning).set_index([*CELL, "agent", "column"])["setting"]
    by_setting = dict(tuple(runs.groupby([*CELL, "agent", "setting"], sort=False)))
    rows, rng = [], np.random.default_rng(0)
    for (roughness, noise, agent, column), setting in settings.items():
        other = settings.get((roughness, noise, rival, column))
        if agent == rival or other is None:
            continue
        ours, theirs = (
            by_setting[roughness, noise, name, chosen]
            for name, chosen in ((agent, setting), (rival, other))
        )
        samples = _sample(ours, column), _sample(theirs, column)
        about = (roughness, noise, column, agent, setting)
        medians = (float(typical(side)) for side in samples)
        rows.append((*about, *medians, *factor_of(*samples, length, rng)))
    names = [*CELL, "column", "agent", "setting"]
    names += ["episodes", "rival_episodes", *Factor._fields]
    return pd.DataFrame(rows, columns=names)


def by_radius(tuning: pd.DataFrame) -> pd.DataFrame:
    """Return the radius of `rrl` that the tuning found best, beside the theory's.

    Returns
    -------
    DataFrame
        The columns are those of a cell, `column`, `best` (NaN if no run of the tuning arrives in
        the median) and `theory`.
    """
    chosen = chosen_settings(tuning)
    own = chosen[chosen["agent"] == "rrl"]
    radius = np.array([json.loads(setting)["radius"] for setting in own["setting"]])
    best = np.where(np.isfinite(own["tuned"]), radius, np.nan)
    theory = [theory_radius(*cell) for cell in own[CELL].itertuples(index=False)]
    return own[[*CELL, "column"]].assign(best=best, theory=theory)


def theory_radius(roughness: float, noise: float) -> float:
    """Return the best radius by the corollary, after `THEORY_EPISODES` uniform visits.

    See :func:`rrl.theory.bounds.best_radius`. The Lipschitz constant is the log difference of
    neighbours.

    Examples
    --------
    >>> [round(theory_radius(roughness, 0.07), 1) for roughness in (0.015, 0.15)]
    [7.4, 3.0]
    """
    space, _ = paper_grid()
    kappa = float(neighbours(space, 2.0).sum(axis=1).min()) / len(space) / 2.0**3
    scale = noise_scale(THEORY_EPISODES, len(space), kappa, noise)
    return float(best_radius(np.log1p(roughness), scale, 3))


def nearest_cell(
    roughness: float, noise: float, cells: Iterable[tuple[float, float]]
) -> tuple[float, float]:
    """Return the cell that is nearest to a place, by the logarithms of both numbers.

    Examples
    --------
    >>> nearest_cell(0.034, 0.27, [(0.05, 0.07), (0.05, 0.3), (0.5, 0.3)])
    (0.05, 0.3)
    """
    here = np.log(np.maximum((roughness, noise), 1e-9))
    return min(cells, key=lambda cell: float(np.linalg.norm(np.log(cell) - here)))


def in_paper_conditions(table: pd.DataFrame) -> pd.Series:
    """Return which rows of a table lie in the cells that fit the paper's setting."""
    fits = [table[name].isin(levels) for name, levels in PAPER_CONDITIONS.items()]
    return fits[0] & fits[1]


def place_factors(
    places: pd.DataFrame, place_runs: pd.DataFrame, factors: pd.DataFrame, length: int
) -> pd.DataFrame:
    """Return what happened at each place, beside what the map says of its nearest cell.

    Returns
    -------
    DataFrame
        One row per place, half and measure, at the middle tolerance: the columns of `places`,
        `half`, `column`, those of :class:`Factor`, and `predicted`, the factor of the nearest cell.
    """
    said = factors[factors["agent"] == "rrl"].set_index([*CELL, "column"])["factor"]
    cells, at = set(said.index.droplevel("column")), places.set_index("place")[CELL]
    rows, rng = [], np.random.default_rng(0)
    for (place, half, column), runs in place_runs.groupby(["place", "half", "column"], sort=False):
        runs = runs.assign(surface=place)
        ours, theirs = (_sample(runs[runs["agent"] == name], "episodes") for name in ("rrl", RIVAL))
        found = factor_of(ours, theirs, length, rng)
        rough, noise = at.loc[place]
        near = nearest_cell(rough, noise, cells)
        rows.append((place, half, column, *found, said.get((*near, column), np.nan)))
    names = ["place", "half", "column", *Factor._fields, "predicted"]
    return places.merge(pd.DataFrame(rows, columns=names), on="place")


# --- In words -------------------------------------------------------------------------------------


def map_words(
    factors: pd.DataFrame, losses: pd.DataFrame, radii: pd.DataFrame, at_places: pd.DataFrame
) -> list[str]:
    """Return what the map says, one sentence each, at the middle tolerance.

    `factors` are those of all agents over Q-learning, and `losses` those of `rrl` over
    ``rrl-adaptive`` (:func:`map_factors`). For `radii`, see :func:`by_radius`, and for
    `at_places` :func:`place_factors`.
    """
    own = factors[factors["agent"] == "rrl"]
    said = []
    for measure, column in zip(MEASURES, MIDDLE, strict=True):
        said += _about_measure(measure, own[own["column"] == column])
    return [*said, *_about_radius(losses, radii), *_about_places(at_places)]


def _about_measure(measure: str, cells: pd.DataFrame) -> list[str]:
    sooner, later = cells[cells["factor"] >= ENOUGH], cells[cells["high"] < 1]
    certainly = int((sooner["low"] > 1).sum())
    fits = cells[in_paper_conditions(cells)]
    known = fits["factor"].dropna()
    return [
        f"By what is {measure}, `rrl` is at least {ENOUGH:g} times sooner than Q-learning in "
        f"{len(sooner)} of {len(cells)} cells{_where(sooner)}; in {certainly} of these, the "
        f"interval is above 1. `rrl` is certainly later in {len(later)}{_where(later)}. Neither "
        f"arrives in {int(cells['factor'].isna().sum())}.",
        f"Under the paper's conditions, the median factor by what is {measure} is "
        f"{known.median():.2g}. It is at least {ENOUGH:g} in {int((known >= ENOUGH).sum())} of "
        f"{len(fits)} cells, and neither arrives in {len(fits) - len(known)}.",
    ]


def _about_radius(losses: pd.DataFrame, radii: pd.DataFrame) -> list[str]:
    lost = losses.loc[losses["column"] == MIDDLE[0], "factor"].dropna()
    best = radii.groupby("column", sort=False)["best"].mean()
    words = (
        f"{best[f'{MEASURES[0]}_{100 * tolerance:g}']:.1f} (within {100 * tolerance:g} %)"
        for tolerance in TOLERANCES
    )
    said = [f"By what is served, the mean of the best fixed radii is {', '.join(words)}."]
    if len(lost):
        said.append(
            f"`rrl-adaptive` needs {lost.median():.2g} times the episodes of the best fixed radius "
            f"(median of {len(lost)} cells), and at most {lost.max():.2g} times."
        )
    return said


def _about_places(at_places: pd.DataFrame) -> list[str]:
    """Say how well the map foretells places: the rank correlation (Spearman's) with their factors.

    Grids below `LARGE_GRID` configurations do not count. Another sentence is about the one number,
    measured beforehand, that alone would have foretold the factors best.
    """
    known = at_places[at_places["cells"] >= LARGE_GRID].dropna(subset=["factor", "predicted"])
    said = []
    for measure, column in zip(MEASURES, MIDDLE, strict=True):
        of = known[known["column"] == column]
        ranks = of[["factor", "predicted", *NUMBERS]].corr("spearman", min_periods=3)["factor"]
        single = ranks[list(NUMBERS)].dropna()
        if single.empty:
            continue
        best = str(single.abs().idxmax())
        said.append(
            f"By what is {measure}, the factors on {len(of)} replays of large grids have a rank "
            f"correlation of {ranks['predicted']:.2f} with those of the map. "
            f"Looked up afterwards, {NUMBERS[best]} alone correlates most ({single[best]:.2f}; the "
            f"best of {len(single)} numbers)."
        )
    return said


def _where(cells: pd.DataFrame) -> str:
    """Return which cells these are, by their noise."""
    by_noise = [
        f"{100 * noise:g} % noise, neighbours "
        + " and ".join(f"{100 * value:g}" for value in sorted(of["roughness"]))
        + " %"
        for noise, of in cells.groupby("noise")
    ]
    return f" ({'; '.join(by_noise)})" if by_noise else ""
