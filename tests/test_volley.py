"""The load generator: each request is sent, answered and watched, and none is left behind."""

from __future__ import annotations

import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from clients import LIMIT_S, dropped_interrupt
from test_data_path import Backend

from rrl.serving import client_traffic, volley
from rrl.serving.client_traffic import ClientTraffic, NoTrafficError, OthersRequests
from rrl.serving.handover import HandoverServer
from rrl.serving.lasting import wait_until
from rrl.serving.loadgen import SYNTHETIC, Client
from rrl.serving.volley import Volley
from rrl.support.errors import GeneratorError, ServerError, interrupt_by_signals
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
    episode = Volley(lambda _: None, arrivals, WATCH, lambda quiet_s: "worse").fire()
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

    def look(quiet_s):
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


# --- episodes of what clients send themselves, whatever is still open at their end ----------------


KEPT, TRIAL = "kept", "trial"


class Clients:
    """Clients of a trial that do one thing whenever its server is looked at."""

    process = SimpleNamespace(stopped=False)

    def __init__(self, *actions):
        self.traffic, self.actions = ClientTraffic(), list(actions)

    def check(self):
        if self.actions:
            self.actions.pop(0)(self)

    def wait(self, count, watch=None, timeout_s=60.0):
        others = OthersRequests(self.traffic, TRIAL)
        return others.wait(count, watch, timeout_s, self.check)


def send(*names, route=TRIAL):
    def action(clients):
        for name in names:
            start_s = repr(time.time())
            line = {"type": "DownstreamStart", "id": name, "start_s": start_s, "route": route}
            clients.traffic.note(line)

    return action


def answer(*names, status=0, attempts=1):
    """The last attempt is answered, perhaps by the kept server."""

    def action(clients):
        for name in names:
            arrival = clients.traffic._open[name].arrival
            seconds_us = 1e6 * (time.monotonic() - arrival)
            line = {"type": "DownstreamEnd", "id": name, "seconds_us": seconds_us}
            line |= {"http": 200, "content": "application/grpc", "grpc": status}
            clients.traffic.note(line | {"attempts": attempts})

    return action


def tell(name, milliseconds, http=0, host=None):
    """A request is still open after so long."""
    line = {"type": "DownstreamPeriodic", "id": name, "milliseconds": milliseconds}
    return lambda clients: clients.traffic.note(line | {"http": http, "host": host})


def nothing(clients):
    """A look at which nothing happens."""


def test_an_episode_is_the_first_requests_and_waits_for_the_last_of_them():
    """More may come meanwhile, but the load is that of as many as were asked for."""
    clients = Clients(send("a", "b"), answer("b"), send("c"), answer("c"), nothing, answer("a"))
    episode = clients.wait(2)
    assert len(episode) == 2
    assert episode.latency[0] > episode.latency[1]  # the first one was open for longest
    assert episode.arrivals[0] == 0 <= episode.arrivals[1]
    assert not episode.status.any()
    assert "aborted" not in episode.info
    assert len(episode.info["others"][0]) == 1


def test_what_nobody_or_another_server_answers_has_failed():
    clients = Clients(send(*"abc"), answer("a"), answer("b", attempts=2))
    episode = clients.wait(3, timeout_s=0.05)
    assert episode.status.astype(bool).tolist() == [False, True, True]
    assert episode.latency[2] >= 0.05


def test_a_stopped_episode_has_all_requests_so_far():
    clients = Clients(send(*range(5)), answer(*range(3), status=14))
    episode = clients.wait(100, Watch(late_s=60.0, allowance=100, usual=0.02))
    assert episode.info["aborted"] == "worse"
    assert episode.status.astype(bool).all()
    assert "others" not in episode.info


def test_what_is_open_at_the_end_of_a_trial_has_failed_if_it_was_stopped():
    clients = Clients()
    others = OthersRequests(clients.traffic, TRIAL)
    send("a", "b")(clients)
    answer("a")(clients)
    failed = [others.outcomes(aborted=aborted)[1].astype(bool).sum() for aborted in (False, True)]
    assert failed == [0, 1]


@pytest.mark.parametrize(("dies", "lost"), [("trial", 2), ("Envoy", 0)])
def test_what_a_trial_that_died_had_of_others_counts_as_lost(dies, lost):
    """Without Envoy, no request comes, which is no silence of the clients, nor due to the trial."""

    def die(clients):
        raise (ServerError if dies == "trial" else GeneratorError)("it died")

    actions = [send(*"abc"), answer("a"), answer("b", attempts=2)]
    clients = Clients(*actions, *[die] * (dies == "trial"))
    envoy = Clients(*[nothing] * (len(actions) + (dies == "trial")), die)
    server = HandoverServer.__new__(HandoverServer)  # without a process
    vars(server).update(traffic=clients.traffic, _envoy=envoy, _of_others=True, _timeout_s=60.0)
    vars(server).update(
        _kept_server=None, _route=TRIAL, _drop=lambda server: None, _asked_s=math.inf
    )
    with pytest.raises(ServerError, match="it died") as error:
        server._fire(clients, np.zeros(9), None)
    assert error.value.lost == lost


def test_a_request_whose_end_was_lost_is_not_open(monkeypatch):
    monkeypatch.setattr(client_traffic, "LOST_S", 0.05)
    clients = Clients()
    send("a", "b")(clients)
    tell("b", 1e6)(clients)
    assert wait_until(lambda: len(clients.traffic.open()) == 1, 10.0)
    tell("a", 1e6)(clients)  # its lines were late
    assert len(clients.traffic.open()) == 2


def test_a_request_that_came_before_the_tuner_is_waited_for_and_counts_nowhere():
    clients, began = Clients(), {"start_s": repr(time.time() - 9.0), "route": KEPT}
    line = {"type": "DownstreamPeriodic", "id": "a", "milliseconds": 9000} | began
    clients.traffic.note(line | {"http": 200, "host": "/kept"})
    (call,) = clients.traffic.open()
    assert (call.route, call.by) == (KEPT, "/kept")
    answer("a")(clients)
    assert clients.traffic.open() == clients.traffic.since() == []


def test_what_was_open_before_an_episode_does_not_count_in_it():
    clients = Clients(answer("before", status=14), send("a"), answer("a"))
    send("before")(clients)
    episode = clients.wait(1)
    assert len(episode.latency) == 1
    assert not episode.status.any()


def test_the_rate_is_that_of_the_last_seconds(monkeypatch):
    monkeypatch.setattr("rrl.serving.client_traffic._RATE_OVER_S", 0.05)
    clients = Clients()
    send("a", "b")(clients)
    answer("a", "b")(clients)
    assert wait_until(lambda: clients.traffic.rate == 0, 10.0)


def test_an_interrupt_that_python_drops_ends_the_wait_for_clients():
    interrupt_by_signals()
    with pytest.raises(KeyboardInterrupt):
        Clients(lambda _: dropped_interrupt()).wait(1)


def test_silent_clients_are_nobodys_fault(monkeypatch):
    monkeypatch.setattr(client_traffic, "QUIET_S", 0.02)
    with pytest.raises(NoTrafficError, match="no client sent a request") as silent:
        Clients().wait(1, timeout_s=0.02)
    assert isinstance(silent.value, GeneratorError)  # so no configuration is shunned
    busy = Clients(*[nothing] * 9, send("a"), answer("a"))
    send("b", route=KEPT)(busy)
    answer("b")(busy)  # clients do send, but the kept server gets it
    assert len(busy.wait(1, timeout_s=0.02).latency) == 1
    assert np.isfinite(busy.traffic.rate)
