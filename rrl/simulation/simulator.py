"""A simulated TensorFlow Serving process: it is fast, and equal seeds give equal results.

``SimulatedServer`` joins two parts. :mod:`rrl.simulation.service_model` computes how fast a
configuration serves. :mod:`rrl.simulation.queueing` passes the requests through the queue.
:mod:`rrl.simulation.testbeds` has ready-made servers, and :mod:`rrl.simulation.optimum` finds the
best configuration of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import Bools, ConfigSpace, Floats
from rrl.simulation.queueing import serve_grid
from rrl.simulation.service_model import BatchSpeed, Machine, Model, lognormal
from rrl.tuning.defaults import LEFT_OUT
from rrl.tuning.episode import Episode, Status, check_arrivals
from rrl.tuning.presets import CPUS
from rrl.tuning.slo import most_cpus

#: Values of the knobs that a space leaves out; 0 CPUs are all of them.
DEFAULTS = MappingProxyType({**LEFT_OUT, CPUS: 0})
#: The least value of a knob, if it is not 0.
LEAST = MappingProxyType({"max_batch_size": 1, "max_enqueued_batches": 1})


@dataclass(frozen=True, eq=False)
class SimulatedServer:
    """A model server whose latencies are simulated.

    Parameters
    ----------
    space : ConfigSpace
        The configurations to choose from. The knobs are `inter_op`, `intra_op` (0: automatic, all
        cores), `batch_threads` (0: batching off), `max_batch_size`, `batch_timeout_micros`,
        `max_enqueued_batches` and `cpus` (0: all). They have the same meaning as in TensorFlow
        Serving and in :mod:`rrl.serving.settings`: a server that is bound to fewer cores has
        fewer automatic threads and fewer threads for requests.
    model, machine
        The model that is served and the machine that runs it.
    fixed : mapping of str to int, optional
        Values of knobs that the space leaves out, if they differ from ``DEFAULTS``.

    Raises
    ------
    ValueError
        If a knob is unknown or given twice, a value is no whole number or too low, or there are
        fewer cores than `cpus`.

    Examples
    --------
    >>> from rrl import Poisson, testbed
    >>> server = testbed("cpu2")
    >>> rng = np.random.default_rng(1)
    >>> arrivals = Poisson(100.0).arrivals(100, rng)
    >>> good = server.measure({"inter_op": 2, "intra_op": 1, "batch_threads": 2}, arrivals, rng)
    >>> poor = server.measure({"inter_op": 1, "intra_op": 2, "batch_threads": 1}, arrivals, rng)
    >>> bool(poor.latency.mean() > 3 * good.latency.mean())
    True
    """

    space: ConfigSpace
    model: Model
    machine: Machine
    fixed: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = (set(self.space.names) | set(self.fixed)) - set(DEFAULTS)
        if unknown:
            raise ValueError(
                f"a simulated server has no knob {sorted(unknown)[0]!r}: use {list(DEFAULTS)}"
            )
        if twice := set(self.space.names) & set(self.fixed):
            raise ValueError(f"{sorted(twice)[0]!r} is a knob of the space: it cannot be fixed too")
        object.__setattr__(self, "fixed", dict(self.fixed))  # that can be sent to a process
        own = ((knob.name, value) for knob in self.space.knobs for value in knob.values)
        for name, value in (*own, *self.fixed.items()):  # the kernel checks nothing
            least = LEAST.get(name, 0)
            if isinstance(value, str) or value < least or value % 1:
                raise ValueError(f"{name} {value!r}: it must be a whole number, {least} or more")
        if (most := most_cpus(self.space) or self.fixed.get(CPUS, 0)) > self.machine.cores:
            raise ValueError(f"{CPUS}={most}: {self.machine.name} has {self.machine.cores:g} cores")

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Serve the requests that arrive at `arrivals` (s) under `configuration`.

        The random numbers do not depend on the configuration, so equal generators give common
        random numbers.

        Raises
        ------
        ValueError
            If the configuration is not in the space, or the arrivals are empty or not sorted.
        """
        index = self.space.index(configuration)
        times = check_arrivals(arrivals)
        latency, rejected = self.grid(times, rng, [index])
        status = np.where(rejected[0], Status.UNAVAILABLE.value, Status.OK.value)
        info = {"server": "simulated", "model": self.model.name, "machine": self.machine.name}
        return Episode(self.space[index], times, latency[0], status, info=info)

    def grid(
        self,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        indices: ArrayLike | None = None,
    ) -> tuple[Floats, Bools]:
        """Serve the same requests, with the same random numbers, under many configurations.

        Parameters
        ----------
        arrivals : array_like, shape (n,)
            Sorted arrival times in seconds.
        rng : numpy.random.Generator
            Generator for the work of each request and for the machine's noise.
        indices : array_like of int, shape (g,), optional
            Indices of the configurations. The default is all configurations of the space.

        Returns
        -------
        latency : ndarray, shape (g, n)
            Seconds from the arrival until the request is answered or rejected.
        rejected : ndarray of bool, shape (g, n)
            Whether each request is rejected.
        """
        times = np.ascontiguousarray(check_arrivals(arrivals))
        n = len(times)
        factor = lognormal(self.model.variation, n, rng) * lognormal(self.machine.noise, 1, rng)
        rate = n / times[-1] if times[-1] > 0 else np.inf
        chosen = np.arange(len(self.space)) if indices is None else np.asarray(indices)
        speeds, *settings = self._of_each
        work, sizes, delays, overhead = (each[chosen] for each in settings)
        speed = speeds.at(rate, chosen)
        departure = np.empty((len(chosen), n))
        rejected = np.empty((len(chosen), n), dtype=bool)
        serve_grid(times, factor, work, speed, sizes, delays, departure, rejected)
        return departure - times + overhead[:, None], rejected

    @cached_property
    def _of_each(self) -> tuple[BatchSpeed, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """What `queueing.serve_grid` needs for each configuration, then the overhead (s).

        It is computed once, so that an episode only looks it up.
        """
        size = len(self.space)
        settings: dict[str, ArrayLike] = {**DEFAULTS, **self.fixed}
        for column, name in enumerate(self.space.names):
            values = np.array(self.space.knobs[column].values)
            settings[name] = values[self.space.value_indices[:, column]]
        knob = {name: np.broadcast_to(values, size) for name, values in settings.items()}
        bound = knob[CPUS] > 0
        cores = np.where(bound, knob[CPUS], self.machine.cores)
        handlers = np.where(bound, 4 * knob[CPUS], self.machine.handlers)
        automatic = cores.astype(np.int64)
        inter = np.where(knob["inter_op"] == 0, automatic, knob["inter_op"])
        intra = np.where(knob["intra_op"] == 0, automatic, knob["intra_op"])
        off = knob["batch_threads"] == 0  # each handler serves its request at once: none waits
        threads = np.where(off, handlers, knob["batch_threads"])
        timeout = np.where(off, 0.0, knob["batch_timeout_micros"] * 1e-6)
        dispatch = np.where(off, 0.0, self.model.dispatch)
        largest, slots = knob["max_batch_size"], np.minimum(inter, threads)
        capacity = knob["max_enqueued_batches"] * largest
        limits = np.stack((largest, slots, threads, capacity, handlers), axis=1).astype(np.int64)
        work = np.tile(self.model.batch_work(int(largest.max())), (size, 1))
        overhead = self.model.overhead + self.machine.wake * (intra >= np.maximum(automatic, 2))
        speeds = BatchSpeed(self.model, self.machine, inter, intra, cores)
        return speeds, work, limits, np.stack((timeout, dispatch), axis=1), overhead
