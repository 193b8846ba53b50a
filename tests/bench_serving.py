"""What our server adds to a prediction: `python tests/bench_serving.py`, part of `make bench`.

MobileNetV2, one image a request, one request at a time, TensorFlow's automatic thread pools.
The same call is timed in three places: the bare graph in this process, the request handler in
this process (proto to proto), and the whole way through gRPC to a server process. Short blocks of
each take turns, so that they share the machine's noise; the first call of a block finds the
caches full of the other process and is not counted.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl.serving import models
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client, predict_request
from rrl.serving.servable import LoadedModel

MS = 1000.0
BLOCK = 4  # timed calls in a row


def timed(call: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Print medians with their quartiles, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    base = models.build("mobilenet_v2")
    inputs = models.sample("mobilenet_v2", np.random.default_rng(0))
    request = predict_request(inputs, model="mobilenet_v2")
    model = LoadedModel("mobilenet_v2", base / "1", batching=None)
    (image,) = inputs.values()
    with ModelServer(base) as server, Client(server.address, server.name) as client:
        calls = {
            "graph, in process": lambda: model.run("Predict", "serving_default", [image]),
            "handler, in process": lambda: model.predict(request),
            "gRPC, to a server": lambda: client._stub.Predict(request),
        }
        for call in calls.values():
            for _ in range(20):
                call()
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                call()
                seconds[name] += [timed(call) for _ in range(BLOCK)]
    for name, values in seconds.items():
        low, median, high = MS * np.quantile(values, [0.25, 0.5, 0.75])
        print(f"{name:20s} {median:6.2f} ms  (quartiles {low:.2f} to {high:.2f})")
    bare, handler, remote = (MS * np.median(values) for values in seconds.values())
    print(f"proto to tensor and back: {handler - bare:+.2f} ms")
    print(f"gRPC, both ways:          {remote - handler:+.2f} ms")
    print(f"whole overhead:           {remote - bare:+.2f} ms  (goal: below 2)")


if __name__ == "__main__":
    main()
