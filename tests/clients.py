"""Clients that call a service all the time, and what tests ask of processes."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress

import grpc
import numpy as np
import psutil

from rrl.serving.lasting import Lasting, wait_until
from rrl.serving.launcher import SERVER
from rrl.serving.loadgen import Client, predict_request
from rrl.serving.sample import WARMUP
from rrl.serving.service import CURRENT

LIMIT_S = 600.0  # it only ends a test that hangs
RRL = [sys.executable, "-m", "rrl.cli"]
X = {"x": np.array([[1.0, 2.0]], np.float32)}


@contextmanager
def running(command, **options):
    """A process that does not outlive a test that fails."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stub(client):
    """The calls that TensorFlow Serving offers, by the connection of a client."""
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    return prediction_service_pb2_grpc.PredictionServiceStub(client._channel)


def predict(client, inputs):
    """The outputs of one prediction; a failure raises grpc.RpcError with the server's status."""
    from tensorflow import make_ndarray

    request = predict_request(inputs, client.model, client.signature)
    reply = stub(client).Predict(request, timeout=LIMIT_S)
    return {name: make_ndarray(tensor) for name, tensor in reply.outputs.items()}


def refused(call, *arguments):
    """The status and the words with which a call is refused."""
    try:
        call(*arguments)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("it was answered")


def check_answer(address, name="probe"):
    """A prediction of the probe at an address is right."""
    with Client(address, name) as client:
        assert predict(client, X)["y"].tolist() == [[2.0, 4.0]]


WARMUPS = 3  # requests in the file for the warm-up


def write_log(path, *logs):
    """Write records to a file as TensorFlow Serving does, and return its path."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    return path


def write_warmup(version, model, inputs, *others):
    """Write TF Serving's warm-up file into a version folder, after other records; return it."""
    from tensorflow_serving.apis import prediction_log_pb2

    predict = {"request": predict_request(inputs, model=model)}
    log = prediction_log_pb2.PredictionLog(predict_log=predict)
    path = version / WARMUP
    path.parent.mkdir(exist_ok=True)
    return write_log(path, *others, *[log] * WARMUPS)


def by_grpc(client, rows=1):
    """A function that calls by gRPC; it returns what went wrong, or 0."""

    def call():
        try:
            predict(client, {"x": np.ones((rows, 2), np.float32)})
        except grpc.RpcError as error:
            return f"{error.code()}: {error.details()}"
        return 0

    return call


def http_call(port, path, body=b"", method="POST", headers=()):
    """The status and the body of a reply."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)) as connection:
        connection.request(method, path, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read()


def by_rest(port, rows=1):
    """A function that calls by REST; it returns what went wrong, or 0."""
    body = json.dumps({"instances": [[1.0, 1.0]] * rows})

    def call():
        try:
            status, said = http_call(port, "/v1/models/probe:predict", body)
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        return 0 if status == 200 else f"{status}: {said.decode()}"

    return call


@contextmanager
def calling(functions):
    """Call each function again and again, in a thread of its own."""
    stop = threading.Event()

    def run(function):
        while not stop.is_set():
            function()
            time.sleep(0.02)

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def clients(address, rest_port=None, batch=1):
    """Two clients of gRPC, or one of gRPC and one of REST; a list of their answers, none wrong."""
    codes = []
    with Client(address, "probe") as client:
        assert wait_until(lambda: client.available(timeout_s=0.5), LIMIT_S)
        other = by_rest(rest_port, batch) if rest_port else by_grpc(client, batch)
        ways = (by_grpc(client, batch), other)
        with calling([lambda way=way: codes.append(way()) for way in ways]):
            await_calls(codes, 1)
            yield codes
    assert set(codes) == {0}


def await_calls(codes, count=20):
    """Wait until so many more calls of clients have ended."""
    before = len(codes)
    assert wait_until(lambda: len(codes) >= before + count, LIMIT_S)


def kept_at(service):
    """The folder of the server that is kept in the folder of a port, and its process."""
    folder = (service / CURRENT).readlink().parent
    return folder, Lasting(folder, SERVER)


def version_of(client):
    """The version of a client's model that answers."""
    request = predict_request({"x": np.ones((1, 2), np.float32)}, client.model)
    return stub(client).Predict(request, timeout=LIMIT_S).model_spec.version.value


def children(process):
    """The numbers of the processes that a process and its children have started."""
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def alive(pid):
    """Whether a process runs; whoever inherits an orphan may not have looked after it yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def dropped_interrupt():
    """An interrupt that Python drops, as one that comes while an object is finalised."""
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
