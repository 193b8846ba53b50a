"""Local servers that are forked from a process with TensorFlow imported: the same, but sooner."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest
from clients import LIMIT_S, alive

from rrl.serving import preloaded, quiet
from rrl.serving.launcher import ModelServer
from rrl.serving.loadgen import Client
from rrl.serving.preloaded import Forked, Preloaded, forget_preloaded, fork_server
from rrl.support.errors import ServerError


def standing_in(folder, text):
    """The environment of a process that imports this text as TensorFlow, which takes no seconds."""
    (folder / "tensorflow.py").write_text(text)
    apis = folder / "tensorflow_serving" / "apis"
    apis.mkdir(parents=True)
    for package in (apis.parent, apis):
        (package / "__init__.py").touch()
    for module in ("get_model_status_pb2", "predict_pb2"):
        (apis / f"{module}.py").touch()
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_servers_of_different_threads_come_from_one_process_and_end_alone(model, tmp_path):
    first, second = ModelServer(model, {"inter_op": 1}, logs=tmp_path), ModelServer(model)
    with first as one, second as two:
        assert isinstance(one.process, Forked)
        parents = {psutil.Process(server.process.pid).ppid() for server in (one, two)}
        assert len(parents) == 1
        assert psutil.Process(parents.pop()).num_threads() == 1, "a fork copies one thread only"
        assert "Running gRPC ModelServer at unix:" in one.log.read_text()
        for server in (one, two):
            with Client(server.address, server.name) as client:
                assert client.available(LIMIT_S)
            assert os.getsid(server.process.pid) == server.process.pid
        with pytest.raises(ServerError, match="ended with status 255"):
            ModelServer(model, {"flag:--tensorflow_intra_op_parallelism": "x"}).start()
        with pytest.raises(subprocess.TimeoutExpired):
            one.process.wait(0.01)
        os.kill(one.process.pid, signal.SIGKILL)
        assert one.process.wait(LIMIT_S) == -signal.SIGKILL
        with pytest.raises(ServerError, match="ended with status -9"):
            one.check()
        two.check()
    assert two.process.poll() == 0


@pytest.mark.long
def test_if_the_process_dies_its_servers_do_and_the_next_starts_as_usual(model):
    server = ModelServer(model).start()
    os.kill(psutil.Process(server.process.pid).ppid(), signal.SIGKILL)
    assert server.process.wait(LIMIT_S) == -signal.SIGKILL
    with ModelServer(model) as usual:
        assert isinstance(usual.process, subprocess.Popen)
    forget_preloaded()


@pytest.mark.long
def test_another_environment_costs_no_running_server_and_leaves_no_process(model, monkeypatch):
    with ModelServer(model) as running:
        first = psutil.Process(running.process.pid).ppid()
        monkeypatch.setenv("RRL_TEST_OTHER", "1")
        with ModelServer(model) as usual:
            assert isinstance(usual.process, subprocess.Popen)
        running.check()
        with Client(running.address, running.name) as client:
            assert client.available(LIMIT_S)
    with ModelServer(model) as other:
        assert isinstance(other.process, Forked)
        assert psutil.Process(other.process.pid).environ()["RRL_TEST_OTHER"] == "1"
        assert not alive(first)


def test_what_tensorflow_sets_needs_no_process_of_its_own(model, monkeypatch):
    with ModelServer(model) as one:
        for name in quiet.SET_BY_TENSORFLOW:  # they were not there before the first server
            monkeypatch.delenv(name)
        with ModelServer(model) as two:
            first, second = (psutil.Process(server.process.pid) for server in (one, two))
            assert first.ppid() == second.ppid()


@pytest.mark.parametrize(
    "text",
    [
        "raise ImportError",
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import os; os.fork = lambda: os.open('/nowhere', 0)",
    ],
)
def test_a_process_that_cannot_import_or_fork_or_has_a_second_thread_forks_nothing(text, tmp_path):
    environment = standing_in(tmp_path, text)
    assert fork_server([], os.devnull, environment, []) is None
    assert preloaded._waiting[0].environment.items() <= environment.items(), "another was asked"
    forget_preloaded()


def test_an_interrupted_question_gets_no_later_answer(tmp_path, monkeypatch):
    """The answer to one question would be a wrong number of a process to the next."""

    def interrupt(*_):
        raise KeyboardInterrupt

    one = Preloaded(standing_in(tmp_path, ""))
    with monkeypatch.context() as patch:
        patch.setattr(one._connection, "poll", interrupt)
        with pytest.raises(KeyboardInterrupt):
            one.fork([], os.devnull, [0])
    assert one.fork([], os.devnull, [0]) is None
    one.close()


def test_a_fork_that_ends_at_once_costs_no_running_server(model, tmp_path):
    with ModelServer(model) as running:
        parent = psutil.Process(psutil.Process(running.process.pid).ppid())
        waiting = running.process._parent
        assert waiting.fork([], str(tmp_path / "nowhere" / "log"), [0]).wait(LIMIT_S) == 1
        running.check()
        with ModelServer(model) as another:
            assert psutil.Process(another.process.pid).ppid() == parent.pid
