"""The queue of a batching inference server, simulated request by request in compiled code.

One kernel simulates every kind of queue, because each kind is a setting of the same event loop:
multi-server FIFO queues (`speed` is all ones), processor sharing (`speed` is 1/a when `a` batches
run), loss (`capacity`) and batching (`batch_work`, `timeout`). The kernel uses *virtual time*.
Batches that share a machine progress at the same speed. So a batch that starts at progress v ends
at progress v + its work, whichever other batches start or end in between. A heap of these ends is
the only event list, and no request is an object.

The rules are those of TensorFlow Serving's ``SharedBatchScheduler``
(tensorflow/core/kernels/batching_util), for requests of one item:

1. A request holds one of `handlers` threads until it is answered. If no thread is free, it waits.
2. Then it joins the FIFO queue. If `capacity` requests are waiting there, it is rejected.
3. A batch forms as soon as fewer than `threads` batches are in service and either a full batch
   waits or the oldest request has waited for `timeout`.
4. The thread of the batch prepares it for `dispatch` seconds. Then the batch may run.
5. At most ``len(speed)`` batches run. While `a` batches run, each has the speed ``speed[a - 1]``.
   The other batches wait in the order in which they formed.

The simulation leaves out three things. An idle thread of the real scheduler looks at the clock once
per millisecond, so a timeout can act up to a millisecond late. A real request can have several
items. Real requests can have priorities and deadlines.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from rrl.core.space import Bools, Floats, Ints
from rrl.tuning.episode import check_arrivals

NO_LIMIT = int(np.iinfo(np.int64).max)


def simulate_queue(
    arrivals: ArrayLike,
    factor: ArrayLike,
    *,
    batch_work: ArrayLike = (1.0,),
    speed: ArrayLike = (1.0,),
    threads: int = 1,
    timeout: float = 0.0,
    dispatch: float = 0.0,
    capacity: int = NO_LIMIT,
    handlers: int = NO_LIMIT,
) -> tuple[Floats, Bools]:
    """Pass requests through the batching queue that the module describes.

    Parameters
    ----------
    arrivals : array_like, shape (n,)
        Arrival times in seconds, 0 or more, sorted.
    factor : array_like, shape (n,)
        Random factor of each request's work. A batch takes the factor of its first request.
    batch_work : array_like, shape (max_batch_size,)
        Seconds of work of a batch of 1, 2, ... requests that runs alone at speed 1.
    speed : array_like, shape (s,)
        Progress per second of each running batch when 1, 2, ... s batches run. More than s batches
        never run.
    threads : int
        Largest number of batches in service at once, running or waiting to run.
    timeout : float
        Seconds that the oldest request waits for a batch to fill.
    dispatch : float
        Seconds that a batch's thread works on it before it may run. This work does not slow down
        the other batches.
    capacity : int
        Largest number of requests that may wait for a batch.
    handlers : int
        Largest number of requests inside at once, waiting for a batch or in a batch.

    Returns
    -------
    departure : ndarray, shape (n,)
        Time in seconds at which each request is answered or rejected.
    rejected : ndarray of bool, shape (n,)
        Whether each request finds the queue full.

    Raises
    ------
    ValueError
        If a setting is out of its range, or the arrays are empty or differ in length.

    Examples
    --------
    First there are two servers. Then two batches share one machine, each at half speed:

    >>> simulate_queue([0.0, 1.0, 2.0], [5.0, 5.0, 5.0], threads=2, speed=[1, 1])[0]
    array([ 5.,  6., 10.])
    >>> simulate_queue([0.0, 1.0, 2.0], [5.0, 5.0, 5.0], threads=2, speed=[1, 0.5])[0]
    array([ 9., 11., 15.])
    """
    arrivals, factor = check_arrivals(_floats("arrivals", arrivals)), _floats("factor", factor)
    batch_work, speed = _floats("batch_work", batch_work), _floats("speed", speed)
    if len(arrivals) != len(factor):
        raise ValueError(f"{len(arrivals)} arrivals and {len(factor)} factors: give one of each")
    if not (np.all(factor >= 0) and np.all(batch_work > 0) and np.all(speed > 0)):
        raise ValueError("batch_work and speed must be above 0, and factor at least 0")
    for name, value in (("threads", threads), ("capacity", capacity), ("handlers", handlers)):
        if value < 1:
            raise ValueError(f"{name} {value}: must be at least 1")
    for name, delay in (("timeout", timeout), ("dispatch", dispatch)):
        if not 0 <= delay < np.inf:
            raise ValueError(f"{name} {delay} s: must be a number that is at least 0")
    n = len(arrivals)
    departure, rejected = np.empty((1, n)), np.empty((1, n), dtype=bool)
    sizes = np.array([[len(batch_work), len(speed), threads, capacity, handlers]], dtype=np.int64)
    delays = np.array([[timeout, dispatch]], dtype=float)
    serve_grid(arrivals, factor, batch_work[None], speed[None], sizes, delays, departure, rejected)
    return departure[0], rejected[0]


def _floats(name: str, values: ArrayLike) -> Floats:
    array = np.ascontiguousarray(values, dtype=float).reshape(-1)
    if not (len(array) and np.all(np.isfinite(array))):
        raise ValueError(f"{name} must hold at least one number, and only finite ones")
    return array


@njit(cache=True)
def serve_grid(
    arrivals: Floats,
    factor: Floats,
    batch_work: Floats,
    speed: Floats,
    sizes: Ints,
    delays: Floats,
    departure: Floats,
    rejected: Bools,
) -> None:
    """Run every configuration on the same arrivals and factors, in one compiled call.

    Parameters
    ----------
    arrivals, factor : ndarray, shape (n,)
        As in :func:`simulate_queue`. They are not checked again.
    batch_work : ndarray, shape (g, b)
        As in :func:`simulate_queue`, one row per configuration. Entries beyond its largest batch
        are not used.
    speed : ndarray, shape (g, s)
        As in :func:`simulate_queue`, one row per configuration. Entries beyond its slots are not
        used.
    sizes : ndarray of int, shape (g, 5)
        Largest batch, slots (the number of entries of `speed` in use), threads, capacity and
        handlers.
    delays : ndarray, shape (g, 2)
        Timeout and dispatch in seconds.
    departure, rejected : ndarray, shape (g, n)
        Output arrays that this function fills.
    """
    edges, queue = np.empty(len(arrivals) + 1, np.int64), np.empty(len(arrivals), np.int64)
    for g in range(len(sizes)):
        work, slots = batch_work[g, : sizes[g, 0]], speed[g, : sizes[g, 1]]
        limits = (sizes[g, 2], sizes[g, 3], sizes[g, 4])
        delay = (delays[g, 0], delays[g, 1])
        into = departure[g], rejected[g]
        _serve(arrivals, factor, work, slots, limits, delay, *into, queue, edges)


@njit(cache=True)
def _serve(  # noqa: C901, PLR0915 (one loop, whose branches are the kinds of event)
    arrivals: Floats,
    factor: Floats,
    batch_work: Floats,
    speed: Floats,
    limits: tuple[int, int, int],
    delays: tuple[float, float],
    departure: Floats,
    rejected: Bools,
    queue: Ints,
    edges: Ints,
) -> None:
    """Fill `departure` and `rejected`; batch b is queue[edges[b]] to queue[edges[b + 1] - 1]."""
    (threads, capacity, handlers), (timeout, dispatch) = limits, delays
    n, max_batch, slots = len(arrivals), len(batch_work), len(speed)
    ends, running = np.empty(slots), np.empty(slots, np.int64)  # heap: progress at the end, batch
    pace = 1.0 / speed  # seconds per unit of progress: multiplying is faster than dividing
    now, progress, ready = 0.0, 0.0, np.inf  # ready: when the next batch may run, if a slot is free
    arrived = accepted = inside = 0  # requests; those that were accepted are in `queue`
    formed = begun = ended = 0  # batches so far
    edges[0] = 0
    while arrived < n or inside > 0:
        active = begun - ended
        finish = arrive = expire = np.inf
        if active > 0:
            finish = now + max(ends[0] - progress, 0.0) * pace[active - 1]
        if arrived < n and inside < handlers:
            arrive = max(arrivals[arrived], now)
        head = edges[formed]  # of those that wait for a batch
        if head < accepted and formed - ended < threads:
            expire = departure[queue[head]] + timeout  # while it waits: the time when it came in
        event = min(finish, arrive, expire, ready)
        if active > 0:
            progress = ends[0] if event == finish else progress + (event - now) * speed[active - 1]
        now = event

        if event == finish:
            batch = _pop(ends, running, active)
            for j in range(edges[batch], edges[batch + 1]):
                departure[queue[j]] = now
            ended, inside = ended + 1, inside - (edges[batch + 1] - edges[batch])
        elif event == arrive:
            departure[arrived] = now
            rejected[arrived] = accepted - head >= capacity
            if not rejected[arrived]:
                queue[accepted] = arrived
                accepted, inside = accepted + 1, inside + 1
            arrived += 1

        while head < accepted and formed - ended < threads:  # form every batch that can form
            oldest, waiting = queue[head], accepted - head
            if waiting < max_batch and now < departure[oldest] + timeout:
                break
            departure[oldest] = now + dispatch
            head, formed = head + min(waiting, max_batch), formed + 1
            edges[formed] = head
        if begun == ended:
            progress = 0.0  # the machine is idle: reset, so that rounding errors do not add up
        ready = np.inf
        while begun < formed and begun - ended < slots:  # start every batch that can run
            first, size = queue[edges[begun]], edges[begun + 1] - edges[begun]
            if departure[first] > now:
                ready = departure[first]
                break
            work = factor[first] * batch_work[size - 1]
            _push(ends, running, begun - ended, progress + work, begun)
            begun += 1


@njit(cache=True)
def _push(ends: Floats, running: Ints, size: int, end: float, batch: int) -> None:
    """Add a batch to a binary heap of `size` entries."""
    i = size
    while i > 0 and ends[(i - 1) >> 1] > end:
        ends[i], running[i] = ends[(i - 1) >> 1], running[(i - 1) >> 1]
        i = (i - 1) >> 1
    ends[i], running[i] = end, batch


@njit(cache=True)
def _pop(ends: Floats, running: Ints, size: int) -> int:
    """Remove the batch that ends first from a heap of `size` entries and return it."""
    first, last = running[0], size - 1
    end, batch, i, child = ends[last], running[last], 0, 1
    while child < last:
        if child + 1 < last and ends[child + 1] < ends[child]:
            child += 1
        if ends[child] >= end:
            break
        ends[i], running[i] = ends[child], running[child]
        i, child = child, 2 * child + 1
    ends[i], running[i] = end, batch
    return first
