"""How servers are started, bound, watched and left: with real processes, sockets and signals."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import grpc
import numpy as np
import psutil
import pytest
from clients import LIMIT_S, alive, check_answer, version_of

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving import models
from rrl.serving.handover import HandoverServer
from rrl.serving.lasting import Lasting, Process, wait_until
from rrl.serving.launcher import BINARY, LOCAL, ModelServer
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client, LastingError
from rrl.serving.preloaded import Parent, forget_parents
from rrl.serving.service import TUNER, lock_port, set_current, stop_others
from rrl.support.errors import ServerError, UsageError
from rrl.support.files import open_alone
from rrl.support.folders import PREFIX, owned_folder, remove_abandoned, user_folder
from rrl.support.machine import exclusive

ROOT = Path(__file__).parent.parent
BATCHED = {"inter_op": 1, "batch_threads": 1, "max_batch_size": 4}


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def sockets(pid):
    """Addresses and ports on which a process listens by TCP."""
    found = psutil.Process(pid).net_connections("tcp")
    listening = [one.laddr for one in found if one.status == psutil.CONN_LISTEN]
    return {(address.removeprefix("::ffff:"), port) for address, port in listening}  # IPv4, mapped


def ended(server):
    return wait_until(lambda: not server.alive, LIMIT_S)


# --- Where a server listens ----------------------------------------------------------------------


def test_a_server_of_our_own_listens_on_no_port(model, executable):
    with ModelServer(model, BATCHED, executable=executable) as server:
        assert not sockets(server.process.pid)
        path = Path(server.address.removeprefix("unix:"))
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700  # only its user gets there
        check_answer(server.address)


@pytest.mark.parametrize("name", ["x" * 120, "50%41", "a#1", "a?1"])
def test_the_folder_is_where_temporary_files_go_unless_its_path_is_none_for_a_socket(
    name, model, monkeypatch
):
    """A socket's path may have about a hundred characters, and gRPC reads it as a URI."""
    with tempfile.TemporaryDirectory(dir="/tmp") as usual:
        (odd := Path(usual) / name).mkdir()
        for place, folder in ((Path(usual), Path(usual)), (odd, Path("/tmp"))):
            monkeypatch.setattr(tempfile, "tempdir", str(place))
            server = ModelServer(model, executable=LOCAL)
            assert server.folder.parent == folder
            assert len(server.address) < 108
            del server
        with pytest.raises(UsageError, match=r"too long .* or with %\?#; set XDG_STATE_HOME"):
            ModelServer(model, executable=LOCAL, lasting=odd)


def test_the_memory_does_not_depend_on_how_a_server_was_started(model, tmp_path):
    """A forked one and one that lasts are compared."""
    used = []
    for lasting in (None, tmp_path):
        with ModelServer(model, executable=LOCAL, lasting=lasting) as server:
            used.append(server.memory_bytes())
    assert max(used) < 1.2 * min(used)


def test_what_the_original_exposes_at_its_rest_port_is_said(model, tmp_path):
    """It listens on all addresses."""
    original = str(script(tmp_path / BINARY, "exit"))
    server = ModelServer(model, executable=original, rest=True)
    assert f"on all addresses at port {server.rest_port}: other machines can" in server.exposed
    for executable, rest in ((original, False), (LOCAL, True)):
        assert ModelServer(model, executable=executable, rest=rest).exposed is None


WITHOUT_REST = f"""
echo "E external/server.cc] Failed to start HTTP Server at localhost:8501" >&2
for word do
  shift
  case $word in --rest_api_port=*|--file_system_poll_wait_seconds=*) continue ;; esac
  set -- "$@" "$word"
done
exec {shlex.quote(sys.executable)} -m rrl.serving.local_server "$@"
"""


def test_an_original_that_goes_on_without_rest_is_refused(model, tmp_path):
    """As when another process has taken its port."""
    original = str(script(tmp_path / BINARY, WITHOUT_REST))
    server = ModelServer(model, executable=original, rest=True, logs=tmp_path)
    with pytest.raises(ServerError, match=r"serves no REST; run it again, .*: E ext.*Failed to"):
        server.start()
    assert not server.alive


# --- A start that fails or takes long ------------------------------------------------------------


def test_an_interrupt_while_the_process_starts_leaves_none(model):
    """A later answer would be a wrong number of a process to the next question."""

    def interrupt_after(*question):
        ask(*question)
        raise KeyboardInterrupt

    ask, late = Parent.ask, ModelServer(model, executable=LOCAL)
    with mock.patch.object(Parent, "ask", interrupt_after), pytest.raises(KeyboardInterrupt):
        late.start()
    assert not late.alive
    parent = parent_of(ModelServer(model, executable=LOCAL))
    poll = mock.patch.object(Connection, "poll", side_effect=KeyboardInterrupt)
    with poll, pytest.raises(KeyboardInterrupt):
        ModelServer(model, executable=LOCAL).start()
    assert wait_until(lambda: not alive(parent), LIMIT_S)  # and so are its servers
    assert parent_of(ModelServer(model, executable=LOCAL)) != parent


@pytest.mark.parametrize("kind", [LiveServer, HandoverServer])
def test_a_server_behind_measure_has_the_time_limit_and_keeps_its_logs(kind, model, tmp_path):
    slow = script(tmp_path / "slow", "exec sleep 600")
    space, rng = ConfigSpace([Knob("inter_op", (1, 2))]), np.random.default_rng(0)
    given = {"executable": str(slow), "start_timeout_s": 0.5, "logs": tmp_path / "logs"}
    with (
        kind(model, space, **given) as server,
        pytest.raises(LastingError, match=r"after 0\.5 s; .* --start-timeout; the log") as error,
    ):
        server.measure({"inter_op": 1}, [0.0], rng)
    (log,) = (tmp_path / "logs").iterdir()  # it is not tried again: that would take as long
    assert f"the log is {log}: (empty log)" in str(error.value)


# --- What killed processes leave in the temporary directory --------------------------------------


def test_a_model_is_made_by_one_process_and_anew_if_that_was_killed(tmp_path, monkeypatch):
    def export(model, version):
        version.mkdir(parents=True)
        (version / "saved_model.pb").touch()
        with open(tmp_path / ".keyword.lock") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # so another process waits

    monkeypatch.setattr(models, "_export", export)
    (tmp_path / ".keyword.half" / "1" / "old").mkdir(parents=True)
    base = models.build("keyword", tmp_path)
    assert [path.name for path in (base / "1").iterdir()] == ["saved_model.pb"]
    assert not (tmp_path / ".keyword.half").exists()
    monkeypatch.undo()
    assert models.build("keyword", tmp_path) == base  # which is there already


def test_only_what_is_ours_and_abandoned_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("rrl.support.folders.SHORT", tmp_path)
    owner = set()
    mine = owned_folder(owner, lambda path: True)
    foreign = tmp_path / f"{PREFIX}foreign"
    foreign.mkdir()  # no lock file: somebody else's, or one that is being made
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "owner.lock").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    abandoned = tmp_path / f"{PREFIX}abandoned"
    (abandoned / "versions").mkdir(parents=True)
    (abandoned / "owner.lock").touch()
    remove_abandoned()
    assert not abandoned.exists()
    assert all(path.exists() for path in (mine, foreign, elsewhere / "owner.lock"))
    del owner
    assert not mine.exists()


# --- A server that stays -------------------------------------------------------------------------

ODD = "a b'c"  # a value that a shell would take apart


def runs_with(pid, *names):
    """The command line, some environment variables and the number of CPUs of a process."""
    process = psutil.Process(pid)
    variables = process.environ()
    return process.cmdline(), [variables.get(name) for name in names], len(process.cpu_affinity())


def paused(server):
    return psutil.Process(server.process.pid).status() == psutil.STATUS_STOPPED


def check_supervision(left, start, version):
    """A start script waits while its server runs, starts it again, and ends if it was stopped."""
    first, second = (subprocess.Popen(["/bin/sh", str(start)]) for _ in "12")
    try:
        second.send_signal(signal.SIGSTOP)
        os.kill(left.process.pid, signal.SIGKILL)
        assert wait_until(lambda: left.process.pid == first.pid, LIMIT_S)
        with Client(left.address, "own") as client:
            assert wait_until(lambda: client.available(timeout_s=0.5), LIMIT_S)
            assert version_of(client) == version
        assert stop_others(start.parent, None)
        second.send_signal(signal.SIGCONT)
        assert second.wait(LIMIT_S) in (1, 2)  # 2: it had not read the script yet
    finally:
        for one in (first, second):
            one.kill()
            one.wait()


def test_a_lasting_server_outlives_what_rrl_removes_and_starts_with_the_newest_version(
    model, executable, tmp_path, monkeypatch
):
    own, folder = tmp_path / "own", tmp_path / "out" / "serving"
    shutil.copytree(model, own)
    monkeypatch.chdir(tmp_path)
    configuration = {"batch_threads": 1, "max_batch_size": 3, "cpus": 1, "env:RRL_TEST": ODD}
    configuration["flag:--grpc_max_threads"] = 4
    left = ModelServer("own", configuration, executable=executable, lasting=Path("out/serving"))
    left.start()
    set_current(folder, left)
    assert (folder / "server.sh").read_text() == left.process.script.read_text()
    try:
        check_answer(left.address, "own")
        with Client(left.address, "own") as client:
            status = [client.fire(client.payload({"x": np.ones((n, 2), np.float32)}), [0.0]).status
                      for n in (3, 4)]  # fmt: skip
            assert [s[0] for s in status] == [0, grpc.StatusCode.INVALID_ARGUMENT.value[0]]
            shutil.copytree(own / "1", tmp_path / "2")
            (tmp_path / "2").rename(own / "2")
            if executable == BINARY:  # it does not need another start for that
                assert wait_until(lambda: version_of(client) == 2, LIMIT_S)
        words, variables, cpus = runs_with(left.process.pid, "RRL_TEST")
        assert "--grpc_max_threads=4" in words
        assert (variables, cpus) == ([ODD], 1)
        files = [Path(word.partition("=")[2]) for word in words if "=/" in word]
        assert {path.name for path in files} == {"sock", "own", "batching.txt"}
        assert all(path.is_relative_to(folder) or path == own for path in [left.log, *files])
        assert all(path.exists() for path in [left.log, *files])
        check_supervision(left, folder / "server.sh", version=2)
    finally:
        stop_others(folder, None)
    assert not left.alive
    assert not left.folder.exists()


def test_a_lasting_server_that_does_not_start_is_stopped_and_explained(
    model, tmp_path, monkeypatch
):
    """Its log stays, even if temporary files are on another file system."""
    other = "/dev/shm" if os.path.ismount("/dev/shm") else None
    failing = script(tmp_path / "failing", "echo no memory >&2; exit 9")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        with pytest.raises(ServerError, match=r"status 9; the log is .*/rrl-probe-1\.log: no mem"):
            ModelServer(model, executable=str(failing), lasting=tmp_path / "out").start()
        log = Path(folder) / "rrl-probe-1.log"
        assert log.read_text() == "no memory\n"
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.fixture
def one(tmp_path):
    """A lasting process, whose session ends with the test, whatever fails there."""
    lasting = Lasting(tmp_path, "one")
    yield lasting
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            if lasting._child and os.getsid(pid) == lasting._child.pid:
                os.kill(pid, signal.SIGKILL)


def test_a_lasting_process_is_stopped_with_its_group_and_does_not_run_without_its_number(
    one, tmp_path
):
    """A wrapper may have been killed alone. On a full disk, nobody could stop the process.

    The program `timeout` makes a group of its own.
    """
    one.start(["sh", "-c", "timeout 600 sleep 600; exit"], tmp_path / "log")
    own = psutil.Process(one.pid)
    wait_until(lambda: "sleep" in [p.name() for p in own.children(recursive=True)], LIMIT_S)
    os.kill(one.pid, signal.SIGKILL)
    assert wait_until(lambda: own.status() == psutil.STATUS_ZOMBIE, LIMIT_S)
    assert Lasting(tmp_path, "one").stop()
    assert not one.alive
    one.file.unlink()
    one.file.symlink_to("/dev/full")
    one.start(["sleep", "600"], tmp_path / "log")
    assert wait_until(lambda: not one.alive, LIMIT_S)
    assert one.status == 1


def test_a_lasting_process_that_does_not_begin_in_time_does_not_begin_later(
    one, tmp_path, monkeypatch
):
    """Nobody would know of it. It waits here for a lock that a process elsewhere has."""
    monkeypatch.setattr("rrl.serving.lasting.BEGINS_S", 0.0)
    elsewhere = open_alone(one.file, os.O_RDWR | os.O_CREAT)
    with pytest.raises(ServerError, match=r"one\.sh: it did not begin within 0 s"):
        one.start(["sleep", "600"], tmp_path / "log")
    assert wait_until(lambda: one.status == -signal.SIGKILL, LIMIT_S)
    os.close(elsewhere)


def test_no_process_that_only_has_the_number_of_another_one_is_stopped(tmp_path, monkeypatch):
    """The other one runs on another machine with the same home, or in a container."""
    monkeypatch.setattr("rrl.serving.lasting.KILLED_S", 0.0)
    lock = lock_port(tmp_path, 8500)
    with subprocess.Popen(["cat"], stdin=-1, start_new_session=True) as other:
        for one in (Process(tmp_path / TUNER, alone=True), Process(tmp_path / TUNER)):
            one.file.write_text(str(other.pid))
            with pytest.raises(ServerError, match=r"perhaps on another machine or in a container"):
                one.stop(grace_s=0.0)
        other.communicate()
    os.close(lock)
    assert other.returncode == 0


# --- Locks ---------------------------------------------------------------------------------------


def test_a_lock_is_not_taken_through_a_link(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    victim, lock = tmp_path / "victim", user_folder() / "machine.lock"
    victim.touch(0o600)
    lock.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), exclusive():
        pass
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (user_folder() / "ports").symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(UsageError, match="a link, a file or the folder of another user"):
        user_folder("ports", "8500")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_a_folder_without_the_right_to_write_is_replaced(
    number, tmp_path, monkeypatch
):
    """If there is room later, `rrl stop` looks for the service in the home."""
    home, mkdir = tmp_path / "home", Path.mkdir

    def refuse(path, *given, **more):
        if path.is_relative_to(home):
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *given, **more)

    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "mkdir", refuse)
    if number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(OSError, match=os.strerror(number)):
            user_folder("ports")
        assert not list(tmp_path.iterdir())
    else:
        assert user_folder("ports").parent.parent == tmp_path


def test_a_relative_folder_for_the_state_has_no_effect(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert user_folder("ports") == tmp_path / "home" / ".local" / "state" / "rrl" / "ports"
    assert not Path("state").exists()


# --- Servers that end with this process ----------------------------------------------------------


def parent_of(server):
    """The process that has started a server, which ends at once."""
    with server:
        return psutil.Process(server.process.pid).ppid()


def test_local_servers_are_forked_from_one_process_and_end_alone(model, tmp_path):
    first, second = ModelServer(model, {"inter_op": 1}, logs=tmp_path), ModelServer(model)
    with first as one, second as two:
        parents = {psutil.Process(server.process.pid).ppid() for server in (one, two)}
        (parent,) = map(psutil.Process, parents)
        assert parent.num_threads() == 1, "a fork copies one thread only"
        assert psutil.Process(one.process.pid).cmdline() == parent.cmdline()
        assert "Running gRPC ModelServer at unix:" in one.log.read_text()
        for server in (one, two):
            assert os.getsid(server.process.pid) == server.process.pid
        with pytest.raises(ServerError, match="ended with status 255"):
            ModelServer(model, {"flag:--tensorflow_intra_op_parallelism": "x"}).start()
        os.kill(one.process.pid, signal.SIGKILL)
        assert ended(one)
        for _ in "12":
            with pytest.raises(ServerError, match="ended with status -9"):
                one.check()
        with ModelServer(model):  # the kernel has forgotten those that have ended
            assert len(parent.children()) == 2
        two.check()
    assert two.process.status == 0


@pytest.mark.long
def test_other_variables_cost_no_running_server_and_leave_no_process(model):
    variables = [{"env:RRL_TEST_OTHER": number} for number in (1, 2, 3)]
    with ModelServer(model, variables[0]) as running:
        first = psutil.Process(running.process.pid).ppid()
        assert parent_of(ModelServer(model, variables[1])) != first
        assert parent_of(ModelServer(model, variables[0])) == first
        parent_of(ModelServer(model, variables[1]))
        parent_of(ModelServer(model, variables[2]))  # a third kind, so the first one is forgotten
        running.check()
        assert runs_with(running.process.pid, "RRL_TEST_OTHER")[1] == ["1"]
        check_answer(running.address)
    del running
    assert wait_until(lambda: not alive(first), LIMIT_S)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that lets the next server import a text as TensorFlow, which takes no seconds."""

    def write(text):
        (tmp_path / "tensorflow.py").write_text(text)

    (apis := tmp_path / "tensorflow_serving" / "apis").mkdir(parents=True)
    for name in ("../__init__", "__init__", "get_model_status_pb2", "predict_pb2"):
        (apis / f"{name}.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    forget_parents()
    yield write
    forget_parents()


THREAD = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"


@pytest.mark.parametrize(
    ("text", "said", "left"),
    [
        ("raise ImportError", "status 255; .*: ImportError", [[]]),
        (THREAD, "status 255; .* module 'tensorflow' has no attribute", [[]]),
        ("import os; os.fork = lambda: os.open('/nowhere', 0)", ": free some", [["preloaded"]]),
        ("import os; os.kill(os.getpid(), 4)", "has ended: .* -c 'import tensorflow'` works", []),
        (None, "status 1; .* Exec format error", [[]]),
    ],
)
def test_a_start_that_fails_is_explained_and_costs_no_other_server(
    text, said, left, stand_in, model, tmp_path
):
    """If the import fails or starts a thread, the server is not forked, but imports it itself.

    Then there is no room for a process, no instruction of the processor, or no program.
    """
    (program := tmp_path / "program").write_text("no script, as it has no first line for that")
    program.chmod(0o755)
    stand_in(text or "")
    for _ in "12":
        with pytest.raises(ServerError, match=said):
            ModelServer(model, executable=str(program) if text is None else LOCAL).start()
    found = []  # the arguments of what has started the server, if that still runs
    for one in psutil.Process().children():
        with suppress(psutil.Error):  # one that has just ended
            if one.environ().get("PYTHONPATH") == os.environ["PYTHONPATH"]:
                found.append(one.cmdline()[3:])
    assert found == left
