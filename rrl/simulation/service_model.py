"""The service model: how fast a machine runs a model, computed from the sizes of its thread pools.

The thread pools of TensorFlow are modelled as follows, while `a` batches run at once.

* The inter-op pool has `inter_op` threads. It limits how many batches run: a <= inter_op. A batch
  whose graph has parallel `branches` uses q = min(branches, inter_op / a) threads of the pool.
* The whole process has one intra-op pool. The r = a q threads that run an operation take part in
  it and share its intra_op - 1 helpers. So an operation has t = 1 + (intra_op - 1) / r threads.
* Alone on enough cores, a batch with `work` core-seconds takes T = work / q (1 - f + f / t) + sync
  seconds. The first term is Amdahl's law for the parallel fraction f of the operations. If
  operations are split, `sync` is the time that the batch waits for the slowest part of each
  operation.
* A batch keeps work / T cores busy. The others of the r + intra_op - 1 threads spin for a `spin`
  fraction of their time. To receive and answer a request takes `front_end` core-seconds, also on
  these cores, but on half of them at most. The sum is a demand of D cores. If D exceeds the number
  of cores, the speed of everything is multiplied by cores / D. Each busy core also slows down the
  others by `contention` (caches, memory bandwidth).
* Threads that take turns on a core cost more than their share. With r running threads, everything
  slows down by a further `switching` (r / cores - 1) if r exceeds the number of cores.
* Helpers that look for work occupy cores that the receiving and answering threads need. If the
  intra-op pool is as large as the machine, each request waits `wake` seconds longer for a core.

The last two effects were found in the residuals of a fit without them. The simulator's notebook
shows how much they explain.

Everything is a pure function of arrays, so a whole grid is evaluated in one call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.space import Floats

FRONT_END_FRACTION = 0.5  # of the cores at most, because the system's scheduler is fair


@dataclass(frozen=True)
class Model:
    """The work and the waiting times of a model.

    Parameters
    ----------
    name : str
        A name for human readers.
    item : float
        Core-seconds of work per request.
    fixed : float
        Core-seconds of work per batch, independent of its size.
    parallel : float
        Fraction f of an operation's work that intra-op threads can split, from 0 to 1.
    sync : float
        Seconds that a batch waits because its operations are split.
    branches : float
        Number of operations of the graph that can run in parallel, at least 1.
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
        """Return core-seconds of batches of 1, 2, ..., `max_batch` requests, shape (max_batch,)."""
        return self.fixed + self.item * np.arange(1, max_batch + 1, dtype=float)


@dataclass(frozen=True)
class Machine:
    """The machine that runs a model.

    Parameters
    ----------
    name : str
        A name for human readers.
    cores : float
        Core-seconds of work per second when the whole machine is busy. For a CPU, this is its
        number of cores.
    spin : float
        Fraction of its idle time during which a pool thread keeps a core busy, from 0 to 1.
    contention : float
        Relative slow-down of everything for each busy core beyond the first.
    switching : float
        Relative slow-down of everything when twice as many threads run as there are cores.
    wake : float
        Seconds of extra latency per request if `intra_op` is at least the number of cores.
    noise : float
        Coefficient of variation of the machine's speed from episode to episode (lognormal).
    handlers : int, optional
        Number of threads that hold one request each (``--grpc_max_threads``). The default is 4 per
        core.

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
    """Draw lognormal numbers with mean 1 and a given coefficient of variation, shape (n,)."""
    sigma = np.sqrt(np.log1p(variation**2))
    return np.exp(sigma * rng.standard_normal(n) - sigma**2 / 2)


class BatchSpeed:
    """The speed of each running batch, which the queue needs from the machine.

    What does not depend on the load is computed once.

    Parameters
    ----------
    model, machine
        The model and the machine that runs it.
    inter_op, intra_op : array_like of int, shape (g,)
        Number of threads in each of the two pools, at least 1.
    cores : array_like, shape (g,), optional
        Number of cores that each server is bound to. The default is all.

    Examples
    --------
    >>> model, machine = Model("m", item=0.01, parallel=1.0), Machine("two cores", cores=2)
    >>> BatchSpeed(model, machine, [1, 2, 2], [1, 1, 2]).at(rate=0.0)
    array([[1., 1.],
           [1., 1.],
           [2., 1.]])
    """

    def __init__(
        self,
        model: Model,
        machine: Machine,
        inter_op: ArrayLike,
        intra_op: ArrayLike,
        cores: ArrayLike | None = None,
    ) -> None:
        inter, intra = np.atleast_1d(inter_op)[:, None], np.atleast_1d(intra_op)[:, None]
        running = np.arange(1, inter.max() + 1)
        width = np.clip(inter / running, 1.0, model.branches)  # q: operations of a batch at once
        threads = 1 + (intra - 1) / (running * width)  # t: threads per operation
        work = model.fixed + model.item
        alone = work / width * (1 - model.parallel + model.parallel / threads)
        alone = alone + model.sync * (intra > 1)  # seconds of a batch on free cores
        busy = running * work / alone
        idle = np.maximum(running * width + intra - 1 - busy, 0.0) * (intra > 1)
        given = np.atleast_1d(machine.cores if cores is None else cores)
        bound = np.broadcast_to(given[:, None], inter.shape)
        beyond = np.maximum(running * width / bound - 1, 0.0)  # more threads than cores
        demand = busy + machine.spin * idle  # cores that all running batches want
        self._model, self._machine = model, machine
        self._parts = alone, demand, 1 + machine.switching * beyond, bound

    def at(self, rate: float, rows: NDArray[np.int64] | slice = slice(None)) -> Floats:
        """Return the speeds at `rate` arrivals per second, which load the front end.

        Returns
        -------
        ndarray, shape (rows, max(inter_op))
            Core-seconds of work that each batch completes per second when 1, 2, ... batches run.
            Only the first ``inter_op`` entries of a row have a meaning. For batches of several
            requests, the fraction of `sync` is assumed to be that of a batch of one request.
        """
        alone, demand, crossing, bound = (part[rows] for part in self._parts)
        model, front_end = self._model, np.zeros(1)
        if model.front_end > 0:  # the rate is infinite if all requests arrive at once
            front_end = np.minimum(rate * model.front_end, FRONT_END_FRACTION * bound)
        cores = demand + front_end
        crowd = np.maximum(np.minimum(cores, bound) - 1, 0.0)
        slow = np.maximum(cores / bound, 1.0) * (1 + self._machine.contention * crowd)
        return (model.fixed + model.item) / (alone * slow * crossing)


def _at_least(thing: Model | Machine, least: float, *names: str) -> None:
    for name in names:
        value = getattr(thing, name)
        if not least <= value < np.inf:
            raise ValueError(f"{type(thing).__name__} {name} {value}: must be at least {least:g}")
