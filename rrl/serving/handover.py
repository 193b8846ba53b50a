"""A change of configuration that loses no request, and a service that survives its tuner.

TensorFlow fixes its thread pools once per process, so a new configuration is a new process. Clients
keep one address, where an Envoy passes every call on. :class:`HandoverServer` is a live server
behind it. The *kept* server and Envoy are processes of their own, which go on whatever happens to
the tuner. At most one more server is on *trial*; it ends with the tuner, and then the kept one
answers its calls. A tuner that comes later goes on with this Envoy, and its first server takes over
from the kept one.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.serving.client_traffic import LOG_LATE_S, Call, ClientTraffic, OthersRequests
from rrl.serving.envoy import Envoy
from rrl.serving.envoy_config import KEPT, TRIAL, Door
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import ModelServer, free_port
from rrl.serving.live import RESTARTS, STALL_S, LiveServer
from rrl.serving.loadgen import Client, LastingError
from rrl.serving.service import (
    lock_port,
    other_servers,
    port_folder,
    server_runs,
    set_current,
    stop_others,
    stop_service,
    unlock_port,
)
from rrl.support.errors import GeneratorError, HangError, ServerError
from rrl.support.machine import OtherWork
from rrl.tuning.episode import Episode
from rrl.tuning.watch import Watch

SETTLE_S = 2 * LOG_LATE_S
"""The pause after a change of the route. Then the log has the calls that came before."""

DRAIN_S = 60.0  # seconds: the longest wait for the last answers of a server
HANGS = 4.0
"""A trial that takes longer than so many times the limit for late requests hangs."""

LEAST_HANG_S = 1.0


class StuckServiceError(HangError, GeneratorError):
    """The service hangs, and no configuration on trial is to blame."""


class HandoverServer(LiveServer):
    """A live server at a fixed address; a new configuration takes over from the running one.

    It takes the parameters of :class:`rrl.LiveServer`, and those below. It also serves requests
    that other clients send to :attr:`address`. A configuration that does not start never takes
    over. The address opens when the first configuration answers.

    If an earlier process has left a service at the port, that serves until then.

    Parameters
    ----------
    door : Door, optional
        Where clients come in, see :class:`rrl.serving.envoy_config.Door`. By default, it is a free
        port of 127.0.0.1, for gRPC.
    traffic : ClientTraffic, optional
        If it is given, episodes consist of the requests of other clients. Then no other load is
        sent, and an episode has one request for each arrival that `measure` gets.
    canary : float, optional
        Fraction of these requests that goes to a configuration on trial, above 0 and at most 1. The
        kept configuration gets the others.

    Attributes
    ----------
    traffic : ClientTraffic
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
        traffic: ClientTraffic | None = None,
        canary: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.traffic = traffic or ClientTraffic()
        self._of_others, self._canary = traffic is not None, canary
        self.door = door or Door(free_port())
        self._make_server = partial(self._make_server, rest=self.door.rest_port is not None)
        self._folder = port_folder(self.door.port)
        self._envoy = Envoy(self._folder, self.door, os.path.abspath(self._model_path))
        self._kept: Configuration | None = None
        self._kept_server: ModelServer | None = None
        self._trial: ModelServer | None = None
        # Where predictions go: to TRIAL until Envoy has taken that back. A tuner that was killed
        # may have left one.
        self._route = TRIAL
        self._changed_s = -math.inf  # when the route has changed last
        self._hang_s = self._timeout_s
        self._asked_s = -math.inf  # when a server was asked for its state last
        self._ends = 0  # of kept servers, for which this episode was repeated
        self._left = False
        self._others = OtherWork(self._processes)
        self._alone = lock_port(self._folder, self.door.port)
        try:
            if self._envoy.process.alive or server_runs(self._folder):
                self._envoy.check_options()
            if not self._envoy.process.alive:
                self._envoy.check_ports()
            self.traffic.follow(self._envoy.log, self._envoy.new_log)
        except BaseException:
            unlock_port(self._folder, self._alone)
            raise

    @property
    def address(self) -> str:
        """The fixed ``host:port``, as this machine reaches it."""
        return self.door.local

    @property
    def serves(self) -> bool:
        """Whether a server answers at the address now."""
        return self._envoy.process.alive and server_runs(self._folder)

    @property
    def _running(self) -> ModelServer | None:
        """The kept server of this process, if it has one that runs."""
        return self._kept_server if self._kept_server and self._kept_server.alive else None

    def _processes(self) -> list[int]:
        """Return the numbers of the processes that outlive this one: Envoy and the kept server."""
        kept = self._kept_server and self._kept_server.process.pid
        return [pid for pid in (self._envoy.process.pid, kept) if pid]

    def keep(self, configuration: Configuration) -> None:
        """Keep a configuration running beside every trial, so that it takes over at once."""
        self._kept = {**self._fixed, **configuration}

    def close(self) -> None:
        """Stop all servers and close the address."""
        if self._leave():
            stop_service(self._folder)
            os.close(self._alone)

    def leave(self) -> ModelServer | None:
        """Let the kept server go on at the address without this process; return it.

        The result is None if a server of an earlier process still serves, though one of this
        process may run, too.

        Raises
        ------
        ServerError
            If none serves. Then Envoy and all servers are stopped.
        """
        if not self.serves:
            self.close()
            raise ServerError(f"nothing serves at {self.door}")
        with suppress(ServerError, OSError):  # then any that it replaces goes on, too
            self._settle()
        if self._leave():
            os.close(self._alone)
        return self._running if self._running is self._envoy.kept else None

    def _leave(self) -> bool:
        """End the trial and the connections; return False if an earlier call has done that."""
        first, self._left = not self._left, True
        if first:
            self._stop_trial()
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
        running = self._keep_running(kept)
        if wanted != kept:
            return self._begin_trial(wanted, running)
        self._end_trial()
        return running

    def _keep_running(self, wanted: Configuration) -> ModelServer:
        """Let the kept server run a configuration, with Envoy before it; start what is missing."""
        kept = self._running
        if kept is None or kept.configuration != wanted:
            if kept is not None:  # otherwise the trial, if there is one, is all that serves
                self._stop_trial()
            self._kept_server = kept = self._launch(wanted, lasting=self._folder)
        if not self._envoy.process.alive:
            self._route = KEPT
            if self._trial is not None:  # it gets no calls now, see `_end_trial`
                self._trial.pause()
            set_current(self._folder, kept)
            self._envoy.start(kept)
        self._settle()
        if self._client is None:
            self._client = Client(self.address, kept.name, self._signature)
        return kept

    def _settle(self) -> None:
        """Make the kept server the only one that lasts, for Envoy and for a supervisor.

        The others first answer what they have, and then end. If any of this fails or is
        interrupted, all of them go on, and the next call tries again.
        """
        kept = self._running
        if kept is None or not other_servers(self._folder, kept):
            return
        self._envoy.point(kept, self._trial)
        set_current(self._folder, kept)
        self._drain()
        stop_others(self._folder, kept)

    def _begin_trial(self, wanted: Configuration, kept: ModelServer) -> ModelServer:
        """Let a configuration run beside the kept one, with its part of the predictions."""
        if self._trial and not (self._trial.alive and self._trial.configuration == wanted):
            self._stop_trial()
        trial = self._trial = self._trial or self._launch(wanted)
        trial.resume()
        self._envoy.point(kept, trial)
        changes, self._route = self._route == KEPT, TRIAL
        self._envoy.route(self._canary, self._hang_s)
        if changes:
            self._changed_s = time.monotonic()
        return trial

    def _end_trial(self) -> None:
        """Send all predictions to the kept server, and let the trial answer those that it has.

        The trial then pauses, because its idle batch threads use the processor.
        """
        if self._route == KEPT:
            return
        self._route_to_kept()
        if self._trial is not None:
            self._drain()
            self._trial.pause()

    def _route_to_kept(self) -> None:
        """Send all predictions to the kept server from now on."""
        self._envoy.route()
        self._route, self._changed_s = KEPT, time.monotonic()

    def _stop_trial(self, *, at_once: bool = False) -> None:
        """End the trial, and its process; the kept server answers what it has not begun to answer.

        Parameters
        ----------
        at_once : bool
            Whether the trial begins no other answer, and uses no more of the processor for them.
        """
        with suppress(ServerError, OSError):  # Envoy may have ended, or the disk be full
            if at_once and self._route == TRIAL:
                self._route_to_kept()
            else:
                self._end_trial()
        if self._trial is not None:
            # If calls still go there: the sooner it ends, the sooner Envoy sends them again.
            if self._route == KEPT and self._envoy.process.alive:
                with suppress(ServerError, OSError):  # the disk may be full
                    self._let_finish(self._trial)
            self._trial.stop(0.0 if at_once else 10.0)
            self._trial = None

    def _drain(self) -> None:
        """Wait until all requests of others that came before a change have ended.

        The kept server may have some of the route of a trial, which it answers instead.
        """
        # Envoy's thread for requests may know of the change a little later than Envoy says.
        changed = time.monotonic() + LOG_LATE_S
        time.sleep(SETTLE_S)
        wait_until(lambda: all(c.arrival >= changed for c in self.traffic.open()), DRAIN_S)

    def _drop(self, server: ModelServer) -> None:
        """Return to the kept server at once, and stop the one that failed or did badly."""
        if server is self._trial:
            self._stop_trial(at_once=True)
        else:
            server.stop()

    def _let_finish(self, trial: ModelServer) -> None:
        """Let the trial, which gets no new calls, finish the answers that it has begun.

        An answer that was cut could not be sent again. A paused trial begins no other one, and then
        the log says which have begun. If there are any, the trial goes on until they have ended, at
        most for `DRAIN_S`. Envoy sends the other calls again when they have waited too long.
        """
        own = trial.address.removeprefix("unix:"), trial.rest_address
        latest = time.monotonic() + DRAIN_S

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
            left_s = latest - time.monotonic()
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
        self._ends = 0
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
                check = partial(self._check_traffic, server)
                episode = others.wait(len(arrivals), watch, self._timeout_s, check)
                self._check_after(server, episode)
            else:
                episode = self._fire_beside(others, server, arrivals, watch)
        except ServerError as error:
            error.started = True
            if not isinstance(error, GeneratorError):
                if self._of_others:
                    self._drop(server)
                _, status = others.outcomes(aborted=True)
                error.lost += int(np.count_nonzero(status))
            raise
        if "aborted" in episode.info and server is self._trial and self.serves:
            self._drop(server)
        return episode

    def _check_after(self, server: ModelServer, episode: Episode) -> None:
        """Check a server after an episode; clients do not wait for the answer of a bad trial."""
        if "aborted" in episode.info and self._route == TRIAL:
            self._route_to_kept()
        super()._check_after(server, episode)

    def _check_traffic(self, server: ModelServer) -> None:
        """Raise ServerError if a server has failed, while only clients send requests to it."""
        self._check(server)
        now = time.monotonic()
        if now > self._asked_s + STALL_S:
            calls = [call for call in self.traffic.open() if call.route == self._route]
            if any(call.arrival < now - STALL_S for call in calls):
                self._check_health(server)
            self._asked_s = now

    def _check_health(self, server: ModelServer) -> None:
        """Raise ServerError if a server hangs, or Envoy, which then starts again."""
        if self._envoy.process.alive and not self._envoy.answers:
            self._envoy.process.stop()
            raise StuckServiceError(f"{self.door}: Envoy hangs: it runs, but does not answer")
        super()._check_health(server)
        self._check_service()  # it may have ended while the server was asked

    def _fire_beside(
        self,
        others: OthersRequests,
        server: ModelServer,
        arrivals: NDArray[np.float64],
        watch: Watch | None,
    ) -> Episode:
        """Send an episode's requests, and watch those of other clients, too.

        Each of the two gets half of the bad requests that the episode may have. If that is one, the
        episode stops at once: others may have none. It also ends at once if the service does: the
        others must not wait until the end of a long episode.
        """
        also: Callable[[], str] | None = None
        if watch is not None:
            part = watch.allowance // 2
            theirs = replace(watch, allowance=part)
            watch = replace(watch, allowance=watch.allowance - part)

            def also() -> str:
                self._check_service()
                return others.reason(theirs)

        # The first calls after a pause are slower. `_drain` pauses before the kept server serves.
        # So a trial without a pause would seem faster.
        time.sleep(max(0.0, self._changed_s + SETTLE_S - time.monotonic()))
        episode = super()._fire(server, arrivals, watch, also)
        seen = others.outcomes(aborted="aborted" in episode.info)
        return replace(episode, info={**episode.info, "others": seen})

    def wait_for_requests(self, count: int) -> None:
        """Wait for requests of others to the kept configuration, see :meth:`OthersRequests.wait`.

        If the service ends meanwhile, it is started again, as in an episode.
        """
        assert self._kept_server is not None
        wanted = self._kept_server.configuration
        for left in reversed(range(RESTARTS + 1)):
            try:
                check = partial(self._check, self.configure(wanted))
                others = OthersRequests(self.traffic, self._route)
                others.wait(count, None, self._timeout_s, check)
                return
            except GeneratorError as error:
                if not left or isinstance(error, LastingError):
                    raise

    def _check(self, server: ModelServer) -> None:
        """Raise ServerError if a server has ended, or the service."""
        self._check_service()
        super()._check(server)

    def _check_service(self) -> None:
        """Raise GeneratorError if Envoy or the kept server has ended: no trial is to blame.

        What somebody has stopped goes on at once, so no client loses an answer.

        If the kept server ends at each repetition of a trial, the memory may be too small for two
        servers. The trial is then measured without it, and the next change starts it again.
        """
        self._envoy.check()
        kept = self._kept_server
        for name, process in (
            ("Envoy", self._envoy.process),
            ("the server", kept and kept.process),
        ):
            if process and process.stopped:
                process.send(signal.SIGCONT)
                raise StuckServiceError(f"{self.door}: {name} was stopped by a signal; it goes on")
        try:
            if kept is not None:
                kept.check()
        except ServerError as error:
            if self._route == TRIAL and self._ends == RESTARTS:
                return
            self._ends += 1
            raise GeneratorError(str(error)) from None
