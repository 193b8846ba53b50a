"""`LiveServer`: a real model server that measures each requested configuration."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.serving.elsewhere import Elsewhere, ElsewhereServer
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import START_TIMEOUT_S, ModelServer, StartTimeoutError, port_error
from rrl.serving.loadgen import SIGNATURE, Client, LastingError
from rrl.serving.sample import Inputs, fit, random_inputs
from rrl.serving.saved_model import newest_version, saved_inputs
from rrl.support.errors import GeneratorError, ServerError, UnstableError
from rrl.support.machine import OtherWork
from rrl.tuning.episode import Episode, check_arrivals
from rrl.tuning.watch import Watch, WatchingServer

RESTARTS = 3
"""How many times in a row a server that died is started again before an error is raised."""

LARGEST_WARM = 16  # batch sizes above this one are not warmed up one by one
STALL_S = 5.0  # without any answer for so long, a server is asked for its state
ANSWER_S = 5.0  # in which it must tell that
WARM_S = 5.0  # no further batch size after this time: a batch may wait long to fill


class LiveServer(WatchingServer):
    """Measure configurations on a server process that it starts itself; a context manager.

    Another configuration restarts the server, which is warm before the first measured request.

    Parameters
    ----------
    model_path : path
        Base path of the SavedModel, with numbered version folders.
    space : ConfigSpace
        The configurations that may be measured. For the names of knobs, see
        :class:`rrl.serving.launcher.ModelServer`.
    inputs : mapping of str to ndarray, or sequence of these, optional
        One request, or several that are sent in turn; by default, one of random values.
    fixed : configuration, optional
        Settings that hold for every configuration.
    executable, start_timeout_s, logs : optional
        See `rrl.serving.launcher.ModelServer`.
    warmup : int
        Number of requests before the first measured one. Then a batch of each size follows.
    timeout_s : float
        Deadline of a request in seconds.
    signature : str
        The signature of the model that is called.
    place : Elsewhere, optional
        Where the server is, if it is not on this machine, and the commands that start and stop it.
        Then `logs` is needed, and `executable` has no effect.

    Attributes
    ----------
    start_s : float
        Seconds of the last start and warm-up.

    Raises
    ------
    DataError
        If the folder holds no model version.

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
        start_timeout_s: float = START_TIMEOUT_S,
        logs: str | os.PathLike[str] | None = None,
        signature: str = SIGNATURE,
        place: Elsewhere | None = None,
    ) -> None:
        self.space, self._signature = space, signature
        self._version: int | None = newest_version(Path(model_path))[0]
        self._model_path, self._inputs = model_path, inputs
        self._fixed = dict(fixed or {})
        self._warmup, self._timeout_s = warmup, timeout_s
        make: Callable[..., ModelServer] = partial(ModelServer, model_path, executable=executable)
        if place is not None:
            make = partial(ElsewhereServer, Path(model_path), place=place)
        self._make_server = partial(make, logs=logs)
        self._start_timeout_s, self._starts_until = start_timeout_s, math.inf
        self._server: ModelServer | None = None
        self._client: Client | None = None
        self._payloads: list[bytes] = []
        self._requests: Sequence[Inputs] = []
        self._others = OtherWork()
        self.start_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server."""
        server = self._server
        self.let_go()
        if server:
            server.stop()

    def let_go(self) -> None:
        """Close the connection; the server goes on without this process, if it can."""
        if self._client:
            self._client.close()
        self._client = self._server = None

    def configure(self, configuration: Configuration) -> ModelServer:
        """Start and warm up `configuration`, if it does not run already.

        Raises
        ------
        ServerError
            If the server does not start.
        UnstableError
            If the model's folder has another newest version.
        """
        wanted = {**self._fixed, **configuration}
        if self._server and self._server.alive:
            self._check_version()
            if self._server.configuration == wanted:
                return self._server
        self.close()
        server = self._launch(wanted)
        self._server, self._client = server, Client(server.address, server.name, self._signature)
        return server

    def _check_version(self) -> None:
        """Check that the version that is measured is still the model's newest."""
        newest, _ = newest_version(Path(self._model_path))
        if self._version not in (None, newest):  # None: any version may serve
            raise UnstableError(
                f"{self._model_path}: the newest version is now {newest}, but the measurements are "
                f"of version {self._version}; make that the newest again, or start a new run to "
                f"measure version {newest}"
            )

    def _prepare(self, client: Client) -> None:
        """Make the requests of the episodes, once; each must fit the signature of the model."""
        if self._payloads:
            return
        _, newest = newest_version(Path(self._model_path))
        needed = saved_inputs(newest, self._signature)
        inputs = self._inputs or random_inputs(needed, np.random.default_rng(0))
        given: Sequence[Inputs] = [inputs] if isinstance(inputs, Mapping) else inputs
        self._requests = [fit(request, needed) for request in given]
        self._payloads = [client.payload(request) for request in self._requests]

    def _warm_up(self, client: Client, wanted: Configuration) -> None:
        """Run every thread, then every batch size: each size is a new shape for TensorFlow."""
        if not self._warmup:
            return
        client.fire(self._payloads, np.zeros(self._warmup), self._timeout_s)  # some may be refused
        largest = wanted.get("max_batch_size", 1) if wanted.get("batch_threads") else 1
        enough = time.monotonic() + WARM_S
        for size in range(2, min(int(largest), LARGEST_WARM) + 1):
            if time.monotonic() > enough:
                return
            first = self._requests[0].items()
            batch = client.payload({name: np.repeat(array, size, axis=0) for name, array in first})
            client.fire(batch, [0.0], self._timeout_s)  # fails if a model takes only one

    def _launch(self, wanted: Configuration, **more: Any) -> ModelServer:
        """Start a server and warm it up; if that fails, stop it.

        If another process has taken its port for REST meanwhile, it starts again at another port.
        The limit of time holds for all attempts until one succeeds.
        """
        began = time.monotonic()
        if self._starts_until == math.inf:
            self._starts_until = began + self._start_timeout_s
        more["start_timeout_s"] = max(self._starts_until - began, 0.001)
        server = self._make_server(wanted, **more)
        try:
            server.start()
        except StartTimeoutError as error:
            total = f"all attempts together have {self._start_timeout_s:g} s"
            raise StartTimeoutError(f"{error}; {total}") from None
        except ServerError:
            if server.rest_port is None or not port_error(server.rest_port):
                raise
            server.log.unlink(missing_ok=True)  # it says only that, and would stay
            server = self._make_server(wanted, **more).start()
        try:
            self._check_version()  # so it is the one that was loaded
            with Client(server.address, server.name, self._signature) as client:
                self._prepare(client)
                self._warm_up(client, wanted)
        except BaseException:
            server.stop()
            raise
        self.start_s, self._starts_until = time.monotonic() - began, math.inf
        return server

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Serve requests at the times `arrivals` (seconds) under `configuration`.

        If a `watch` may stop the episode, a server that dies is not started again. If the service
        of a :class:`rrl.HandoverServer` ends, the episode is repeated. Nothing is drawn from `rng`,
        which servers of other kinds need.

        Raises
        ------
        ServerError
            If the server dies too often, or at once if another start would not help. Episodes in
            which it died are dropped.
        UnstableError
            If the model's folder has another newest version.
        """
        arrivals = check_arrivals(arrivals)
        self.space.index(configuration)
        trial, self._starts_until = watch is not None and not watch.idle, math.inf
        for attempt in range(RESTARTS + 1):
            try:
                server = self.configure(configuration)
                self._others.start()
                episode = self._fire(server, arrivals, watch)
                info = {**episode.info, "server": server.kind, "other_work": self._others.look()}
                if memory := server.memory_bytes():  # a trial that was stopped has none
                    info["memory_bytes"] = memory
                return replace(episode, configuration=configuration, info=info)
            except ServerError as error:
                blamed = trial and not isinstance(error, GeneratorError)
                if blamed or attempt == RESTARTS or isinstance(error, LastingError):
                    raise
                logging.getLogger("rrl").warning(f"{error}; the episode is repeated")
        raise AssertionError("unreachable")

    def _fire(
        self,
        server: ModelServer,
        arrivals: NDArray[np.float64],
        watch: Watch | None,
        also: Callable[[], str] | None = None,
    ) -> Episode:
        """Send an episode's requests; if the server died, drop it and raise ServerError."""
        assert self._client is not None
        asked = 0.0

        def look(quiet_s: float) -> str:
            nonlocal asked
            if quiet_s > asked + STALL_S:
                self._check_health(server)
            asked = max(quiet_s - STALL_S, 0.0)
            return also() if also else ""

        episode = None
        try:
            episode = self._client.fire(self._payloads, arrivals, self._timeout_s, watch, look)
            self._check_after(server, episode)
        except ServerError as error:
            error.started = True
            error.lost = len(episode) if episode is not None else error.lost
            if not isinstance(error, GeneratorError):
                self._drop(server)
            raise
        return episode

    def _check_after(self, server: ModelServer, episode: Episode) -> None:
        """Raise ServerError if a server has failed in an episode, be it stopped by a watch."""
        self._check(server)
        if not episode.ok.all():
            self._check_health(server)

    def _check_health(self, server: ModelServer) -> None:
        """Raise ServerError if a server does not tell its state, HangError if it runs."""
        if not wait_until(lambda: server.answers(ANSWER_S), ANSWER_S):
            self._check(server)  # what ended meanwhile does not answer either
            raise server.silent(ANSWER_S)

    def _check(self, server: ModelServer) -> None:
        """Raise ServerError if a server has ended."""
        server.check()

    def _drop(self, server: ModelServer) -> None:
        """Remove a server that failed."""
        self.close()
