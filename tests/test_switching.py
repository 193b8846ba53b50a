"""Batching settings that change without a restart, on either executable, over real gRPC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from probe import build_probe, most_at_once
from test_serving import EXECUTABLES, X, refused, run_many

from rrl.cli import main
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving.batching import VERSION_PARAMETERS, BatchingParameters
from rrl.serving.launcher import ModelServer
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client
from rrl.serving.model_config import ModelSettings
from rrl.serving.ports import wait_until
from rrl.serving.served_models import ServedModels
from rrl.serving.version_folders import VersionFolders
from rrl.serving.versions import Policy, Versions
from rrl.support.errors import ServerError, UnstableError

FOUR = {"x": np.ones((4, 2), np.float32)}
RUNNING = {
    "inter_op": 4,
    "intra_op": 1,
    "batch_threads": 2,
    "max_batch_size": 4,
    "max_enqueued_batches": 100,
    "grpc_max_threads": 32,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe", version=7)


@pytest.fixture(scope="module", params=EXECUTABLES)
def executable(request):
    return request.param


@pytest.fixture(scope="module")
def server(model, executable):
    with ModelServer(model, RUNNING, executable=executable) as running:
        yield running


def limit(server):
    """Largest request that the server takes, of 2 and 4 examples."""
    with Client(server.address, server.name) as client:
        status = client.fire(client.payload(FOUR), [0.0]).status[0]
    assert status in (0, grpc.StatusCode.INVALID_ARGUMENT.value[0])
    return 2 if status else 4


def test_a_batch_size_takes_effect_in_the_same_process(server):
    pid = server.process.pid
    for size in (2, 4, 2):
        server.switch(RUNNING | {"max_batch_size": size})
        assert limit(server) == size
        assert server.configuration["max_batch_size"] == size
    assert server.process.pid == pid


def test_a_queue_and_a_timeout_take_effect(server):
    server.switch(RUNNING | {"max_enqueued_batches": 1, "max_batch_size": 1})
    with Client(server.address, server.name) as client:
        sample = client.fire(client.payload(X), np.zeros(24))
        assert grpc.StatusCode.UNAVAILABLE.value[0] in sample.status
    server.switch(RUNNING | {"batch_timeout_micros": 300_000})
    with Client(server.address, server.name) as client:
        client.predict(X)
        began = time.monotonic()
        client.predict(X)  # nobody fills its batch
        assert time.monotonic() - began >= 0.3


def test_batching_goes_off_and_on_and_the_threads_stay(server):
    server.switch(RUNNING | {"max_batch_size": 1})
    assert most_at_once(*run_many(server)) == 2
    server.switch(RUNNING | {"batch_threads": 0})
    with Client(server.address, server.name) as client:
        client.predict({"x": np.ones((50, 2), np.float32)})  # no batch limits it
    assert most_at_once(*run_many(server)) > 2
    server.switch(RUNNING | {"max_batch_size": 1})
    assert most_at_once(*run_many(server)) == 2


def test_no_request_is_lost_and_the_old_version_ends(server):
    answers, stop = [], threading.Event()

    def load():
        with Client(server.address, server.name) as client:
            while not stop.is_set():
                answers.append(client.fire(client.payload(X), np.arange(25) / 50))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for timeout in (1000, 2000, 0):
            server.switch(RUNNING | {"batch_timeout_micros": timeout})
            with Client(server.address, server.name) as client:
                states = client.states(timeout_s=5.0)
            assert list(states.values()).count(("AVAILABLE", "")) == 1
            assert states[max(states)] == ("AVAILABLE", "")
            assert {state for state, _ in states.values()} <= {"AVAILABLE", "END"}
            assert len(list(server.versions.base.iterdir())) == 1  # what was left goes
    finally:
        stop.set()
        thread.join()
    assert all((sample.status == 0).all() for sample in answers)
    assert sum(len(sample.status) for sample in answers) >= 25


def test_a_version_that_does_not_load_leaves_the_old_one_serving(server, monkeypatch):
    add = server.versions.add

    def broken(batching):
        number = add(batching)
        (server.versions.base / str(number) / "saved_model.pb").unlink()
        return number

    serving = dict(server.configuration)
    monkeypatch.setattr(server.versions, "add", broken)
    monkeypatch.setattr(server, "_timeout_s", 20.0)  # the original tries again for a while
    with pytest.raises(ServerError, match="no switch to"):
        server.switch(RUNNING | {"max_batch_size": 3})
    monkeypatch.undo()
    assert server.configuration == serving
    with Client(server.address, server.name) as client:
        assert client.predict(X)["y"].tolist() == [[2.0, 4.0]]
    server.switch(RUNNING | {"max_batch_size": 2})
    assert limit(server) == 2


def test_an_answer_says_its_version_and_an_old_one_is_gone(server):
    from tensorflow_serving.apis import predict_pb2

    server.switch(RUNNING | {"max_batch_size": 3})
    with Client(server.address, server.name) as client:
        request = predict_pb2.PredictRequest.FromString(client.payload(X))
        newest = client._stub.Predict(request, timeout=10).model_spec.version.value
        request.model_spec.version.value = newest - 1
        code, _ = refused(lambda: client._stub.Predict(request, timeout=10))
    assert code == grpc.StatusCode.NOT_FOUND


@pytest.mark.long
def test_many_switches_leave_no_threads(model):
    with ModelServer(model, RUNNING, executable="local") as server:
        tasks = Path(f"/proc/{server.process.pid}/task")
        counts = []
        for turn in range(8):
            server.switch(RUNNING | {"max_batch_size": 2 + turn % 3})
            with Client(server.address, server.name) as client:
                client.fire(client.payload(X), np.zeros(40))
            counts.append(len(list(tasks.iterdir())))
    assert max(counts[2:]) <= counts[1]


SPACE = ConfigSpace(
    [Knob("batch_threads", (0, 1, 2)), Knob("max_batch_size", (1, 4)), Knob("inter_op", (1, 2))]
)


def test_a_server_behind_measure_restarts_for_threads_only(model, executable):
    rng, arrivals = np.random.default_rng(0), [0.0, 0.01]
    base = {"batch_threads": 2, "max_batch_size": 1, "inter_op": 2}
    server = LiveServer(model, SPACE, executable=executable, inputs=X)
    try:
        pids, restarted = [], []
        for change in (
            {},
            {"max_batch_size": 4},
            {"batch_threads": 0},
            {"max_batch_size": 1},
            {"batch_threads": 1},
            {"inter_op": 1},
        ):
            episode = server.measure(base | change, arrivals, rng)
            assert episode.ok.all()
            assert episode.info["switch_s"] > 0
            pids.append(server._server.process.pid)
            restarted.append(episode.info["restarted"])
        assert restarted == [True, False, False, False, True, True]
        assert pids[0] == pids[1] == pids[2] == pids[3]
        assert len(set(pids[3:])) == 3
        again = server.measure(base | change, arrivals, rng).info
        assert again["switch_s"] == 0
        assert not again["restarted"]
    finally:
        server.close()


def test_a_new_version_of_the_owners_stops_the_tuning(model, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(model, own)
    rng = np.random.default_rng(0)
    with LiveServer(own, SPACE, executable="local", inputs=X) as server:
        first = {"batch_threads": 2, "max_batch_size": 1, "inter_op": 2}
        server.measure(first, [0.0], rng)
        folder = server._server.versions.base
        shutil.copytree(own / "7", own / "8")
        for change in ({"max_batch_size": 4}, {"inter_op": 1}):
            with pytest.raises(UnstableError, match="newest version is now 8"):
                server.measure(first | change, [0.0], rng)
            server.close()  # a new process does not take the new version either
    assert sorted(path.name for path in own.iterdir()) == ["7", "8"]  # nothing of ours
    assert not folder.exists()


@pytest.mark.long
def test_a_tuning_from_the_command_line_ends_when_the_owner_releases(model, tmp_path, capsys):
    own, out = tmp_path / "own", tmp_path / "out"
    shutil.copytree(model, own)
    np.savez(tmp_path / "sample.npz", **X)

    def release():
        journal = out / "journal.jsonl"
        while not journal.exists() or len(journal.read_text().splitlines()) < 4:
            time.sleep(0.05)
        shutil.copytree(own / "7", tmp_path / "8")
        (tmp_path / "8").rename(own / "8")

    releasing = threading.Thread(target=release)
    releasing.start()
    options = (
        f"--sample {tmp_path}/sample.npz --executable local --out {out} --quiet --rate 100 "
        "--knob batch_threads=1,2 --knob max_batch_size=1,2,4 --episodes 200 --requests 10"
    )
    code = main(["tune", str(own), *options.split()])
    releasing.join()
    assert code == 5
    assert "newest version is now 8" in capsys.readouterr().err
    assert sorted(path.name for path in own.iterdir()) == ["7", "8"]


# Folders


def versions(model, root):
    return VersionFolders(model, root, "served")


def inode(folder, name="saved_model.pb"):
    return (folder / name).stat().st_ino


def test_a_version_is_hard_links_and_a_file_of_its_own(model, tmp_path):
    if model.stat().st_dev != tmp_path.stat().st_dev:
        pytest.skip("temporary folders lie on different file systems")
    folders = versions(model, tmp_path)
    assert [folders.add(None), folders.add(BatchingParameters(max_batch_size=3))] == [7, 8]
    assert inode(folders.base / "8") == inode(model / "7")
    assert "max_batch_size { value: 3 }" in (folders.base / "8" / VERSION_PARAMETERS).read_text()
    assert not (folders.base / "7" / VERSION_PARAMETERS).exists()
    folders.keep(8)
    assert [path.name for path in folders.base.iterdir()] == ["8"]


def test_the_owners_own_batching_file_is_not_touched(model, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(model, own)
    (own / "7" / VERSION_PARAMETERS).write_text("max_batch_size { value: 9 }\n")
    folders = versions(own, tmp_path / "root")
    folders.add(None)
    folders.add(BatchingParameters(max_batch_size=3))
    assert not (folders.base / "7" / VERSION_PARAMETERS).exists()
    assert "9" in (own / "7" / VERSION_PARAMETERS).read_text()


def test_on_another_file_system_the_model_is_copied_once(model, tmp_path):
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == model.stat().st_dev:
        pytest.skip("no second file system to write to")
    root = Path(f"/dev/shm/rrl-test-{os.getpid()}")
    try:
        folders = versions(model, root)
        folders.add(None)
        folders.add(None)
        assert inode(folders.base / "7") == inode(folders.base / "8") != inode(model / "7")
        assert newest_files(folders.base / "8") == newest_files(model / "7")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_a_model_of_links_in_a_folder_0007_is_served(model, tmp_path):
    """So do tools that keep the files of all versions in one place; the server finds it, too."""
    (tmp_path / "own").mkdir()
    shutil.copytree(model / "7", tmp_path / "own" / "0007")
    graph = tmp_path / "own" / "0007" / "saved_model.pb"
    graph.rename(tmp_path / "own" / "graph.pb")
    graph.symlink_to("../graph.pb")
    for follow in (False, True):
        own = ModelServer(tmp_path / "own", executable="local", name="own", follow=follow)
        with own as server, Client(server.address, server.name) as client:
            assert client.predict(X)["y"].tolist() == [[2.0, 4.0]]
            assert client.states(timeout_s=5.0) == {7: ("AVAILABLE", "")}


def test_a_link_to_the_models_folder_is_followed_when_it_changes(model, tmp_path):
    """So an operator may release: the new folder is complete, and then the link leads to it."""
    for release, version in (("a", "7"), ("b", "8")):
        shutil.copytree(model / "7", tmp_path / release / version)
    link, new = tmp_path / "probe", tmp_path / "new"
    link.symlink_to("a")
    new.symlink_to("b")
    with (
        ModelServer(link, executable="local", follow=True) as server,
        Client(server.address, server.name) as client,
    ):
        assert server.name == "a"
        new.rename(link)
        assert wait_until(lambda: client.states(5.0).get(8) == ("AVAILABLE", ""), 30.0)
        assert client.predict(X)["y"].tolist() == [[2.0, 4.0]]


def newest_files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_read_only_model_is_served_and_leaves_nothing_behind(model, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(model, own)
    folders_of_own = [own, *(p for p in own.rglob("*") if p.is_dir())]
    for folder in folders_of_own:
        folder.chmod(0o555)
    try:
        folders = versions(own, tmp_path / "root")
        folders.add(None)
        folders.add(BatchingParameters(max_batch_size=3))
        folders.keep(8)
        assert [path.name for path in folders.base.iterdir()] == ["8"]
        assert all(os.stat(p).st_mode & 0o200 for p in folders.base.rglob("*") if p.is_dir())
    finally:
        for folder in folders_of_own:
            folder.chmod(0o755)


UNLINKED = """
import errno, os, sys
from pathlib import Path
from rrl.serving.version_folders import VersionFolders

link, (model, root) = os.link, map(Path, sys.argv[1:])
def refused(source, target):
    if Path(source).is_relative_to(model):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    link(source, target)

os.link = refused
folders = VersionFolders(model, root, "served")
folders.add(None)
folders.keep(folders.add(None))
"""


def test_a_read_only_model_that_cannot_be_linked_is_copied(model, tmp_path):
    """So it is for a user who does not own the files; root has to give its rights away first."""
    command = [sys.executable, "-c", UNLINKED, str(tmp_path / "own"), str(tmp_path / "root")]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root may write everywhere, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    shutil.copytree(model, tmp_path / "own")
    folders_of_own = [p for p in (tmp_path / "own").rglob("*") if p.is_dir()]
    for folder in folders_of_own:
        folder.chmod(0o555)
    try:
        subprocess.run(command, cwd=Path(__file__).parent.parent, check=True)
    finally:
        for folder in folders_of_own:
            folder.chmod(0o755)
    assert newest_files(tmp_path / "root" / "served" / "8") == newest_files(model / "7")
    assert [path.name for path in (tmp_path / "root" / "served").iterdir()] == ["8"]


# --- versions that do not load ------------------------------------------------------------------


class Loaded:
    """A version that the server holds; loading one needs only its file."""

    def __init__(self, _name, folder):
        (folder / "saved_model.pb").read_bytes()
        self.version = int(folder.name)

    def close(self):
        pass


def put(base, version):
    (base / str(version)).mkdir(exist_ok=True)
    (base / str(version) / "saved_model.pb").touch()


@pytest.fixture
def followed(tmp_path):
    put(tmp_path, 1)
    versions = Versions("m", Loaded)
    versions.serve(tmp_path, Policy())
    versions.load_all()
    return versions


def names(versions):
    return {version: state.name for version, state in versions.states.items()}


def test_a_version_that_was_half_copied_is_tried_again(followed, monkeypatch):
    (followed.base / "2").mkdir()
    followed.look()
    put(followed.base, 2)
    followed.look()  # too soon
    assert names(followed) == {1: "AVAILABLE", 2: "END"}
    monkeypatch.setattr("rrl.serving.versions.RETRY_S", 0.0)
    followed.look()
    assert names(followed) == {1: "END", 2: "AVAILABLE"}


def test_a_version_that_never_loads_is_tried_as_often_as_by_the_original(
    followed, monkeypatch, capsys
):
    monkeypatch.setattr("rrl.serving.versions.RETRY_S", 0.0)
    (followed.base / "2").mkdir()
    for _ in range(9):
        followed.look()
    assert capsys.readouterr().err.count("Loading version 2 failed") == 1 + 5


def test_a_new_copy_of_a_version_that_did_not_load_is_tried_at_once(followed):
    (followed.base / "2").mkdir()
    followed.look()
    (followed.base / "2").rmdir()
    followed.look()
    put(followed.base, 2)
    followed.look()
    assert names(followed) == {1: "END", 2: "AVAILABLE"}


def test_a_look_that_fails_is_not_the_last_one(tmp_path, monkeypatch, capsys):
    put(tmp_path, 1)
    models, looked = ServedModels(Loaded), threading.Event()
    models.start([ModelSettings("m", tmp_path)], poll_wait_s=0.0)
    looks = iter([OSError("Too many open files")])

    def look(_):
        for error in looks:
            raise error
        looked.set()
        threading.Event().wait()  # so that the thread is not busy until the tests end

    monkeypatch.setattr(Versions, "look", look)
    models.follow(0.01)
    assert looked.wait(60)
    assert "versions of m failed: Too many open files" in capsys.readouterr().err


def test_a_version_has_ended_when_its_memory_is_free(followed, monkeypatch):
    """Freeing it stops all requests for a moment, so whoever switches must wait for that, too."""
    seen = []
    monkeypatch.setattr(
        "rrl.serving.versions.return_memory", lambda: seen.append(names(followed)[1])
    )
    put(followed.base, 2)
    followed.look()
    assert (seen, names(followed)[1]) == (["UNLOADING"], "END")
