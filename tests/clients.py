"""Clients that call a service all the time, and what tests ask of processes."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import contextmanager

import grpc
import numpy as np
import psutil

from rrl.serving.lasting import wait_until
from rrl.serving.loadgen import Client

LIMIT_S = 600.0  # it only ends a test that hangs


@contextmanager
def clients(address, rest_port=None, batch=1):
    """Two clients of gRPC, or one of gRPC and one of REST; a list of what went wrong, or 0."""
    stop, codes = threading.Event(), []

    def call(ask):
        while not stop.is_set():
            try:
                codes.append(ask())
            except (OSError, http.client.HTTPException) as error:
                codes.append(repr(error))
            time.sleep(0.02)

    def by_grpc():
        try:
            client.predict({"x": np.ones((batch, 2), np.float32)}, timeout_s=LIMIT_S)
        except grpc.RpcError as error:
            return f"{error.code()}: {error.details()}"
        return 0

    def by_rest():
        connection = http.client.HTTPConnection("127.0.0.1", rest_port, timeout=LIMIT_S)
        body = f'{{"instances": {[[1.0, 1.0]] * batch}}}'
        connection.request("POST", "/v1/models/probe:predict", body)
        reply = connection.getresponse()
        said = reply.read().decode()
        connection.close()
        return 0 if reply.status == 200 else f"{reply.status}: {said}"

    with Client(address, "probe") as client:
        assert wait_until(lambda: client.available(timeout_s=0.5), LIMIT_S)
        ways = [by_grpc, by_rest if rest_port else by_grpc]
        threads = [threading.Thread(target=call, args=[way]) for way in ways]
        for thread in threads:
            thread.start()
        try:
            assert wait_until(lambda: codes, LIMIT_S)
            yield codes
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def alive(pid):
    """Whether a process runs; whoever inherits an orphan may not have looked after it yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
