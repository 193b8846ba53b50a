"""An operator's own server, restarted by a command: it is left well, whatever happens.

The command is a real script, and what it starts is a real server.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from probe import build_probe

from rrl.cli import main
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.journal import JOURNAL
from rrl.serving.launcher import free_port
from rrl.serving.loadgen import Client
from rrl.serving.restart_command import FILES, LOG, RestartCommand, describe
from rrl.serving.restarted import RestartedServer
from rrl.serving.run_to_end import run_to_end
from rrl.serving.running import model_version, running_configuration, running_server
from rrl.support.errors import ServerError, UsageError, interrupt_by_signals  # noqa: F401

ROOT = Path(__file__).parent.parent
SPACE = ConfigSpace([Knob("inter_op", (1, 2, 3)), Knob("batch_threads", (0, 1, 2))])
ONE, TWO, THREE = ({"inter_op": n, "batch_threads": n - 1} for n in (1, 2, 3))
X = {"x": np.array([[1.0, 2.0]], dtype=np.float32)}
SECRET = "tok-8c21e7"

# As systemd would: stop the old server, by force if need be, and start the next in the background.
SCRIPT = """
cd {folder}
echo began >> calls
[ -f broken ] && [ "$(wc -l < calls)" -le "$(cat broken)" ] && {{ echo no such unit; exit 7; }}
if [ -f pid ]; then
    kill $(cat pid) 2> /dev/null
    tries=0
    while kill -0 $(cat pid) 2> /dev/null; do
        tries=$((tries + 1)); [ $tries -gt 20 ] && kill -9 $(cat pid)
        sleep 0.1
    done
fi
nohup {python} -m rrl.serving.local_server --port={port} --model_name=probe \\
    --model_base_path={model} "$@" > log 2>&1 &
echo $! > pid
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe")


class Operator:
    """The operator's machine: a script, and what it started."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.port = folder / "operator's", free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.out = folder / "out"
        self.folder.mkdir()
        script = self.folder / "restart.sh"
        places = {"folder": self.folder, "python": sys.executable, "model": model}
        quoted = {name: shlex.quote(str(path)) for name, path in places.items()}
        script.write_text(SCRIPT.format(**quoted, port=self.port))
        self.command = shlex.join(["sh", str(script)]) + " {flags}"

    @property
    def pid(self):
        return int((self.folder / "pid").read_text())

    @property
    def calls(self):
        path = self.folder / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def breaks(self, calls):
        """The command fails until it was called so many times in all."""
        (self.folder / "broken").write_text(str(calls))

    def server(self, **options):
        options = {"warmup": 2, "folder": self.out, **options}
        return RestartedServer(self.address, "probe", self.command, SPACE, **options)

    def runs(self):
        """What runs, in the knobs of the space."""
        found = running_configuration(self.address)
        return found and {name: found[name] for name in SPACE.names}

    def files(self):
        return {path.name for path in (self.out / FILES).glob("*batching-*")}

    def is_well(self, configuration):
        """The server answers with a configuration, and its file is there for any user."""
        with Client(self.address, "probe") as client:
            assert client.available(30)
            assert client.predict(X)["y"].tolist() == [[2.0, 4.0]]
        assert self.runs() == configuration
        words = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().split("\0")
        named = [w.split("=")[1] for w in words if w.startswith("--batching_parameters_file=")]
        assert len(named) == (configuration["batch_threads"] > 0)
        for file in map(Path, named):
            assert file.is_absolute()
            assert file.stat().st_mode & 0o777 == 0o644
            assert file.parent.stat().st_mode & 0o755 == 0o755
        assert self.files() == {Path(name).name for name in named}
        return True

    def stop(self):
        if (self.folder / "pid").exists():
            for number in (signal.SIGCONT, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)


@pytest.fixture
def operator(tmp_path, model):
    there = Operator(tmp_path, model)
    yield there
    there.stop()


def rng():
    return np.random.default_rng(0)


ARRIVALS = np.linspace(0, 3, 31)


def send(operator, number, times=1):
    """In the background: as soon as a server answers a prediction, send it a signal."""

    def act():
        hit = set()
        deadline = time.monotonic() + 120
        with Client(operator.address, "probe") as client:
            while len(hit) < times and time.monotonic() < deadline:
                if client.available(timeout_s=0.2) and (pid := operator.pid) not in hit:
                    client.predict(X)
                    os.kill(pid, number)
                    hit.add(pid)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


# --- measured -------------------------------------------------------------------------------------


def test_a_server_is_measured_and_only_a_change_restarts_it(operator):
    with operator.server() as server:
        server.keep(ONE)
        for number, configuration in enumerate((ONE, TWO, TWO)):
            episode = server.measure(configuration, np.linspace(0, 0.2, 5), rng())
            assert episode.ok.all()
            assert episode.info["crashes"] == 0
            assert operator.runs() == configuration
            assert operator.calls == min(number + 1, 2)
        assert episode.info["switch_s"] == 0
        server.restore()  # as after a bad trial: at once
        assert operator.runs() == ONE
        assert server.measure(ONE, [0.0], rng()).info["switch_s"] > 0  # only to warm it up
        assert server.measure(ONE, [0.0], rng()).info["switch_s"] == 0
    assert operator.calls == 3
    assert operator.is_well(ONE)
    assert running_server(f"localhost:{operator.port}").pid == operator.pid
    with Client(operator.address, "probe") as client:
        assert model_version(client) == 1
    wrong = RestartedServer(
        operator.address, "nosuch", "true {flags}", SPACE, folder=operator.out / "wrong"
    )
    with wrong, pytest.raises(ServerError, match="give the name that the server was"):
        wrong.measure(ONE, [0.0], rng())


def test_all_requests_failed(operator):
    """Batches of two examples do not fit a batch of one; the server says so."""
    two = {"x": np.ones((2, 2), np.float32)}
    with operator.server(inputs=two) as server, pytest.raises(ServerError) as error:
        server.measure(TWO, [0.0, 0.1], rng())
    message = f"{operator.address}: all 2 requests failed: INVALID_ARGUMENT: "
    assert str(error.value).startswith(message)
    assert "larger than maximum" in str(error.value)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, id="hangs", marks=pytest.mark.long),
    ],
)
def test_a_server_that_fails_in_mid_episode_is_restarted_and_the_episode_dropped(operator, number):
    with operator.server(timeout_s=3.0) as server:
        server.measure(TWO, [0.0], rng())
        victim, fault = operator.pid, send(operator, number)
        episode = server.measure(TWO, ARRIVALS, rng())
        fault.join()
    assert operator.pid != victim
    assert len(episode) == len(ARRIVALS)
    assert episode.ok.all()
    assert episode.info["crashes"] == 1
    assert server.dropped_requests == len(ARRIVALS)
    assert operator.calls == 2
    assert operator.is_well(TWO)


@pytest.mark.long
def test_a_server_that_keeps_dying_is_given_up_and_the_kept_one_runs(operator):
    with operator.server(restarts=1, warmup=0) as server:
        server.keep(ONE)
        fault = send(operator, signal.SIGKILL, times=2)
        with pytest.raises(ServerError, match="stopped answering in 2 episodes in a row"):
            server.measure(TWO, ARRIVALS, rng())
        fault.join()
        assert operator.calls == 2
    assert operator.is_well(ONE)


# --- the command ----------------------------------------------------------------------------------


def test_a_command_that_fails_once_is_tried_again(operator):
    operator.breaks(1)
    said = []
    with operator.server(show=said.append) as server:
        assert server.measure(ONE, [0.0], rng()).ok.all()
    assert operator.calls == 2
    (line,) = said
    assert "status 7" in line
    assert "no such unit; it is tried again" in line


def end_with(error):
    if error:
        raise error


@pytest.mark.parametrize("error", [None, KeyboardInterrupt("stopped by hand")])
def test_a_command_that_always_fails_ends_with_what_to_do_by_hand(operator, error):
    operator.breaks(99)
    operator.command += f" --token={SECRET}"
    server = operator.server(restarts=1)
    server.keep(TWO)
    with pytest.raises(ServerError, match=r"restart command sh \(checksum \w+\): status 7"):
        server.measure(ONE, [0.0], rng())
    assert operator.calls == 2
    (file,) = operator.files()
    with pytest.raises(ServerError) as end, server:
        end_with(error)
    assert operator.calls == 4
    by_hand = (
        f"restore inter_op 2, batch_threads 1 by hand with `sh '{operator.folder}/restart.sh' "
    )
    message = str(end.value).replace("'\"'\"'", "'")
    assert by_hand in message
    assert f"--batching_parameters_file={operator.out / FILES / file} --token={SECRET}`" in message
    assert ("before that: stopped by hand" in message) == bool(error)
    assert operator.files() == {file}  # the command by hand needs it
    written = [path for path in operator.out.rglob("*") if path.is_file() and path.name != LOG]
    assert not [path for path in written if SECRET in path.read_text()]
    assert (operator.out / LOG).stat().st_mode & 0o777 == 0o600


def test_a_command_gets_flags_and_a_batching_file(tmp_path):
    command = "serve 'a b' {flags} --threads={inter_op} --file={batching_file} --all={grpc}"
    with pytest.raises(UsageError, match=r"has \{grpc\}, which is not a knob"):
        RestartedServer("127.0.0.1:1", "probe", command, SPACE, folder=tmp_path)
    given = RestartCommand(
        command.replace("grpc", "max_batch_size"), SPACE.names, tmp_path, {"max_batch_size": 4}
    )
    words = given.words(THREE)
    (file,) = (tmp_path / FILES).glob("batching-*.txt")
    assert words == [
        "serve", "a b", "--tensorflow_inter_op_parallelism=3", "--enable_batching",
        f"--batching_parameters_file={file}", "--threads=3", f"--file={file}", "--all=4",
    ]  # fmt: skip
    assert "num_batch_threads { value: 2 }" in file.read_text()
    assert "max_batch_size { value: 4 }" in file.read_text()


def test_other_users_reach_the_batching_file_and_a_folder_of_the_users_keeps_its_mode(tmp_path):
    mine, made = tmp_path / "mine", tmp_path / "new" / "made"
    mine.mkdir()
    mine.chmod(0o700)
    before = os.umask(0o077)
    try:
        for folder in (mine, made):
            RestartCommand("serve {flags}", SPACE.names, folder).words(TWO)
    finally:
        os.umask(before)
    modes = {folder: folder.stat().st_mode & 0o777 for folder in (mine, made, made.parent)}
    assert modes == {mine: 0o700, made: 0o755, made.parent: 0o755}
    for folder in (mine, made):
        (file,) = (folder / FILES).iterdir()
        assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o755, 0o644)


@pytest.mark.parametrize(
    ("command", "message"), [("", "is empty"), ("sh 'a {inter_op}", "No closing quotation")]
)
def test_a_command_that_is_none_is_refused(command, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        RestartedServer("127.0.0.1:1", "probe", command, SPACE, folder=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_description_has_no_secret_but_shows_a_change():
    one, two = (describe(f"/usr/bin/ssh host --token={t} {{flags}}") for t in (SECRET, "other"))
    assert one.startswith("ssh (checksum ")
    assert one != two
    assert SECRET not in one
    assert "host" not in one


# --- how the operator's server is left ------------------------------------------------------------


@pytest.mark.long
def test_after_an_error_the_kept_configuration_runs_and_its_file_is_there_for_all(operator):
    before = os.umask(0o077)
    try:
        server = operator.server()
        server.keep(THREE)
        server.measure(TWO, [0.0], rng())
        assert operator.runs() == TWO
        assert len(operator.files()) == 2
        with pytest.raises(RuntimeError, match="a defect"), server:
            raise RuntimeError("a defect of the tuner")
    finally:
        os.umask(before)
    assert operator.is_well(THREE)
    assert operator.calls == 2
    with operator.server() as server:  # nothing else runs, so nothing is to be done
        server.keep(THREE)
    assert operator.calls == 2
    os.kill(operator.pid, signal.SIGKILL)
    with operator.server() as server:
        server.keep(THREE)
    assert operator.is_well(THREE)


def test_a_server_that_was_never_restarted_is_left_alone(operator):
    with operator.server() as server:
        server.keep(ONE)
    assert operator.calls == 0


def test_a_second_run_in_one_folder_says_so_and_touches_nothing(operator):
    with operator.server(), pytest.raises(UsageError, match="another run uses it"):
        operator.server()
    operator.server().close()
    assert operator.calls == 0


TUNER = """
import sys
from test_restarted import *
interrupt_by_signals()
operator = Operator.__new__(Operator)
operator.__dict__.update(eval(sys.argv[1], {"PosixPath": Path}))
with operator.server(warmup=0, start_timeout_s=float(sys.argv[2]), restarts=0) as server:
    server.keep(TWO)
    server.measure(ONE, [0.0], rng())
    print("measured", flush=True)
    server.measure(ONE, [0.0, 600.0], rng())
"""


def tuner(operator, start_timeout_s):
    """A process that measures a trial until it is stopped."""
    words = [sys.executable, "-c", TUNER, repr(operator.__dict__), str(start_timeout_s)]
    return subprocess.Popen(words, cwd=ROOT / "tests", stdout=-1, stderr=-1, text=True)


def wait_until(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_tuner_that_was_killed_leaves_a_note_and_the_next_one_restores(operator):
    process = tuner(operator, 120)
    try:
        assert process.stdout.readline() == "measured\n", process.communicate()
    finally:
        process.kill()
        process.communicate()
    assert operator.runs() == ONE
    with operator.server() as server:
        server.keep(TWO)
    assert operator.is_well(TWO)


def test_ctrl_c_during_its_start_waits_for_a_command_too(tmp_path, monkeypatch):
    class Interrupted(subprocess.Popen):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            os.kill(os.getpid(), signal.SIGINT)  # before anybody knows the process

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    words = ["sh", "-c", f"sleep 0.5; echo ended > {shlex.quote(str(tmp_path / 'out'))}"]
    with pytest.raises(KeyboardInterrupt):
        run_to_end(words, 60.0, tmp_path / "log")
    assert (tmp_path / "out").read_text() == "ended\n"


def test_ctrl_c_while_the_thread_of_a_command_starts_runs_nothing(tmp_path, monkeypatch):
    """The pool does not wait for a thread that it does not know yet: its command was killed."""
    ran, begin = [], threading.Thread.start

    def interrupted(thread):
        begin(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        patch.setattr(subprocess, "Popen", lambda *given, **_: ran.append(given))
        with pytest.raises(KeyboardInterrupt):
            run_to_end(["true"], 60.0, tmp_path / "log")
        for thread in threading.enumerate():
            if thread.name.startswith("ThreadPoolExecutor"):
                thread.join(60.0)
    assert not ran


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(None, id="once", marks=pytest.mark.long),
        pytest.param(signal.SIGINT, id="twice", marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, id="then-stopped"),  # or its terminal was closed
    ],
)
def test_ctrl_c_waits_for_a_command_that_runs(operator, again):
    """A command that is stopped halfway may leave no server at all."""
    script = operator.folder / "slow.sh"
    script.write_text('echo began >> "$0.calls"; sleep 2; echo ended >> "$0.calls"\n')
    operator.command = shlex.join(["sh", str(script)]) + " {flags}"
    calls = Path(f"{script}.calls")
    process = tuner(operator, 4)
    wait_until(calls.exists, process)
    process.send_signal(signal.SIGINT)
    if again:  # while the return to what is to be kept runs
        wait_until(lambda: calls.read_text().count("began") == 2, process)
        process.send_signal(again)
    _, err = process.communicate(timeout=120)
    # The second call is the return; this script starts no server at all.
    assert calls.read_text().split() == ["began", "ended"] * 2
    assert "may not serve: restore inter_op 2, batch_threads 1 by hand with `sh " in err
    assert ("(interrupted)" in err) == (again == signal.SIGINT)


def tune(operator, *more):
    """The words of the command line that tunes the operator's server."""
    return [
        "tune", "--address", operator.address, "--model-name", "probe",
        "--restart", operator.command, "--knob", "inter_op=1,2", "--knob", "batch_threads=0,1,2",
        "--default", "inter_op=2", "--default", "batch_threads=1", "--rate", "50",
        "--requests", "20", "--episodes", "50", "--out", str(operator.out), *more,
    ]  # fmt: skip


def start(operator):
    """Let the operator start the server, before rrl comes."""
    with operator.server(warmup=0, folder=operator.folder / "before") as server:
        server.measure(TWO, [0.0], rng())


def test_what_does_not_fit_is_refused_before_anything_is_restarted(operator, tmp_path, capsys):
    start(operator)
    calls, sample = operator.calls, tmp_path / "sample.json"
    sample.write_text('{"z": [1.0]}')
    for option, value, words in (
        ("--signature", "nosuch", "has no signature 'nosuch'"),
        ("--sample", str(sample), "the model needs: x float32"),
    ):
        assert main(tune(operator, option, value)) == 4
        assert words in capsys.readouterr().err
        assert operator.calls == calls
    assert operator.runs() == TWO


@pytest.mark.long
def test_ctrl_c_of_the_command_line_leaves_the_default_in_service(operator):
    start(operator)
    command = [sys.executable, "-m", "rrl.cli", *tune(operator)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    journal = operator.out / JOURNAL

    def trial_runs():
        episodes = journal.exists() and len(journal.read_bytes().splitlines()) > 1
        return episodes and operator.runs() not in (None, TWO)

    wait_until(trial_runs, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert "the same command continues" in err
    assert operator.is_well(TWO)
    settings = json.loads(journal.read_bytes().splitlines()[0])
    assert str(operator.folder) not in json.dumps(settings)
