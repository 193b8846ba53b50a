"""Measure one episode, and repeat it if the load generator itself was late."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration
from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode, Server
from rrl.tuning.watch import Watch

MAX_INVALID = 5  # episodes in a row; after these, the machine is too busy to measure anything


class GeneratorError(ServerError):
    """The load generator itself is too late: no configuration is to blame."""


def measure_valid(
    server: Server,
    configuration: Configuration,
    arrivals: NDArray[np.float64],
    rng: np.random.Generator,
    watch: Watch | None = None,
) -> tuple[Episode, int, float]:
    """Return a valid episode, the number of invalid ones, and the seconds of the switch.

    Raises
    ------
    ServerError
        If the server fails.
    GeneratorError
        If too many episodes in a row are invalid.
    """
    switch_s = 0.0
    options = {} if watch is None else {"watch": watch}
    for invalid in range(MAX_INVALID):
        episode = server.measure(configuration, arrivals, rng, **options)
        switch_s += float(episode.info.get("switch_s", 0.0))
        if episode.valid:  # otherwise the requests were late before they left
            return episode, invalid, switch_s
    raise GeneratorError(
        f"{MAX_INVALID} invalid episodes in a row: the load generator itself was late; "
        "free the machine, or lower the rate"
    )
