"""What takes too long for every day: `make test-long`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rrl.serving import models
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client

pytestmark = pytest.mark.long

RUNNING = {"inter_op": 2, "intra_op": 1, "batch_threads": 2, "max_enqueued_batches": 100}


def held(process):
    """Threads of a process, and its resident memory in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["Threads"]), int(fields["VmRSS"].split()[0]) / 1024


def test_300_switches_in_one_process_keep_its_threads_and_its_memory():
    base = models.build("keyword")
    payload = models.sample("keyword", np.random.default_rng(0))
    seen = []
    with (
        ModelServer(base, RUNNING, executable="local") as server,
        Client(server.address, server.name) as client,
    ):
        for turn in range(300):
            size, timeout = 1 + turn % 8, 1000 * (turn % 3)
            server.switch(RUNNING | {"max_batch_size": size, "batch_timeout_micros": timeout})
            assert (client.fire(client.payload(payload), np.zeros(16)).status == 0).all()
            seen.append(held(server.process))
    threads, memory = np.array(seen).T
    assert threads[-100:].max() <= threads[:100].max()
    assert np.median(memory[-100:]) <= np.median(memory[:100]) + 16  # MiB
