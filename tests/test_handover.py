"""A configuration takes over while requests keep coming, and a trial goes badly."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from unittest import mock

import grpc
import numpy as np
import pytest
from clients import (
    LIMIT_S,
    X,
    await_calls,
    by_grpc,
    calling,
    check_answer,
    clients,
    kept_at,
    predict,
)
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from test_launcher import paused, sockets
from test_service import in_a_trial

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving import handover
from rrl.serving.client_traffic import LOG_LATE_S, ClientTraffic, OthersRequests
from rrl.serving.envoy import ENVOY
from rrl.serving.envoy_config import KEPT, TRIAL, Door
from rrl.serving.handover import HandoverServer
from rrl.serving.lasting import Lasting, start_apart, wait_until
from rrl.serving.launcher import LOCAL, SERVER, ModelServer, free_port, port_error
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client, predict_request
from rrl.serving.service import (
    CURRENT,
    TUNER,
    lock_port,
    port_folder,
    stop_service,
    unlock_port,
)
from rrl.support.errors import GeneratorError, ServerError, UsageError
from rrl.support.folders import user_folder
from rrl.tuning.guard import Guard, Part
from rrl.tuning.objective import MeanLatency
from rrl.tuning.watch import Watch

SLOW = ConfigSpace(
    [
        Knob("batch_threads", (0, 2)),
        Knob("max_batch_size", (1, 64)),
        Knob("batch_timeout_micros", (0, 1_500_000)),
    ]
)
GOOD = {"batch_threads": 0, "max_batch_size": 1, "batch_timeout_micros": 0}
BAD = {"batch_threads": 2, "max_batch_size": 64, "batch_timeout_micros": 1_500_000}
SMALL = {"batch_threads": 2, "max_batch_size": 1, "batch_timeout_micros": 0}
OTHER = {"batch_threads": 0, "max_batch_size": 64, "batch_timeout_micros": 0}
WATCH = Watch(late_s=0.5, allowance=1000, usual=0.02)
PATIENT = Watch(late_s=60.0, allowance=1000, usual=0.02)  # no request of a living server is late
OPTIONS = {"executable": LOCAL, "warmup": 2, "timeout_s": 60.0}


@pytest.fixture(scope="module")
def started(model):
    with HandoverServer(model, SLOW, **OPTIONS, door=Door(free_port(), free_port())) as server:
        server.keep(OTHER)
        server.configure(OTHER)
        yield server


@pytest.fixture
def kept(started):
    """The server of all tests, which keeps GOOD."""
    started.keep(GOOD)
    started.configure(GOOD)
    started._stop_trial()
    return started


DIED, FULL = ServerError("it died"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def died(owner, name, error=DIED):
    """A method fails, for a block."""
    return mock.patch.object(owner, name, side_effect=error)


def interrupted_in(owner, name):
    """An interrupt comes in place of a method, for a block."""
    return mock.patch.object(owner, name, side_effect=KeyboardInterrupt)


def outliving(server):
    """The numbers of the processes that outlive a tuner: Envoy and the kept server."""
    return [server._envoy.process.pid, server._kept_server.process.pid]


# --- hand-overs -----------------------------------------------------------------------------------


def test_a_hand_over_loses_no_request(started):
    """It comes while large requests are still being answered; small ones come by gRPC and REST."""
    many = {"x": np.ones((600_000, 2), np.float32)}  # 4.8 MB: more than gRPC's own limit
    before = started._kept_server
    with (
        clients(started.address, started.door.rest_port) as codes,
        Client(started.address, "probe") as client,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = [pool.submit(predict, client, many) for _ in range(4)]
        started.keep(GOOD)
        assert started.configure(GOOD).process.pid != before.process.pid
        assert [len(answer.result()["y"]) for answer in answers] == [600_000] * 4
        await_calls(codes)
    assert not before.alive
    assert kept_at(port_folder(started.door.port))[0] == started._kept_server.folder


def test_only_the_loopback_address_is_listened_on_and_grpc_only_by_envoy(kept):
    envoy, server = outliving(kept)
    assert sockets(envoy) == {("127.0.0.1", port) for port in kept.door.ports}
    assert sockets(server) == {("127.0.0.1", kept._kept_server.rest_port)}


def test_the_processes_that_outlive_a_tuner_are_no_work_of_others(kept):
    assert kept._others._ours() == outliving(kept)
    assert 0 <= kept.measure(GOOD, [0.0], np.random.default_rng(0)).info["other_work"] <= 1


def test_a_configuration_that_cannot_start_never_takes_over(kept):
    rng, running = np.random.default_rng(0), kept._kept_server
    with died(ModelServer, "start"), clients(kept.address):
        with pytest.raises(ServerError, match="it died"):
            kept.measure(OTHER, [0.0], rng)
        kept.keep(OTHER)
        with pytest.raises(ServerError, match="it died"):
            kept.configure(OTHER)
    kept.keep(GOOD)
    assert kept.configure(GOOD) is running


def test_an_episode_begins_as_long_after_a_change_of_the_route_on_trial_as_on_the_kept_server(
    kept, monkeypatch
):
    rng, moments = np.random.default_rng(0), []
    fire, route = LiveServer._fire, kept._envoy.route

    def firing(*given):
        moments.append(time.monotonic())
        return fire(*given)

    def routing(*given):
        route(*given)
        moments.append(time.monotonic())

    kept.measure(SMALL, [0.0], rng)
    monkeypatch.setattr(LiveServer, "_fire", firing)
    monkeypatch.setattr(kept._envoy, "route", routing)
    for configuration in (GOOD, SMALL):
        kept.measure(configuration, [0.0], rng)
    routed, fired = np.reshape(moments, (2, 2)).T
    assert (fired - routed >= 2 * LOG_LATE_S).all()


def test_a_hand_over_that_is_interrupted_goes_on_with_the_next_call(kept):
    """Whether or not Envoy has taken the new server already. Both serve until then."""
    point = kept._envoy.point

    def interrupt(*servers):
        if configuration is GOOD:
            point(*servers)
        raise KeyboardInterrupt

    for configuration in (OTHER, GOOD):
        old = kept._kept_server
        kept.keep(configuration)
        with clients(kept.address) as codes:
            now = mock.patch.object(kept._envoy, "point", interrupt)
            with now, pytest.raises(KeyboardInterrupt):
                kept.configure(configuration)
            new = kept._kept_server
            assert [server.alive for server in (new, old)] == [True, True]
            assert kept_at(port_folder(kept.door.port))[0] == old.folder
            await_calls(codes)
            assert kept.configure(configuration) is new
            assert [server.alive for server in (new, old)] == [True, False]
            await_calls(codes)
        assert kept_at(port_folder(kept.door.port))[0] == new.folder


def test_a_server_before_which_no_envoy_has_started_gets_one_next(kept):
    """A supervisor may start the server from then on."""
    kept._envoy.process.stop()
    kept.keep(OTHER)
    with died(kept._envoy, "start"), pytest.raises(ServerError, match="it died"):
        kept.configure(OTHER)
    new = kept._kept_server
    assert kept_at(port_folder(kept.door.port))[0] == new.folder
    assert kept.configure(OTHER) is new
    assert list(port_folder(kept.door.port).glob("s-*/")) == [new.folder]


@pytest.mark.parametrize(
    ("victim", "number"),
    [
        ("server", signal.SIGSTOP),
        ("Envoy", signal.SIGSTOP),
        pytest.param("server", signal.SIGKILL, marks=pytest.mark.long),
        ("Envoy", signal.SIGKILL),
    ],
)
def test_what_dies_or_hangs_in_mid_episode_is_replaced(victim, number, kept, monkeypatch):
    """An Envoy is started again in front of the same server."""
    fire, (envoy, server) = LiveServer._fire, outliving(kept)
    victims = [envoy if victim == "Envoy" else server]

    def fire_after_signal(*given):
        monkeypatch.setattr(kept, "_timeout_s", 0.5 if victims else OPTIONS["timeout_s"])
        while victims:
            os.kill(victims.pop(), number)
        return fire(*given)

    monkeypatch.setattr(LiveServer, "_fire", fire_after_signal)
    episode = kept.measure(GOOD, np.linspace(0, 1, 20), np.random.default_rng(0))
    assert episode.ok.all()  # measured anew, as a whole
    now = outliving(kept)
    stopped = number == signal.SIGSTOP  # it goes on
    went_on = (victim == "server" or stopped, victim == "Envoy" or stopped)
    assert (now[0] == envoy, now[1] == server) == went_on
    check_answer(kept.address)


@pytest.mark.parametrize("victim", [0, 1], ids=["Envoy", "kept server"])
@pytest.mark.parametrize("configuration", [GOOD, OTHER], ids=["default", "trial"])
def test_clients_do_not_wait_for_the_end_of_an_episode_without_envoy_or_the_kept_server(
    victim, configuration, kept, monkeypatch
):
    kept.configure(configuration)
    victims, trial, fire = [outliving(kept)[victim]], kept._trial, kept._client.fire

    def fire_after_signal(payloads, due, *more):
        if not victims:
            return fire(payloads, due, *more)
        os.kill(victims.pop(), signal.SIGKILL)
        fire(payloads, [*due, due[-1] + 5], *more)
        raise AssertionError("the episode went on")

    monkeypatch.setattr(kept._client, "fire", fire_after_signal)
    watch = replace(PATIENT, idle=configuration == GOOD)
    assert kept.measure(configuration, np.zeros(2), np.random.default_rng(0), watch=watch).ok.all()
    assert kept._trial is trial
    assert kept.serves


@pytest.mark.parametrize("victim", [0, 1], ids=["Envoy", "kept server"])
def test_a_run_that_waits_for_clients_starts_again_what_ends(victim, kept, monkeypatch):
    victims, check = [outliving(kept)[victim]], kept._check

    def check_after_signal(server):
        if victims:
            os.kill(victims.pop(), signal.SIGKILL)
        check(server)

    monkeypatch.setattr(kept, "_check", check_after_signal)
    with Client(kept.address, "probe") as client, calling([by_grpc(client)]):
        kept.wait_for_requests(3)
    assert not victims
    assert kept.serves


def test_a_trial_is_measured_without_a_kept_server_that_ends_at_each_repetition(kept, monkeypatch):
    """As if the memory were too small for both. The run goes on, and the default serves next."""
    trial, fire, ended = kept.configure(OTHER), kept._client.fire, []

    def fire_without(*given):
        os.kill(outliving(kept)[1], signal.SIGKILL)
        assert wait_until(lambda: not kept._kept_server.alive, LIMIT_S)
        ended.append(kept._kept_server)
        return fire(*given)

    for module in ("live", "handover"):
        monkeypatch.setattr(f"rrl.serving.{module}.RESTARTS", 1)
    monkeypatch.setattr(kept._client, "fire", fire_without)
    rng = np.random.default_rng(0)
    assert kept.measure(OTHER, np.zeros(2), rng, watch=PATIENT).ok.all()
    assert len(set(ended)) == 2
    assert kept._trial is trial
    monkeypatch.undo()
    assert kept.measure(GOOD, np.zeros(2), rng, watch=replace(PATIENT, idle=True)).ok.all()


@pytest.mark.parametrize(("owner", "name"), [(HandoverServer, "_launch"), (LiveServer, "_fire")])
def test_a_trial_is_not_to_blame_for_an_envoy_that_is_killed(kept, owner, name, monkeypatch):
    """When the trial starts, or serves. Its episode is repeated, without another start."""
    rng, former, (envoy, server) = np.random.default_rng(0), getattr(owner, name), outliving(kept)
    victims, trials = [envoy], []

    def call(*given, **more):
        if victims:
            os.kill(victims.pop(), signal.SIGKILL)
        trials.append(kept._trial)
        return former(*given, **more)

    monkeypatch.setattr(owner, name, call)
    guard = Guard(GOOD, budget=1000, late_s=60.0)
    guard.parts.append(Part(GOOD, requests=100, bad=0))
    part, episode, _ = guard.measure(kept, OTHER, np.linspace(0, 1, 50), rng, MeanLatency())
    assert (part.ended, part.bad, part.charge) == ("", 0, None)
    assert len(episode) == 50
    assert len({trial.process.pid for trial in trials if trial}) <= 1
    assert (outliving(kept)[0] == envoy, outliving(kept)[1] == server) == (False, True)


def kill_envoy(server):
    os.kill(server._envoy.process.pid, signal.SIGKILL)
    assert wait_until(lambda: not server._envoy.process.alive, LIMIT_S)


def test_a_trial_is_not_to_blame_for_an_envoy_that_a_supervisor_has_started_again(
    kept, monkeypatch
):
    """Only the requests in between fail, but so many that the watch stops the episode."""
    envoy, trial, killed = kept._envoy, kept.configure(OTHER), []
    fire = kept._client.fire

    def fire_in_between(*given):
        if killed:
            return fire(*given)
        killed.append(kill_envoy(kept))
        episode = fire(*given)
        start_apart(["/bin/sh", str(envoy.process.script)], subprocess.DEVNULL, subprocess.DEVNULL)
        assert wait_until(lambda: envoy.answers, LIMIT_S)
        return episode

    monkeypatch.setattr(kept._client, "fire", fire_in_between)
    episode = kept.measure(OTHER, np.linspace(0, 1, 50), np.random.default_rng(0), watch=PATIENT)
    assert episode.ok.all()
    assert kept._trial is trial


def test_a_trial_is_not_to_blame_for_an_envoy_that_ends_while_the_trial_is_asked(kept, monkeypatch):
    """It is asked whether it answers, after a request that failed."""
    trial, killed = kept.configure(OTHER), []
    answers = trial.answers

    def ask(timeout_s):
        if not killed:
            killed.append(kill_envoy(kept))
        return answers(timeout_s)

    monkeypatch.setattr(trial, "answers", ask)
    monkeypatch.setattr(kept, "_timeout_s", 1e-6)
    assert not kept.measure(OTHER, [0.0], np.random.default_rng(0), watch=PATIENT).ok.any()
    assert killed
    assert kept._trial is trial


def test_a_trial_pauses_also_if_envoy_ends_after_it(kept):
    trial = kept.configure(OTHER)
    kill_envoy(kept)
    kept.configure(GOOD)
    assert wait_until(lambda: paused(trial), LIMIT_S)
    check_answer(kept.address)
    assert kept.configure(OTHER) is trial
    assert not paused(trial)


def test_an_envoy_that_does_not_start_again_ends_a_trial_without_a_charge(kept, monkeypatch):
    monkeypatch.setattr("rrl.serving.envoy._find_envoy", lambda: "false")
    os.kill(outliving(kept)[0], signal.SIGKILL)
    guard = Guard(GOOD, budget=1000, late_s=60.0)
    with pytest.raises(GeneratorError, match="Envoy did not start"):
        guard.measure(kept, OTHER, np.zeros(2), np.random.default_rng(0), MeanLatency())
    assert guard.charge(OTHER) is None


# --- a trial beside a configuration that is kept ready --------------------------------------------


def test_a_bad_trial_is_stopped_and_the_kept_configuration_returns(kept, monkeypatch):
    """A batch waits 1.5 s to fill; nobody waits that long, neither rrl's load nor other clients."""
    monkeypatch.setattr(kept, "_warmup", 0)  # each batch size would wait as long
    rng = np.random.default_rng(0)
    steady = kept._kept_server.process.pid
    with clients(kept.address) as codes:
        episode = kept.measure(BAD, np.arange(400) / 20, rng, watch=WATCH)
        after = kept.measure(GOOD, np.arange(20) / 20, rng)
    assert episode.info["aborted"] == "worse"
    assert len(episode) < 400
    assert after.ok.all()
    latency, status = after.info["others"]
    assert len(latency) > 5
    assert not status.any()
    assert kept._kept_server.process.pid == steady
    assert len(codes) > 20


@contextlib.contextmanager
def unread_answer(server):
    """An answer that has begun; it is larger than all buffers, and the client does not read on."""
    request = json.dumps({"instances": [[1.0, 2.0]] * 300_000})
    rest = http.client.HTTPConnection("127.0.0.1", server.door.rest_port, timeout=LIMIT_S)
    with contextlib.closing(rest):
        rest.request("POST", "/v1/models/probe:predict", request)
        yield rest.getresponse()


def waits(patch, owner, name):
    """An event: requests are waited for; or a function that must come later has ended."""
    event, wait, end = threading.Event(), handover.wait_until, getattr(owner, name)

    def waiting(condition, seconds):
        if not condition():
            event.set()
        return wait(condition, seconds)

    def ending(*given, **more):
        end(*given, **more)
        event.set()

    patch.setattr(handover, "wait_until", waiting)
    patch.setattr(owner, name, ending)
    patch.setattr(handover, "DRAIN_S", LIMIT_S)
    return event


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_answer_that_a_dropped_trial_has_begun_is_not_cut(kept, interrupted, monkeypatch):
    """The client reads on only when the trial is dropped, or stopped after an interrupt of that."""
    trial = kept.configure(OTHER)
    with unread_answer(kept) as reply, ThreadPoolExecutor(1) as pool:
        if interrupted:
            with interrupted_in(trial, "resume"), pytest.raises(KeyboardInterrupt):
                kept._drop(kept._trial)
        waiting = waits(monkeypatch, trial, "stop")
        dropped = pool.submit(kept._stop_trial if interrupted else lambda: kept._drop(kept._trial))
        assert waiting.wait(LIMIT_S)
        assert reply.read().count(b"[2.0, 4.0]") == 300_000
        dropped.result()
    assert not trial.alive


def test_what_waits_at_a_dropped_trial_is_answered_at_once_by_the_kept_server(kept, monkeypatch):
    """The trial would hold it for as long as a trial may, and use the processor of both."""

    def drain():
        trial.resume()
        raise AssertionError("the trial goes on")

    monkeypatch.setattr(kept, "_hang_s", LIMIT_S)
    trial, name = kept.configure(OTHER), kept._kept_server.name
    trial.pause()
    with Client(kept.address, name) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(predict, client, X)
        assert wait_until(lambda: any(c.route == TRIAL for c in kept.traffic.open()), LIMIT_S)
        with mock.patch.object(kept, "_drain", drain):
            kept._drop(kept._trial)
        assert answer.result()["y"].tolist() == [[2.0, 4.0]]
    assert not trial.alive


def test_a_dropped_trial_does_not_wait_for_an_answer_of_the_kept_server(kept, monkeypatch):
    """The trial has refused the request."""
    monkeypatch.setattr(handover, "DRAIN_S", 1.0)
    trial, resumed = kept.configure(SMALL), []
    monkeypatch.setattr(trial, "resume", lambda: resumed.append(True))
    with unread_answer(kept) as reply:
        kept._drop(kept._trial)
        assert not trial.alive
        assert reply.read().count(b"[2.0, 4.0]") == 300_000
    assert not resumed


@pytest.mark.parametrize("error", [DIED, FULL])
def test_a_trial_to_which_calls_still_go_is_stopped_at_once(kept, error):
    """Envoy has not taken the change; it sends again what the trial has not answered.

    The change is made later. The same holds for a trial that was interrupted when it began.
    """
    trial, service = kept.configure(OTHER), port_folder(kept.door.port)
    route = kept._envoy.route

    def interrupt(*given):
        route(*given)
        raise KeyboardInterrupt

    with died(kept._envoy, "route", error), mock.patch.object(trial, "pause") as pause:
        kept._drop(kept._trial)
    assert not trial.alive
    assert not pause.called
    kept.configure(GOOD)
    assert not in_a_trial(service)
    with mock.patch.object(kept._envoy, "route", interrupt), pytest.raises(KeyboardInterrupt):
        kept.configure(OTHER)
    assert in_a_trial(service)
    kept.configure(GOOD)
    assert not in_a_trial(service)


def test_own_requests_and_those_of_others_share_the_bad_ones_that_a_trial_may_have(
    kept, monkeypatch
):
    allowed, fire = [], LiveServer._fire
    monkeypatch.setattr(
        OthersRequests, "reason", lambda _, watch: allowed.append(watch.allowance) or ""
    )

    def noted(self, server, arrivals, watch, also=None):
        also()
        allowed.append(watch.allowance)
        return fire(self, server, arrivals, watch, also)

    monkeypatch.setattr(LiveServer, "_fire", noted)
    for allowance, shares in ((5, [2, 3]), (1, [0, 1])):
        allowed.clear()
        watch = replace(WATCH, allowance=allowance)
        kept.measure(GOOD, np.zeros(2), np.random.default_rng(0), watch=watch)
        assert allowed[:2] == shares


def test_a_trial_serves_its_version_pauses_afterwards_and_resumes(kept):
    """The kept server is asked for another version, too."""
    request = predict_request(X, "probe")
    trial = kept.configure(SMALL)
    before = kept.traffic.mark
    with grpc.insecure_channel(kept.address) as channel:
        ask = PredictionServiceStub(channel).Predict
        request.model_spec.version.value = 1
        assert ask(request, timeout=LIMIT_S).model_spec.version.value == 1
        request.model_spec.version.value = 7
        with pytest.raises(grpc.RpcError, match="Specific"):
            ask(request, timeout=LIMIT_S)
    assert wait_until(lambda: len(kept.traffic.since(before)) == 2, LIMIT_S)
    assert wait_until(lambda: not kept.traffic.open(), LIMIT_S)
    assert [call.failed for call in kept.traffic.since(before)] == [False, True]
    assert not paused(trial)
    kept.configure(GOOD)
    assert wait_until(lambda: paused(trial), LIMIT_S)
    assert kept.configure(SMALL) is trial
    check_answer(trial.address)  # it resumes
    kept.configure(GOOD)
    assert wait_until(lambda: paused(trial), LIMIT_S)
    kept._stop_trial()
    assert trial.process.status == 0  # gently, although it was paused


def test_a_trial_whose_port_another_process_takes_gets_another_one(kept, tmp_path, monkeypatch):
    """Otherwise the configuration would be blamed. No log of the first start stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], free_port()]
        own = ports[1]
        monkeypatch.setattr("rrl.serving.launcher.free_port", lambda: ports.pop(0))
        rng = np.random.default_rng(0)
        assert kept.measure(OTHER, np.arange(5) / 20, rng, watch=PATIENT).ok.all()
        assert kept._trial.rest_port == own
    assert not list(tmp_path.glob("rrl-probe-*.log"))


def test_a_trial_that_dies_takes_nobody_with_it(kept):
    rng = np.random.default_rng(0)

    def kill():
        await_calls(codes)  # in mid-episode
        os.kill(trial, signal.SIGKILL)

    with clients(kept.address) as codes, ThreadPoolExecutor(1) as pool:
        trial = kept.configure(SMALL).process.pid
        killed = pool.submit(kill)
        with suppress(ServerError):  # unless the watch has seen the failures before the end
            # So few requests that a busy machine fills no queue, which would end the trial, too.
            assert kept.measure(SMALL, np.arange(2000) / 5, rng, watch=PATIENT).info["aborted"]
        killed.result()
        assert kept._trial is None
        after = kept.measure(GOOD, np.arange(20) / 20, rng)
    assert after.ok.all()


def test_a_kept_server_that_dies_during_a_trial_is_started_again_and_the_trial_serves(kept):
    rng = np.random.default_rng(0)
    kept.configure(SMALL)
    with clients(kept.address):
        os.kill(kept._kept_server.process.pid, signal.SIGKILL)
        assert wait_until(lambda: not kept.serves, LIMIT_S)
        late = replace(WATCH, late_s=1e-6)  # for any request
        episode = LiveServer.measure(kept, OTHER, np.arange(20) / 20, rng, watch=None)
        assert episode.ok.all()
        assert len(episode.info["others"][0]) > 5, "those that the trial got"
        assert kept.serves
        episode = kept.measure(OTHER, np.arange(400) / 20, rng, watch=late)
        assert episode.info["aborted"] == "worse"
        assert kept._trial is None


@pytest.mark.long
def test_an_episode_may_consist_of_the_requests_of_others(model):
    rng = np.random.default_rng(0)
    options = {"executable": LOCAL, "warmup": 2, "traffic": ClientTraffic(), "canary": 0.5}
    with HandoverServer(model, SLOW, **options) as server:
        server.keep(GOOD)
        server.configure(GOOD)
        with clients(server.address):
            usual = server.measure(GOOD, np.zeros(30), rng)
            trial = server.measure(SMALL, np.zeros(30), rng)
            mark = server.traffic.mark
            bad = server.measure(BAD, np.zeros(300), rng, watch=WATCH)
        assert len(usual) >= 30
        assert len(trial) >= 30
        assert usual.ok.all()
        assert trial.ok.all()
        assert (np.diff(usual.arrivals) >= 0).all()
        assert bad.info["aborted"] == "worse"
        assert 0 < len(bad) < 300
        shared = server.traffic.since(mark)
        assert len({call.route for call in shared}) == 2  # the kept one got its share meanwhile


# --- from one tuner to the next -------------------------------------------------------------------


@pytest.mark.parametrize("found", [[], [CURRENT]])
def test_a_tuner_that_is_refused_leaves_a_port_as_it_has_found_it(found, model):
    """A supervisor may start again what an earlier tuner has left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name in found:
            (port_folder(port) / name).touch()
        with pytest.raises(ServerError, match=f"the port {port}: Address already in use; choose"):
            HandoverServer(model, SLOW, **OPTIONS, door=Door(port))
    assert (user_folder("ports") / str(port)).exists() == bool(found)
    assert set(found) <= {path.name for path in port_folder(port).iterdir()}
    stop_service(port_folder(port))


def test_a_full_disk_is_said_before_anything_serves_and_leaves_no_folder(tmp_path):
    (folder := tmp_path / "8500").mkdir()
    said = pytest.raises(OSError, match=f"No space left on device: '{folder / TUNER}'")
    with died(os, "pwrite", FULL), said:
        lock_port(folder, 8500)
    assert not folder.exists()


def test_a_port_whose_folder_is_gone_is_unlocked_without_an_error(tmp_path):
    """An error would hide why the run was refused."""
    (folder := tmp_path / "8500").mkdir()
    lock = lock_port(folder, 8500)
    shutil.rmtree(folder)
    unlock_port(folder, lock)
    folder.mkdir()
    os.close(lock_port(folder, 8500))


def test_the_next_tuner_takes_over_from_the_service_and_another_one_is_refused(
    kept, model, tmp_path, monkeypatch
):
    """It comes last, because the service of all tests ends here.

    The first one was killed in a trial, and while it started another server. The second one is
    interrupted while the old server still answers. The server of the fourth one does not start,
    and the disk of the fifth one is full when its server should take over.
    """
    port, options = kept.door.port, OPTIONS | {"door": kept.door}
    folder, elsewhere = port_folder(port), tmp_path / "elsewhere"  # another model
    (elsewhere / "1").mkdir(parents=True)
    refused = pytest.raises(UsageError, match=f"for another model, .* with `rrl stop {port}`")

    with pytest.raises(UsageError, match=rf"another run tunes .* `rrl stop {port}`"):
        HandoverServer(model, SLOW, **options)
    try:
        with clients(kept.address) as codes:
            envoy, _ = outliving(kept)
            (folder / f"{KEPT}.json").write_text("{")  # Envoy goes on without reading it
            left = kept.leave()
            assert left is kept._kept_server
            with refused:
                HandoverServer(model, SLOW, **OPTIONS, door=replace(kept.door, max_request=1))
            with refused:
                HandoverServer(elsewhere, SLOW, **options)
            (folder / "s-99").mkdir()
            killed = Lasting(folder / "s-99", SERVER)
            killed.start(["sleep", "600"], folder / "s-99" / "log")
            kept._envoy.route(1.0)
            second = HandoverServer(model, SLOW, **options)
            second.keep(GOOD)
            with unread_answer(kept) as reply, ThreadPoolExecutor(1) as pool:
                with interrupted_in(second, "_drain"), pytest.raises(KeyboardInterrupt):
                    second.configure(GOOD)
                with monkeypatch.context() as patch:
                    waiting = waits(patch, handover, "stop_others")
                    leaving = pool.submit(second.leave)
                    assert waiting.wait(LIMIT_S)
                    assert reply.read().count(b"[2.0, 4.0]") == 300_000
                    assert leaving.result() is second._kept_server
            assert not in_a_trial(folder)
            assert outliving(second)[0] == envoy
            assert [one.alive for one in (left, killed)] == [False, False]
            third = HandoverServer(model, SLOW, **options)
            third.keep(GOOD)
            assert third.measure(SMALL, np.arange(10) / 20, np.random.default_rng(0)).ok.all()
            with died(third, "_settle", FULL):  # then an earlier server would go on, too
                left = third.leave()
            fourth = HandoverServer(model, SLOW, **options)
            with died(ModelServer, "start"), pytest.raises(ServerError, match="it died"):
                fourth.configure(GOOD)
            assert fourth.leave() is None
            fifth = HandoverServer(model, SLOW, **options)
            with died(fifth._envoy, "_write", FULL):
                with pytest.raises(OSError, match="No space left"):
                    fifth.configure(GOOD)
                assert fifth.leave() is None  # that of the third one serves
            await_calls(codes)
        Lasting(folder, ENVOY).stop()
        with refused:
            HandoverServer(elsewhere, SLOW, **options)
    finally:
        stop_service(folder)
    assert not port_error(port)
    assert not left.alive
