"""Versions of a model: which one is served, measured and taken over to, over real gRPC."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clients import LIMIT_S, clients, states
from google.protobuf.text_format import Parse
from probe import build_probe
from tensorflow.errors import NotFoundError
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from test_serving import X, with_flags

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import ModelServer
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client
from rrl.serving.versions import ServedModel
from rrl.support.errors import UnstableError

SPACE = ConfigSpace([Knob("batch_threads", (0, 2)), Knob("max_batch_size", (1, 4))])
FIRST = {"batch_threads": 2, "max_batch_size": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe", version=7)


def test_a_new_version_of_the_owners_stops_the_tuning(model, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(model, own)
    rng = np.random.default_rng(0)
    with LiveServer(own, SPACE, executable="local", inputs=X, warmup=2) as server:
        server.measure(FIRST, [0.0], rng)
        shutil.copytree(own / "7", own / "8")
        for change in ({}, {"max_batch_size": 4}):
            with pytest.raises(UnstableError, match="newest version is now 8"):
                server.measure(FIRST | change, [0.0], rng)
            server.close()  # a new process does not take the new version either
    assert sorted(path.name for path in own.iterdir()) == ["7", "8"]  # nothing of ours


def test_a_release_by_a_link_takes_over_and_no_request_is_lost(model, tmp_path):
    """So an operator may release: the new folder is complete, and then the link leads to it.

    Version 7 is a folder 0007 whose graph is a link, too: so do tools that keep the files of all
    versions in one place.
    """
    for release, version in (("a", "0007"), ("b", "8")):
        shutil.copytree(model / "7", tmp_path / release / "probe" / version)
    graph = tmp_path / "a" / "probe" / "0007" / "saved_model.pb"
    graph.rename(tmp_path / "a" / "graph.pb")
    graph.symlink_to("../../graph.pb")
    link, new = tmp_path / "probe", tmp_path / "new"
    link.symlink_to("a/probe")
    new.symlink_to("b/probe")
    with (
        with_flags(ModelServer(link), "--file_system_poll_wait_seconds=0.1") as server,
        Client(server.address, server.name) as client,
    ):
        assert states(client) == {7: "AVAILABLE"}
        with clients(server.address) as codes:
            new.rename(link)
            both = {7: "END", 8: "AVAILABLE"}
            assert wait_until(lambda: states(client) == both, LIMIT_S)
        assert set(codes) == {0}
        assert client.predict(X)["y"].tolist() == [[2.0, 4.0]]


# --- versions that do not load ------------------------------------------------------------------


class Loaded:
    """A version that the server holds; loading one needs only its file."""

    def __init__(self, folder):
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
    served = ServedModel("m", tmp_path, Loaded)
    served.start()
    return served


def names(served):
    name = ModelVersionStatus.State.Name
    return {version: name(state.state) for version, state in served.states.items()}


def test_a_version_that_was_half_copied_is_tried_again(followed, monkeypatch, capsys):
    (followed.base / "2").mkdir()
    followed.look()
    put(followed.base, 2)
    followed.look()  # too soon
    assert names(followed) == {1: "AVAILABLE", 2: "END"}
    assert capsys.readouterr().err.count("Loading version 2 failed") == 1
    monkeypatch.setattr("rrl.serving.versions.RETRY_S", 0.0)
    followed.look()
    assert names(followed) == {1: "END", 2: "AVAILABLE"}


def test_a_version_that_is_taken_back_leaves_the_one_before(followed):
    put(followed.base, 2)
    followed.look()
    shutil.rmtree(followed.base / "2")
    followed.look()
    assert names(followed) == {1: "AVAILABLE", 2: "END"}
    shutil.rmtree(followed.base / "1")
    followed.look()  # nothing is there, so what is served stays
    with followed.serving(Parse('name: "m"', ModelSpec())) as model:
        assert model.version == 1


def test_a_look_that_fails_is_not_the_last_one(followed, monkeypatch, capsys):
    looked, looks = threading.Event(), iter([OSError("Too many open files")])

    def look(_):
        for error in looks:
            raise error
        looked.set()
        threading.Event().wait()  # so that the thread is not busy until the tests end

    monkeypatch.setattr(ServedModel, "look", look)
    followed.follow(0.01)
    assert looked.wait(600)
    assert "versions of m failed: Too many open files" in capsys.readouterr().err


def test_an_open_request_keeps_its_version_and_memory_is_free_at_the_end(followed, monkeypatch):
    """Freeing it stops all requests for a moment, so whoever waits for the end waits for that."""
    seen = []
    monkeypatch.setattr(
        "rrl.serving.versions.return_memory", lambda: seen.append(names(followed)[1])
    )
    put(followed.base, 2)
    spec = Parse('name: "m"', ModelSpec())
    with ThreadPoolExecutor(1) as pool:
        with followed.serving(spec) as first:
            taking_over = pool.submit(followed.look)
            assert wait_until(lambda: names(followed).get(2) == "AVAILABLE", 600.0)
            assert (first.version, seen) == (1, [])
            with followed.serving(spec) as second:
                assert second.version == 2
        taking_over.result(600)
    assert (seen, names(followed)[1]) == (["UNLOADING"], "END")
    with (
        pytest.raises(NotFoundError, match="Specific"),
        followed.serving(Parse('name: "m" version { value: 1 }', ModelSpec())),
    ):
        pass
