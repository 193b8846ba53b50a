"""A change of configuration that loses no request, and a service that survives its tuner.

TensorFlow fixes its thread pools once per process, so a new configuration is a new process. Clients
keep one address, where an Envoy passes every call on. :class:`HandoverServer` is a live server
behind it. The *kept* server and Envoy are processes of their own, which go on whatever happens to
the tuner. At most one more server is on *trial*; it ends with the tuner, and then the kept one
answers its calls. A tuner that comes later finds both, and goes on with them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.serving.client_traffic import LOG_LATE_S, Call, ObservedTraffic, OthersRequests
from rrl.serving.envoy import Envoy
from rrl.serving.envoy_config import KEPT, TRIAL, Door
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import LOCAL, ModelServer, find_executable, free_port
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client
from rrl.serving.service import (
    lock_port,
    note_server,
    noted_server,
    port_folder,
    stop_others,
    stop_service,
    unlock_port,
)
from rrl.support.errors import GeneratorError, ServerError, UsageError
from rrl.tuning.episode import Episode
from rrl.tuning.watch import Watch

DRAIN_S = 60.0  # seconds: the longest wait for the last answers of a server
HOLD_S = 3.0
"""The longest wait for answers that a bad trial has begun while other calls wait there, in seconds.

The kept server gets those only when the trial has ended.
"""

HANGS = 4.0
"""A trial that takes longer than so many times the limit for late requests hangs."""

LEAST_HANG_S = 1.0


class HandoverServer(LiveServer):
    """A live server at a fixed address; a new configuration takes over from the running one.

    It takes the parameters of :class:`rrl.LiveServer`, and those below. It also serves requests
    that other clients send to :attr:`address`. A configuration that does not start never takes
    over. The address opens when the first configuration answers.

    If an earlier process has left a service at the port, this object goes on with it.

    Parameters
    ----------
    door : Door, optional
        Where clients come in, see :class:`rrl.serving.envoy_config.Door`. By default, it is a free
        port of 127.0.0.1, for gRPC.
    traffic : bool, optional
        Whether episodes consist of the requests of other clients. Then no other load is sent, and
        an episode has one request for each arrival that `measure` gets.
    canary : float, optional
        Fraction of these requests that goes to a configuration on trial, above 0 and at most 1. The
        kept configuration gets the others.

    Attributes
    ----------
    traffic : ObservedTraffic
        The requests of others. Calls with the metadata key of `rrl.serving.loadgen.SYNTHETIC` are
        rrl's own, and are not among them.

    Raises
    ------
    UsageError
        If another tuner is at this port, the service there differs, or there is no ``envoy``.
    ServerError
        If somebody else has the port.

    Examples
    --------
    >>> with HandoverServer(base_path, space, door=Door(8500)) as server:  # doctest: +SKIP
    ...     server.configure({"inter_op": 2})  # clients may come now
    ...     server.configure({"inter_op": 1})  # and notice nothing of this
    """

    def __init__(
        self,
        *arguments: Any,
        door: Door | None = None,
        traffic: bool = False,
        canary: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._program = find_executable(options.get("executable"))
        self._of_others, self._canary = traffic, canary
        self.door = door or Door(free_port())
        self._folder = port_folder(self.door.port)
        self._envoy = Envoy(self._folder, self.door)
        self._kept: Configuration | None = None
        self._kept_server: ModelServer | None = None
        self._trial: ModelServer | None = None
        self._route = KEPT  # where predictions go: to TRIAL until Envoy has taken that back
        self._hang_s = self._timeout_s
        self._left = False
        self._alone = lock_port(self._folder, self.door.port)
        try:
            self._find()
            self.traffic = ObservedTraffic(self._envoy.log, self._envoy.new_log)
        except BaseException:
            unlock_port(self._folder, self._alone)
            raise

    def _find(self) -> None:
        """Take over what an earlier process has left at the port, or see that the port is free."""
        left, opened = noted_server(self._folder), self._envoy.process.alive
        kept = left if left is not None and left.alive else None
        if opened:
            self._envoy.check_door()
        else:
            self._envoy.check_free()
        model = None if left is None else left.model
        if (opened or kept) and (not model or model.resolve() != Path(self._model_path).resolve()):
            raise UsageError(
                f"{self.door} serves {model}; end that with `rrl stop {self.door.port}`, or choose "
                "another port"
            )
        if opened:
            self._envoy.route()  # a tuner that was killed may have left a trial there
            if kept:
                self._envoy.point(KEPT, kept)
        if kept:
            note_server(self._folder, kept)  # a tuner may have been killed between the two files
        self._kept_server = kept
        stop_others(self._folder, kept)

    @property
    def address(self) -> str:
        """The fixed ``host:port``, as this machine reaches it."""
        return self.door.local

    @property
    def serves(self) -> bool:
        """Whether a server answers at the address now."""
        return self._envoy.process.alive and bool(self._kept_server and self._kept_server.alive)

    def processes(self) -> list[int]:
        """Return the numbers of the processes that outlive this one: Envoy and the kept server."""
        kept = self._kept_server and self._kept_server.process
        return [pid for pid in (self._envoy.process.pid, kept and kept.pid) if pid]

    def keep(self, configuration: Configuration) -> None:
        """Keep a configuration running beside every trial, so that it takes over at once."""
        self._kept = {**self._fixed, **configuration}

    def close(self) -> None:
        """Stop all servers and close the address."""
        if self._leave():
            stop_service(self._folder)
            os.close(self._alone)

    def leave(self) -> ModelServer:
        """Let the kept server go on at the address without this process; return it.

        Raises
        ------
        ServerError
            If it does not serve. Then Envoy and all servers are stopped.
        """
        kept = self._kept_server
        if kept is None or not self.serves:
            self.close()
            raise ServerError(f"nothing serves at {self.door}")
        if self._leave():
            os.close(self._alone)
        return kept

    def _leave(self) -> bool:
        """End the trial; return False if this was done before."""
        first, self._left = not self._left, True
        if first:
            with suppress(ServerError, OSError):  # Envoy may have ended, or the disk be full
                self._end_trial()
            self._stop_trial()
            self._server = None
            self.traffic.close()
            super().close()  # the connections
        return first

    def return_to_kept(self) -> None:
        """Let the kept configuration serve, also a new version; nothing is measured afterwards."""
        self._version = None
        self.configure(self._kept or {})

    def configure(self, configuration: Configuration) -> ModelServer:
        """Start and warm up `configuration`; the running configuration serves until then.

        The configuration becomes a trial if another one is kept. Otherwise it takes the place of
        the kept configuration.
        """
        wanted = {**self._fixed, **configuration}
        self._check_version()
        kept = wanted if self._kept is None else self._kept
        self._keep_running(kept)
        if wanted == kept:
            self._end_trial()
            self._server = self._kept_server
        else:
            self._begin_trial(wanted)
            self._server = self._trial
        assert self._server is not None
        return self._server

    def _suits(self, found: ModelServer, wanted: Configuration) -> bool:
        """Return whether a kept server is like one that would start now for a configuration.

        An earlier process may have started it otherwise, or, a local one, with an older version.
        """
        old = found.kind == LOCAL and self._version not in (None, found.version)
        own = found.configuration, found.program, found.rest_port is None
        return not old and own == (wanted, self._program, self.door.rest_port is None)

    def _keep_running(self, wanted: Configuration) -> None:
        """See that the kept server runs a configuration, and that Envoy runs before it."""
        old = self._kept_server if self._kept_server and self._kept_server.alive else None
        new = old
        if new is None or not self._suits(new, wanted):
            if old is not None:  # otherwise the trial, if there is one, is all that serves
                self._end_trial()
                self._stop_trial()
            new = self._start(wanted, lasting=self._folder)
        try:
            if not self._envoy.process.alive:
                self._open(new)
            elif new is not old:
                self._envoy.point(KEPT, new)
                note_server(self._folder, new)
        except BaseException:
            if new is not old:
                self._take_back(new, old)
            raise
        # The new one serves from now on, even if an interrupt ends the wait for the old one.
        before, self._kept_server = self._kept_server, new
        if before is not None and before is not new:
            self._retire(before)
        if self._client is None:
            self._client = Client(self.address, new.name, self._signature)
        self._prepare(self._client)

    def _take_back(self, new: ModelServer, old: ModelServer | None) -> None:
        """Let the old kept server, if it runs, go on, and stop the one that did not take over.

        If Envoy does not take that, both go on: nobody knows which of them the clients reach.
        """
        with suppress(ServerError, OSError):  # the error that has led here says why
            if old is not None:
                if self._envoy.process.alive:
                    self._envoy.point(KEPT, old)
                note_server(self._folder, old)
            self._retire(new)

    def _retire(self, server: ModelServer) -> None:
        """Stop a server that is not kept any more, when it has answered what it has."""
        try:
            self._drain(KEPT)
        finally:
            server.stop()

    def _open(self, kept: ModelServer) -> None:
        """Start Envoy in front of a kept server."""
        self.traffic.forget_open()
        self._server, self._route = None, KEPT  # a trial that runs gets no calls
        note_server(self._folder, kept)
        self._envoy.start(kept)

    def _start(self, wanted: Configuration, **more: Any) -> ModelServer:
        """Start a server that is warm, for Envoy."""
        rest = self.door.rest_port is not None
        server, client = self._launch(wanted, rest=rest, **more)
        client.close()
        return server

    def _begin_trial(self, wanted: Configuration) -> None:
        """Start a configuration beside the kept one, and send it its part of the predictions."""
        trial = self._trial
        if trial is not None and not (trial.alive and trial.configuration == wanted):
            self._end_trial()
            self._stop_trial()
            trial = None
        if trial is None:
            trial = self._trial = self._start(wanted)
        elif self._server is trial:
            return
        trial.resume()
        self._envoy.point(TRIAL, trial)
        self._route = TRIAL
        self._envoy.route(self._canary, self._hang_s)

    def _end_trial(self) -> None:
        """Send all predictions to the kept server, and let the trial answer those that it has.

        The trial then pauses, because its idle batch threads use the processor.
        """
        if self._route == KEPT:
            return
        self._route_to_kept()
        self._drain(TRIAL)
        if self._trial is not None:
            self._trial.pause()

    def _route_to_kept(self) -> None:
        """Send all predictions to the kept server from now on."""
        self._server = self._kept_server
        self._envoy.route()
        self._route = KEPT

    def _stop_trial(self, grace_s: float = 10.0) -> None:
        """End the trial's process; the kept server answers what it has not begun to answer."""
        if self._trial is not None:
            # If calls still go there: the sooner it ends, the sooner Envoy sends them again.
            if self._route == KEPT and self._envoy.process.alive:
                with suppress(ServerError, OSError):  # the disk may be full
                    self._let_finish(self._trial)
            self._trial.stop(grace_s)
            self._trial = None

    def _drain(self, route: str) -> None:
        """Wait until a route's requests of others that came before a change have ended."""
        # Envoy's thread for requests may know of the change a little later than Envoy says.
        changed = time.monotonic() + LOG_LATE_S

        def ended() -> bool:
            return not any(c.route == route and c.arrival < changed for c in self.traffic.open())

        time.sleep(2 * LOG_LATE_S)  # then the log has what came before
        wait_until(ended, DRAIN_S)

    def _drop(self) -> None:
        """Return to the kept server at once, and stop the one that failed or did badly.

        Calls whose answer a trial has not begun are sent again to the kept server.
        """
        if self._route == TRIAL:
            with suppress(ServerError, OSError):  # Envoy may have ended, or the disk be full
                self._route_to_kept()
            self._stop_trial(grace_s=0.0)  # the sooner its calls are sent again
        elif self._kept_server is not None and self._envoy.process.alive:  # else Envoy is to blame
            self._kept_server.stop()
            self._kept_server = self._server = None

    def _let_finish(self, trial: ModelServer) -> None:
        """Let the trial, which gets no new calls, finish the answers that it has begun.

        An answer that was cut could not be sent again. A paused trial begins no other one, and then
        the log says which have begun. If there are any, the trial goes on until they have ended, at
        most for `HOLD_S` while other calls wait there, and for `DRAIN_S` otherwise.
        """
        own = trial.address.removeprefix("unix:"), trial.rest_address
        first = time.monotonic()

        def calls() -> list[Call]:
            return [call for call in self.traffic.open() if call.route == TRIAL]

        def known() -> bool:
            return all(call.seen > paused for call in calls())

        def begun() -> bool:
            return any(call.by in own for call in calls())

        while trial.alive:
            trial.pause()
            time.sleep(LOG_LATE_S)
            paused = time.monotonic()
            wait_until(known, 20 * LOG_LATE_S)  # a full disk has no log
            longest_s = DRAIN_S if all(call.by for call in calls()) else HOLD_S
            left_s = first + longest_s - time.monotonic()
            if left_s < 0 or not begun():
                return
            trial.resume()
            wait_until(lambda: not begun(), left_s)

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Serve requests under a configuration, see :meth:`rrl.LiveServer.measure`."""
        limit_s = self._timeout_s if watch is None else HANGS * watch.late_s
        self._hang_s = max(LEAST_HANG_S, min(limit_s, self._timeout_s))
        return super().measure(configuration, arrivals, rng, watch=watch)

    def _fire(
        self,
        server: ModelServer,
        arrivals: NDArray[np.float64],
        watch: Watch | None,
        also: Callable[[], str] | None = None,
    ) -> Episode:
        """Let an episode happen; if its server died, drop it and raise ServerError.

        What it had of other clients then counts as lost, though the kept server may answer it.
        """
        others = OthersRequests(self.traffic, self._route)
        try:
            if self._of_others:
                check = partial(self._check, server)
                episode = others.wait(len(arrivals), watch, self._timeout_s, check)
            else:
                episode = self._fire_beside(others, server, arrivals, watch)
        except ServerError as error:
            if not isinstance(error, GeneratorError):
                if self._of_others:
                    self._drop()
                _, status = others.outcomes(aborted=True)
                error.lost += int(np.count_nonzero(status))
            raise
        if "aborted" in episode.info and self._route == TRIAL and self.serves:
            self._drop()
        return episode

    def _fire_beside(
        self,
        others: OthersRequests,
        server: ModelServer,
        arrivals: NDArray[np.float64],
        watch: Watch | None,
    ) -> Episode:
        """Send an episode's requests, and watch those of other clients, too.

        Each of the two gets half of the bad requests that the episode may have. If that is one, the
        episode stops at once: others may have none.
        """
        also: Callable[[], str] | None = None
        if watch is not None:
            theirs = watch.allowance // 2
            also = partial(others.reason, replace(watch, allowance=theirs))
            watch = replace(watch, allowance=watch.allowance - theirs)
        episode = super()._fire(server, arrivals, watch, also)
        seen = others.outcomes(aborted="aborted" in episode.info)
        return replace(episode, info={**episode.info, "others": seen})

    def wait_for_requests(self, count: int) -> None:
        """Wait for requests of others, see :meth:`OthersRequests.wait`."""
        assert self._server is not None
        others = OthersRequests(self.traffic, self._route)
        others.wait(count, None, self._timeout_s, partial(self._check, self._server))

    def _check(self, server: ModelServer) -> None:
        """Raise ServerError if a server has ended, or Envoy, without which no request comes."""
        server.check()
        self._envoy.check()
