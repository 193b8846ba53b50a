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

from rrl.simulation.calibration import START, Calibration, calibrate, predict
from rrl.simulation.service_model import Machine, Model
from rrl.simulation.simulator import SimulatedServer
from rrl.workloads.workload import Poisson

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

    Only valid episodes of the passes over the whole grid count. The finals measure the best few
    configurations again, and these would outweigh the others.

    Returns
    -------
    DataFrame
        The columns are the knobs, `rate_per_s`, `measured_s`, `cases`, `means_s`, `backlog` and
        `stable`. `cases` has the configuration and the arrivals (s) of each episode, as
        :func:`rrl.simulation.calibration.predict` takes them. The arrivals are drawn again from
        their recorded seeds. `means_s` has the mean latency of each episode in seconds, and
        `measured_s` is the mean of these. `backlog` is the fraction of the requests that are
        unanswered when the last one arrives, in the median episode. `stable` tells whether
        `backlog` is at most ``BACKLOG``.
    """
    plan, table = profile.description["plan"], profile.table
    rows = table[(table["valid"] == 1) & (table["pass"] < plan["passes"])].copy()
    cases, backlog = [], []
    for row in rows.to_dict("records"):
        rng = np.random.default_rng(int(row["arrival_seed"]))
        arrivals = Poisson(float(row["rate_per_s"])).arrivals(int(plan["requests"]), rng)
        latency = np.array(row["latencies_us"].split(), dtype=float) / 1e6
        cases.append(({name: row[name] for name in profile.knobs}, arrivals))
        backlog.append(np.mean(arrivals + latency > arrivals[-1]))
    rows["cases"], rows["backlog"] = cases, backlog
    cells = (
        rows.groupby([*profile.knobs, "rate_per_s"], sort=True)
        .agg(
            measured_s=("mean_s", "mean"),
            cases=("cases", list),
            means_s=("mean_s", list),
            backlog=("backlog", "median"),
        )
        .reset_index()
    )
    cells["stable"] = cells["backlog"] <= BACKLOG
    return cells


def fit_cells(
    server: SimulatedServer, cells: pd.DataFrame, names: Sequence[str] = tuple(START)
) -> Calibration:
    """Fit parameters to rows of :func:`cell_table`.

    Examples
    --------
    >>> from rrl import read_profile, testbed
    >>> fit_cells(  # doctest: +SKIP
    ...     testbed("cpu2"), cell_table(read_profile("data/mobilenet_v2-threads"))
    ... ).parameters
    """
    number = np.repeat(np.arange(len(cells)), cells["cases"].str.len())
    return calibrate(server, cells["cases"].sum(), cells["means_s"].sum(), names, cells=number)


def predict_cells(server: SimulatedServer, cells: pd.DataFrame) -> NDArray[np.float64]:
    """Predict the mean latency (s) of rows of :func:`cell_table`, shape (cells,).

    The draws of the work differ from those that :func:`fit_cells` uses.
    """
    predicted = predict(server, cells["cases"].sum(), repeats=8, seed=1)
    sizes = cells["cases"].str.len().to_numpy()
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
            fit = fit_cells(server, cells[fold_of != fold], names)
            predicted = predict_cells(fit.server, hidden)
            parts.append(hidden.assign(repeat=repeat, fold=fold, predicted_s=predicted))
            found.append(fit.parameters)
    table = pd.concat(parts, ignore_index=True)
    table.attrs["parameters"] = found
    return table
