"""Local servers that are forked from a process with TensorFlow imported: the same, but sooner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from rrl.serving import preloaded
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client
from rrl.serving.preloaded import Forked, forget_preloaded, fork_server
from rrl.support.errors import ServerError


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_servers_of_different_threads_come_from_one_process(model):
    with ModelServer(model, {"inter_op": 1}) as one, ModelServer(model, {"inter_op": 2}) as two:
        assert isinstance(one.process, Forked)
        parents = {psutil.Process(server.process.pid).ppid() for server in (one, two)}
        assert len(parents) == 1
        assert psutil.Process(parents.pop()).num_threads() == 1, "a fork copies one thread only"
        for server in (one, two):
            with Client(server.address, server.name) as client:
                assert client.available(1.0)
            assert os.getsid(server.process.pid) == server.process.pid
    assert one.process.poll() == two.process.poll() == 0


def test_the_log_is_the_servers_own(model, tmp_path):
    with ModelServer(model, logs=tmp_path) as server:
        assert "Running gRPC ModelServer at unix:" in server.log.read_text()


def test_a_killed_server_has_the_status_of_its_signal(model):
    with ModelServer(model) as server:
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.01)
        os.kill(server.process.pid, signal.SIGKILL)
        assert server.process.wait(600) == -signal.SIGKILL
        with pytest.raises(ServerError, match="ended with status -9"):
            server.check()


def test_a_wrong_flag_ends_the_server_and_no_other(model):
    with ModelServer(model) as good:
        with pytest.raises(ServerError, match="ended with status 255"):
            ModelServer(model, extra_flags=["--port=text"]).start()
        good.check()


def test_servers_die_with_the_process_that_forked_them_and_its_owner(model):
    code = (
        "import sys; from rrl.serving.launcher import ModelServer\n"
        "server = ModelServer(sys.argv[1]).start()\n"
        "print(server.process.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(model)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as owner:
        pid = int(owner.stdout.readline())
        parent = psutil.Process(pid).ppid()
        owner.kill()
    assert wait_until(lambda: not alive(parent) and not alive(pid), 600.0)


@pytest.mark.long
def test_if_the_process_dies_its_servers_do_and_the_next_starts_as_usual(model):
    server = ModelServer(model).start()
    os.kill(psutil.Process(server.process.pid).ppid(), signal.SIGKILL)
    assert server.process.wait(600) == -signal.SIGKILL
    with ModelServer(model) as usual:
        assert isinstance(usual.process, subprocess.Popen)
    forget_preloaded()


@pytest.mark.long
def test_another_environment_has_a_process_of_its_own(model, monkeypatch):
    with ModelServer(model) as one:
        monkeypatch.setenv("RRL_TEST_OTHER", "1")
        with ModelServer(model) as two:
            first, second = (psutil.Process(server.process.pid) for server in (one, two))
            assert first.ppid() != second.ppid()
            assert second.environ()["RRL_TEST_OTHER"] == "1"
    forget_preloaded()


@pytest.mark.long
def test_few_processes_wait_and_none_with_a_server_is_closed(model, monkeypatch):
    """Whoever changes the environment again and again leaves no process behind for each change."""
    parents = []
    with ModelServer(model) as running:
        for number in range(3):
            monkeypatch.setenv("RRL_TEST_OTHER", str(number))
            with ModelServer(model) as server:
                parents.append(psutil.Process(server.process.pid).ppid())
        assert len(set(parents)) == 3
        assert [alive(parent) for parent in parents] == [False, True, True]
        running.check()
        with Client(running.address, running.name) as client:
            assert client.available(1.0)
        parents.append(psutil.Process(running.process.pid).ppid())
    forget_preloaded()
    assert not any(alive(parent) for parent in parents)


def test_all_tests_of_pytest_share_one_process(model, monkeypatch):
    with ModelServer(model) as one:
        monkeypatch.setenv("PYTEST_CURRENT_TEST", "another test")
        with ModelServer(model) as two:
            first, second = (psutil.Process(server.process.pid) for server in (one, two))
            assert first.ppid() == second.ppid()
            assert "PYTEST_CURRENT_TEST" not in second.environ()


def test_a_process_that_cannot_import_forks_nothing(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        assert fork_server([], log.fileno(), environment) is None
    forget_preloaded()


def test_a_process_with_a_second_thread_forks_nothing(tmp_path):
    sleeper = "threading.Thread(target=time.sleep, args=[60], daemon=True).start()"
    (tmp_path / "sitecustomize.py").write_text(f"import threading, time; {sleeper}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        assert fork_server([], log.fileno(), environment) is None
    forget_preloaded()


@pytest.mark.parametrize("call", ["fork", pytest.param("setsid", marks=pytest.mark.long)])
def test_a_fork_that_fails_costs_no_running_server(call, model, tmp_path, monkeypatch):
    """It fails in the process itself, or in the new one before that has said its number."""
    text = f"""
import os
real = os.{call}
def failing(*given):
    if os.path.exists({str(tmp_path / "full")!r}):
        raise OSError("no room")
    return real(*given)
os.{call} = failing
"""
    (tmp_path / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with ModelServer(model) as running:
        assert isinstance(running.process, Forked)
        (tmp_path / "full").touch()
        with (tmp_path / "log").open("wb") as log:
            waiting = next(reversed(preloaded._processes.values()))
            assert waiting.fork([], log.fileno()) is None
        running.check()
        (tmp_path / "full").unlink()
        with ModelServer(model) as another:
            assert isinstance(another.process, Forked)
    forget_preloaded()
