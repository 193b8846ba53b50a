"""A long live run under bursts: does the memory of tuner and server stay flat?

`python tests/bench_soak.py --minutes 20` tunes the keyword model by hand-over while its clients
come in bursts, samples the resident memory of both processes every half second and prints the
figures; the run ends with 1 if either grew. The first part, `WARM` of the time, is not counted:
allocators and caches fill meanwhile. A server is one process a configuration, so its growth is
that of the process which served longest.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict

import numpy as np
import psutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl import RRL, Bursts, ConfigSpace, Knob, MeanLatency
from rrl.operating.journal import Journal
from rrl.serving import models
from rrl.serving.handover import HandoverServer
from rrl.tuning.loop import steps

MIB = 2.0**20
WARM = 1 / 3
MOST = 0.05  # growth, as a fraction, that the counted part may show
LEAST = 16.0  # MiB; less than that is the allocator's own
HOLD = 5  # episodes of a configuration in a row, so that a server has time to leak
SPACE = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 2))])


class Patient(RRL):
    """RRL that keeps each choice for a while."""

    _left, _choice = 0, None

    def ask(self, load: float) -> dict:
        """A new choice every `HOLD` episodes."""
        chosen = super().ask(load)
        if not self._left:
            self._left, self._choice = HOLD, chosen
        self._left -= 1
        return self._choice


class Memory:
    """Resident memory of this process and of the server of the moment, by time."""

    def __init__(self, server: HandoverServer) -> None:
        self.server, self.began = server, time.monotonic()
        self.tuner: list[tuple[float, float]] = []
        self.servers: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            now = time.monotonic() - self.began
            self.tuner.append((now, psutil.Process().memory_info().rss / MIB))
            running = self.server._server
            if running and running.process:
                try:
                    rss = psutil.Process(running.process.pid).memory_info().rss / MIB
                except psutil.NoSuchProcess:  # it was just replaced
                    continue
                self.servers[running.process.pid].append((now, rss))

    def stop(self) -> None:
        """Take no more samples."""
        self._stop.set()
        self._thread.join()


def flat(name: str, samples: list[tuple[float, float]]) -> bool:
    """Print how memory went, and say whether it stayed flat after the warm part."""
    at, mib = np.array(samples).T
    counted = mib[at >= at[0] + WARM * (at[-1] - at[0])]
    tenth = max(1, len(counted) // 10)
    first, last = np.median(counted[:tenth]), np.median(counted[-tenth:])
    growth = last - first
    ok = growth <= max(MOST * first, LEAST)
    print(
        f"{name}: {first:.0f} MiB after warming up, {last:.0f} MiB at the end ({growth:+.1f}), at "
        f"most {mib.max():.0f}, over {at[-1] - at[0]:.0f} s: {'flat' if ok else 'GROWING'}"
    )
    return bool(ok)


def main() -> int:
    """Run and print; 1 if memory grew or a request failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--requests", type=int, default=200, help="of an episode")
    options = parser.parse_args()
    base, rng = models.build("keyword"), np.random.default_rng(0)
    bursts = Bursts(rates=(20.0, 150.0), sojourns=(8.0, 2.0))
    episodes = int(np.ceil(60 * options.minutes * bursts.rate / options.requests)) + 1
    agent = Patient(SPACE, np.random.default_rng(1))
    inputs = models.sample("keyword", rng)
    latency, failed = [], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        HandoverServer(base, SPACE, inputs=inputs) as server,
        Journal(folder, {"soak": options.minutes}) as journal,
    ):
        server.configure(SPACE[0], rng)  # imports TensorFlow, which is not what may not grow
        memory = Memory(server)
        for step in steps(
            server, agent, bursts, episodes, rng, requests=options.requests, objective=MeanLatency()
        ):
            journal.append({"episode": step.number, "cost": step.cost})
            latency.append(step.episode.latency)
            failed += int((~step.episode.ok).sum())
            if time.monotonic() - memory.began > 60 * options.minutes:
                break
        memory.stop()
        switches = len(memory.servers) - 1
    times = np.concatenate(latency)
    print(
        f"{len(latency)} episodes, {len(times)} requests ({bursts}), {switches} hand-overs, "
        f"{failed} failed; mean {1e3 * times.mean():.1f} ms, "
        f"p99 {1e3 * np.quantile(times, 0.99):.1f} ms"
    )
    longest = max(memory.servers.values(), key=lambda samples: samples[-1][0] - samples[0][0])
    return int(bool(failed) | (not flat("tuner", memory.tuner)) | (not flat("server", longest)))


if __name__ == "__main__":
    sys.exit(main())
