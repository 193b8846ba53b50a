"""`RemoteServer`: a server that someone else runs, measured as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration, Knob
from rrl.core.space import ConfigSpace
from rrl.serving.live import live_episode
from rrl.serving.loadgen import Client
from rrl.serving.sample import Inputs, payloads
from rrl.tuning.episode import Episode, check_arrivals
from rrl.tuning.watch import Watch


class RemoteServer:
    """Measure a server that someone else runs; its configuration cannot be changed.

    Parameters
    ----------
    address : str
        ``host:port`` of the gRPC endpoint.
    model : str
        Model name on that server.
    configuration : mapping, optional
        The configuration that the server is known to run. The episodes record it.
    inputs, timeout_s : optional
        See :class:`LiveServer`.
    """

    def __init__(
        self,
        address: str,
        model: str = "default",
        *,
        configuration: Configuration | None = None,
        inputs: Inputs | Sequence[Inputs] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.configuration = dict(configuration or {"server": address})
        self.space = ConfigSpace([Knob(k, (v,)) for k, v in self.configuration.items()])
        self._client, self._inputs = Client(address, model), inputs
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Send requests at the times `arrivals` (seconds)."""
        arrivals = check_arrivals(arrivals)
        self.space.index(configuration)
        requests = payloads(self._client, self._inputs, rng)
        sample = self._client.fire(requests, arrivals, self._timeout_s, watch)
        return live_episode(configuration, arrivals, sample, None)
