"""Which server gets the next call: the one in service, or a fraction of them one on trial."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from rrl.serving.route import Route

_GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples modulo 1 fill the unit interval evenly


class _Plan(NamedTuple):
    """Where calls go: a fraction to the first server, the others to the second one."""

    first: Route | None = None
    second: Route | None = None
    fraction: float = 1.0

    def routes(self) -> list[Route]:
        return [route for route in (self.first, self.second) if route]


class Routing:
    """The servers behind a front, and which of them gets the next call; many threads may ask.

    Parameters
    ----------
    most_on_trial : int
        How many open calls a server on trial may have. The others go to the second server.
    """

    def __init__(self, most_on_trial: int) -> None:
        self._most_on_trial = most_on_trial
        self._plan, self._switching = _Plan(), threading.Lock()
        self._position = 0.0

    @property
    def present(self) -> Route | None:
        """The server in service, which is not the one on trial."""
        return self._plan.second or self._plan.first

    def choose(self, synthetic: bool) -> Route | None:
        """Return the server for the next call, and count the call as one of its open calls.

        A synthetic call is rrl's own, and goes to the first server.
        """
        with self._switching:  # no switch may come between the choice and the count
            first, second, fraction = self._plan
            route = first
            if (
                first
                and second
                and not synthetic
                and (first.calls >= self._most_on_trial or self._draw() >= fraction)
            ):
                route = second
            if route:
                route.begin()
            return route

    def _draw(self) -> float:
        self._position = (self._position + _GOLDEN) % 1
        return self._position

    def other(self, failed: Route | None) -> Route | None:
        """Return the server that answers what another one could not, and count the call there.

        It is the server in service. If that one failed, it is the one on trial, if it has room.
        """
        with self._switching:
            other = self.present
            if other is failed:
                first = self._plan.first
                room = first and first is not failed and first.calls < self._most_on_trial
                other = first if room else None
            if failed is None or other is None:
                return None
            other.begin()
            return other

    def follow(
        self, first: str | None, second: str | None, fraction: float
    ) -> Callable[[float], bool]:
        """Send calls by a new plan; a server that was in the old one keeps its connection.

        Returns
        -------
        callable
            See :meth:`rrl.serving.front.Front.route`.
        """
        with self._switching:
            old = {route.address: route for route in self._plan.routes()}
            now = {a: old.pop(a, None) or Route(a) for a in (first, second) if a}
            self._plan = _Plan(now.get(first or ""), now.get(second or ""), fraction)

        def drain(timeout_s: float) -> bool:
            deadline = time.monotonic() + timeout_s
            drained = [left.drain(deadline - time.monotonic()) for left in old.values()]
            for left in old.values():
                left.close()
            return all(drained)

        return drain
