"""The load generator's own process: on time, watched, never left behind, and replaced."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from clients import LIMIT_S, alive

from rrl.serving.lasting import wait_until
from rrl.serving.live import live_episode
from rrl.serving.loadgen import Client
from rrl.serving.volley import Volley
from rrl.support.errors import ServerError
from rrl.tuning.watch import Watch

WATCH = Watch(late_s=LIMIT_S, allowance=1000, usual=0.5)

ECHO = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import grpc

slow = []

def answer(request, context):
    sent = dict(context.invocation_metadata())
    if request == b"slow":
        slow.append(context)
        while context.is_active():
            time.sleep(0.01)
        slow.remove(context)
    if request in (b"fail", b"open"):
        details = "no room" if request == b"fail" else str(len(slow))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
    return request + sent["rrl-synthetic"].encode()

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(answer)

options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
server = grpc.server(ThreadPoolExecutor(16), handlers=[Echo()], options=options)
server.add_insecure_port("unix:" + sys.argv[1])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""

FIRES = """
import sys, time
import numpy as np
from rrl.serving.sender import Sender

sender = Sender(sys.argv[1], [], [("rrl-synthetic", "1")])
print(sender.process.pid, flush=True)
sender.fire([b"slow"], np.zeros(4), 600.0, None)
"""


def wait_for_open_calls(target, number):
    """Wait until so many calls that end only with their client are open on the server."""
    with Client(f"127.0.0.1:{target.port}") as other:
        assert wait_until(lambda: other.fire(b"open", [0.0]).details == str(number), LIMIT_S)


def sender(client):
    return client._sender


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A server that answers at once, in a process of its own: its addresses and its output."""
    socket, pipe = tmp_path_factory.mktemp("target") / "sock", subprocess.PIPE
    command = [sys.executable, "-c", ECHO, str(socket)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        process.port = process.stdout.readline().strip()
        process.socket = f"unix:{socket}"
        yield process
        process.kill()


@pytest.fixture
def client(target):
    with Client(f"127.0.0.1:{target.port}") as connected:
        yield connected


class TestSends:
    def test_both_kinds_of_address_and_payloads_in_turn(self, target):
        for address in (f"127.0.0.1:{target.port}", target.socket):
            with Client(address) as client:
                for payloads in ([b"x", b"fail", b"x"], [b"fail", b"x"], [b"fail", b"x"]):
                    sample = client.fire(payloads, np.zeros(6))
                    expected = [8 if p == b"fail" else 0 for p in payloads] * 3
                    assert sample.status.tolist() == expected[:6]
                    assert sample.details == "no room"
                    assert len(sample.latency) == len(sample.slip) == 6

    def test_a_message_of_any_size(self, client):
        large = bytes(2**23)  # gRPC's own limit is 4 MiB
        assert client.fire([b"x", large], np.zeros(2), LIMIT_S).status.tolist() == [0, 0]

    def test_deadline(self, client, target):
        sample = client.fire(b"slow", np.zeros(2), timeout_s=0.2)
        assert sample.status.tolist() == [4, 4]
        assert (sample.latency >= 0.2).all()
        wait_for_open_calls(target, 0)

    def test_nobody_there(self, tmp_path):
        with Client(f"unix:{tmp_path}/none") as client:
            assert client.fire(b"x", np.zeros(2)).failure().startswith("UNAVAILABLE: ")


def test_a_watch_stops_and_cancels_what_is_open(client, target):
    due = np.arange(1000) / 50
    sample = client.fire(b"slow", due, LIMIT_S, Watch(late_s=0.1, allowance=4, usual=0.5))
    assert sample.aborted == "budget"
    assert sample.status.tolist() == [1] * 4  # no request was sent beyond the allowance
    wait_for_open_calls(target, 0)
    assert client.fire(b"x", [0.0]).status.tolist() == [0]


def test_that_an_episode_is_stopped_at_once_is_no_fault_of_the_generator(client):
    arrivals = np.arange(10) / 50
    watch = Watch(late_s=0.1, allowance=1, usual=0.5)
    sample = client.fire(b"slow", arrivals, LIMIT_S, watch)
    assert sample.status.tolist() == [1]
    assert live_episode({}, arrivals, sample, None).valid


def test_an_episode_that_is_stopped_before_its_first_request_has_that_one_cancelled():
    arrivals = np.array([LIMIT_S, 2 * LIMIT_S])
    sample = Volley(lambda _: None, arrivals, WATCH, lambda: "worse").fire()
    episode = live_episode({}, arrivals, sample, None)
    assert episode.arrivals.tolist() == [LIMIT_S]
    assert (episode.latency.tolist(), episode.status.tolist()) == ([0.0], [1])
    assert episode.info["aborted"] == "worse"
    assert episode.valid


class TestProcess:
    def test_is_small_and_stays_until_the_client_is_closed(self, client):
        client.fire(b"x", np.zeros(2))
        process = sender(client).process
        client.fire(b"x", np.zeros(2))
        assert sender(client).process is process
        maps = Path(f"/proc/{process.pid}/maps")
        assert not maps.exists() or "tensorflow" not in maps.read_text()
        client.close()
        assert process.returncode == 0

    @pytest.mark.parametrize(
        "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
    )
    def test_ends_with_the_process_that_started_it(self, target, number):
        command = [sys.executable, "-c", FIRES, f"127.0.0.1:{target.port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            pid = int(parent.stdout.readline())
            try:
                wait_for_open_calls(target, 4)
                assert alive(pid)
                parent.send_signal(number)
                parent.wait(LIMIT_S)
            finally:
                parent.kill()
        assert wait_until(lambda: not alive(pid), LIMIT_S)
        wait_for_open_calls(target, 0)

    def test_that_died_between_two_episodes_is_replaced(self, client):
        client.fire(b"x", np.zeros(1))
        process = sender(client).process
        process.kill()
        process.wait()
        assert client.fire(b"x", np.zeros(2)).status.tolist() == [0, 0]
        assert sender(client).process.pid != process.pid

    def test_that_dies_during_an_episode_is_reported_in_one_line(self, client, target):
        client.fire(b"x", np.zeros(1))
        process = sender(client).process
        with ThreadPoolExecutor(1) as pool:
            shot = pool.submit(client.fire, b"slow", np.zeros(1))
            wait_for_open_calls(target, 1)
            process.kill()
            with pytest.raises(ServerError) as error:
                shot.result(LIMIT_S)
        wanted = r"127\.0\.0\.1:\d+: the process that sends the requests ended with status -9; .*"
        assert re.fullmatch(wanted, str(error.value))
        assert client.fire(b"x", np.zeros(2)).status.tolist() == [0, 0]

    def test_ctrl_c_ends_it(self, client, target):
        client.fire(b"x", np.zeros(1))
        process = sender(client).process

        def interrupt():
            wait_for_open_calls(target, 1)
            os.kill(os.getpid(), signal.SIGINT)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                client.fire(b"slow", np.zeros(1))
        assert process.returncode is not None
        wait_for_open_calls(target, 0)
