"""The front passes calls on unchanged, measures them, saves them from a trial, and gives its port.

The servers behind it are real gRPC servers: small ones that answer as a test needs, and the local
model server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from probe import build_probe
from tensorflow_serving.apis import get_model_status_pb2

from rrl.serving.front import Front
from rrl.serving.launcher import LOCAL, ModelServer, find_executable, free_port
from rrl.serving.loadgen import SYNTHETIC, UNLIMITED, Client, predict_request
from rrl.serving.ports import listeners, own_sockets, wait_until
from rrl.serving.process import ServerProcess
from rrl.serving.traffic import PREDICTION, ObservedTraffic, batch_size
from rrl.support.errors import ServerError

PREDICT = PREDICTION + "Predict"
X = {"x": np.ones((1, 2), np.float32)}
LIMIT_S = 30.0  # for conditions that come true at once on an idle machine


class Backend(grpc.GenericRpcHandler):
    """A server on a free port; every call is answered by `answer(request, context)`."""

    def __init__(self, answer):
        self.answer = answer
        self.methods, self.metadata, self.requests = [], [], []
        options = [("grpc.so_reuseport", 0), *UNLIMITED]
        self.server = grpc.server(ThreadPoolExecutor(16), handlers=[self], options=options)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details):
        self.methods.append(details.method)

        def called(request, context):
            self.metadata.append(dict(context.invocation_metadata()))
            self.requests.append(request)
            return self.answer(request, context)

        return grpc.unary_unary_rpc_method_handler(called)


@pytest.fixture
def backend():
    """A function that starts a backend which the test need not stop."""
    started = []

    def start(answer=lambda request, _: b"re:" + request):
        started.append(Backend(answer))
        return started[-1]

    yield start
    for one in started:
        one.server.stop(None).wait()


@pytest.fixture
def front():
    front = Front()
    yield front
    front.close()


@contextmanager
def channel(address):
    options = [("grpc.use_local_subchannel_pool", 1), *UNLIMITED]
    with grpc.insecure_channel(address, options=options) as opened:
        yield opened


@pytest.fixture
def calling(front):
    """A function that calls a method of the front: payload, method, and options of the call."""
    with channel(front.address) as opened:
        yield lambda payload=b"", method=PREDICT, **options: opened.unary_unary(method).with_call(
            payload, timeout=options.pop("timeout", LIMIT_S), **options
        )


def failure(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    return error.value


def refuse(code, details):
    return lambda _, context: context.abort(code, details)


TOO_LARGE = refuse(
    grpc.StatusCode.INVALID_ARGUMENT, "Task size 4 is larger than maximum input batch size 1"
)
FULL = refuse(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full")
ALL_LATE = refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "all tasks are late")


# --- What passes ------------------------------------------------------------------------------


def test_metadata_and_trailers_go_both_ways_for_any_method(front, backend, calling):
    def answer(request, context):
        context.send_initial_metadata([("first", "1"), ("first-bin", b"\x00\xff")])
        context.set_trailing_metadata([("last", "2"), ("last-bin", b"\xfe")])
        return request[::-1]

    server = backend(answer)
    front.route(server.address)
    sent = [("tenant", "a"), ("trace-bin", b"\x00\x01")]
    reply, call = calling(b"abc", "/any.Service/Method", metadata=sent)
    assert reply == b"cba"
    assert server.methods == ["/any.Service/Method"]
    assert set(sent) < set(server.metadata[0].items())
    assert dict(call.initial_metadata()) == {"first": "1", "first-bin": b"\x00\xff"}
    assert dict(call.trailing_metadata()) == {"last": "2", "last-bin": b"\xfe"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0]])
def test_errors_pass_unchanged_with_their_trailers(code, front, backend, calling):
    def answer(_, context):
        context.set_trailing_metadata([("grpc-status-details-bin", b"\x01"), ("why", "so")])
        context.abort(code, "wörter\nand more")

    front.route(backend(answer).address)
    error = failure(calling)
    assert (error.code(), error.details()) == (code, "wörter\nand more")
    trailers = {"grpc-status-details-bin": b"\x01", "why": "so"}
    assert trailers.items() <= dict(error.trailing_metadata()).items()
    assert front.traffic.since().status.tolist() == [code.value[0]]


def test_a_cancel_reaches_the_server(front, backend):
    cancelled, began = threading.Event(), threading.Event()

    def answer(_, context):
        context.add_callback(cancelled.set)
        began.set()
        cancelled.wait(LIMIT_S)
        return b""

    front.route(backend(answer).address)
    with channel(front.address) as opened:
        call = opened.unary_unary(PREDICT).future(b"", timeout=10 * LIMIT_S)
        assert began.wait(LIMIT_S)
        assert front.traffic.open()[0][1] == front._routing.present.address
        assert not cancelled.is_set()
        call.cancel()
        assert cancelled.wait(LIMIT_S)
    assert wait_until(lambda: front.traffic.mark, LIMIT_S)
    assert front.traffic.since().status.tolist() == [grpc.StatusCode.CANCELLED.value[0]]


def test_deadlines_pass_on_and_a_late_call_is_counted_as_late(front, backend, calling):
    seen, late = [], threading.Event()

    def answer(request, context):
        seen.append(context.time_remaining())
        if request:
            late.wait(LIMIT_S)
        return b""

    front.route(backend(answer).address)
    calling(timeout=1000.0)
    calling(timeout=None)
    assert 900 < seen[0] < 1025  # gRPC rounds a timeout up by at most 1 % at each of the two hops
    assert seen[1] > 1e6
    assert failure(calling, b"x", timeout=0.5).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert wait_until(lambda: front.traffic.mark == 3, LIMIT_S)
    late.set()
    assert front.traffic.since().status.tolist() == [0, 0, 4]


def test_large_messages_pass(front, backend, calling):
    size = 6_000_000  # gRPC's own limit is 4 MB
    front.route(backend(lambda request, _: request).address)
    assert len(calling(bytes(size))[0]) == size


# --- What is measured -------------------------------------------------------------------------


def request_of(*sizes):
    inputs = {f"x{i}": np.ones((size, 2), np.float32) for i, size in enumerate(sizes)}
    return predict_request(inputs).SerializeToString()


def test_batch_sizes_are_read_from_the_request_alone():
    from tensorflow_serving.apis import classification_pb2, predict_pb2

    assert batch_size(PREDICT, request_of(3, 7, 5)) == 7
    scalar = predict_request({"x": np.float32(1)}).SerializeToString()
    assert batch_size(PREDICT, scalar) == 1
    words = predict_request({"x": np.array([b"a"] * 9)}).SerializeToString()
    assert batch_size(PREDICT, words) == 9
    none = predict_request({"x": np.ones((0, 2), np.float32)}).SerializeToString()
    assert batch_size(PREDICT, none) == 0
    rows = classification_pb2.ClassificationRequest()
    for _ in range(4):
        rows.input.example_list.examples.add()
    assert batch_size(PREDICTION + "Classify", rows.SerializeToString()) == 4
    assert batch_size(PREDICTION + "GetModelMetadata", request_of(3)) == 0
    negative = predict_pb2.PredictRequest()
    negative.inputs["x"].tensor_shape.dim.add(size=-1)
    assert batch_size(PREDICT, negative.SerializeToString()) == 0


def test_a_damaged_request_has_no_batch_size_and_passes(front, backend, calling):
    whole = request_of(3)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(len(whole))])
        for i in rng.integers(0, max(1, len(damaged)), 3):
            damaged[i : i + 1] = bytes([rng.integers(256)])
        assert batch_size(PREDICT, bytes(damaged)) >= 0
    assert batch_size(PREDICT, b"\xff" * 150_000) == 0
    front.route(backend().address)
    assert calling(b"\xff\xff")[0] == b"re:\xff\xff"


def test_requests_of_others_are_measured_and_rrls_own_are_not(front, backend, calling):
    server = backend()
    front.route(server.address)
    before = time.monotonic()
    for size in (2, 8, 4):
        calling(request_of(size))
    calling(request_of(64), metadata=[SYNTHETIC, ("tenant", "a")])
    assert SYNTHETIC[0] not in server.metadata[-1]
    assert server.metadata[-1]["tenant"] == "a"
    seen = front.traffic.since()
    assert seen.batch.tolist() == [2, 8, 4]
    assert seen.status.tolist() == [0, 0, 0]
    assert set(seen.route) == {server.address} == set(seen.tried)
    assert (seen.latency > 0).all()
    assert before <= seen.arrival[0] < seen.arrival[2] <= time.monotonic()
    assert front.traffic.largest_batch == 8
    mark = front.traffic.mark
    assert len(front.traffic.since(mark)) == 0
    calling(request_of(1))
    assert front.traffic.since(mark).batch.tolist() == [1]
    began, first = front.traffic._began, time.monotonic()
    rate = front.traffic.rate_per_s()
    assert 4 / (time.monotonic() - began) <= rate <= 4 / (first - began)


def test_probes_pass_and_are_no_requests(front, backend, calling):
    def answer(request, context):
        if request == b"health":  # as a server without a health service
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return request

    front.route(backend(answer).address)
    assert calling(b"a", "/tensorflow.serving.ModelService/GetModelStatus")[0] == b"a"
    assert calling(b"b", PREDICTION + "GetModelMetadata")[0] == b"b"
    unknown = failure(calling, b"health", "/grpc.health.v1.Health/Check")
    assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (front.traffic.mark, front.traffic.open()) == (0, [])
    for name in ("Predict", "Classify", "Regress", "MultiInference"):
        calling(b"", PREDICTION + name)
    assert front.traffic.mark == 4


def test_the_load_generator_marks_its_requests(front, backend):
    server = backend()
    with Client(server.address) as client:
        assert not client.fire(b"x", np.zeros(2)).status.any()
    assert [dict([SYNTHETIC]).items() <= seen.items() for seen in server.metadata] == [True] * 2
    front.route(server.address)
    with Client(front.address) as client:
        assert not client.fire(b"x", np.zeros(2)).status.any()
    assert SYNTHETIC[0] not in server.metadata[-1]
    assert front.traffic.mark == 0


def test_a_server_without_a_free_thread_is_asked_again(backend):
    server = backend(ALL_LATE)  # the code with which the original refuses
    with Client(server.address, "m") as client:
        assert not client.available(timeout_s=0.2)
        status = get_model_status_pb2.GetModelStatusResponse()
        status.model_version_status.add(version=3, state="AVAILABLE")
        busy = iter([True, True, False])
        server.answer = lambda *call: ALL_LATE(*call) if next(busy) else status.SerializeToString()
        assert client.states(timeout_s=LIMIT_S) == {3: ("AVAILABLE", "")}


def test_no_proxy_is_between_rrl_and_its_servers(front, backend, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")  # nobody is there
    server = backend()
    front.route(server.address)
    for address in (server.address, front.address):
        with Client(address) as client:
            assert not client.fire(b"x", np.zeros(2), LIMIT_S).status.any()


def test_a_refused_size_is_no_size_that_is_served(front, backend, calling):
    front.route(backend(TOO_LARGE).address)
    failure(calling, request_of(1000))
    assert front.traffic.since().batch.tolist() == [1000]
    assert front.traffic.largest_batch == 0


def test_memory_is_bounded_and_counts_are_not():
    traffic = ObservedTraffic(kept=10)
    for i in range(25):
        traffic.end(traffic.begin(batch=25 - i, tried="a"), 0, "a")
    assert traffic.since().batch.tolist() == [*range(10, 0, -1)]
    assert traffic.since(mark=22).batch.tolist() == [3, 2, 1]
    assert (traffic.mark, traffic.largest_batch) == (25, 25)


# --- The trial --------------------------------------------------------------------------------


def test_a_canary_gets_its_share_until_the_next_route(front, backend, calling):
    incumbent, trial = backend(), backend()
    front.route(incumbent.address)
    front.split(trial.address, 0.2)
    for _ in range(100):
        calling()
    assert (len(trial.requests), len(incumbent.requests)) == (20, 80)
    assert Counter(front.traffic.since().route)[trial.address] == len(trial.requests)
    tried = len(trial.requests)
    calling(metadata=[SYNTHETIC])
    assert len(trial.requests) == tried + 1
    assert front.route(incumbent.address)(LIMIT_S)
    for _ in range(20):
        calling()
    assert len(trial.requests) == tried + 1


def test_a_share_needs_a_server_and_is_a_fraction(front, backend):
    server = backend()
    with pytest.raises(ValueError, match="needs a server"):
        front.split(server.address, 0.5)
    front.route(server.address)
    with pytest.raises(ValueError, match=r"fraction 1\.5"):
        front.split(server.address, 1.5)


@pytest.mark.parametrize("answer", [TOO_LARGE, FULL, ALL_LATE])
@pytest.mark.parametrize("as_canary", [True, False])
def test_what_a_trial_refuses_is_sent_to_the_incumbent(answer, as_canary, front, backend, calling):
    incumbent, trial = backend(), backend(answer)
    if as_canary:
        front.route(incumbent.address)
        front.split(trial.address, 1.0)
    else:
        front.route(trial.address, standby=incumbent.address)
    request = request_of(4)
    assert calling(request, metadata=[("tenant", "a")])[0] == b"re:" + request
    assert incumbent.metadata[0]["tenant"] == "a"
    seen = front.traffic.since()
    assert (seen.tried.tolist(), seen.route.tolist()) == ([trial.address], [incumbent.address])
    assert (seen.saved.tolist(), seen.status.tolist(), front.traffic.saved) == ([True], [0], 1)
    assert front.traffic.largest_batch == 4
    failure(calling, request, metadata=[SYNTHETIC])  # rrl's own call measures the trial
    failure(calling, request, "/tensorflow.serving.SessionService/SessionRun")  # it may change it
    assert len(incumbent.requests) == 1


def test_a_wrong_request_is_not_sent_twice_and_a_second_refusal_is_the_answer(
    front, backend, calling
):
    wrong = refuse(grpc.StatusCode.INVALID_ARGUMENT, "input x is missing")
    incumbent, trial = backend(FULL), backend(wrong)
    front.route(trial.address, standby=incumbent.address)
    assert failure(calling).details() == "input x is missing"
    assert not incumbent.requests
    trial.answer = TOO_LARGE
    assert failure(calling).details() == "The batch scheduling queue is full"
    assert len(incumbent.requests) == 1


def test_calls_survive_the_death_of_the_trial_that_answers_them(model, front):
    """The trial is a real server that is killed while calls wait in its batch queue."""
    waits = {"batch_threads": 1, "max_batch_size": 64, "batch_timeout_micros": 20_000_000}
    with (
        ModelServer(model, executable=LOCAL) as incumbent,
        ModelServer(model, waits, executable=LOCAL) as trial,
        Client(front.address, "probe") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        front.route(incumbent.address)
        client.predict(X)
        front.route(trial.address, standby=incumbent.address)
        answers = [pool.submit(client.predict, X, 10 * LIMIT_S) for _ in range(8)]
        assert wait_until(lambda: len(front.traffic.open()) == 8, LIMIT_S)
        os.killpg(trial.process.pid, signal.SIGKILL)
        assert all(answer.result()["y"].tolist() == [[2.0, 2.0]] for answer in answers)
        assert front.traffic.saved == 8
        client.predict(X)  # nor does a call to a dead trial fail
        assert front.traffic.saved == 9


def test_calls_survive_the_death_of_the_incumbent_if_a_trial_runs(front, backend, calling):
    incumbent, trial = backend(), backend()
    front.route(incumbent.address)
    front.split(trial.address, 0.2)
    incumbent.server.stop(None).wait()
    for number in range(20):
        assert calling(b"%d" % number)[0] == b"re:%d" % number
    assert front.traffic.saved == 16
    trial.server.stop(None).wait()
    assert failure(calling).code() == grpc.StatusCode.UNAVAILABLE  # and not for ever to and fro


@pytest.mark.long
def test_a_batch_that_a_real_trial_refuses_is_answered(model, front):
    small = {"batch_threads": 1, "max_batch_size": 1}
    with (
        ModelServer(model, executable=LOCAL) as incumbent,
        ModelServer(model, small, executable=LOCAL) as trial,
        Client(front.address, "probe") as client,
    ):
        front.route(trial.address)
        error = failure(client.predict, {"x": np.ones((4, 2), np.float32)})
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        front.route(trial.address, standby=incumbent.address)
        assert len(client.predict({"x": np.ones((4, 2), np.float32)})["y"]) == 4
        assert front.traffic.since().saved.tolist() == [False, True]


def test_calls_that_are_open_when_a_trial_ends_go_to_the_incumbent(front, backend, calling):
    """The incumbent is back, and the hanging trial is stopped: its calls are not lost."""
    forever = threading.Event()
    incumbent = backend()
    trial = backend(lambda *_: forever.wait(LIMIT_S) and b"")
    front.route(trial.address, standby=incumbent.address)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(calling, b"x", timeout=10 * LIMIT_S)
        assert wait_until(lambda: trial.requests, LIMIT_S)
        drain = front.route(incumbent.address)
        assert drain(0.0) is False
        assert answer.result()[0] == b"re:x"
    forever.set()
    assert front.traffic.saved == 1


def test_a_trial_that_hangs_leaves_threads_for_the_incumbent(backend):
    forever = threading.Event()
    front = Front(at_once=4)
    try:
        incumbent, trial = backend(), backend(lambda *_: forever.wait(LIMIT_S) and b"")
        front.route(trial.address, standby=incumbent.address)
        with channel(front.address) as opened:
            calls = [opened.unary_unary(PREDICT).future(b"", timeout=LIMIT_S) for _ in range(20)]
            assert wait_until(lambda: len(incumbent.requests) == 18, LIMIT_S)
            forever.set()
            assert [call.exception() for call in calls] == [None] * 20
    finally:
        front.close()


# --- The port ---------------------------------------------------------------------------------


def test_a_port_is_refused_if_someone_listens_there_who_would_share_it():
    port = free_port()
    other = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 1)])
    other.add_insecure_port(f"127.0.0.1:{port}")
    other.start()
    assert listeners(port) == 1
    with pytest.raises(ServerError, match="the port is taken"):
        Front(port)
    assert listeners(port) == 1
    other.stop(None).wait()


def test_a_rival_that_comes_between_check_and_bind_is_seen(monkeypatch):
    """The race is forced: the check says that the port is free, and another front has it."""
    first = Front()
    monkeypatch.setattr("rrl.serving.front.can_bind", lambda port: True)
    try:
        with pytest.raises(ServerError, match="the port is taken"):
            Front(first.port)
        assert listeners(first.port) == 1
    finally:
        first.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe")


CLIENT = """
import collections, sys, threading, grpc
address, long, short = sys.argv[1], *map(int, sys.argv[2:])
request, stop, seen = sys.stdin.buffer.read(int(sys.stdin.buffer.readline())), [], []
def open_channel():
    return grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
def ask(channel):
    try:
        channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request, timeout=60)
        seen.append("answered")
    except grpc.RpcError as error:
        seen.append(f"{error.code().name}: {error.details()}")
def stay():
    with open_channel() as channel:
        while not stop:
            ask(channel)
def come_and_go():
    while not stop:
        with open_channel() as channel:
            ask(channel)
threads = [threading.Thread(target=f) for f, n in ((stay, long), (come_and_go, short))
           for _ in range(n)]
[thread.start() for thread in threads]
sys.stdin.read()
stop.append(True)
[thread.join() for thread in threads]
print(len(seen), dict(collections.Counter(s for s in seen if s != "answered")))
"""


@contextmanager
def clients(address, long=3, short=3):
    """Another process that calls all the time; afterwards `said` is its count and its failures."""
    request = predict_request(X, "probe").SerializeToString()
    command = [sys.executable, "-c", CLIENT, address, str(long), str(short)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(b"%d\n%b" % (len(request), request))
    process.stdin.flush()
    said = []
    try:
        yield said
        said += process.communicate(timeout=120)[0].decode().split(maxsplit=1)
    finally:
        process.kill()


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "short"),
    [
        pytest.param([], 3, id="loopback"),
        pytest.param(["--bind_address=0.0.0.0"], 0, id="all"),
    ],
)
def test_a_server_takes_the_port_over_and_no_call_fails(model, flags, short, tmp_path):
    front, socket = Front(connection_s=2.0), tmp_path / "s"
    command = [
        *find_executable(LOCAL), f"--port={front.port}", f"--grpc_socket_path={socket}",
        "--model_name=probe", f"--model_base_path={model}",
        "--grpc_channel_arguments=grpc.so_reuseport=1", *flags,
    ]  # fmt: skip
    last = ServerProcess(command, f"unix:{socket}", "probe", log=tmp_path / "log")
    try:
        with ModelServer(model, executable=LOCAL) as server:
            front.route(server.address)
            with clients(front.address, short=short) as said:
                assert wait_until(lambda: front.traffic.mark > 100, LIMIT_S)
                assert front.hand_port_over(last.start)
                passed = front.traffic.mark
                server.stop()
                last.check()
                with Client(front.address, "probe") as client:
                    for _ in range(100):
                        client.predict(X)
        assert said[1].strip() == "{}"
        assert int(said[0]) > passed > 100
        assert front.traffic.mark == passed  # nothing comes to the front any more
        assert listeners(front.port) == 1
    finally:
        front.close()
        last.stop()


def test_without_a_new_server_the_front_keeps_its_port(front, backend, calling):
    front.route(backend().address)
    with pytest.raises(ServerError, match="does not listen there"):
        front.hand_port_over(lambda: None, listen_s=0.1)

    def fail():
        raise ServerError("it died")

    with pytest.raises(ServerError, match="it died"):
        front.hand_port_over(fail)
    assert calling(b"x")[0] == b"re:x"


LISTENER = """
import socket, sys
with socket.socket() as taker:
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    taker.bind(("127.0.0.1", int(sys.argv[1])))
    taker.listen()
    sys.stdin.read()
"""


def test_a_call_that_does_not_end_is_cut_off_and_said(backend):
    forever, front = threading.Event(), Front(connection_s=0.5)
    front.route(backend(lambda *_: forever.wait(LIMIT_S) and b"").address)
    others = []

    def start():
        command = [sys.executable, "-c", LISTENER, str(front.port)]
        others.append(subprocess.Popen(command, stdin=subprocess.PIPE))

    with channel(front.address) as opened:
        call = opened.unary_unary(PREDICT).future(b"", timeout=10 * LIMIT_S)
        assert wait_until(front.traffic.open, LIMIT_S)
        assert front.hand_port_over(start, leave_s=0.5) is False
        assert call.exception() is not None
    forever.set()
    others[0].communicate()


def test_the_own_sockets_on_a_port_are_found_once(front):
    for _ in range(20):
        own = own_sockets(front.port, listening=True)
        assert len(own) == 1
        for one in own:
            one.close()
