"""The problems that agents are compared on: opened by name, with their truth.

Three spaces are made on purpose, because the recorded grids are complete and ordered. Each has a
table of mean costs, which follows from a fixed seed. A region must cope with a knob whose values
have no order, with combinations that are not valid, and with a space of which most is missing.

==================  ================================================================
name                space
==================  ================================================================
``made-category``   a category of 6 values and two ordered knobs of 8 values
``made-binary``     8 binary knobs; a random half of the 256 combinations is invalid
``made-sparse``     6 ordered knobs of 5 values; a random tenth of the 15,625 exists
==================  ================================================================

The *drawn* problems are made surfaces on the paper's grid (:mod:`rrl.studies.surfaces`), of the
kinds that judge: ``drawn-ridge-15-7`` is a ridge whose neighbours differ by 15 %, and an episode
has 7 % noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import map_coordinates

from rrl.core.knob import Configuration, Knob
from rrl.core.space import ConfigSpace, Floats
from rrl.recording.profile import Profile, read_profile
from rrl.recording.replay import NoisyReplay, RecordedServer
from rrl.simulation.testbeds import TESTBEDS
from rrl.studies.scenario import Scenario, find_truth
from rrl.studies.settings import Load, Problem, workload
from rrl.studies.surfaces import JUDGING_KINDS, cube, made_surface
from rrl.support.errors import UsageError
from rrl.tuning.episode import Episode, Server, Status, check_arrivals
from rrl.tuning.presets import paper_cpu
from rrl.workloads.workload import Poisson, Workload

PathLike = str | Path

SURFACES = ("wide", "narrow", "pool")
"""Synthetic tables of mean costs on the paper's grid."""

FINE, FINER = "wide-fine", 4
"""The first surface on a finer grid, with so many steps of a knob in place of one."""

NOISY = ("keyword-joint",)
"""Recordings that are replayed with noise: a half has one episode of most configurations."""

ANY_LOAD = 10.0  # requests per second; the costs of a surface do not depend on it


@lru_cache(maxsize=64)
def open_scenario(
    testbed: str, load: Load | Workload | None = None, data: PathLike = "data"
) -> Scenario:
    """Make a scenario quickly, without computing its truth; a surface has its truth already.

    A later call that gives the same arguments in the same way returns the same one.

    Parameters
    ----------
    testbed : str
        This is one of `WITHOUT_LOAD`, a simulated testbed (see :func:`rrl.testbed`), or the
        name of a profile in `data`. The first half of a profile is replayed. With ``/1`` after the
        name, the second half is replayed. The recordings of `NOISY` are replayed with noise.
    load : float, tuple or Workload, optional
        This is the load of a :class:`rrl.studies.settings.Setting`, or any workload. A recorded
        load is replayed as it is. Under a workload that changes, each episode gets the nearest
        recorded load. A surface has no load.
    data : path
        This is the folder of the profiles and the surfaces.

    Raises
    ------
    DataError
        If `testbed` is none of these, or the load was not recorded.
    UsageError
        If there is no load, or no workload like that.

    Examples
    --------
    >>> open_scenario("pool").cost.shape, open_scenario("gpu", 500.0).name
    ((1331,), 'gpu 500/s')
    """
    if testbed in SURFACES:
        with np.load(Path(data) / "surfaces" / "surfaces.npz") as surfaces:
            return surface(testbed, paper_cpu(), surfaces[testbed].ravel())
    if testbed == FINE:
        return surface(testbed, *_finer(open_scenario(SURFACES[0], data=data)))
    if testbed in DRAWN:
        kind, rough, noise = DRAWN[testbed]
        return surface(testbed, cube()[0], made_surface(kind, rough, FROM), noise)
    if testbed in MADE:
        space, cost = _MAKERS[testbed](np.random.default_rng(0))
        return surface(testbed, space, cost / cost.min(), NOISE)
    if load is None:
        raise UsageError(f"testbed {testbed} needs a load: a rate, or a workload")
    arrivals = workload(load) if isinstance(load, int | float | tuple) else load
    rate_per_s = float(load) if isinstance(load, int | float) else None
    requests = 100
    if testbed in TESTBEDS:
        server: Server = TESTBEDS[testbed]()
    else:
        name, half = half_of(testbed)
        profile = _profile(Path(data) / name)
        replay = NoisyReplay if name in NOISY else RecordedServer
        server, requests = replay(profile, rate_per_s, half), profile.requests
    of_load = f"{rate_per_s:g}/s" if rate_per_s is not None else type(arrivals).__name__.lower()
    unknown = np.full(len(server.space), np.nan)
    return Scenario(f"{testbed} {of_load}", server, arrivals, unknown, requests)


def _finer(coarse: Scenario) -> tuple[ConfigSpace, Floats]:
    """Return a surface on a finer grid: between two steps, log costs are interpolated linearly."""
    order = [np.argsort(knob.positions) for knob in coarse.space.knobs]  # that of their effect
    logs = np.log(coarse.cost.reshape(coarse.space.shape)[np.ix_(*order)])
    axes = [np.arange((n - 1) * FINER + 1) for n in logs.shape]
    at = np.stack(np.meshgrid(*axes, indexing="ij")) / FINER
    space = ConfigSpace([Knob(f"knob{i}", tuple(axis.tolist())) for i, axis in enumerate(axes)])
    return space, np.exp(map_coordinates(logs, at, order=1))


@lru_cache(maxsize=16)
def _profile(folder: Path) -> Profile:
    """Read a profile once for all its loads and halves: parsing takes a tenth of a second."""
    return read_profile(folder)


def half_of(testbed: str) -> tuple[str, int]:
    """Return the name of a profile and the number of the half that agents replay.

    Examples
    --------
    >>> half_of("keyword-threads"), half_of("keyword-threads/1")
    (('keyword-threads', 0), ('keyword-threads', 1))
    """
    name, _, half = testbed.partition("/")
    return name, int(half or 0)


def both_halves(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems, and after each recorded one the same with its second half replayed.

    Examples
    --------
    >>> both_halves([("gpu", 500.0), ("keyword-threads", 900.0)])
    [('gpu', 500.0), ('keyword-threads', 900.0), ('keyword-threads/1', 900.0)]
    """
    found = []
    for testbed, load in problems:
        recorded = testbed not in (*TESTBEDS, *WITHOUT_LOAD)
        found += [(testbed, load), (f"{testbed}/1", load)][: 1 + recorded]
    return found


@lru_cache(maxsize=32)
def with_truth(
    testbed: str, load: float | None = None, data: PathLike = "data", *, replications: int = 300
) -> Scenario:
    """Make a scenario with its truth; later calls reuse it.

    Parameters
    ----------
    testbed, load, data
        See :func:`open_scenario`.
    replications : int, optional
        A simulated truth uses this many episodes per configuration.

    Examples
    --------
    >>> with_truth("keyword-threads", 900.0) is with_truth("keyword-threads", 900.0)
    True
    """
    scenario = open_scenario(testbed, load, data)
    if scenario.known:
        return scenario
    return scenario.knowing(find_truth(scenario, replications=replications))


class SurfaceServer:
    """The usual abstraction of a server: mean costs with independent normal noise per episode.

    Parameters
    ----------
    space : ConfigSpace
    cost : array_like, shape (configurations,)
        This is the mean cost of each configuration.
    noise : float
        This is the coefficient of variation of an episode's cost.
    """

    def __init__(self, space: ConfigSpace, cost: ArrayLike, noise: float = 0.07) -> None:
        self.space, self.cost, self.noise = space, np.asarray(cost, dtype=float).ravel(), noise

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Charge the same cost to every request of the episode."""
        arrivals = check_arrivals(arrivals)
        mean = self.cost[self.space.index(configuration)]
        cost = mean * max(1 + self.noise * rng.standard_normal(), 0.1)
        n = len(arrivals)
        info = {"server": "surface"}
        latency, status = np.full(n, cost), np.full(n, Status.OK.value)
        return Episode(configuration, arrivals, latency, status, info=info)


def surface(name: str, space: ConfigSpace, cost: ArrayLike, noise: float = 0.07) -> Scenario:
    """Make a scenario from a table of mean costs, see `SurfaceServer`.

    Examples
    --------
    >>> from rrl import Knob
    >>> line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])
    >>> line.optimum
    1.0
    """
    server = SurfaceServer(space, cost, noise)
    return Scenario(name, server, Poisson(ANY_LOAD), server.cost)


# --- spaces made on purpose -----------------------------------------------------------------------

NOISE = 0.1
"""The coefficient of variation of an episode's cost on these spaces."""


def _category(rng: np.random.Generator) -> tuple[ConfigSpace, Floats]:
    """Each value of the category has its own best numbers of threads, and its own factor."""
    knobs = [Knob("policy", tuple("abcdef")), Knob("threads", range(8)), Knob("batch", range(8))]
    space = ConfigSpace(knobs)
    best = rng.uniform(1, 6, 2) + rng.normal(0, 1, (6, 2))
    factor, curvature = rng.normal(0, 0.3, 6), rng.uniform(0.02, 0.08, 2)
    policy, *ordered = space.value_indices.T
    away = np.stack(ordered, axis=1) - best[policy]
    return space, np.exp(factor[policy] + away**2 @ curvature)


def _binary(rng: np.random.Generator) -> tuple[ConfigSpace, Floats]:
    """Each knob has an effect, and each pair of knobs has one."""
    valid = np.zeros(256, dtype=np.bool_)
    valid[rng.permutation(256)[:128]] = True
    knobs = [Knob(f"option_{number}", (0, 1)) for number in range(8)]
    space = ConfigSpace(knobs, np.argwhere(valid.reshape((2,) * 8)))
    x = space.value_indices.astype(float)
    pairs = np.triu(rng.normal(0, 0.15, (8, 8)), 1)
    return space, np.exp(x @ rng.normal(0, 0.25, 8) + np.einsum("ni,ij,nj->n", x, pairs, x))


def _sparse(rng: np.random.Generator) -> tuple[ConfigSpace, Floats]:
    """A bowl whose axes are no knobs, and a little roughness; some knobs hardly matter."""
    exists = np.zeros(5**6, dtype=np.bool_)
    exists[rng.permutation(5**6)[: 5**6 // 10]] = True
    knobs = [Knob(name, range(5)) for name in "abcdef"]
    space = ConfigSpace(knobs, np.argwhere(exists.reshape((5,) * 6)))
    away = space.value_indices - rng.uniform(0.5, 3.5, 6)
    curvature = rng.lognormal(np.log(0.03), 1.0, 6)
    bent = np.diag(np.sqrt(curvature)) @ (np.eye(6) + np.triu(rng.normal(0, 0.2, (6, 6)), 1))
    rough = rng.normal(0, 0.03, len(space))
    return space, np.exp(((away @ bent.T) ** 2).sum(axis=1) + rough)


_MAKERS: dict[str, Callable[[np.random.Generator], tuple[ConfigSpace, Floats]]] = {
    "made-category": _category,
    "made-binary": _binary,
    "made-sparse": _sparse,
}
MADE = tuple(_MAKERS)

ROUGHNESSES, NOISES = (0.015, 0.05, 0.15, 0.5), (0.07, 0.3)
DRAWN = {
    f"drawn-{kind}-{100 * rough:g}-{100 * noise:g}": (kind, rough, noise)
    for i, kind in enumerate(JUDGING_KINDS)
    for k, rough in enumerate(ROUGHNESSES)
    for noise in NOISES[(i + k) % 2 :: 2]
}
"""The kind, the roughness and the noise of each drawn problem; the noises take turns."""
FROM = 4600
"""The seed that the drawn problems are drawn from; no other study draws it."""

WITHOUT_LOAD = (*SURFACES, FINE, *MADE, *DRAWN)
"""The problems that are tables of mean costs: no load changes them, and their truth is known."""
