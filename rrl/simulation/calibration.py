"""Fit a simulated server to a recorded profile, and predict configurations that no fit used.

A profile has several episodes of each pair of a configuration and a load. Such a pair is a *cell*
(:func:`cell_table`). A fit compares cells, not episodes, so a cell with many episodes does not
outweigh the others. A prediction serves the arrivals that were recorded, so their random variation
cancels. It draws the same random numbers each time, so an optimiser sees a smooth surface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import Floats
from rrl.simulation.service_model import Machine, Model
from rrl.simulation.simulator import SimulatedServer
from rrl.simulation.testbeds import AMPLE
from rrl.workloads.workload import Poisson

if TYPE_CHECKING:
    import pandas as pd

    from rrl.recording.profile import Profile

BOUNDS = {"parallel": (0.0, 1.0), "spin": (0.0, 1.0), "branches": (1.0, np.inf)}
_MODEL = tuple(item.name for item in fields(Model))
#: Round start values, so that a fit does not depend on the result of an earlier fit.
START = MappingProxyType(
    {
        "item": 0.01,
        "parallel": 0.5,
        "sync": 0.005,
        "dispatch": 0.001,
        "front_end": 0.005,
        "overhead": 0.005,
        "spin": 0.3,
        "switching": 0.1,
        "wake": 0.002,
    }
)
BACKLOG = 0.15  # largest fraction of unanswered requests at the last arrival of a stable episode


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
    fixed = {**AMPLE, **(profile.description["plan"]["fixed"] or {})}
    handlers = int(fixed.pop("grpc_max_threads", machine.handlers))
    return SimulatedServer(profile.space, model, replace(machine, handlers=handlers), fixed)


def with_parameters(server: SimulatedServer, parameters: Mapping[str, float]) -> SimulatedServer:
    """Replace parameters of the model or the machine, by name.

    Examples
    --------
    >>> from rrl import testbed
    >>> with_parameters(testbed("cpu2"), {"spin": 0.5, "item": 0.01}).machine.spin
    0.5
    """
    model: dict[str, Any] = {k: value for k, value in parameters.items() if k in _MODEL}
    machine: dict[str, Any] = {k: value for k, value in parameters.items() if k not in _MODEL}
    try:
        return replace(
            server,
            model=replace(server.model, **model),
            machine=replace(server.machine, **machine),
        )
    except TypeError:
        raise ValueError(f"{sorted(machine)} are not all parameters of a machine") from None


def cell_table(profile: Profile) -> pd.DataFrame:
    """Return a recorded profile as a table with one row per cell (configuration and load).

    Only valid episodes of the passes over the whole grid count. The finals measure the best few
    configurations again, and these would outweigh the others.

    Returns
    -------
    DataFrame
        The columns are the knobs, `rate_per_s`, `measured_s`, `arrivals`, `means_s`, `backlog` and
        `stable`. `arrivals` has the arrival times (s) of each episode, drawn again from the
        recorded seed. `means_s` has the mean latency of each episode in seconds, and `measured_s`
        is the mean of these. `backlog` is the fraction of the requests that are unanswered when the
        last one arrives, in the median episode. `stable` tells whether `backlog` is at most
        ``BACKLOG``.
    """
    plan, table = profile.description["plan"], profile.table
    rows = table[(table["valid"] == 1) & (table["pass"] < plan["passes"])].copy()
    times, backlog = [], []
    for number, row in zip(rows.index, rows.to_dict("records"), strict=True):
        rng = np.random.default_rng(int(row["arrival_seed"]))
        arrivals = Poisson(float(row["rate_per_s"])).arrivals(int(plan["requests"]), rng)
        times.append(arrivals)
        backlog.append(np.mean(arrivals + profile.latencies(number) > arrivals[-1]))
    rows["arrivals"], rows["backlog"] = times, backlog
    cells = (
        rows.groupby([*profile.knobs, "rate_per_s"], sort=True)
        .agg(
            measured_s=("mean_s", "mean"),
            arrivals=("arrivals", list),
            means_s=("mean_s", list),
            backlog=("backlog", "median"),
        )
        .reset_index()
    )
    cells["stable"] = cells["backlog"] <= BACKLOG
    return cells


def _predict(
    server: SimulatedServer, cells: pd.DataFrame, repeats: int, seed: int
) -> tuple[Floats, NDArray[np.int64]]:
    """Predict the mean latency (s) of each episode of the cells, and return the cell of each.

    A prediction is the mean over `repeats` fixed draws of the work, without the machine's noise.
    """
    quiet = replace(server, machine=replace(server.machine, noise=0.0))
    cell = np.repeat(np.arange(len(cells)), cells["arrivals"].str.len())
    index, together = server.space.indices(cells)[cell], dict[bytes, tuple[Floats, list[int]]]()
    for i, arrivals in enumerate(cells["arrivals"].explode()):
        together.setdefault(arrivals.tobytes(), (arrivals, []))[1].append(i)
    predicted = np.zeros(len(cell))
    for arrivals, members in together.values():  # episodes that share arrivals: in one call
        for k in range(repeats):
            latency, _ = quiet.grid(arrivals, np.random.default_rng([seed, k]), index[members])
            predicted[members] += latency.mean(axis=1) / repeats
    return predicted, cell


def predict_cells(server: SimulatedServer, cells: pd.DataFrame) -> Floats:
    """Predict the mean latency (s) of rows of :func:`cell_table`, shape (cells,).

    A rejected request counts the time until its rejection. The draws of the work differ from those
    that :func:`fit_cells` uses.
    """
    predicted, cell = _predict(server, cells, repeats=8, seed=1)
    return np.add.reduceat(predicted, np.flatnonzero(np.diff(cell, prepend=-1))) / np.bincount(cell)


def fit_cells(
    server: SimulatedServer, cells: pd.DataFrame, names: Sequence[str] = tuple(START)
) -> dict[str, float]:
    """Fit parameters to rows of :func:`cell_table` by robust least squares of the logarithms.

    Parameters
    ----------
    server : SimulatedServer
        The server from which the fit starts. Its parameters to fit must be above 0.
    cells : DataFrame
    names : sequence of str
        The parameters of :class:`rrl.simulation.service_model.Model` and ``Machine`` to fit.

    Returns
    -------
    dict of str to float
        The fitted parameters with six digits, for :func:`with_parameters`.

    Raises
    ------
    ValueError
        If a parameter is unknown or starts at 0.

    Examples
    --------
    >>> from rrl import read_profile, testbed
    >>> fit_cells(  # doctest: +SKIP
    ...     testbed("cpu2"), cell_table(read_profile("data/mobilenet_v2-threads"))
    ... )
    """
    from scipy.optimize import least_squares

    target = np.log(np.concatenate(cells["means_s"].to_list()))
    own = vars(server.machine) | vars(server.model)
    if unknown := [name for name in names if name not in own]:
        raise ValueError(f"{unknown} are no parameters of a model or a machine")
    start = [own[name] for name in names]
    if min(start) <= 0:
        raise ValueError(
            f"parameters to fit must start above 0: {dict(zip(names, start, strict=True))}"
        )

    def parameters(logs: Floats) -> dict[str, float]:
        return dict(zip(names, np.exp(logs).tolist(), strict=True))

    def residuals(logs: Floats) -> Floats:
        fitted = with_parameters(server, parameters(logs))
        predicted, cell = _predict(fitted, cells, repeats=2, seed=0)
        return np.bincount(cell, np.log(predicted) - target) / np.bincount(cell)

    with np.errstate(divide="ignore"):  # the logarithm of a bound of 0 is minus infinity
        bounds = np.log([BOUNDS.get(name, (0.0, np.inf)) for name in names]).T
    found = least_squares(
        residuals,
        np.log(start),
        bounds=tuple(bounds),
        loss="soft_l1",  # a disturbed episode must not pull the fit
        f_scale=0.1,
        diff_step=1e-2,  # latencies jump a little where the order of events changes
        ftol=1e-3,
        xtol=1e-3,
    )
    # Further digits are those of the solver's version, not of the cells.
    return {name: float(f"{value:.6g}") for name, value in parameters(found.x).items()}


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

    most = len(profile.space)
    if not 2 <= folds <= most:
        raise ValueError(f"{folds} folds of {most} configurations: use 2 to {most}")
    cells, tables, found = cell_table(profile), [], []
    of_cell = profile.space.indices(cells)
    for repeat in range(repeats):
        fold_of = rng.permutation(np.arange(len(profile.space)) % folds)[of_cell]
        for fold in range(folds):
            hidden = cells[fold_of == fold]
            found.append(fit_cells(server, cells[fold_of != fold], names))
            predicted = predict_cells(with_parameters(server, found[-1]), hidden)
            tables.append(hidden.assign(repeat=repeat, fold=fold, predicted_s=predicted))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["parameters"] = found
    return table
