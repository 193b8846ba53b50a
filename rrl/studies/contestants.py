"""Contestants of a run side by side: an agent, its server, and the guard that limits it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.tuning.episode import Episode, Server
from rrl.tuning.guard import Guard
from rrl.tuning.watch import Watch


class Contestant(NamedTuple):
    """An agent with its server, and the guard that limits what it may try."""

    server: Server
    agent: Agent
    guard: Guard | None = None


Contestants = Mapping[str, Contestant]


@runtime_checkable
class Pauses(Protocol):
    """Protocol of a live server that can be paused while others have their turn."""

    def pause(self) -> None:
        """Use no processor until the next episode."""
        ...


class Served:
    """A server that keeps the valid episodes of a turn, and is paused after each.

    Examples
    --------
    >>> from rrl import TableServer
    >>> server = Served(TableServer({"threads": [1, 2], "cost": [0.5, 0.25]}, ["threads"]))
    >>> _ = server.measure({"threads": 2}, [0.0, 1.0], np.random.default_rng(0))
    >>> [len(episode) for episode in server.taken()], server.taken()
    ([2], [])
    """

    def __init__(self, server: Server) -> None:
        self.server, self.space = server, server.space
        self._episodes: list[Episode] = []

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Serve an episode, and keep it if it is valid."""
        try:
            episode = self.server.measure(configuration, arrivals, rng, watch=watch)
        finally:
            if isinstance(self.server, Pauses):
                self.server.pause()
        self._episodes += [episode] if episode.valid else []
        return episode

    def taken(self) -> list[Episode]:
        """Return the episodes since the last call."""
        found, self._episodes = self._episodes, []
        return found
