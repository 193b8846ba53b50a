"""`rrl tune --port`, from the command line, while other clients use the service."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from clients import (
    LIMIT_S,
    RRL,
    alive,
    await_calls,
    check_answer,
    children,
    clients,
    kept_at,
    running,
)
from test_launcher import ODD, ROOT, runs_with

from rrl.cli import main
from rrl.operating.journal import JOURNAL, open_journal
from rrl.serving.envoy import ENVOY
from rrl.serving.envoy_config import ROUTES, TRIAL
from rrl.serving.lasting import Lasting, wait_until
from rrl.serving.launcher import LOCAL_COMMAND, free_port, port_error
from rrl.serving.local_server import parse_flags
from rrl.serving.service import TUNER, port_folder, stop_service
from rrl.serving.settings import read_batching


@pytest.fixture
def port(monkeypatch):
    """A free port; at the end, nothing is left there.

    It ends before `monkeypatch`, because a test may have moved the folder of its service.
    """
    number = free_port()
    yield number
    stop_service(port_folder(number))


def arguments(model, folder, *words, port):
    """Those of `rrl tune` of a model at a port."""
    return [
        "tune", str(model), "--executable", "local", "--port", str(port), "--out", str(folder),
        "--requests", "10", "--episodes", "4", "--rounds", "2", "--slo", "p99<60s", *words,
    ]  # fmt: skip


def tuning(*given, port):
    """A process that tunes at a port, for a block."""
    command = [*RRL, *arguments(*given, port=port)]
    return running(command, stdout=-1, stderr=-1, text=True)


def finished(process):
    """What it printed on stderr, when it has ended."""
    return process.communicate(timeout=LIMIT_S)[1]


def line_with(process, words):
    """The next line of stderr that has these words."""
    return next(line for line in iter(process.stderr.readline, "") if words in line)


def in_a_trial(folder):
    """Whether Envoy sends predictions to a server on trial."""
    (found,) = json.loads((folder / ROUTES).read_text())["resources"]
    return found["virtual_hosts"][0]["routes"][0]["name"] == TRIAL


def batching_at(folder):
    """The batching parameters of the server that is kept."""
    return read_batching((kept_at(folder)[0] / "batching.txt").read_text())


@pytest.mark.timeout(4 * LIMIT_S)
@pytest.mark.parametrize(
    "ends",
    [
        [(signal.SIGKILL, True), (signal.SIGINT, False)],
        pytest.param([(signal.SIGKILL, False), (signal.SIGTERM, True)], marks=pytest.mark.long),
    ],
)
def test_no_client_notices_trials_that_refuse_or_how_the_tuner_ends(
    model, tmp_path, port, ends, capsys
):
    """The same command goes on after each end, and `rrl stop` ends what serves.

    An end comes inside or outside a trial. Batches of 4 come by gRPC and REST, and most trials have
    batches of at most 1 or 2.
    """
    folder, rest_port = port_folder(port), free_port()
    words = ["--rate", "40", "--knob", "batch_threads=0,1,2", "--knob", "max_batch_size=1,2,8"]
    kept = {"batch_threads": 2, "max_batch_size": 8}  # it stays, because nothing is proven
    words += [word for name, value in kept.items() for word in ("--default", f"{name}={value}")]
    words += ["--agent", "random", "--budget", "9999", "--episodes", "1000"]
    words += ["--rest-port", str(rest_port), "--requests", "40"]
    batching = {"num_batch_threads": 2, "max_batch_size": 8}
    envoys, codes, journal = set(), None, tmp_path / JOURNAL
    with contextlib.ExitStack() as stack:
        for number, inside in ends:
            known = journal.read_bytes().count(b"\n") if journal.exists() else 1
            with tuning(model, tmp_path, *words, port=port) as process:
                said = line_with(process, "clients may use")
                assert f"127.0.0.1:{port} (gRPC) and 127.0.0.1:{rest_port} (REST)" in said
                if codes is None:
                    codes = stack.enter_context(clients(f"127.0.0.1:{port}", rest_port, 4))
                line_with(process, "episodes of 40 requests")  # it measures from now on
                assert wait_until(lambda n=known: journal.read_bytes().count(b"\n") > n, LIMIT_S)
                assert wait_until(lambda now=inside: in_a_trial(folder) == now, LIMIT_S)
                envoys.add(Lasting(folder, ENVOY).pid)
                stay = {*envoys, kept_at(folder)[1].pid}
                own = [pid for pid in children(process) if pid not in stay]
                process.send_signal(number)
                err = finished(process)
            # A trial ends with its tuner.
            assert wait_until(lambda own=own: not any(map(alive, own)), LIMIT_S)
            if number != signal.SIGKILL:
                assert process.returncode == 130, err
                assert batching.items() <= batching_at(folder).items()
                assert f"end it with: rrl stop {port}" in err
                assert "the same command continues" in err
        await_calls(codes)
        assert envoys == {Lasting(folder, ENVOY).pid}
    _, server = kept_at(folder)
    assert main(["stop", str(port)]) == 0
    assert not port_error(port)
    assert not server.alive
    assert not folder.exists()
    assert main(["stop", str(port)]) == 2
    assert "has left no service of this user there" in capsys.readouterr().err


def test_a_proven_recommendation_stays_and_the_printed_line_starts_it(
    model, tmp_path, port, capsys
):
    """By default a batch waits so long to fill that other work on the machine hides no gain."""
    words = ["--rate", "40", "--knob", "batch_threads=2", "--knob", "max_batch_size=16"]
    words += ["--knob", "batch_timeout_micros=0,1000000", "--rounds", "10"]
    words += ["--default", "batch_timeout_micros=1000000", "--budget", "9999"]
    words += ["--knob", "flag:--grpc_max_threads=6", "--knob", f"env:RRL_ODD={ODD}"]
    words += ["--knob", "cpus=1"]
    assert main(arguments(model, tmp_path, *words, port=port)) in (0, 5)
    out, err = capsys.readouterr()
    assert sum(line[2:3] == line[5:6] == ":" for line in err.splitlines()) >= 3  # times
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["recommended"] == {"batch_timeout_micros": 0}
    assert result["deploy"] == result["recommended"]
    assert batching_at(port_folder(port))["batch_timeout_micros"] == 0
    check_answer(f"127.0.0.1:{port}")
    assert main(["stop", str(port)]) == 0
    line = result["start"]
    assert line in out
    assert "memory of the server: " in out
    for used in result["memory_bytes"].values():  # TensorFlow alone needs more than 64 MiB
        assert 64 * 2**20 < used < psutil.virtual_memory().total
    assert "--grpc_max_threads=6" in result["flags"]
    with subprocess.Popen(["sh", "-c", f"exec {line}"], stderr=-3, cwd=ROOT) as process:
        begun = len(LOCAL_COMMAND)  # `env` and `taskset` have run before it
        there = wait_until(lambda: runs_with(process.pid)[0][:begun] == LOCAL_COMMAND, LIMIT_S)
        started, variables, cpus = runs_with(process.pid, "RRL_ODD")
        process.kill()
    assert there
    assert (variables, cpus) == ([ODD], 1)
    flags = parse_flags(started[begun:])
    assert (flags.port, flags.grpc_max_threads, Path(flags.model_base_path)) == (port, 6, model)
    batching = read_batching(Path(flags.batching_parameters_file).read_text())
    assert batching["max_batch_size"] == 16


FEW = ("--rate", "40", "--knob", "inter_op=1,2")


@pytest.mark.parametrize("words", [FEW, ("--traffic", *FEW[2:])], ids=["starts", "waits"])
def test_a_stop_ends_a_run_that_starts_or_waits_for_clients(words, model, tmp_path, port):
    with tuning(model, tmp_path, *words, port=port) as process:
        number = port_folder(port) / TUNER
        assert wait_until(lambda: number.exists() and number.read_text(), LIMIT_S)
        if "--traffic" in words:
            line_with(process, "waiting for requests")
            process.send_signal(signal.SIGSTOP)  # as by Ctrl-Z
        servers = children(process)
        assert main(["stop", str(port)]) == 0
        err = finished(process)
    assert process.returncode == 130, err
    assert wait_until(lambda: not any(map(alive, servers)), LIMIT_S)
    assert not port_error(port)
    assert not number.parent.exists()


def test_a_refused_command_leaves_no_server(model, tmp_path, port, capsys):
    with open_journal(tmp_path, {"seed": 3, "default": {"inter_op": 1}, "fixed": {}}) as journal:
        journal.append({"episode": 0})
    assert main(arguments(model, tmp_path, *FEW, port=port)) == 2
    err = capsys.readouterr().err
    assert "continue it with the same options" in err
    assert "the service at" not in err
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]  # no log of a server either
