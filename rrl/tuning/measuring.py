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
) -> tuple[Episode, list[Episode]]:
    """Return a valid episode, and the invalid ones before it.

    The bad requests of invalid episodes use up the watch's allowance, too, and the seconds of their
    switches are in the valid episode's ``switch_s``.

    Raises
    ------
    ServerError
        If the server fails.
    GeneratorError
        If too many episodes in a row are invalid.
    """
    invalid, options = [], {}
    for _ in range(MAX_INVALID):
        if watch is not None:
            left = watch.allowance - counted(invalid, watch.late_s)[1]
            options = {"watch": replace(watch, allowance=max(left, 1))}
        episode = server.measure(configuration, arrivals, rng, **options)
        if episode.valid:
            return _with_switches(episode, invalid), invalid
        invalid.append(episode)  # its requests were late before they left
    raise GeneratorError(
        f"{MAX_INVALID} invalid episodes in a row: the load generator itself was late; "
        "free the machine, or lower the rate"
    )


def _with_switches(episode: Episode, invalid: list[Episode]) -> Episode:
    """Return an episode whose switch took as long as those of the invalid ones and its own."""
    if not invalid or "switch_s" not in episode.info:
        return episode
    seconds = sum(float(one.info.get("switch_s", 0.0)) for one in (*invalid, episode))
    return replace(episode, info={**episode.info, "switch_s": seconds})


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
