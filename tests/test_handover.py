"""A configuration takes over from another one while requests keep coming."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import numpy as np
import psutil
import pytest
from probe import build_probe
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving.front import Front
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import LOCAL
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client, predict_request
from rrl.serving.ports import wait_until
from rrl.support.errors import ServerError
from rrl.tuning.watch import Watch

SPACE = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 2))])
X = {"x": np.array([[1.0, 2.0]], dtype=np.float32)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe")


@pytest.fixture(scope="module")
def service(model):
    with HandoverServer(model, SPACE, executable=LOCAL, warmup=4, timeout_s=30.0) as server:
        server.configure(SPACE[0], np.random.default_rng(0))
        yield server


def under_load(address, action, rate=20.0):
    """Do something while requests come at a rate (per second); returns their outcomes."""
    stop, samples = threading.Event(), []

    def load():
        with Client(address, "probe") as client:
            payload = client.payload(X)
            while not stop.is_set():
                samples.append(client.fire(payload, np.arange(10) / rate, 30.0))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        action()
    finally:
        stop.set()
        thread.join()
    return np.concatenate([sample.status for sample in samples])


@pytest.mark.long
def test_three_hand_overs_lose_no_request(service):
    """The last one is an episode's, and comes while large requests are still being answered."""
    rng = np.random.default_rng(0)
    pids = {service.configure(SPACE[0], rng).process.pid}
    many = {"x": np.ones((4000, 2), np.float32)}
    seen = {}

    def switch():
        for index in (1, 2):
            pids.add(service.configure(SPACE[index], rng).process.pid)
        with Client(service.address, "probe") as client, ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(client.predict, many) for _ in range(16)]
            seen["first"] = service.measure(SPACE[3], np.linspace(0, 0.2, 10), rng)
            seen["answers"] = [len(answer.result()["y"]) for answer in answers]
        seen["again"] = service.measure(SPACE[3], np.linspace(0, 0.2, 10), rng)

    status = under_load(service.address, switch)
    assert len(status) >= 50  # they did come meanwhile
    assert not status.any()
    assert seen["answers"] == [4000] * 16
    assert len(pids) == 3
    assert [dict(switch.configuration) for switch in service.switches] == [*SPACE][1:]
    assert all(
        switch.drained and switch.seconds > switch.start_s > 0 for switch in service.switches
    )
    assert seen["first"].ok.all()
    assert seen["first"].info["switch_s"] > 0
    assert seen["again"].info["switch_s"] == 0


def test_a_configuration_that_cannot_start_never_takes_over(service, monkeypatch):
    rng = np.random.default_rng(0)
    running = service._server
    other = next(c for c in SPACE if c != running.configuration)
    monkeypatch.setattr(
        "rrl.serving.launcher.ModelServer.start",
        lambda self: (_ for _ in ()).throw(ServerError("it died")),
    )

    def fail():
        with pytest.raises(ServerError, match="it died"):
            service.measure(other, [0.0], rng)

    assert not under_load(service.address, fail).any()
    assert service.configure(running.configuration, rng) is running


def test_a_server_that_dies_in_mid_episode_is_started_again_at_the_same_address(service):
    rng = np.random.default_rng(0)
    victim = service._server
    killer = threading.Timer(0.3, os.killpg, (victim.process.pid, signal.SIGKILL))
    killer.start()
    episode = service.measure(victim.configuration, np.linspace(0, 1, 20), rng)
    killer.join()
    assert episode.ok.all()  # measured anew, as a whole
    assert service._server is not victim
    with Client(service.address, "probe") as client:
        assert client.predict(X)["y"].tolist() == [[2.0, 4.0]]


def test_a_server_that_hangs_in_mid_episode_is_replaced(model):
    rng = np.random.default_rng(0)
    given = {"executable": LOCAL, "warmup": 2, "timeout_s": 1.0}
    with HandoverServer(model, SPACE, **given) as server:
        victim = server.configure(SPACE[0], rng)
        stopper = threading.Timer(0.3, os.killpg, (victim.process.pid, signal.SIGSTOP))
        stopper.start()
        episode = server.measure(SPACE[0], np.linspace(0, 1, 20), rng)
        stopper.join()
        assert episode.ok.all()  # measured anew, as a whole
        assert server._server is not victim


def test_errors_and_deadlines_pass_through(service):
    service.configure(SPACE[0], np.random.default_rng(0))  # batching off: no limit on the size
    with Client(service.address, "nosuch") as client:
        with pytest.raises(grpc.RpcError) as error:
            client.predict(X)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        assert "Servable not found" in error.value.details()
    with Client(service.address, "probe") as client:
        sample = client.fire(client.payload(X), np.zeros(3), timeout_s=1e-4)
        assert sample.status.all()
        large = np.ones((600_000, 2), np.float32)  # 4.8 MB; gRPC's own limit is 4
        request = predict_request({"x": large}, "probe")
        reply = client._stub.Predict(request)  # nor does a call need a deadline
        assert reply.outputs["y"].tensor_shape.dim[0].size == 600_000


def test_a_front_without_a_server_says_so_and_a_taken_port_is_refused():
    front = Front()
    try:
        with pytest.raises(ServerError, match="the port is taken"):
            Front(int(front.address.rsplit(":")[-1]))
        with Client(front.address, "probe") as client, pytest.raises(grpc.RpcError) as error:
            client.predict(X)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert error.value.details() == "no server is running"
    finally:
        front.close()


# --- a trial that goes badly, beside a configuration that is kept ready ---------------------------

SLOW = ConfigSpace(
    [
        Knob("batch_threads", (0, 2)),
        Knob("max_batch_size", (1, 64)),
        Knob("batch_timeout_micros", (0, 5_000_000)),
    ]
)
GOOD = {"batch_threads": 0, "max_batch_size": 1, "batch_timeout_micros": 0}
BAD = {"batch_threads": 2, "max_batch_size": 64, "batch_timeout_micros": 5_000_000}
SMALL = {"batch_threads": 2, "max_batch_size": 1, "batch_timeout_micros": 0}
OTHER = {"batch_threads": 0, "max_batch_size": 64, "batch_timeout_micros": 0}
WATCH = Watch(late_s=1.0, allowance=1000, usual=0.02)
PATIENT = Watch(late_s=60.0, allowance=1000, usual=0.02)  # no request of a living server is late


@contextmanager
def others(address, batch=1):
    """Clients that call all the time; the list has the seconds and the status of each call."""
    stop, outcomes = threading.Event(), []
    request = {"x": np.ones((batch, 2), np.float32)}

    def call():
        with Client(address, "probe") as client:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    client.predict(request, timeout_s=60.0)
                    code = 0
                except grpc.RpcError as error:
                    code = error.code().value[0]
                outcomes.append((time.monotonic() - began, code))
                time.sleep(0.02)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def started(model):
    with HandoverServer(model, SLOW, executable=LOCAL, warmup=2, timeout_s=60.0) as server:
        server.keep(GOOD)
        yield server


@pytest.fixture
def kept(started):
    """A server of all tests that serves the configuration to keep; nothing is counted yet."""
    started.configure(GOOD, np.random.default_rng(0))
    started.front.traffic.saved = started.front.traffic.largest_batch = 0
    return started


def test_a_bad_trial_is_stopped_and_the_kept_configuration_returns(kept):
    """A batch waits 5 s to fill; nobody waits that long, neither rrl's load nor other clients."""
    rng = np.random.default_rng(0)
    steady = kept.configure(GOOD, rng).process.pid
    with others(kept.address) as outcomes:
        episode = kept.measure(BAD, np.arange(400) / 20, rng, watch=WATCH)
        after = kept.measure(GOOD, np.arange(20) / 20, rng)
    assert episode.info["aborted"] == "worse"
    assert episode.info["aborted_s"] < 4.0  # of 20 s
    assert after.ok.all()
    assert kept.configure(GOOD, rng).process.pid == steady
    assert after.info["switch_s"] == 0.0
    assert len(outcomes) > 20
    assert not any(code for _, code in outcomes)
    assert kept.front.traffic.saved > 0  # what the trial held was answered by the other one


@pytest.mark.long
def test_a_trial_is_stopped_by_the_requests_of_others_alone(kept):
    """Two own requests in 20 s say nothing, but the clients wait for a batch to fill."""
    rng = np.random.default_rng(0)
    with others(kept.address) as outcomes:
        usual = kept.measure(GOOD, np.array([0.0, 1.0]), rng)
        episode = kept.measure(BAD, np.array([0.0, 20.0]), rng, watch=WATCH)
    assert episode.info["aborted"] == "worse"
    assert episode.info["aborted_s"] < 15.0
    latency, status = usual.info["others"]
    assert len(latency) > 5
    assert not status.any()
    latency, status = episode.info["others"]
    assert (status.astype(bool) | (latency > WATCH.late_s)).sum() >= 2
    assert not any(code for _, code in outcomes)


def test_own_requests_and_those_of_others_share_the_bad_ones_that_a_trial_may_have(
    kept, monkeypatch
):
    allowed, fire = [], LiveServer._fire
    monkeypatch.setattr(
        "rrl.serving.handover.stop_by_others", lambda *given: allowed.append(given[-1].allowance)
    )

    def noted(self, server, arrivals, watch, also=None):
        allowed.append(watch.allowance)
        return fire(self, server, arrivals, watch, also)

    monkeypatch.setattr(LiveServer, "_fire", noted)
    watch = replace(WATCH, allowance=5)
    assert kept.measure(GOOD, np.zeros(2), np.random.default_rng(0), watch=watch).ok.all()
    assert allowed == [2, 3]


def test_a_client_that_names_a_version_is_answered_during_every_trial(model):
    rng, request = np.random.default_rng(0), predict_request(X, "probe")
    request.model_spec.version.value = 1
    with HandoverServer(model, SLOW, executable=LOCAL, warmup=2, timeout_s=60.0) as server:
        server.keep(GOOD)
        server.configure(SMALL, rng)
        with grpc.insecure_channel(server.address) as channel:
            predict = PredictionServiceStub(channel).Predict
            assert predict(request, timeout=30.0).model_spec.version.value == 1
            request.model_spec.version.value = 7
            with pytest.raises(grpc.RpcError, match="Specific"):
                predict(request, timeout=30.0)


def test_a_former_trial_does_not_use_the_processor(kept):
    rng = np.random.default_rng(0)
    trial = psutil.Process(kept.configure(SMALL, rng).process.pid)
    assert trial.status() != psutil.STATUS_STOPPED
    kept.configure(GOOD, rng)
    assert wait_until(lambda: trial.status() == psutil.STATUS_STOPPED, 10.0)


def test_no_trial_is_without_its_standby(kept):
    """What is on trial runs already when another configuration becomes the one to return to."""
    rng = np.random.default_rng(0)
    kept.configure(SMALL, rng)
    kept.keep(OTHER)
    kept.configure(SMALL, rng)
    running = [one.server.configuration for one in kept._all]
    assert sorted(running, key=str) == sorted((SMALL, OTHER), key=str)
    assert kept.serves
    kept.keep(GOOD)
    kept.configure(GOOD, rng)


def test_a_trial_that_dies_takes_nobody_with_it(kept):
    rng = np.random.default_rng(0)

    def kill():
        wait_until(lambda: kept.front.traffic.mark > before + 20, 60.0)  # in mid-episode
        os.kill(kept._server.process.pid, signal.SIGKILL)

    with others(kept.address) as outcomes:
        kept.configure(SMALL, rng)
        before = kept.front.traffic.mark
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(ServerError) as died:
            kept.measure(SMALL, np.arange(200) / 20, rng, watch=PATIENT)
        killer.join()
        after = kept.measure(GOOD, np.arange(20) / 20, rng)
    assert died.value.lost > 0
    assert after.ok.all()
    assert not any(code for _, code in outcomes)


def test_a_standby_that_died_is_not_counted_on(kept, monkeypatch):
    """The trial answers meanwhile, so nobody notices anything; it serves though it is stopped."""
    rng, fire = np.random.default_rng(0), LiveServer._fire
    late = Watch(late_s=1e-6, allowance=1000, usual=0.02)  # for any request

    def lose_the_standby(*_):
        os.kill(kept._find(GOOD).server.process.pid, signal.SIGKILL)
        assert wait_until(lambda: kept._find(GOOD) is None, 10.0)

    def losing(self, *given):
        lose_the_standby()
        return fire(self, *given)

    kept.configure(SMALL, rng)
    with others(kept.address) as outcomes:
        lose_the_standby()
        assert kept.measure(GOOD, np.arange(20) / 20, rng).ok.all()
        kept.configure(SMALL, rng)
        with monkeypatch.context() as patch:
            patch.setattr(LiveServer, "_fire", losing)
            episode = kept.measure(SMALL, np.arange(100) / 20, rng, watch=late)
        assert episode.info["aborted"] == "worse"
        assert kept._current.server.configuration == SMALL
        kept.configure(OTHER, rng)
        assert kept._find(GOOD)
        kept.return_to_kept(rng)
    assert [one.server.configuration for one in kept._all] == [GOOD]
    assert not any(code for _, code in outcomes)


@pytest.mark.long
def test_large_requests_of_others_are_not_refused_by_a_trial(kept):
    """Batches of 4 meet a trial with a largest batch of 1: the kept configuration answers them."""
    rng, before = np.random.default_rng(0), kept.front.traffic.mark
    with others(kept.address, batch=4) as outcomes:
        wait_until(lambda: kept.front.traffic.mark > before + 5, 60.0)
        kept.measure(SMALL, np.arange(40) / 20, rng)
    assert not any(code for _, code in outcomes)
    assert kept.front.traffic.saved > 0
    assert kept.front.traffic.largest_batch == 4


@pytest.mark.long
def test_an_episode_may_consist_of_the_requests_of_others(model):
    rng = np.random.default_rng(0)
    options = {"executable": LOCAL, "warmup": 2, "traffic": True, "canary": 0.5}
    with HandoverServer(model, SLOW, **options) as server:
        server.keep(GOOD)
        server.configure(GOOD, rng)
        with others(server.address) as outcomes:
            usual = server.measure(GOOD, np.zeros(30), rng)
            trial = server.measure(SMALL, np.zeros(30), rng)
            mark = server.front.traffic.mark
            bad = server.measure(BAD, np.zeros(300), rng, watch=WATCH)
        assert len(usual) >= 30
        assert len(trial) >= 30
        assert usual.ok.all()
        assert trial.ok.all()
        assert (np.diff(usual.arrivals) >= 0).all()
        assert bad.info["aborted"] == "worse"
        assert 0 < len(bad) < 300
        shared = server.front.traffic.since(mark)
        assert len(set(shared.tried.tolist())) == 2  # the kept one got its share meanwhile
        assert not any(code for _, code in outcomes)
