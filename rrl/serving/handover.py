"""A change of configuration that loses no request, and a way back that takes no restart.

TensorFlow fixes its thread pools once per process, so a new configuration is a new process. Clients
keep one address, that of a :class:`rrl.serving.front.Front`, which passes every call on to the
current server. :class:`HandoverServer` is a live server behind such a front. At most two servers
share the machine: one that is kept ready, and one on trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Configuration
from rrl.serving.client_traffic import requests_of_others, stop_by_others, wait_for_requests
from rrl.serving.front import Front
from rrl.serving.launcher import ModelServer
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client
from rrl.serving.volley import Sample
from rrl.support.errors import GeneratorError, ServerError
from rrl.tuning.watch import Watch

GIVE_UP_S = 0.5  # seconds for a stopped trial to answer; then others answer in its place


@dataclass(frozen=True)
class Switch:
    """The times of one hand-over.

    Parameters
    ----------
    configuration : configuration
        The configuration that took over.
    began : float
        Start time in seconds, by `time.monotonic`.
    start_s : float
        Seconds in which the new server started and warmed up while the old one served.
    drain_s : float
        Seconds in which the old server answered its open calls.
    drained : bool
        Whether the old server answered all open calls. If not, it took longer than allowed.
    """

    configuration: Configuration
    began: float
    start_s: float
    drain_s: float
    drained: bool

    @property
    def seconds(self) -> float:
        """Time of the whole hand-over in seconds."""
        return self.start_s + self.drain_s


@dataclass(eq=False)
class _Running:
    """A running server, and a direct connection to it."""

    server: ModelServer
    client: Client


class HandoverServer(LiveServer):
    """A live server at a fixed address; a new configuration takes over from the running one.

    It takes the parameters of :class:`rrl.LiveServer`, and those below. It also serves requests
    that other clients send to :attr:`address`. A configuration that does not start never takes
    over.

    Parameters
    ----------
    port : int, optional
        Port of the fixed address. By default, a free port is chosen.
    drain_s : float, optional
        Longest wait in seconds for the old server's last answers.
    traffic : bool, optional
        Whether episodes consist of the requests of other clients. Then no other load is sent, and
        an episode has one request for each arrival that `measure` gets.
    canary : float, optional
        Fraction of these requests that goes to a configuration on trial, above 0 and at most 1. The
        kept configuration gets the others.

    Attributes
    ----------
    switches : list of Switch
        The hand-overs so far.

    Examples
    --------
    >>> with HandoverServer(base_path, space, port=8500) as server:  # doctest: +SKIP
    ...     server.configure({"inter_op": 2}, rng)  # clients may come now
    ...     server.configure({"inter_op": 1}, rng)  # and notice nothing of this
    """

    def __init__(
        self,
        *arguments: Any,
        port: int | None = None,
        drain_s: float = 60.0,
        traffic: bool = False,
        canary: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._traffic, self._canary, self._drain_s = traffic, canary, drain_s
        self.switches: list[Switch] = []
        self._all: list[_Running] = []  # at most two
        self._current: _Running | None = None
        self._kept: Configuration | None = None
        self.front = Front(port)

    @property
    def address(self) -> str:
        """The fixed ``host:port``."""
        return self.front.address

    @property
    def kept(self) -> Configuration:
        """The configuration that is kept running, with the fixed settings; empty if none is."""
        return self._kept or {}

    @property
    def serves(self) -> bool:
        """Whether a server answers at the address now."""
        return self._current is not None and self._current.server.alive

    def keep(self, configuration: Configuration) -> None:
        """Keep a configuration running beside every trial, so that it takes over at once."""
        self._kept = {**self._fixed, **configuration}

    def close(self) -> None:
        """Stop all servers and close the address."""
        self.front.close()
        for running in list(self._all):
            self._stop(running)
        super().close()

    def return_to_kept(self, rng: np.random.Generator) -> None:
        """Let the kept configuration serve until the end, even if the model has a new version.

        No other server runs then, for the next one needs its memory. Nothing can be measured
        afterwards.
        """
        self._version = None
        self.configure(self.kept, rng)
        for running in [running for running in self._all if running is not self._current]:
            self._stop(running)

    def warm_up(self, address: str) -> None:
        """Warm up a server with the kept configuration that is to take over.

        It gets the same requests as those that this object starts.
        """
        if self._current:
            with Client(address, self._current.server.name, self._signature) as client:
                self._warm_up(client, self.kept)

    def hand_port_over(self, start: Callable[[], object]) -> bool:
        """Give the port to a server that stays, see :meth:`rrl.serving.front.Front.hand_port_over`.

        Nothing can be measured afterwards.
        """
        if self._client:
            self._client.close()  # else this connection, too, would have to reach its age first
            self._client = None
        return self.front.hand_port_over(start)

    def configure(self, configuration: Configuration, rng: np.random.Generator) -> ModelServer:
        """Start and warm up `configuration`; the running configuration serves until then."""
        wanted, began = {**self._fixed, **configuration}, time.monotonic()
        self._forget_dead()
        for running in self._all:
            running.server.check_version(self._version)
        on_trial = self._kept not in (None, wanted)
        if on_trial and None in (self._find(self._kept), self._find(wanted)):
            self.configure(self._kept, rng)  # it serves until then, and stays ready
        found = self._find(wanted) or self._bring_up(wanted, rng)
        if found is not self._current:
            self._take_over(found, began)
        self._server = found.server
        return found.server

    def _find(self, wanted: Configuration | None) -> _Running | None:
        """Return the server that runs a configuration, if there is one."""
        running = (r for r in self._all if r.server.configuration == wanted)
        return next((r for r in running if r.server.alive), None)

    def _forget_dead(self) -> None:
        """Count on no server whose process has ended: the one that is kept ready may have, too."""
        for running in [running for running in self._all if not running.server.alive]:
            if running is self._current:
                self._drop()
            else:
                self._stop(running)

    def _bring_up(self, wanted: Configuration, rng: np.random.Generator) -> _Running:
        """Start a configuration while another one serves."""
        spare = next((r for r in self._all if r is not self._current), None)
        if spare:
            self._stop(spare)
        running = _Running(*self._launch(wanted, rng))
        self._all.append(running)
        return running

    def _take_over(self, new: _Running, began: float) -> None:
        """Send the calls to another server, and wait for the last answers of the previous one."""
        new.server.resume()
        ready, old = time.monotonic(), self._current
        standby = self._find(self._kept) if self._kept is not None else None
        drained = self._follow(new, None if standby is new else standby)(self._drain_s)
        if self._client is None:
            self._client = Client(self.address, new.server.name, self._signature)
        if old is None:
            return
        if self._kept is None:
            self._stop(old)
        elif old is not standby:
            old.server.pause()  # its idle batch threads use the processor
        seconds = time.monotonic() - ready
        settings = new.server.configuration
        self.switches.append(Switch(settings, began, ready - began, seconds, drained))

    def _follow(self, new: _Running, standby: _Running | None) -> Any:
        self._current = new
        if standby is None or self._canary == 1:
            return self.front.route(new.server.address, standby and standby.server.address)
        drain = self.front.route(standby.server.address)
        self.front.split(new.server.address, self._canary)
        return drain

    def _stop(self, running: _Running) -> None:
        self._all.remove(running)
        if self._current is running:
            self._current = None
        running.client.close()
        running.server.stop()

    def _drop(self) -> None:
        """Return to the kept server at once, and stop the one that failed or did badly.

        Calls that it has not answered are sent again to the kept server.
        """
        failed, kept = self._current, self._find(self._kept)
        if failed is None:
            return
        if kept is None or kept is failed:
            self.front.route(None)(0.0)
        else:
            kept.server.resume()
            self._follow(kept, None)(GIVE_UP_S)
            self._server = kept.server
        self._stop(failed)
        if self._current is None:
            self._server = None

    def _fire_beside_others(
        self, server: ModelServer, arrivals: NDArray[np.float64], watch: Watch | None
    ) -> Sample:
        """Send an episode's requests, and watch those of other clients, too.

        Each of the two gets half of the bad requests that the episode may have.
        """
        now = self.front.traffic, self.front.traffic.mark, server.address, time.monotonic()
        also = None
        if watch is not None:
            half = max(watch.allowance // 2, 1)
            also = stop_by_others(*now, replace(watch, allowance=half))
            watch = replace(watch, allowance=max(watch.allowance - half, 1))
        sample = super()._fire(server, arrivals, watch, also)
        return replace(sample, others=requests_of_others(*now, aborted=bool(sample.aborted)))

    def _fire(
        self,
        server: ModelServer,
        arrivals: NDArray[np.float64],
        watch: Watch | None,
        also: Callable[[], str] | None = None,
    ) -> Sample:
        if self._traffic:
            try:
                sample = wait_for_requests(
                    self.front.traffic, server, len(arrivals), watch, self._timeout_s
                )
            except ServerError as error:
                if not isinstance(error, GeneratorError):
                    self._drop()
                raise
        else:
            sample = self._fire_beside_others(server, arrivals, watch)
        kept = self._find(self._kept)
        if sample.aborted and kept is not None and kept is not self._current:
            self._drop()
        return sample
