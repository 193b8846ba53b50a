"""`rrl tune --port`, from the command line, while other clients use the service."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from contextlib import contextmanager, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from probe import build_probe

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.journal import JOURNAL, Journal
from rrl.operating.staying import leave_running
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import LOCAL, free_port
from rrl.serving.loadgen import Client
from rrl.serving.ports import listeners, wait_until
from rrl.serving.running import running_configuration
from rrl.support.owned_folder import LOCK_NAME

X = np.ones((1, 2), np.float32)
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe")


@contextmanager
def tuning(model, folder, *words, port):
    """`rrl tune` of a model at a port, and the end of whatever it leaves running."""
    command = [
        sys.executable, "-m", "rrl.cli", "tune", str(model), "--executable", "local",
        "--port", str(port), "--out", str(folder), "--requests", "10", "--episodes", "4",
        "--rounds", "2", "--late", "60s", *words,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        _, err = process.said if hasattr(process, "said") else process.communicate()
        for pid in re.findall(r"stop it with: kill (\d+)", err):
            with suppress(ProcessLookupError):  # the test has stopped it
                os.kill(int(pid), signal.SIGKILL)


def finished(process):
    """What it printed on stdout and stderr, when it has ended."""
    process.said = process.communicate(timeout=4 * LIMIT_S)
    return process.said


@contextmanager
def clients(port, batch=1, count=2, calls=10**9):
    """Clients that call all the time from when the service answers; a list of gRPC codes.

    After so many calls they connect again.
    """
    stop, codes = threading.Event(), []
    request = {"x": np.repeat(X, batch, axis=0)}

    def call():
        with Client(f"127.0.0.1:{port}", "probe") as client:
            if not wait_until(lambda: client.available(timeout_s=0.5), LIMIT_S):
                return
        while not stop.is_set():
            with Client(f"127.0.0.1:{port}", "probe") as client:
                for _ in takewhile(lambda _: not stop.is_set(), range(calls)):
                    try:
                        client.predict(request, timeout_s=60.0)
                        codes.append(0)
                    except grpc.RpcError as error:
                        codes.append(error.code().value[0])
                    time.sleep(0.02)

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield codes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def connected(port):
    """A client that has a connection all the time, so that a hand-over waits for it."""
    with Client(f"127.0.0.1:{port}", "probe") as client:
        assert wait_until(lambda: client.available(timeout_s=0.5), LIMIT_S)
        yield client


def line_with(process, words):
    """The next line of stderr that has these words."""
    return next(line for line in iter(process.stderr.readline, "") if words in line)


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def records_of(folder):
    return [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]


def test_the_service_goes_on_after_a_run_and_no_client_is_refused(model, tmp_path):
    """Batches of 4 come by the port, and trials have batches of 1: nobody is refused."""
    port = free_port()
    words = ("--rate", "40", "--knob", "batch_threads=0,2", "--knob", "max_batch_size=1,8")
    with tuning(model, tmp_path, *words, "--agent", "random", port=port) as process:
        with clients(port, batch=4, calls=20) as codes:  # a long connection would be waited for
            _, err = finished(process)
            assert process.returncode in (0, 5), err
            after = len(codes)
            assert wait_until(
                lambda: len(codes) > after + 20, LIMIT_S
            )  # by the server that is left
        assert set(codes) == {0}
        result = json.loads((tmp_path / "result.json").read_text())
        (pid,) = re.findall(r"stop it with: kill (\d+)", err)
        running = running_configuration(f"127.0.0.1:{port}")
        assert {name: running[name] for name in result["deploy"]} == result["deploy"]
        os.kill(int(pid), 0)
        served = [r["configuration"] for r in records_of(tmp_path) if "episode" in r]
        small = [c for c in served[1:] if c["batch_threads"] and c["max_batch_size"] < 4]
        assert not small  # after the first batch of 4 was seen, none is tried
        assert result["deploy"] in ([result["default"], result["recommended"]])


@pytest.mark.parametrize(("rounds", "proven"), [(2, False), (20, True)])
def test_only_a_proven_recommendation_stays_in_service(model, tmp_path, rounds, proven):
    """By default a batch waits 0.4 s to fill; two rounds are too few to show that this is worse."""
    port = free_port()
    words = ("--rate", "40", "--knob", "batch_threads=2", "--knob", "max_batch_size=16")
    words += ("--knob", "batch_timeout_micros=0,400000", "--rounds", str(rounds))
    words += ("--default", "batch_timeout_micros=400000", "--budget", "unlimited")
    with tuning(model, tmp_path, *words, port=port) as process:
        _, err = finished(process)
        assert process.returncode in (0, 5), err
        result = json.loads((tmp_path / "result.json").read_text())
        assert result["recommended"] == {"batch_timeout_micros": 0}
        assert result["deploy"] == result["recommended" if proven else "default"]
        running = running_configuration(f"127.0.0.1:{port}")
        assert running["batch_timeout_micros"] == result["deploy"]["batch_timeout_micros"]


def test_ctrl_c_leaves_the_default_in_service(model, tmp_path):
    port = free_port()
    words = ("--rate", "40", "--knob", "inter_op=1,2", "--default", "inter_op=2")
    words += ("--episodes", "1000", "--patience", "0")  # it cannot have ended by itself
    with tuning(model, tmp_path, *words, port=port) as process:
        with clients(port, calls=20) as codes:
            assert wait_until((tmp_path / JOURNAL).exists, LIMIT_S)
            assert wait_until(lambda: len(records_of(tmp_path)) > 2, LIMIT_S)
            process.send_signal(signal.SIGINT)
            _, err = finished(process)
            after = len(codes)
            assert wait_until(lambda: len(codes) > after + 20, LIMIT_S)
        assert process.returncode == 130, err
        assert "the same command continues" in err
        assert set(codes) == {0}
        (kept,) = re.findall(r"stays in service with (.*?);", err)
        assert kept == "inter_op 2"  # the trials have proved nothing yet
        assert running_configuration(f"127.0.0.1:{port}")["inter_op"] == 2


@pytest.mark.long
def test_a_second_ctrl_c_names_the_server_and_the_same_command_says_what_to_do(model, tmp_path):
    port = free_port()
    words = ("--rate", "40", "--knob", "inter_op=1,2", "--episodes", "1000", "--patience", "0")
    with tuning(model, tmp_path, *words, port=port) as process:
        line_with(process, "episode 1/1000")
        with connected(port):
            process.send_signal(signal.SIGINT)
            assert f"takes 127.0.0.1:{port} over" in line_with(process, "a server that stays")
            with Client(f"unix:{tmp_path}/serving/probe-{port}.sock", "probe") as left:
                assert wait_until(lambda: left.available(timeout_s=0.5), LIMIT_S)
            time.sleep(2.0)  # now it waits for the client
            process.send_signal(signal.SIGINT)
            _, err = finished(process)
        assert process.returncode == 130
        assert "calls that were still open are cut off" in err
        assert f"kill the server that stays at port {port} first, then the same command" in err
        (pid,) = re.findall(r"stop it with: kill (\d+)", err)
        with connected(port) as client:
            client.predict({"x": X}, timeout_s=60.0)
        with tuning(model, tmp_path, *words, port=port) as again:
            _, err = finished(again)
        assert again.returncode == 4
        assert f"kill {pid} first, then the same command continues" in err
        os.kill(int(pid), signal.SIGTERM)
        assert wait_until(lambda: not listeners(port), LIMIT_S)
        with tuning(model, tmp_path, *words, port=port) as again:
            line_with(again, "continuing after")


@pytest.mark.long
def test_a_release_ends_the_run_and_is_what_serves_then(model, tmp_path):
    own, port = tmp_path / "probe", free_port()
    shutil.copytree(model, own)
    words = ("--rate", "40", "--knob", "inter_op=1,2", "--episodes", "1000", "--patience", "0")
    with tuning(own, tmp_path / "out", *words, port=port) as process:
        line_with(process, "episode 1/1000")
        shutil.copytree(own / "1", tmp_path / "2")
        (tmp_path / "2").rename(own / "2")
        _, err = finished(process)
        assert process.returncode == 5
        assert "the newest version is now 2" in err
        assert "stop it with: kill" in err
        with connected(port) as client:
            assert client.states(timeout_s=5.0) == {2: ("AVAILABLE", "")}
            client.predict({"x": X}, timeout_s=60.0)


@pytest.mark.long
def test_sigterm_while_it_waits_for_clients_leaves_nothing(model, tmp_path):
    words = ("--traffic", "--knob", "inter_op=1,2")
    with tuning(model, tmp_path, *words, port=free_port()) as process:
        line_with(process, "waiting for requests")
        servers = psutil.Process(process.pid).children(recursive=True)
        open_files = [one.path for one in psutil.Process(process.pid).open_files()]
        folders = [Path(path).parent for path in open_files if path.endswith(LOCK_NAME)]
        assert servers
        assert folders
        process.send_signal(signal.SIGTERM)
        _, err = finished(process)
    assert process.returncode == 130
    assert "rrl: interrupted" in err
    assert not any(folder.exists() for folder in folders)
    assert wait_until(lambda: not any(map(alive, servers)), LIMIT_S)


def test_calls_that_a_hand_over_cuts_off_are_said(model, tmp_path, capsys):
    space, rng = ConfigSpace([Knob("inter_op", (1, 2))]), np.random.default_rng(0)
    options = Namespace(executable=LOCAL, start_timeout=LIMIT_S)
    with HandoverServer(model, space, executable=LOCAL, warmup=2) as server:
        server.keep(space[0])
        server.configure(space[0], rng)
        server.front._connection_s = 0.0  # nor is there time for calls that take long
        server.front.hand_port_over = partial(server.front.hand_port_over, leave_s=0.0)
        with connected(server.front.port):
            leave_running(server, model, tmp_path, options)
    err = capsys.readouterr().err
    (pid,) = re.findall(r"stop it with: kill (\d+)", err)
    os.kill(int(pid), signal.SIGKILL)
    assert "calls that were still open are cut off" in err


def test_if_no_server_can_stay_the_tuner_goes_on_serving(model, tmp_path):
    port = free_port()
    (tmp_path / "serving").write_text("in the way of the folder of the server that stays")
    words = ("--rate", "40", "--knob", "inter_op=1,2", "--episodes", "1")
    with tuning(model, tmp_path, *words, port=port) as process:
        said = iter(process.stderr.readline, "")
        assert any("only as long as this process runs; Ctrl-C ends it" in line for line in said)
        with Client(f"127.0.0.1:{port}", "probe") as client:
            client.predict({"x": X}, timeout_s=60.0)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = finished(process)
        assert process.returncode in (0, 5)
        assert "recommended:" in out


@pytest.mark.long
def test_real_requests_are_enough(model, tmp_path):
    port = free_port()
    words = ("--traffic", "--canary", "0.5", "--knob", "inter_op=1,2", "--stop")
    with clients(port) as codes, tuning(model, tmp_path, *words, port=port) as process:
        _, err = finished(process)
        assert process.returncode in (0, 5), err
        records = [r for r in records_of(tmp_path) if "episode" in r]
        assert len(records) == 4
        assert all(len(r["latency_us"]) >= 10 for r in records)
        assert all(r["load_per_s"] > 1 for r in records)
        assert "stop it with" not in err
        served = codes[: codes.index(14)] if 14 in codes else codes  # it stops at the end
        assert set(served) == {0}


def test_a_refused_command_leaves_no_server(model, tmp_path):
    with Journal(tmp_path, {"seed": 3, "default": {"inter_op": 1}, "fixed": {}}) as journal:
        journal.append({"episode": 0})
    port = free_port()
    with tuning(model, tmp_path, "--rate", "40", "--knob", "inter_op=1,2", port=port) as run:
        _, err = finished(run)
    assert run.returncode == 2
    assert "give the same options to continue it" in err
    assert "stays in service" not in err
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]  # no log of a server either


def test_a_folder_with_too_long_a_path_is_refused_before_anything_serves(model, tmp_path):
    folder = tmp_path / ("long" * 25)
    with tuning(model, folder, "--rate", "40", "--knob", "inter_op=1,2", port=free_port()) as run:
        _, err = finished(run)
    assert run.returncode == 2
    assert "too long for the socket of the server that stays" in err
    assert not (folder / JOURNAL).exists()
