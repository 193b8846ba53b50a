"""Measure one episode, and repeat it if the load generator itself was late."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration
from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode, Server
from rrl.tuning.watch import Watch

MAX_INVALID = 5  # episodes in a row; after these, the machine is too busy to measure anything


class GeneratorError(ServerError):
    """No requests came, or the load generator was too late: no configuration is to blame."""


def measure_valid(
    server: Server,
    configuration: Configuration,
    arrivals: NDArray[np.float64],
    rng: np.random.Generator,
    watch: Watch | None = None,
) -> tuple[Episode, list[Episode], float]:
    """Return a valid episode, the invalid ones before it, and the seconds of the switch.

    The bad requests of invalid episodes use up the watch's allowance, too.

    Raises
    ------
    ServerError
        If the server fails.
    GeneratorError
        If too many episodes in a row are invalid.
    """
    switch_s, invalid, options = 0.0, [], {}
    for _ in range(MAX_INVALID):
        if watch is not None:
            left = watch.allowance - counted(invalid, watch.late_s)[1]
            options = {"watch": replace(watch, allowance=max(left, 1))}
        episode = server.measure(configuration, arrivals, rng, **options)
        switch_s += float(episode.info.get("switch_s", 0.0))
        if episode.valid:
            return episode, invalid, switch_s
        invalid.append(episode)  # its requests were late before they left
    raise GeneratorError(
        f"{MAX_INVALID} invalid episodes in a row: the load generator itself was late; "
        "free the machine, or lower the rate"
    )


def counted(episodes: Iterable[Episode], late_s: float | None) -> tuple[int, int]:
    """Return how many requests were served, and how many of them failed or were late.

    Those of other clients, which a server reports with an episode, count like the others. Without a
    limit `late_s`, none is bad.
    """
    requests = bad = 0
    for episode in episodes:
        latency, status = episode.info.get("others", (np.empty(0), np.empty(0)))
        requests += len(episode) + len(latency)
        if late_s is not None:
            bad += episode.bad(late_s) + int(np.count_nonzero((status != 0) | (latency > late_s)))
    return requests, bad
