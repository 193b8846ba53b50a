"""A server that is not started here; a command restarts it with another configuration."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.serving.live import live_episode
from rrl.serving.loadgen import Client
from rrl.serving.sample import Inputs, payloads
from rrl.serving.settings import KNOBS, flags
from rrl.support.errors import ServerError, UsageError
from rrl.tuning.episode import Episode, check_arrivals

FLAGS, BATCHING = "flags", "batching_file"


class RestartedServer:
    """Measure a server that a command restarts for a new configuration; a context manager.

    Parameters
    ----------
    address : str
        ``host:port`` of the gRPC endpoint.
    model : str
        Model name on that server.
    command : str
        This command runs for each new configuration, without a shell. ``{inter_op}`` stands for
        the level of that knob, and the other knobs work in the same way. ``{batching_file}`` stands
        for a file with the batching parameters. ``{flags}`` stands for all flags of
        `tensorflow_model_server` (one word each), including that file. When the command ends, the
        old server must have stopped answering.
    space : ConfigSpace
    inputs : mapping of str to ndarray, or sequence of these, optional
        One request, or several that are sent in turn.
    warmup : int
        Number of requests sent before the first measured one.
    timeout_s : float
        Deadline of a request in seconds.
    start_timeout_s : float
        Seconds allowed for the command. The same time is allowed again until the model is
        AVAILABLE.

    Raises
    ------
    UsageError
        If the command has a placeholder that is not a knob, or leaves out a knob.
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
    ) -> None:
        self.space, self.address, self._command = space, address, command
        self._check_placeholders()
        self._client, self._inputs = Client(address, model), inputs
        self._warmup, self._timeout_s = warmup, timeout_s
        self._start_timeout_s = start_timeout_s
        self._folder = tempfile.TemporaryDirectory(prefix="rrl-batching-")
        self._running: Configuration | None = None
        self._payloads: list[bytes] = []

    def __enter__(self) -> RestartedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the server is not changed."""
        self._client.close()
        self._folder.cleanup()

    def _check_placeholders(self) -> None:
        found = set(re.findall(r"{(\w+)}", self._command))
        known = {*self.space.names, FLAGS, BATCHING}
        if unknown := sorted(found - known):
            raise UsageError(
                f"the restart command has {{{unknown[0]}}}, which is not a knob; "
                f"it may have: {', '.join(sorted(known))}"
            )
        left_out = [name for name in self.space.names if name not in found]
        if FLAGS not in found and left_out:
            raise UsageError(
                f"the restart command leaves out {{{left_out[0]}}}; without it that knob has no "
                "effect"
            )
        strange = [name for name in self.space.names if name not in KNOBS]
        if found & {FLAGS, BATCHING} and strange:
            raise UsageError(
                f"{strange[0]!r} is not a knob of tensorflow_model_server, so {{flags}} and "
                f"{{batching_file}} cannot be made; its knobs: {', '.join(KNOBS)}"
            )

    def words(self, configuration: Configuration, batching_file: Path) -> list[str]:
        """Return the command for a configuration, split into words as a shell splits it."""
        values = {name: str(level) for name, level in configuration.items()}
        own: list[str] = []
        if set(configuration) <= set(KNOBS):
            own, batching = flags(configuration, batching_file)
            batching_file.write_text(batching)
            values[BATCHING] = str(batching_file)
        words = []
        for word in shlex.split(self._command):
            if word == f"{{{FLAGS}}}":
                words += own
            else:
                words.append(re.sub(r"{(\w+)}", lambda m: values.get(m[1], m[0]), word))
        return words

    def _restart(self, configuration: Configuration, rng: np.random.Generator) -> None:
        self._running = None
        words = self.words(configuration, Path(self._folder.name) / "batching.txt")
        run_to_end(words, self._start_timeout_s)
        deadline = time.monotonic() + self._start_timeout_s
        while not self._client.available(timeout_s=0.5):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.address}: no model available {self._start_timeout_s:.0f} s after "
                    f"{shlex.join(words)!r}; see that server's log"
                )
        self._payloads = payloads(self._client, self._inputs, rng)
        if self._warmup:
            self._client.fire(self._payloads, np.zeros(self._warmup), self._timeout_s)
        self._running = dict(configuration)

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Send requests at the times `arrivals` (seconds), after a restart if one is needed.

        Raises
        ------
        ValueError
            If the configuration is not in the space.
        ServerError
            If the command fails, or the server does not answer.
        """
        arrivals = check_arrivals(arrivals)
        self.space.index(configuration)
        began, switch_s = time.monotonic(), 0.0
        if self._running != dict(configuration):
            self._restart(configuration, rng)
            switch_s = time.monotonic() - began
        sample = self._client.fire(self._payloads, arrivals, self._timeout_s)
        if sample.status.any() and not self._client.available(timeout_s=2.0):
            raise ServerError(f"{self.address}: no answer after failed requests; is it running?")
        return live_episode(configuration, arrivals, sample, None, switch_s)


def run_to_end(words: Sequence[str], timeout_s: float) -> None:
    """Run a command and wait until it ends.

    Raises
    ------
    ServerError
        If the command cannot be started, fails or takes too long. The message of a failure quotes
        the last line of its output.
    """
    with tempfile.TemporaryFile() as output:  # a server that it starts would keep a pipe open
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerError(f"restart command {shlex.join(words)!r}: {error.strerror}") from None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ServerError(
                f"restart command {shlex.join(words)!r}: still running after {timeout_s:.0f} s; "
                "let it start the server in the background"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            output.seek(0)
            lines = output.read().decode(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "(no output)")
            raise ServerError(f"restart command {shlex.join(words)!r}: status {code}: {last}")
