"""Episodes that consist of what clients send themselves, whatever is still open at their end."""

from __future__ import annotations

import time

import numpy as np
import pytest
from clients import dropped_interrupt

from rrl.serving import client_traffic
from rrl.serving.client_traffic import ClientTraffic, NoTrafficError, OthersRequests
from rrl.serving.handover import HandoverServer
from rrl.serving.lasting import wait_until
from rrl.support.errors import GeneratorError, ServerError, interrupt_by_signals
from rrl.tuning.watch import Watch

KEPT, TRIAL = "kept", "trial"


class Clients:
    """Clients of a trial that do one thing whenever its server is looked at."""

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


@pytest.mark.parametrize("aborted", [False, True])
def test_what_is_open_at_the_end_of_a_stopped_trial_has_failed(aborted):
    clients = Clients()
    others = OthersRequests(clients.traffic, TRIAL)
    send("a", "b")(clients)
    answer("a")(clients)
    _, status = others.outcomes(aborted=aborted)
    assert sorted(status.astype(bool).tolist()) == [False, aborted]


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
    vars(server).update(_route=TRIAL, _drop=lambda: None)
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
