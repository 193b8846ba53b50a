"""How late the load generator is: `python tests/bench_generator.py`, part of `make bench`.

Poisson arrivals go to two targets: a server that answers at once, and the keyword model on the
local server. Two senders take turns with the same arrivals: a thread of this process, and the
process of its own that `Client.fire` uses. Then both do so again while a thread of this process
is busy, as an agent would be. The slip counts from the scheduled time; an episode is
valid if its mean is at most 10 % of the mean latency.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rrl.serving import models
from rrl.serving.launcher import ModelServer
from rrl.serving.live import MAX_SLIP_FRACTION
from rrl.serving.loadgen import SYNTHETIC, Client
from rrl.serving.sender import METHOD
from rrl.serving.volley import Sample, Volley

MS = 1000.0
N = 400  # requests of an episode
SETTINGS = {"inter_op": 1, "intra_op": 1}
ECHO = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)

server = grpc.server(ThreadPoolExecutor(16), handlers=[Echo()])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""


@contextmanager
def echo() -> Iterator[str]:
    """The address of a server that answers at once."""
    command, pipe = [sys.executable, "-c", ECHO], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """A thread that computes in Python all the time, if wanted."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(i * i for i in range(1000))

    thread = threading.Thread(target=compute)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if wanted:
            thread.join()


def milliseconds(values: np.ndarray) -> str:
    return f"{MS * np.median(values):7.2f} {MS * np.quantile(values, 0.99):7.2f}"


def compare(name: str, address: str, client: Client, payload: bytes, rounds: int) -> None:
    """Print a line for each sender, rate, and state of this process."""
    call = grpc.insecure_channel(address).unary_unary(METHOD)

    def here(due: np.ndarray) -> Sample:
        send = lambda i: call.future(payload, timeout=60.0, metadata=(SYNTHETIC,))  # noqa: E731
        return Volley(send, due, None).fire()

    senders: dict[str, Callable[[np.ndarray], Sample]] = {
        "thread": here,
        "process": lambda due: client.fire(payload, due),
    }
    for send in senders.values():
        send(np.zeros(32))
    for is_busy in (False, True):
        for rate in (100, 200, 400, 800):
            samples: dict[str, list[Sample]] = {sender: [] for sender in senders}
            for seed in range(rounds):
                due = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, N))
                for sender, send in senders.items():
                    with busy(is_busy):
                        samples[sender].append(send(due))
            for sender, ones in samples.items():
                latency, slip = (
                    milliseconds(np.concatenate([getattr(s, what) for s in ones]))
                    for what in ("latency", "slip")
                )
                fractions = [s.slip_share() for s in ones]
                print(
                    f"{name:8s} {'busy' if is_busy else 'quiet':6s} {rate:4d} {sender:8s} "
                    f"{latency} {slip} {np.median(fractions):6.3f} "
                    f"{sum(fraction <= MAX_SLIP_FRACTION for fraction in fractions)}/{rounds}",
                    flush=True,
                )


def main() -> None:
    """Print the table; times in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print("target   here   rate/s sender  latency p50, p99  slip p50, p99  fraction valid")
    with echo() as address, Client(address) as client:
        compare("echo", address, client, b"x" * 1000, rounds)
    base, inputs = models.build("keyword"), models.sample("keyword", np.random.default_rng(0))
    with ModelServer(base, SETTINGS) as server, Client(server.address, server.name) as client:
        compare("keyword", server.address, client, client.payload(inputs), rounds)


if __name__ == "__main__":
    main()
