"""Fit a simulated server to measurements: find the parameters that explain the latencies.

:func:`predict` is a pure function of the server. It draws the same random numbers in every call,
so that an optimiser sees a smooth surface. It serves the same arrivals that were measured, so that
their random variation cancels. :mod:`rrl.simulation.validation` fits whole recorded profiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.simulation.service_model import Model
from rrl.simulation.simulator import SimulatedServer

Floats = NDArray[np.float64]
Case = tuple[Configuration, Floats]  # the arrivals are in seconds
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


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fitted server and how well it explains the measurements.

    Parameters
    ----------
    server : SimulatedServer
        The server with the fitted parameters.
    parameters : dict of str to float
        The parameters that were fitted.
    residuals : ndarray, shape (cells,)
        Logarithm of the ratio of predicted to measured mean latency, averaged over the cases of
        each cell.
    """

    server: SimulatedServer
    parameters: dict[str, float]
    residuals: Floats

    @property
    def error(self) -> float:
        """Root mean square of the residuals; 0.2 means an error of about 20 %."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def predict(
    server: SimulatedServer, cases: Sequence[Case], *, repeats: int = 4, seed: int = 0
) -> Floats:
    """Predict the mean latency of each case in seconds, over `repeats` fixed draws of the work.

    Parameters
    ----------
    server : SimulatedServer
        The server that predicts. The noise of its machine is left out.
    cases : sequence of (configuration, arrivals)
        The configurations and arrivals that it serves.
    repeats : int
        Number of episodes to average over.
    seed : int
        Seed of the draws.

    Returns
    -------
    ndarray, shape (cases,)
        Mean latency in seconds. A rejected request counts the time until its rejection.

    Examples
    --------
    >>> from rrl import testbed
    >>> idle = ({"inter_op": 2, "intra_op": 1, "batch_threads": 2}, [1.0, 2.0])
    >>> round(float(predict(testbed("cpu2"), [idle])[0]), 3)
    0.011
    """
    quiet = replace(server, machine=replace(server.machine, noise=0.0))
    together: dict[bytes, tuple[Floats, list[int]]] = {}
    for i, (_, arrivals) in enumerate(cases):  # cases that share arrivals are served in one call
        key = np.asarray(arrivals, dtype=float).tobytes()
        together.setdefault(key, (arrivals, []))[1].append(i)
    space, out = server.space, np.zeros(len(cases))
    index = space.indices({name: [c[name] for c, _ in cases] for name in space.names})
    for arrivals, members in together.values():
        for k in range(repeats):
            grid = quiet.grid(arrivals, np.random.default_rng([seed, k]), index[members])
            means = [latency.mean(axis=1) for _, latency, _ in grid]
            out[members] += np.concatenate(means) / repeats
    return out


def with_parameters(server: SimulatedServer, parameters: dict[str, float]) -> SimulatedServer:
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


def calibrate(
    server: SimulatedServer,
    cases: Sequence[Case],
    measured: ArrayLike,
    names: Sequence[str] = tuple(START),
    *,
    cells: ArrayLike | None = None,
) -> Calibration:
    """Fit parameters to measured mean latencies by robust least squares of the logarithms.

    Parameters
    ----------
    server : SimulatedServer
        The server from which the fit starts. Its parameters to fit must be above 0.
    cases : sequence of (configuration, arrivals)
        The configurations and arrivals that were measured.
    measured : array_like, shape (cases,)
        Mean latency of each case in seconds.
    names : sequence of str
        The parameters of :class:`rrl.simulation.service_model.Model` and ``Machine`` to fit.
    cells : array_like of int, shape (cases,), optional
        Cases with the same number are repeats of each other. Their logarithms are averaged before
        they are compared. Without `cells`, each case is compared alone.

    Returns
    -------
    Calibration
        The fitted server and its residuals.

    Raises
    ------
    ValueError
        If measurements and cases differ in number, or a parameter is unknown or starts at 0.
    """
    from scipy.optimize import least_squares

    target = np.log(np.asarray(measured, dtype=float))
    if len(target) != len(cases):
        raise ValueError(f"{len(cases)} cases and {len(target)} measurements: give one of each")
    start = [getattr(server.model if name in _MODEL else server.machine, name) for name in names]
    if min(start) <= 0:
        raise ValueError(
            f"parameters to fit must start above 0: {dict(zip(names, start, strict=True))}"
        )

    def fitted(logs: Floats) -> SimulatedServer:
        return with_parameters(server, dict(zip(names, np.exp(logs).tolist(), strict=True)))

    cell = np.unique(np.arange(len(cases)) if cells is None else cells, return_inverse=True)[1]
    size = np.bincount(cell)

    def residuals(logs: Floats) -> Floats:
        predicted = np.log(predict(fitted(logs), cases, repeats=2))
        return np.bincount(cell, predicted - target) / size

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
    parameters = dict(zip(names, np.exp(found.x).tolist(), strict=True))
    return Calibration(fitted(found.x), parameters, residuals(found.x))
