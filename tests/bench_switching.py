"""Switches of batch size and timeout under a steady load, and restarts beside them.

`python tests/bench_switching.py --switches 100` prints how long a switch takes and where, how many
requests were sent, failed and lost, and the latency during and between the switches. A switch
begins when the new version folder is there, and ends when the old version is unloaded.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from bench_handover import Load, describe

from rrl.serving import models
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client
from rrl.serving.settings import batching

RUNNING = {
    "inter_op": 2,
    "intra_op": 1,
    "batch_threads": 2,
    "max_batch_size": 1,
    "max_enqueued_batches": 1000,
    "grpc_max_threads": 64,
}


def switch(server, client, request, rng):
    """Seconds until a new version was found, was loaded and warm, answered, and was alone."""
    wanted = RUNNING | {
        "max_batch_size": int(rng.choice([1, 2, 4, 8])),
        "batch_timeout_micros": int(rng.choice([0, 1000, 2000, 5000])),
    }
    version, began, seen = server.versions.add(batching(wanted)), time.monotonic(), {}
    while "END" not in seen:
        states = client.states(timeout_s=1.0)
        state = states.pop(version, ("START",))[0]
        seen.setdefault(state, time.monotonic())
        if state == "AVAILABLE":
            if "answer" not in seen:
                client.predict(request)
                seen["answer"] = time.monotonic()
            if all(old == "END" for old, _ in states.values()):
                seen["END"] = time.monotonic()
        time.sleep(0.02)
    server.versions.keep(version)
    loading = seen.get("LOADING", began)
    steps = [began, loading, seen["AVAILABLE"], seen["answer"], seen["END"]]
    return [*np.diff(steps), seen["answer"] - began]


def main() -> int:
    """Print the times; returns 1 if a request failed or was lost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="mobilenet_v2", choices=sorted(models.MODELS))
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    options = parser.parse_args()
    base, rng = models.build(options.model), np.random.default_rng(0)
    request = models.sample(options.model, rng)

    restarts = []
    for _ in range(options.restarts):
        began = time.monotonic()
        with (
            ModelServer(base, RUNNING, executable="local") as server,
            Client(server.address, server.name) as client,
        ):
            client.fire(client.payload(request), [0.0])
            restarts.append(time.monotonic() - began)

    times, spans = [], []
    with (
        ModelServer(base, RUNNING, executable="local") as server,
        Client(server.address, server.name) as client,
    ):
        load = Load(server.address, server.name, options.rate)
        for _ in range(options.switches):
            time.sleep(2.0)
            start = time.monotonic()
            times.append(switch(server, client, request, rng))
            spans.append((start, time.monotonic()))
        time.sleep(2.0)
        load.stop()
    arrivals, latency, status = map(np.array, (load.arrivals, load.latency, load.status))
    during = np.zeros(len(arrivals), dtype=bool)
    for start, end in spans:
        during |= (arrivals >= start) & (arrivals <= end)
    found, warm, answer, rest, whole = np.array(times).T
    print(f"restart to the first answer: median {np.median(restarts):.2f} s of {len(restarts)}")
    for name, values in (
        ("switch, folder to first answer", whole),
        ("  until the folder is found", found),
        ("  until it is loaded and warm", warm),
        ("  until the first answer", answer),
        ("after that, until the old one is unloaded", rest),
    ):
        print(f"{name}: median {np.median(values):.2f} s, most {values.max():.2f} s")
    failed, lost = int((status != 0).sum()), load.sent - len(status)
    print(f"{load.sent} requests, {failed} failed, {lost} lost")
    print(describe("during", latency[during]))
    print(describe("between", latency[~during]))
    return int(bool(failed or lost))


if __name__ == "__main__":
    sys.exit(main())
