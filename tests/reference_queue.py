"""A slow, literal queue to hold the compiled kernel against; it shares no idea with it.

Batches are objects in a deque, opened and closed as TensorFlow Serving's scheduler does it, and
every running batch has its remaining work counted down at every event.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

INFINITE = float("inf")


@dataclass
class Batch:
    requests: list = field(default_factory=list)
    opened: object = None  # when its first request came
    ready: object = None  # when its thread has prepared it
    remaining: object = None  # work
    runs: bool = False


class Scheduler:
    """SharedBatchScheduler's queue for requests of one item."""

    def __init__(self, max_batch, timeout, max_enqueued):
        self.max_batch, self.timeout, self.max_enqueued = max_batch, timeout, max_enqueued
        self.batches = deque([Batch()])  # the last one is open, the others are closed

    def schedule(self, request, now):
        if len(self.batches[-1].requests) + 1 > self.max_batch:
            if len(self.batches) >= self.max_enqueued:
                return False
            self.batches.append(Batch())
        if not self.batches[-1].requests:
            self.batches[-1].opened = now
        self.batches[-1].requests.append(request)
        return True

    def expires(self):
        """When the open batch may be taken although it is not full."""
        last = self.batches[-1]
        return last.opened + self.timeout if last.requests else INFINITE

    def take(self, now):
        last = self.batches[-1]
        full = len(last.requests) >= self.max_batch
        if len(self.batches) == 1 and last.requests and (full or now >= self.expires()):
            self.batches.append(Batch())
        return self.batches.popleft() if len(self.batches) > 1 else None


class ReferenceQueue:
    """Runs on construction; `departure` and `rejected` are the outcome."""

    def __init__(
        self,
        arrivals,
        factor,
        *,
        batch_work=(1,),
        speed=(1,),
        threads=1,
        timeout=0,
        dispatch=0,
        max_enqueued=INFINITE,
        handlers=INFINITE,
    ):
        self.arrivals, self.factor = arrivals, factor
        self.batch_work, self.speed = batch_work, speed
        self.threads, self.dispatch, self.handlers = threads, dispatch, handlers
        self.scheduler = Scheduler(len(batch_work), timeout, max_enqueued)
        self.departure, self.rejected = [None] * len(arrivals), [False] * len(arrivals)
        self.coming, self.service = deque(range(len(arrivals))), []
        self.now = self.inside = 0
        while self.coming or self.inside:
            self.step()

    def step(self):
        running = [batch for batch in self.service if batch.runs]
        waiting = [batch for batch in self.service if not batch.runs]
        pace = self.speed[len(running) - 1] if running else 0
        events = [(self.now + batch.remaining / pace, 0, batch) for batch in running]
        if self.coming and self.inside < self.handlers:
            events.append((self.arrivals[self.coming[0]], 1, None))
        if waiting and len(running) < len(self.speed):
            events.append((waiting[0].ready, 3, waiting[0]))
        if len(self.service) < self.threads:
            events.append((self.scheduler.expires(), 2, None))
        then, kind, batch = min(events, key=lambda event: (max(event[0], self.now), event[1]))
        self.advance(max(then, self.now), running, pace)
        if kind == 0:
            self.finish(batch)
        elif kind == 1:
            self.arrive(self.coming.popleft())
        elif kind == 3:
            batch.runs = True
        while len(self.service) < self.threads and (batch := self.scheduler.take(self.now)):
            self.begin(batch)

    def advance(self, then, running, pace):
        for batch in running:
            batch.remaining -= (then - self.now) * pace
        self.now = then

    def arrive(self, request):
        if self.scheduler.schedule(request, self.now):
            self.inside += 1
        else:
            self.departure[request], self.rejected[request] = self.now, True

    def begin(self, batch):
        size = len(batch.requests)
        batch.remaining = self.factor[batch.requests[0]] * self.batch_work[size - 1]
        batch.ready = self.now + self.dispatch
        self.service.append(batch)

    def finish(self, batch):
        self.service.remove(batch)
        self.inside -= len(batch.requests)
        for j in batch.requests:
            self.departure[j] = self.now
