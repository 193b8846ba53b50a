"""`LiveServer`: a real model server that measures whatever configuration it is asked for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client, Sample
from rrl.serving.sample import Inputs, fitting, payloads, repeated
from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode, check_arrivals

MAX_SLIP_SHARE = 0.10
"""An episode is invalid when the generator's own lateness makes more than this of the latency."""

LARGEST_WARM = 16  # batches above this size are not warmed one by one


class LiveServer:
    """Measure configurations on a server process of our own; a context manager.

    A change of thread counts restarts the server (TensorFlow fixes its thread pools once a
    process). A change of batch size, timeout or queue, and of batching to none, is a new version of
    the model in the running process. Either is warm before the first measured request. How long it
    took is noted in the episode's `info` as `switch_s`.

    Parameters
    ----------
    model_path : path
        Base path of the SavedModel, with numbered version folders.
    space : ConfigSpace
        The configurations that may be asked for; knob names from `rrl.serving.settings.KNOBS`.
    inputs : mapping of str to ndarray, or sequence of these, optional
        One request, or several that are sent in turn; random values that fit the model's
        signature by default.
    fixed : mapping of str to int, optional
        Settings that hold for every configuration.
    executable : str, optional
        See `rrl.serving.launcher.find_executable`.
    warmup : int
        Requests sent before the first measured one, all at once, so that every thread runs; then a
        batch of each size that may be formed.
    timeout_s : float
        Deadline of a request.
    restarts : int
        How many times in a row a dying server is started again before giving up.

    Examples
    --------
    >>> with LiveServer(base_path, space) as server:  # doctest: +SKIP
    ...     episode = server.measure({"inter_op": 2, "intra_op": 1}, arrivals, rng)
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        space: ConfigSpace,
        *,
        inputs: Inputs | Sequence[Inputs] | None = None,
        fixed: Configuration | None = None,
        executable: str | None = None,
        warmup: int = 32,
        timeout_s: float = 60.0,
        restarts: int = 3,
    ) -> None:
        self.space = space
        self._model_path, self._inputs = model_path, inputs
        self._fixed = dict(fixed or {})
        self._executable, self._warmup = executable, warmup
        self._timeout_s, self._restarts = timeout_s, restarts
        self._server: ModelServer | None = None
        self._client: Client | None = None
        self._payloads: list[bytes] = []
        self._requests: list[Inputs] = []
        self.start_s = 0.0  # how long the last start and warm-up took

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server."""
        self._signal(signal.SIGCONT)
        if self._client:
            self._client.close()
        if self._server:
            self._server.stop()
        self._client = self._server = None

    def pause(self) -> None:
        """Stop the process as it is, since even an idle server uses the processor; see `resume`.

        TensorFlow's batch threads look for work all the time.
        """
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on, and warm it up."""
        self._signal(signal.SIGCONT)
        if self._client and self._warmup:
            self._client.fire(self._payloads, np.zeros(self._warmup), self._timeout_s)

    def _signal(self, number: signal.Signals) -> None:
        if self._server and self._server.process and self._server.process.poll() is None:
            os.killpg(self._server.process.pid, number)

    def configure(self, configuration: Configuration, rng: np.random.Generator) -> ModelServer:
        """Have `configuration` running and warm; restarts only if threads have to change.

        Raises
        ------
        ServerError
            If it does not come up.
        UnstableError
            If the model's owner has put a new version of it in its folder.
        """
        wanted = {**self._fixed, **configuration}
        self._signal(signal.SIGCONT)
        if self._server:
            self._server.versions.check()
            if self._switched(self._server, wanted):
                return self._server
        self.close()
        self._server, self._client = self._launch(wanted, rng)
        return self._server

    def _switched(self, server: ModelServer, wanted: Configuration) -> bool:
        """Whether the running process has it, or has taken it on."""
        if server.configuration == wanted:
            return True
        if not server.can_switch(wanted):
            return False
        began = time.monotonic()
        server.switch(wanted)
        assert self._client is not None
        self._warm_up(self._client, wanted)
        self.start_s = time.monotonic() - began
        return True

    def _warm_up(self, client: Client, wanted: Configuration) -> None:
        """Let every thread run, then every size of a batch: each is another shape to TensorFlow."""
        if not self._warmup:
            return
        client.fire(self._payloads, np.zeros(self._warmup), self._timeout_s)
        largest = wanted.get("max_batch_size", 1) if wanted.get("batch_threads") else 1
        for size in range(2, min(int(largest), LARGEST_WARM) + 1):
            batch = client.payload(repeated(self._requests[0], size))
            client.fire(batch, np.zeros(1), self._timeout_s)  # refused where a model takes one only

    def _launch(
        self, wanted: Configuration, rng: np.random.Generator
    ) -> tuple[ModelServer, Client]:
        """Start a server and warm it up; nothing is left of it if that fails."""
        began = time.monotonic()
        server = ModelServer(self._model_path, wanted, executable=self._executable).start()
        client = Client(server.address, server.name)
        try:
            self._requests = fitting(client, self._inputs, rng)
            self._payloads = [client.payload(request) for request in self._requests]
            self._warm_up(client, wanted)
        except BaseException:
            client.close()
            server.stop()
            raise
        self.start_s = time.monotonic() - began
        return server, client

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Serve the requests that arrive at `arrivals` (s) under `configuration`.

        Raises
        ------
        ValueError
            If the configuration is not in the space.
        ServerError
            If the server keeps dying; episodes that it died in are dropped.
        """
        arrivals = check_arrivals(arrivals)
        self.space.index(configuration)
        before, began = self._running(), time.monotonic()
        for attempt in range(self._restarts + 1):
            try:
                server = self.configure(configuration, rng)
                same = self._running() == before
                switch_s = 0.0 if same else time.monotonic() - began
                sample = self._fire(server, arrivals)
                return live_episode(configuration, arrivals, sample, server, switch_s)
            except ServerError:
                if attempt == self._restarts:
                    raise
        raise AssertionError("unreachable")

    def _running(self) -> tuple[int, Configuration] | None:
        """What tells a process and its configuration from those before."""
        return self._server and (id(self._server), self._server.configuration)

    def _fire(self, server: ModelServer, arrivals: NDArray[np.float64]) -> Sample:
        """Send the requests of an episode; ServerError, and no server, if it died meanwhile."""
        assert self._client is not None
        try:
            sample = self._client.fire(self._payloads, arrivals, self._timeout_s)
            server.check()
            if sample.status.any() and not self._client.available(timeout_s=2.0):
                raise ServerError(f"{server.address}: no answer after failed requests")
        except ServerError:
            self._drop()
            raise
        return sample

    def _drop(self) -> None:
        """Get rid of a server that failed."""
        self.close()


class RemoteServer:
    """Measure a server that someone else runs, by address; its configuration can't be changed.

    Parameters
    ----------
    address : str
        ``host:port`` of the gRPC endpoint.
    model : str
        Model name on that server.
    configuration : mapping, optional
        What the server is known to run, for the record.
    inputs : mapping of str to ndarray, or sequence of these, optional
        One request, or several that are sent in turn; random values that fit the model's
        signature by default.
    timeout_s : float
        Deadline of a request.
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
        from rrl.core.knob import Knob

        self.configuration = dict(configuration or {"server": address})
        self.space = ConfigSpace([Knob(k, (v,)) for k, v in self.configuration.items()])
        self._client, self._inputs = Client(address, model), inputs
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Send the requests that arrive at `arrivals` (s)."""
        arrivals = check_arrivals(arrivals)
        self.space.index(configuration)
        sample = self._client.fire(
            payloads(self._client, self._inputs, rng), arrivals, self._timeout_s
        )
        return live_episode(configuration, arrivals, sample, None)


def live_episode(
    configuration: Configuration,
    arrivals: NDArray[np.float64],
    sample: Sample,
    server: ModelServer | None,
    switch_s: float = 0.0,
) -> Episode:
    """The episode of a sample, valid unless the generator itself was late enough to matter."""
    share = sample.slip_share()
    return Episode(
        configuration=configuration,
        arrivals=arrivals,
        latency=sample.latency,
        status=sample.status,
        valid=share <= MAX_SLIP_SHARE,
        info={
            "server": server.kind if server else "remote",
            "mean_slip_s": float(sample.slip.mean()),
            "max_slip_s": float(sample.slip.max()),
            "slip_share": share,
            "switch_s": switch_s,
        },
    )
