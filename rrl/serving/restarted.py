"""Measure a server that is not started here; a command restarts it with another configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.serving.live import live_episode
from rrl.serving.loadgen import SIGNATURE
from rrl.serving.operators import OperatorsServer
from rrl.serving.restart_command import RestartCommand
from rrl.serving.sample import Inputs, payloads
from rrl.support.errors import ServerError
from rrl.tuning.episode import Episode, check_arrivals
from rrl.tuning.watch import Watch


class RestartedServer(OperatorsServer):
    """Measure a server that a command restarts for a new configuration; a context manager.

    A server that dies or hangs in mid-episode is restarted with the same configuration, and that
    episode is dropped. A command that fails is tried again.

    Parameters
    ----------
    address : str
        ``host:port`` of the gRPC endpoint.
    model : str
        Model name on that server.
    command : str
        This command runs for each new configuration, without a shell. ``{inter_op}`` stands for
        the value of that knob, and the other knobs work in the same way. ``{batching_file}`` stands
        for a file with the batching parameters. ``{flags}`` stands for all flags of
        `tensorflow_model_server` (one word each), including that file, and ``{env}`` for all
        environment variables (``NAME=VALUE``, one word each). Inside a longer word, as in
        ``ssh HOST "restart {flags}"``, they are quoted for a shell, and so is a value or the file
        in a word with spaces. When the command ends, the old server must have stopped answering.
    space : ConfigSpace
    inputs : mapping of str to ndarray, or sequence of these, optional
        One request, or several that are sent in turn.
    warmup : int
        Number of requests sent before the first measured one.
    timeout_s : float
        Deadline of a request in seconds. A server that hangs is noticed after this time.
    start_timeout_s : float
        Seconds allowed for the command. The same time is allowed again until the model is
        AVAILABLE.
    folder : path
        Folder for the batching files that running servers refer to, for a note of what is deployed
        (:class:`Deployed`), and for the command's output. It must stay after the run.
    fixed : configuration, optional
        Settings that hold for every configuration.
    restarts : int
        How many times a server that died or a command that failed is tried again.
    signature : str
        The signature of the model that is called.
    show : callable, optional
        This function receives lines of text for people to read. They may quote the command's
        output, so they must not be stored.

    Attributes
    ----------
    dropped_requests : int
        Number of requests in the episodes that the last call of :meth:`measure` dropped.

    Raises
    ------
    UsageError
        If the command has a placeholder that is not a knob, or leaves out a knob, or if another
        process uses the folder.
    """

    def __init__(
        self,
        address: str,
        model: str,
        command: str,
        space: ConfigSpace,
        *,
        inputs: Inputs | Sequence[Inputs] | None = None,
        warmup: int = 32,
        timeout_s: float = 60.0,
        start_timeout_s: float = 120.0,
        folder: str | os.PathLike[str] = Path("build") / "restarted",
        fixed: Configuration | None = None,
        restarts: int = 2,
        signature: str = SIGNATURE,
        show: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__(
            address,
            model,
            signature,
            RestartCommand(command, space.names, folder, fixed),
            start_timeout_s=start_timeout_s,
            restarts=restarts,
            show=show,
        )
        self.space, self._inputs = space, inputs
        self._warmup, self._timeout_s = warmup, timeout_s
        self._payloads: list[bytes] = []  # empty until the running server is warm
        self.dropped_requests = 0

    def check_requests(self, rng: np.random.Generator) -> None:
        """Check signature and sample by the model that serves now, before anything is restarted.

        Raises
        ------
        ServerError
            If a request does not fit, or there is no such signature.
        """
        payloads(self._client, self._inputs, rng)

    def _deploy(self, configuration: Configuration, tries: int = 1) -> None:
        self._payloads = []
        super()._deploy(configuration, tries)

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Send requests at the times `arrivals` (seconds), after a restart if one is needed.

        Parameters
        ----------
        configuration : configuration
        arrivals : array_like, shape (n,)
        rng : numpy.random.Generator
        watch : Watch, optional
            It may stop the episode. Then a server that dies or hangs is not restarted.

        Returns
        -------
        Episode
            Its `info` has the seconds of the restart as ``switch_s``, and as ``crashes`` the number
            of dropped episodes in which the server died or hung.

        Raises
        ------
        ValueError
            If the configuration is not in the space.
        ServerError
            If the command fails, the server dies too often, or all requests fail. No message has
            text of the command or of its output.
        """
        arrivals = check_arrivals(arrivals)
        self.space.index(configuration)
        self.dropped_requests = 0
        tries = 1 if watch else self._restarts + 1  # a trial that crashes is not tried again
        for crashes in range(tries):
            episode = self._episode(configuration, arrivals, rng, watch)
            if episode is not None:
                return replace(episode, info={**episode.info, "crashes": crashes})
            self._running, self._deployed.complete = None, False
            self._show(f"{self.address}: no answer in mid-episode; the episode is dropped")
        raise ServerError(
            f"{self.address}: {self._text(configuration)}: the server stopped answering in {tries} "
            "episodes in a row; see that server's log",
            lost=self.dropped_requests,
        )

    def _episode(
        self,
        configuration: Configuration,
        arrivals: NDArray[np.float64],
        rng: np.random.Generator,
        watch: Watch | None,
    ) -> Episode | None:
        """Measure an episode; the result is None if the server died or hangs."""
        began, switch_s = time.monotonic(), 0.0
        if self._running != dict(configuration):
            self._deploy(configuration, self._restarts + 1)
        if not self._payloads:
            try:
                self._payloads = payloads(self._client, self._inputs, rng)
            except ServerError:
                if self._answers():  # the reason is another one, such as an unfitting sample
                    raise
                return None
            if self._warmup:
                self._client.fire(self._payloads, np.zeros(self._warmup), self._timeout_s)
            switch_s = time.monotonic() - began
        sample = self._client.fire(self._payloads, arrivals, self._timeout_s, watch)
        doubt = sample.status.any() and not sample.aborted  # a stopped trial may be stuck
        if doubt and not self._answers():
            self.dropped_requests += len(sample.status)
            return None
        if not sample.aborted and (failure := sample.failure()):
            raise ServerError(f"{self.address}: all {len(arrivals)} requests failed: {failure}")
        restarted = switch_s > 0
        return live_episode(configuration, arrivals, sample, None, switch_s, restarted=restarted)
