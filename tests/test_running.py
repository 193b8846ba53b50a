"""What a server was started with is read from its process, or it is not known."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest
from probe import build_probe

from rrl.serving.launcher import BINARY, LOCAL, ModelServer, free_port
from rrl.serving.running import (
    VERSION_PARAMETERS,
    may_enter,
    read_command_line,
    running_configuration,
    running_server,
)
from rrl.serving.settings import KNOBS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

DEFAULT = dict(zip(KNOBS, (0, 0, 0, 1000, 0, 10, 0), strict=True))
CPUS = len(os.sched_getaffinity(0))


def read(tmp_path, flags, file="", own=None):
    """Read a command line of the original; `file` and `own` are batching parameters."""
    (tmp_path / "model" / "3").mkdir(parents=True)
    (tmp_path / "model" / "2").mkdir()
    (tmp_path / "b.txt").write_text(file)
    if own is not None:
        (tmp_path / "model" / "3" / VERSION_PARAMETERS).write_text(own)
    line = f"/usr/bin/{BINARY} --port=8500 --rest_api_port=0 --model_name=m {flags}"
    return read_command_line(line.format(folder=tmp_path).split())


BATCHED = "--enable_batching --batching_parameters_file={folder}/b.txt"
PER_MODEL = f"{BATCHED} --enable_per_model_batching_parameters=true"
PER_MODEL += " --model_base_path={folder}/model"
EIGHT = "max_batch_size { value: 8 } batch_timeout_micros { value: 500 }"
FOUR_THREADS = "num_batch_threads { value: 4 }"


@pytest.mark.parametrize(
    ("flags", "file", "own", "differs"),
    [
        ("", "", None, {}),
        ("--tensorflow_inter_op_parallelism=2", "", None, {"inter_op": 2}),
        ("--tensorflow_intra_op_parallelism=3", "", None, {"intra_op": 3}),
        ("--tensorflow_session_parallelism=2", "", None, {"inter_op": 2, "intra_op": 2}),
        ("--grpc_max_threads=9 --grpc_max_threads=8", "", None, {"grpc_max_threads": 8}),
        ("--enable_batching", "", None, {"batch_threads": CPUS}),
        ("--enable_batching=false", "", None, {}),
        ("--enable_batching=true", "", None, {"batch_threads": CPUS}),
        (
            BATCHED,
            f"{EIGHT} {FOUR_THREADS} max_enqueued_batches {{ value: 20 }}",
            None,
            {
                "batch_threads": 4,
                "max_batch_size": 8,
                "batch_timeout_micros": 500,
                "max_enqueued_batches": 20,
            },
        ),
        (
            PER_MODEL,
            FOUR_THREADS,
            EIGHT,
            {"batch_threads": 4, "max_batch_size": 8, "batch_timeout_micros": 500},
        ),
        (PER_MODEL, FOUR_THREADS, None, {}),  # a version without a file is not batched
    ],
)
def test_a_command_line_in_knobs(flags, file, own, differs, tmp_path):
    found = read(tmp_path, flags, file, own)
    assert found.configuration == DEFAULT | differs
    assert found.others == ()


def test_what_no_knob_has_is_named(tmp_path):
    file = "max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8"
    found = read(tmp_path, f"{BATCHED} --model_base_path={tmp_path}/model", file)
    assert found.others == ("allowed_batch_sizes",)
    assert found.model_base_path == f"{tmp_path}/model"


@pytest.mark.parametrize(
    ("flags", "file"),
    [
        ("--enable_batching --batching_parameters_file=/nosuch", ""),
        (BATCHED, "max_batch_size { value: many }"),
        ("--tensorflow_inter_op_parallelism=many", ""),
        ("--platform_config_file=/etc/platform", ""),
        ("--enable_batching --enable_per_model_batching_parameters", ""),
        (f"{PER_MODEL}/nosuch", ""),
    ],
)
def test_what_cannot_be_read_is_not_guessed(flags, file, tmp_path):
    assert read(tmp_path, flags, file) is None


@pytest.mark.parametrize("program", [BINARY, "-m rrl.serving.local_server"])
def test_either_executable_has_a_batch_thread_for_each_cpu_it_may_use(program, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(CPUS + 1)))
    found = read_command_line([*program.split(), "--enable_batching"])
    assert found.configuration["batch_threads"] == CPUS + 1


def test_another_program_is_no_model_server():
    assert read_command_line(["/usr/sbin/nginx", "--port=8500"]) is None
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert running_configuration(f"127.0.0.1:{listener.getsockname()[1]}") is None
    assert running_configuration(f"127.0.0.1:{free_port()}") is None
    assert running_configuration("no.such.host.invalid:8500") is None
    assert running_configuration("127.0.0.1:port") is None


def test_a_real_server_is_read(tmp_path):
    model = build_probe(tmp_path / "probe", version=4)
    configuration = {
        "inter_op": 2,
        "intra_op": 1,
        "batch_threads": 3,
        "max_batch_size": 8,
        "batch_timeout_micros": 500,
        "max_enqueued_batches": 20,
        "grpc_max_threads": 32,
    }
    with ModelServer(model, configuration, executable=LOCAL, port=free_port()) as server:
        found = running_server(server.address)
        assert found.configuration == configuration
        assert found.pid == server.process.pid
        assert running_configuration(f"localhost:{server.port}") == configuration
        assert running_configuration(f"192.0.2.1:{server.port}") is None  # another machine
        if os.geteuid() == 0:
            os.seteuid(65534)  # another user, who may not see what the server has open
            try:
                assert running_configuration(server.address) is None
            finally:
                os.seteuid(0)
    assert running_configuration(server.address) is None


LISTENER = """
import socket, sys
family, where = getattr(socket, sys.argv[1]), eval(sys.argv[2])
listener = socket.socket(family)
listener.bind(where)
listener.listen()
print(listener.getsockname()[1] if where != sys.argv[-1] else "", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("family", "bound", "asked"),
    [
        ("AF_INET", ("0.0.0.0", 0), "127.0.0.1:{port}"),
        ("AF_INET6", ("::", 0), "127.0.0.1:{port}"),
        ("AF_INET6", ("::1", 0), "[::1]:{port}"),
        ("AF_UNIX", "a socket", "unix:{path}"),
        ("AF_UNIX", "a socket", "unix://{path}"),
    ],
)
def test_a_listener_is_found_however_it_listens(family, bound, asked, tmp_path):
    path = str(tmp_path / "a socket")
    where = path if family == "AF_UNIX" else bound
    original = tmp_path / BINARY  # only its name matters here
    shutil.copy(os.path.realpath(sys.executable), original)
    words = [original, "-c", LISTENER, family, repr(where), "--tensorflow_inter_op_parallelism=3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    process = subprocess.Popen([*words, path], text=True, env=environment, **pipes)
    try:
        line = process.stdout.readline()
        if not line and "Address family" in (error := process.stderr.read()):
            pytest.skip(f"no IPv6 here: {error}")
        found = running_server(asked.format(port=line.strip(), path=path))
        assert found.configuration == DEFAULT | {"inter_op": 3}
        assert found.pid == process.pid
    finally:
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process of another user")
def test_who_may_enter_a_folder_is_told_by_user_and_groups(tmp_path):
    other = {"user": 65534, "group": 65534, "extra_groups": [12]}
    with subprocess.Popen(["sleep", "60"], cwd="/", **other) as process:
        for owner, group, mode, may in (
            (0, 0, 0o700, False), (0, 0, 0o750, False), (0, 0, 0o751, True),
            (0, 12, 0o750, True), (0, 12, 0o705, False), (0, 65534, 0o710, True),
            (65534, 0, 0o700, True), (65534, 0, 0o077, False),
        ):  # fmt: skip
            os.chown(tmp_path, owner, group)
            tmp_path.chmod(mode)
            assert may_enter(process.pid, tmp_path) == may, (owner, group, oct(mode))
            assert may_enter(os.getpid(), tmp_path)  # root
        process.kill()
    os.chown(tmp_path, 0, 0)
    tmp_path.chmod(0o700)
    assert may_enter(2**22 + 1, tmp_path)  # nobody knows
