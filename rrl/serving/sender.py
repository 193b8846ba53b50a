"""Send the requests of episodes from a process of its own.

The process that tunes also runs the agent. Python runs one thread at a time, so the agent's work
would delay requests: then the generator measures itself. The other process does nothing but send
requests and note the answers. It runs `python -m rrl.serving.sender`, needs no
TensorFlow, and ends as soon as the process that started it ends, however that ends.
"""

from __future__ import annotations

import ctypes
import gc
import os
import queue
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.serving.volley import LOOK_S, Sample, Volley
from rrl.support.errors import GeneratorError
from rrl.tuning.watch import Watch

CONNECT_S = 1.0  # longest wait for the connection before an episode
END_S = 5.0  # longest wait for the end of the process, which needs milliseconds
METHOD = "/tensorflow.serving.PredictionService/Predict"
PR_SET_TIMERSLACK = 29

Job = tuple[list[bytes], NDArray[np.float64], float, Watch | None]
"""Payloads, arrivals, deadline in seconds, and the watch."""


class Sender:
    """A process that sends requests to one address.

    Parameters
    ----------
    address : str
        ``host:port`` or ``unix:/path`` of the gRPC endpoint.
    options : sequence of (str, value)
        gRPC's options of the channel.
    metadata : sequence of (str, str)
        What every request carries besides its payload.

    Attributes
    ----------
    process : subprocess.Popen
        The process.
    """

    def __init__(
        self, address: str, options: Sequence[tuple[str, Any]], metadata: Sequence[tuple[str, str]]
    ) -> None:
        self.address = address
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rrl.serving.sender", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C reaches this process, which then ends the other
            )
        self._connection = Connection(ours.detach())
        self._finalizer = weakref.finalize(self, _end, self._connection, self.process)
        with suppress(OSError):  # `fire` reports a process that has ended
            self._connection.send((address, options, metadata))

    def alive(self) -> bool:
        """Return whether the process can send requests."""
        return self._finalizer.alive and self.process.poll() is None

    def close(self) -> None:
        """End the process. Requests that are open are cancelled."""
        self._finalizer()

    def fire(
        self,
        payloads: Sequence[bytes],
        due: NDArray[np.float64],
        timeout_s: float,
        watch: Watch | None,
        also: Callable[[], str] | None = None,
    ) -> Sample:
        """Send requests and wait for the answers, see :meth:`rrl.serving.loadgen.Client.fire`.

        Raises
        ------
        GeneratorError
            If the process ended before it had all answers.
        """
        try:
            self._connection.send((list(payloads), due, timeout_s, watch))
            while watch and also and not self._connection.poll(LOOK_S):
                if reason := also():
                    self._connection.send(reason)
                    break
            return self._connection.recv()
        except (EOFError, OSError):
            self.close()
            raise GeneratorError(
                f"{self.address}: the process that sends the requests ended with status "
                f"{self.process.returncode}; measure again"
            ) from None
        except BaseException:  # an answer that comes later belongs to no episode
            self.close()
            raise


def _end(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(connection: Connection, jobs: queue.SimpleQueue[Job], halt: list[str]) -> None:
    """Take jobs, and reasons to halt; end the process if the other one closed or died."""
    try:
        while True:
            message = connection.recv()
            if isinstance(message, str):
                halt.append(message)
            else:
                halt.clear()  # it was for the job before
                jobs.put(message)
    except (EOFError, OSError):
        os._exit(0)


def _connect(channel: Any) -> None:
    """Wait until the connection is there, so that no request waits for it or fails without it.

    The server may have been restarted since the last episode.
    """
    import grpc

    ready = grpc.channel_ready_future(channel)
    with suppress(grpc.FutureTimeoutError):
        ready.result(CONNECT_S)
    ready.cancel()


def _be_on_time() -> None:
    """Let this thread, and those that it starts, run as soon as they have work.

    Realtime priority needs a right (root, or a limit `ulimit -r` above 0). Without it, a request
    may wait until the server or another process gives a processor back.
    """
    gc.freeze()  # the garbage collector need not look at what stays
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # else 50 us late
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def _serve(connection: Connection) -> None:
    import grpc

    address, options, metadata = connection.recv()
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    halt: list[str] = []
    threading.Thread(target=_read, args=(connection, jobs, halt), daemon=True).start()
    _be_on_time()
    channel = grpc.insecure_channel(address, options=options)
    predict = channel.unary_unary(METHOD)  # on bytes
    while True:
        payloads, due, timeout_s, watch = jobs.get()
        _connect(channel)

        def call(i: int, turns: list[bytes] = payloads, limit_s: float = timeout_s) -> Any:
            return predict.future(turns[i % len(turns)], timeout=limit_s, metadata=metadata)

        connection.send(Volley(call, due, watch, lambda: halt[0] if halt else "").fire())


if __name__ == "__main__":
    with suppress(EOFError, OSError):  # the other process has ended
        _serve(Connection(int(sys.argv[1])))
    os._exit(0)
