"""Validation: how well a calibrated server predicts configurations that its fit does not use.

A profile has several episodes of each pair of a configuration and a load. Such a pair is a *cell*.
A fit compares cells, not episodes. A configuration is held out at all its loads at once
(:func:`hold_out`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.simulation.calibration import (
    START,
    Calibration,
    calibrate,
    grid_rows,
    predict,
    profile_cases,
)
from rrl.simulation.service_model import Machine, Model
from rrl.simulation.simulator import SimulatedServer

if TYPE_CHECKING:
    import pandas as pd

    from rrl.recording.profile import Profile

BACKLOG = 0.15  # largest fraction of unanswered requests at the last arrival of a stable episode
_DEEP = 1000  # batches in a queue whose plan sets no limit: more than an episode has


def twin(profile: Profile, model: Model, machine: Machine) -> SimulatedServer:
    """Build a simulated server with the knobs and the fixed settings of a recorded profile.

    Examples
    --------
    >>> from rrl import read_profile, testbed
    >>> two = testbed("cpu2")
    >>> server = twin(  # doctest: +SKIP
    ...     read_profile("data/mobilenet_v2-batching"), two.model, two.machine
    ... )
    """
    fixed = {"max_enqueued_batches": _DEEP, **(profile.description["plan"]["fixed"] or {})}
    handlers = int(fixed.pop("grpc_max_threads", machine.handlers))
    return SimulatedServer(profile.space, model, replace(machine, handlers=handlers), fixed)


def cell_table(profile: Profile) -> pd.DataFrame:
    """Return a recorded profile as a table with one row per cell (configuration and load).

    Returns
    -------
    DataFrame
        The columns are the knobs, `rate_per_s`, `measured_s`, `episodes`, `backlog` and `stable`.
        `measured_s` is the mean latency in seconds over the valid episodes of the passes over the
        whole grid. `episodes` has the positions of these episodes in :func:`profile_cases`.
        `backlog` is the fraction of the requests that are unanswered when the last one arrives, in
        the median episode. `stable` tells whether `backlog` is at most ``BACKLOG``.
    """
    cases, measured = profile_cases(profile)
    rows = grid_rows(profile)
    rows["backlog"] = [
        np.mean(arrivals + np.array(text.split(), dtype=float) / 1e6 > arrivals[-1])
        for (_, arrivals), text in zip(cases, rows["latencies_us"], strict=True)
    ]
    rows["measured_s"] = measured
    groups = rows.reset_index().groupby([*profile.knobs, "rate_per_s"], sort=True)
    cells = groups.agg(
        measured_s=("measured_s", "mean"), episodes=("index", list), backlog=("backlog", "median")
    ).reset_index()
    cells["stable"] = cells["backlog"] <= BACKLOG
    return cells


def fit_profile(
    server: SimulatedServer,
    profile: Profile,
    names: Sequence[str] = tuple(START),
    cells: pd.DataFrame | None = None,
) -> Calibration:
    """Fit parameters to a recorded profile, or to some cells of it (rows of :func:`cell_table`).

    Examples
    --------
    >>> from rrl import read_profile, testbed
    >>> fit_profile(  # doctest: +SKIP
    ...     testbed("cpu2"), read_profile("data/mobilenet_v2-threads")
    ... ).parameters
    """
    cells = cell_table(profile) if cells is None else cells
    cases, measured = profile_cases(profile)
    rows = np.concatenate(cells["episodes"].to_list())
    number = np.repeat(np.arange(len(cells)), cells["episodes"].str.len())
    return calibrate(server, [cases[i] for i in rows], measured[rows], names, cells=number)


def predict_cells(
    server: SimulatedServer, profile: Profile, cells: pd.DataFrame
) -> NDArray[np.float64]:
    """Predict the mean latency (s) of cells of a profile, shape (cells,).

    The draws of the work differ from those that :func:`fit_profile` uses.
    """
    cases, _ = profile_cases(profile)
    rows = np.concatenate(cells["episodes"].to_list())
    predicted = predict(server, [cases[i] for i in rows], repeats=8, seed=1)
    sizes = cells["episodes"].str.len().to_numpy()
    return np.add.reduceat(predicted, np.cumsum(sizes) - sizes) / sizes


def hold_out(
    server: SimulatedServer,
    profile: Profile,
    names: Sequence[str] = tuple(START),
    *,
    folds: int = 4,
    repeats: int = 1,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Predict each configuration by a fit that uses only other configurations (K-fold).

    Parameters
    ----------
    server : SimulatedServer
        The server from which every fit starts.
    profile : Profile
        The recorded profile. A configuration is held out at all its loads at once.
    names : sequence of str
        The parameters to fit.
    folds : int
        Number of parts into which the configurations are divided at random, at least 2.
    repeats : int
        How often the configurations are divided and predicted.
    rng : numpy.random.Generator
        Generator for the division of the configurations.

    Returns
    -------
    DataFrame
        The table of :func:`cell_table`, once per repeat, with the further columns `repeat`, `fold`
        and `predicted_s` (seconds). Its ``attrs["parameters"]`` lists the parameters of each fit.

    Raises
    ------
    ValueError
        If there are fewer than 2 folds, or more folds than configurations.
    """
    import pandas as pd

    if not 2 <= folds <= len(profile.space):
        raise ValueError(f"{folds} folds of {len(profile.space)} configurations: use 2 or more")
    cells, parts, found = cell_table(profile), [], []
    of_cell = profile.space.indices(cells)
    for repeat in range(repeats):
        fold_of = rng.permutation(np.arange(len(profile.space)) % folds)[of_cell]
        for fold in range(folds):
            hidden = cells[fold_of == fold]
            fit = fit_profile(server, profile, names, cells[fold_of != fold])
            predicted = predict_cells(fit.server, profile, hidden)
            parts.append(hidden.assign(repeat=repeat, fold=fold, predicted_s=predicted))
            found.append(fit.parameters)
    table = pd.concat(parts, ignore_index=True)
    table.attrs["parameters"] = found
    return table
