"""The load generator: each request is sent, answered and watched, and none is left behind."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from clients import LIMIT_S
from test_data_path import Backend

from rrl.serving import volley
from rrl.serving.lasting import wait_until
from rrl.serving.loadgen import SYNTHETIC, Client
from rrl.serving.volley import Volley
from rrl.tuning.watch import Watch

WATCH = Watch(late_s=LIMIT_S, allowance=1000, usual=0.5)


def wait_for_open_calls(target, number):
    """Wait until so many calls that end only with their client are open on the server."""
    assert wait_until(lambda: len(target.slow) == number, LIMIT_S)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A server that answers at once, or refuses, or waits until its client has left."""
    server = Backend(tmp_path_factory.mktemp("target") / "sock")
    server.slow = []

    def answer(request, context):
        if request == b"slow":
            server.slow.append(context)
            while context.is_active():
                time.sleep(0.01)
            server.slow.remove(context)
        if request == b"fail":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
        return request

    server.answer = answer
    yield server
    server.stop()


@pytest.fixture
def client(target):
    with Client(f"127.0.0.1:{target.port}") as connected:
        yield connected


class TestSends:
    def test_both_kinds_of_address_and_payloads_in_turn(self, target):
        for address in (f"127.0.0.1:{target.port}", target.address):
            with Client(address) as client:
                for payloads in ([b"x", b"fail", b"x"], [b"fail", b"x"], [b"fail", b"x"]):
                    episode = client.fire(payloads, np.zeros(6))
                    expected = [8 if p == b"fail" else 0 for p in payloads] * 3
                    assert episode.status.tolist() == expected[:6]
                    assert len(episode) == len(episode.info["slip_s"]) == 6
                failed = client.fire(b"fail", np.zeros(2))
                assert failed.info["failure"] == "RESOURCE_EXHAUSTED: no room"
        sent = zip(target.methods, target.metadata, strict=True)
        marks = [SYNTHETIC[0] in data for method, data in sent if method.endswith("/Predict")]
        assert len(marks) == 40
        assert all(marks)

    def test_deadline(self, client, target):
        episode = client.fire(b"slow", np.zeros(2), timeout_s=0.2)
        assert episode.status.tolist() == [4, 4]
        assert (episode.latency >= 0.2).all()
        over = client.fire(b"x", [0.0], timeout_s=-1.0)  # before it was sent
        assert over.status.tolist() == [4]
        wait_for_open_calls(target, 0)

    def test_nobody_there(self, tmp_path):
        with Client(f"unix:{tmp_path}/none") as client:
            assert client.fire(b"x", np.zeros(2)).info["failure"].startswith("UNAVAILABLE: ")


def test_a_watch_stops_and_cancels_what_is_open(client, target):
    due = np.arange(1000) / 50
    episode = client.fire(b"slow", due, LIMIT_S, Watch(late_s=0.1, allowance=4, usual=0.5))
    assert episode.info["aborted"] == "budget"
    assert episode.status.tolist() == [1] * 4  # no request was sent beyond the allowance
    assert episode.valid  # it is no fault of the generator
    wait_for_open_calls(target, 0)
    assert client.fire(b"x", [0.0]).status.tolist() == [0]


def test_an_episode_that_is_stopped_before_its_first_request_has_that_one_cancelled():
    arrivals = np.array([LIMIT_S, 2 * LIMIT_S])
    episode = Volley(lambda _: None, arrivals, WATCH, lambda: "worse").fire()
    assert episode.arrivals.tolist() == [LIMIT_S]
    assert (episode.latency.tolist(), episode.status.tolist()) == ([0.0], [1])
    assert episode.info["aborted"] == "worse"
    assert episode.valid


def test_a_look_of_the_watch_makes_no_request_late(monkeypatch):
    """A look takes time: a server must not seem slower because it is watched."""
    now, looks = [0.0], []

    class Clock:
        monotonic = staticmethod(lambda: now[0])
        sleep = staticmethod(lambda seconds: now.__setitem__(0, now[0] + seconds))

    class Slow(Watch):
        def reason(self, now_s, *seen):
            looks.append(now_s)
            Clock.sleep(0.005)
            return super().reason(now_s, *seen)

    monkeypatch.setattr(volley, "time", Clock)
    due = np.arange(5) / 10
    answered = SimpleNamespace(
        code=lambda: grpc.StatusCode.OK,
        details=lambda: "",
        add_done_callback=lambda callback: callback(answered),
    )
    episode = Volley(lambda _: answered, due, Slow(LIMIT_S, 1000, 0.5)).fire()
    assert episode.info["slip_s"].tolist() == pytest.approx([0] * 5)
    assert len(looks) > 20  # as often as it should, between two requests


def test_ctrl_c_cancels_what_is_open(client, target):
    def interrupt():
        wait_for_open_calls(target, 1)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.fire(b"slow", np.zeros(1))
    wait_for_open_calls(target, 0)
    assert client.fire(b"x", [0.0]).status.tolist() == [0]


def test_only_while_it_sends_a_thread_may_come_before_others(client):
    """What it starts afterwards, such as a server, would come before others, too."""
    usual, seen = os.sched_getscheduler(0), []

    def look():
        seen.append(os.sched_getscheduler(0))
        return ""

    may = usual
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        may = os.SCHED_RR
        os.sched_setscheduler(0, usual, os.sched_param(0))
    episode = client.fire(b"x", [0.0, 0.1], LIMIT_S, WATCH, look)
    assert episode.status.tolist() == [0, 0]
    assert seen
    assert set(seen) == {may}
    assert os.sched_getscheduler(0) == usual
