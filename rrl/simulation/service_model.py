"""How fast a machine runs a model: from the thread pools to seconds.

The pools of TensorFlow, as modelled. a batches run at once.

* The inter-op pool (`inter_op` threads) bounds how many run: a <= inter_op. A batch whose graph has
  parallel `branches` uses q = min(branches, inter_op / a) of its threads.
* The intra-op pool is one for the whole process. The r = a q threads that run an operation take
  part in it and share its intra_op - 1 helpers: t = 1 + (intra_op - 1) / r threads an operation.
* Alone on enough cores, a batch with `work` core-seconds then takes
  T = work / q (1 - f + f / t) + sync: Amdahl's law for the operations' parallel share f, and
  `sync` seconds of waiting for the slowest part of each operation once operations are split.
* A batch keeps work / T cores busy, and each further thread of the pools spins for a `spin` share
  of its time. Together with the receiving and answering of requests (`front_end` core-seconds
  each, also on these cores) that is a demand of D cores. Where D exceeds the cores, all slow down
  by cores / D; busy cores slow each other down by `contention` each (caches, memory bandwidth).
* Threads that take turns on a core cost more than their share: with r running threads all slow
  down by a further `switching` (r / cores - 1) where r exceeds the cores.
* Helpers that look for work hold cores that the receiving and answering threads need. Where the
  intra-op pool is as large as the machine, each request waits `wake` seconds longer for a core.

The last two were found in the residuals of a fit without them; the simulator's notebook shows how
much they explain.

Everything is a pure function of arrays, so a whole grid is evaluated in one go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
FRONT_END_SHARE = 0.5  # of the cores at most: the scheduler of the system is fair


@dataclass(frozen=True)
class Model:
    """What a model costs.

    Parameters
    ----------
    name : str
        For people.
    item : float
        Core-seconds of work per request.
    fixed : float
        Core-seconds of work per batch, whatever its size.
    parallel : float
        Share f of an operation's work that intra-op threads can split, 0 to 1.
    sync : float
        Seconds of waiting per batch that splitting its operations costs.
    branches : float
        Operations of the graph that can run side by side, at least 1.
    dispatch : float
        Seconds that a batch spends in its batch thread before and after its graph runs.
    front_end : float
        Core-seconds per request outside the model: receiving, decoding, answering.
    overhead : float
        Seconds of latency per request outside the queue.
    variation : float
        Coefficient of variation of a batch's work (lognormal).

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> Model("affine", item=0.001, fixed=0.004).batch_work(4).round(3)
    array([0.005, 0.006, 0.007, 0.008])
    """

    name: str
    item: float
    fixed: float = 0.0
    parallel: float = 0.0
    sync: float = 0.0
    branches: float = 1.0
    dispatch: float = 0.0
    front_end: float = 0.0
    overhead: float = 0.0
    variation: float = 0.0

    def __post_init__(self) -> None:
        _at_least(self, 0.0, "fixed", "sync", "dispatch", "front_end", "overhead", "variation")
        _at_least(self, 0.0, "parallel")
        _at_least(self, 1.0, "branches")
        if not (0 < self.item < np.inf and self.parallel <= 1):
            raise ValueError(f"item {self.item} must be above 0, parallel {self.parallel} up to 1")

    def batch_work(self, max_batch: int) -> Floats:
        """Core-seconds of a batch of 1, 2, ..., `max_batch` requests, shape (max_batch,)."""
        return self.fixed + self.item * np.arange(1, max_batch + 1)

    def factors(self, n: int, rng: np.random.Generator) -> Floats:
        """Random factors of the work, with mean 1, shape (n,)."""
        return lognormal(self.variation, n, rng)


@dataclass(frozen=True)
class Machine:
    """What a model runs on.

    Parameters
    ----------
    name : str
        For people.
    cores : float
        Batches' worth of work done per second when all is busy: the cores of a CPU.
    spin : float
        Share of its time that a pool thread burns while it has nothing to do, 0 to 1.
    contention : float
        Slow-down of all by each busy core beyond the first.
    switching : float
        Slow-down of all where twice as many threads run as there are cores.
    wake : float
        Seconds of latency per request where `intra_op` is at least the number of cores.
    noise : float
        Coefficient of variation of the machine's speed from episode to episode (lognormal).
    handlers : int, optional
        Threads that hold a request each (``--grpc_max_threads``); 4 a core by default.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> Machine("laptop", cores=2).handlers
    8
    """

    name: str
    cores: float
    spin: float = 0.0
    contention: float = 0.0
    switching: float = 0.0
    wake: float = 0.0
    noise: float = 0.0
    handlers: int = 0

    def __post_init__(self) -> None:
        _at_least(self, 1.0, "cores")
        _at_least(self, 0.0, "spin", "contention", "switching", "wake", "noise", "handlers")
        if self.spin > 1:
            raise ValueError(f"spin {self.spin}: must lie in 0 to 1")
        if not self.handlers:
            object.__setattr__(self, "handlers", int(4 * self.cores))


def lognormal(variation: float, n: int, rng: np.random.Generator) -> Floats:
    """Lognormal numbers of mean 1 and the given coefficient of variation, shape (n,)."""
    sigma = np.sqrt(np.log1p(variation**2))
    return np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2)


def batch_speed(
    model: Model, machine: Machine, inter_op: ArrayLike, intra_op: ArrayLike, rate: float
) -> Floats:
    """Speed of each running batch, by how many run: what the queue needs to know of the machine.

    Parameters
    ----------
    model, machine
        What runs on what.
    inter_op, intra_op : array_like of int, shape (g,)
        Threads in the two pools, at least 1.
    rate : float
        Arrivals per second, for the front end.

    Returns
    -------
    ndarray, shape (g, max(inter_op))
        Core-seconds of work that a batch gets done per second when 1, 2, ... run; only the first
        ``inter_op`` entries of a row mean something. For batches of several requests the share of
        `sync` is taken as for one.

    Examples
    --------
    >>> model, machine = Model("m", item=0.01, parallel=1.0), Machine("two cores", cores=2)
    >>> batch_speed(model, machine, [1, 2, 2], [1, 1, 2], rate=0.0)
    array([[1., 1.],
           [1., 1.],
           [2., 1.]])
    """
    inter, intra = np.atleast_1d(inter_op)[:, None], np.atleast_1d(intra_op)[:, None]
    running = np.arange(1, inter.max() + 1)
    width = np.clip(inter / running, 1.0, model.branches)  # q: operations of a batch at once
    threads = 1 + (intra - 1) / (running * width)  # t: threads an operation
    work = model.fixed + model.item
    alone = work / width * (1 - model.parallel + model.parallel / threads)
    alone = alone + model.sync * (intra > 1)
    busy = running * work / alone
    idle = np.maximum(running * width + intra - 1 - busy, 0.0) * (intra > 1)
    front_end = 0.0
    if model.front_end > 0:  # the rate is infinite where all requests come at once
        front_end = min(rate * model.front_end, FRONT_END_SHARE * machine.cores)
    demand = busy + machine.spin * idle + front_end
    crowd = np.maximum(np.minimum(demand, machine.cores) - 1, 0.0)
    slow = np.maximum(demand / machine.cores, 1.0) * (1 + machine.contention * crowd)
    crossing = np.maximum(running * width / machine.cores - 1, 0.0)
    return work / (alone * slow * (1 + machine.switching * crossing))


def _at_least(thing: Model | Machine, least: float, *names: str) -> None:
    for name in names:
        value = getattr(thing, name)
        if not least <= value < np.inf:
            raise ValueError(f"{type(thing).__name__} {name} {value}: must be at least {least:g}")
