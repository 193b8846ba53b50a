"""The model server, whichever executable runs it, over real gRPC on the loopback address."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import tensorflow as tf
from clients import LIMIT_S, X, http_call, predict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from probe import build_half_plus, most_at_once

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.serving import rest
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import BINARY, LOCAL, ModelServer, free_port
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client, LastingError
from rrl.serving.rest import serve_rest
from rrl.serving.rest_json import decoded, request_inputs, response
from rrl.serving.sample import fit
from rrl.support.errors import DataError, ServerError, UnstableError
from rrl.tuning.watch import Watch


def test_a_full_queue_is_unavailable_and_counted(model, executable):
    small = {"batch_threads": 1, "max_batch_size": 4, "max_enqueued_batches": 1}
    small |= {"grpc_max_threads": 32}
    with (
        ModelServer(model, small, executable=executable) as server,
        Client(server.address, server.name) as client,
    ):
        full = {"x": np.ones((4, 2), np.float32)}
        sample = client.fire(client.payload(full), np.zeros(24))
    assert set(sample.status.tolist()) == {0, grpc.StatusCode.UNAVAILABLE.value[0]}
    assert (sample.latency > 0).all()


def test_an_unknown_flag_is_refused(model, executable):
    with pytest.raises(ServerError, match="num_bach_threads"):
        ModelServer(model, {"flag:--num_bach_threads": 1}, executable=executable).start()


def with_flags(server, *flags):
    """A server that is started with these flags, too."""
    server.command += flags
    return server


def test_taken_port_is_refused(model, executable):
    """Two servers at one port would share its requests, if the second did not refuse to."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as first:
        port = first.getsockname()[1]
        own = [f"--port={port}"]
        if executable == BINARY:
            own.append("--grpc_channel_arguments=grpc.so_reuseport=0")
        with pytest.raises(ServerError, match=rf"ended with status 255; .*:{port}"):
            with_flags(ModelServer(model, executable=executable), *own).start()


def threads(server):
    """Names of the threads of a server's process, as the kernel has them."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/comm")
    return [task.read_text().strip() for task in tasks]


def run_many(server, n=16):
    """Start and end times (s) of n concurrent single requests, from inside the graph."""
    with Client(server.address, server.name) as client, ThreadPoolExecutor(n) as pool:
        replies = list(pool.map(lambda _: predict(client, X), range(n)))
    return tuple(np.array([reply[name][0] for reply in replies]) for name in ("start", "end"))


def test_the_process_really_has_the_pools_and_batches_it_was_asked_for(model, executable):
    for batch_threads in (1, 4):
        configuration = {
            "inter_op": 4,
            "batch_threads": batch_threads,
            "grpc_max_threads": 16,
            "max_enqueued_batches": 100,
        }
        with ModelServer(model, configuration, executable=executable) as server:
            overlap = most_at_once(*run_many(server))
            names = threads(server)
        assert overlap == batch_threads
        if executable == LOCAL:  # the names are those of TensorFlow's Python build
            assert sum(name.startswith("batch_threads") for name in names) == batch_threads
            assert names.count("tf_Compute") == 4 + 1  # one idles: see LoadedModel
    unnamed = {}
    for intra in (1, 3):
        configuration = {"inter_op": 2, "intra_op": intra, "grpc_max_threads": 1}
        with ModelServer(model, configuration, executable=executable) as server:
            run_many(server, 1)
            names = threads(server)
        if executable == LOCAL:
            assert names.count("tf_Compute") == 2
        # The intra-op pool's threads keep the process's own name, as the one thread of gRPC does.
        unnamed[intra] = names.count("python")
    if executable == LOCAL:
        assert unnamed[3] - unnamed[1] == 2


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs to choose from")
def test_without_a_number_there_are_as_many_batch_threads_as_cpus_to_use(model):
    with with_flags(ModelServer(model, {"cpus": 1}), "--enable_batching") as server:
        run_many(server)
        assert sum(name.startswith("batch_threads") for name in threads(server)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port=abc"], "abc"),
        (["--port=0"], "--grpc_socket_path"),
        (["--batching_parameters_file=b.txt"], "--enable_batching"),
        (["--tensorflow_inter_op_parallelism=-1"], "-1"),
        (["--grpc_max_threads=0"], "from 1 to"),
        (["--enable_batching=maybe"], "'maybe' is not true or false"),
    ],
)
def test_bad_flags_end_with_255_and_one_line(capsys, arguments, message):
    from rrl.serving.local_server import parse_flags

    with pytest.raises(SystemExit) as exit_:
        parse_flags(["--model_base_path=x", *arguments])
    assert exit_.value.code == 255
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_a_folder_without_a_model_is_refused(model, tmp_path):
    with pytest.raises(ServerError, match=r"ended with status 255; .* holds no model version"):
        with_flags(ModelServer(model), f"--model_base_path={tmp_path}").start()


def test_a_signal_that_reaches_any_thread_stops_the_server(model):
    """After a pause it is often not the main one, where Python's handlers run."""
    server = ModelServer(model, executable=LOCAL).start()
    other = max(map(int, os.listdir(f"/proc/{server.process.pid}/task")))
    os.kill(other, signal.SIGTERM)
    assert wait_until(lambda: not server.alive, LIMIT_S)
    assert server.process.status == 0


SPACE = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 2))])


def test_measures_and_restarts_only_when_the_configuration_changes(model, monkeypatch):
    """Or when the server was killed, but a trial is not tried again."""
    rng = np.random.default_rng(0)
    arrivals = np.linspace(0, 0.2, 10)
    fixed = {"flag:--grpc_max_threads": 8, "env:RRL_TEST": "a b'c", "cpus": 1}
    with LiveServer(model, SPACE, fixed=fixed, executable=LOCAL, warmup=4) as live:
        first = live.measure({"inter_op": 1, "batch_threads": 0}, arrivals, rng)
        pid = live._server.process.pid
        assert "--grpc_max_threads=8" in live._server.command
        assert psutil.Process(pid).environ()["RRL_TEST"] == "a b'c"
        live.measure({"inter_op": 1, "batch_threads": 0}, arrivals, rng)
        assert live._server.process.pid == pid
        other = {"inter_op": 2, "batch_threads": 2}
        live.measure(other, arrivals, rng)
        assert live._server.process.pid != pid
        os.kill(live._server.process.pid, signal.SIGKILL)  # as if it took too much memory
        assert wait_until(lambda: not live._server.alive, LIMIT_S)
        watch = Watch(late_s=LIMIT_S, allowance=1000, usual=0.02)
        assert live.measure(other, arrivals, rng, watch=watch).ok.all()

        def killed(server, *more):
            fired.append(os.kill(server.process.pid, signal.SIGKILL) if not fired else None)
            return fire(server, *more)

        fire, fired = live._fire, []
        monkeypatch.setattr(live, "_fire", killed)
        idle = replace(watch, idle=True)  # as the default is measured
        assert live.measure(other, [0.0], rng, watch=idle).ok.all()
        assert len(fired) == 2
        fired.clear()
        with pytest.raises(ServerError):
            live.measure(other, [0.0], rng, watch=watch)
    assert first.ok.all()
    most = psutil.virtual_memory().total
    assert 64 * 2**20 < first.info["memory_bytes"] < most  # TensorFlow alone needs more
    assert len(first) == 10
    assert 0 < first.info["slip_share"] < 1


def test_a_new_version_of_the_owners_stops_the_tuning(model, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(model / "1", own / "0007")  # which is 7, as in the original
    rng, first = np.random.default_rng(0), {"inter_op": 1, "batch_threads": 0}
    with LiveServer(own, SPACE, executable=LOCAL, inputs=X, warmup=2) as live:
        live.measure(first, [0.0], rng)
        shutil.copytree(own / "0007", own / "8")
        for change in ({}, {"batch_threads": 2}):
            with pytest.raises(UnstableError, match="newest version is now 8"):
                live.measure(first | change, [0.0], rng)
            live.close()  # a new process does not take the new version either
        assert sorted(path.name for path in own.iterdir()) == ["0007", "8"]  # nothing of ours
        (own / "8").rename(own / "6")
        shutil.rmtree(own / "0007")
        with pytest.raises(UnstableError, match=r"newest version is now 6, .* of version 7"):
            live._check_version()
        shutil.rmtree(own / "6")
        with pytest.raises(DataError, match="holds no model version"):
            live._check_version()


def test_two_batched_signatures_keep_schedulers_of_their_own(tmp_path):
    """TensorFlow names every scheduler alike; without a scope the second joins the first."""
    base = build_half_plus(tmp_path / "half", 1, 1.0)
    with ModelServer(base, {"batch_threads": 2}, executable=LOCAL) as server:
        with Client(server.address, "half") as client:
            assert predict(client, {"x": np.ones(1, np.float32)})["y"] == 1.5
        with Client(server.address, "half", signature="length") as client:
            assert predict(client, {"image": np.array([b"a"], object)})["length"] == 1
        assert sum(name.startswith("batch_threads") for name in threads(server)) == 4


# --- the JSON of the REST API: all tensors, and what is refused; and the HTTP server by itself ----


NUMBERS = ("float32", "float64", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=4)


def as_tensor(request, dtype, rank=1):
    """The array that a server makes of a request's only input."""
    read = json.loads(json.dumps(request), object_hook=decoded)
    return fit(request_inputs(read), {"x": tf.TensorSpec([None] * rank, dtype)})["x"]


@given(st.data(), st.sampled_from((*NUMBERS, "bool")), st.booleans())
def test_every_tensor_survives_the_way_through_json_and_back(data, dtype, by_row):
    array = data.draw(arrays.arrays(dtype, SHAPES))
    values = response({"x": array}, by_row)["predictions" if by_row else "outputs"]
    back = as_tensor({"instances" if by_row else "inputs": values}, dtype, array.ndim)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=dtype.startswith("float"))


def objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


@given(st.lists(st.binary(), min_size=1), st.lists(TEXTS, min_size=1))
def test_all_bytes_survive_in_base64_and_texts_as_they_are(values, texts):
    answer = response({"x_bytes": objects(values)}, by_row=False)
    assert as_tensor({"inputs": answer["outputs"]}, "string").tolist() == values
    written = objects([text.encode() for text in texts])
    assert response({"x": written}, by_row=True) == {"predictions": texts}
    assert as_tensor({"instances": texts}, "string").tolist() == texts


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_json_is_a_tensor_or_is_refused(value):
    for dtype in (*NUMBERS, "bool", "string"):
        for key in ("instances", "inputs"):
            with contextlib.suppress(ValueError, LastingError):
                array = as_tensor({key: value}, dtype)
                assert array.dtype == (object if dtype == "string" else dtype)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", "1"),
        ("uint8", -1),
        ("uint64", 2**64),
        ("int32", 1.5),
        ("bool", 2),
        ("string", 1),
        ("float32", 1e39),
        ("float64", 10**400),
        ("float64", {"b64": "aGk="}),
        ("string", {"b64": "?"}),
        ("string", {"b64": "aGk=", "c": 1}),
    ],
)
def test_a_value_that_does_not_fit_is_refused(dtype, value):
    with pytest.raises((ValueError, LastingError)):
        as_tensor({"inputs": [value]}, dtype)


def test_rows_need_the_same_number_of_all_outputs():
    two, three = np.ones(2, np.float32), np.ones(3, np.float32)
    for outputs in ({"a": two, "b": three}, {"a": np.float32(1)}):
        with pytest.raises(ValueError, match="no common batch size"):
            response(outputs, by_row=True)
    assert response({"a": two, "b": three}, by_row=False)["outputs"]["b"] == [1.0] * 3
    assert response({"one": b"a"}, by_row=False) == {"outputs": "a"}
    with pytest.raises(ValueError, match="no values of type complex64"):
        response({"y": np.ones(2, np.complex64)}, by_row=False)


# The HTTP server


class Model:
    """What a server answers without a model: the lengths of the texts that it gets."""

    def check(self, spec):
        self.spec = spec

    def run(self, key, given):
        return {"y": np.array([len(text) for text in given[""]])}


def served(model, threads=4):
    """The port of a server."""
    port = free_port()
    serve_rest(model, port, threads)
    return port


def ask(port, method="POST", path="/v1/models/m:predict", body=b'{"inputs": ["a"]}', headers=()):
    status, said = http_call(port, path, body, method, headers)
    return status, json.loads(said)


def test_a_body_arrives_whatever_its_type_and_its_address():
    port = served(model := Model())
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d sends
    assert ask(port, path="/v1/models/m%61:predict?a=b", headers=form) == (200, {"outputs": [1]})
    assert model.spec.name == "ma"
    large = json.dumps({"inputs": ["&" * 2**24]}).encode()
    assert ask(port, body=large, headers=form) == (200, {"outputs": [2**24]})
    assert ask(port, body=iter([b'{"inputs": ', b'["a"]}'])) == (200, {"outputs": [1]})
    for method, path, code in (
        ("PUT", "/v1/models/m:predict", 405),
        ("NOSUCH", "/", 405),
        ("POST", "/v1/models/m", 404),
        ("GET", "/v1/models/", 404),
        ("POST", "/v1/models/m:classify", 404),
    ):
        found, answer = ask(port, method, path)
        assert (found, list(answer)) == (code, ["error"])
    with pytest.raises(OSError, match=rf"HTTP Server at 127\.0\.0\.1:{port}"):
        serve_rest(Model(), port, 1)


def test_requests_are_answered_at_the_same_time_by_as_many_threads_as_allowed():
    together, at_work = threading.Barrier(3, timeout=600), set()

    class Waiting(Model):
        def run(self, key, given):
            at_work.add(threading.get_ident())
            together.wait()
            return super().run(key, given)

    port = served(Waiting(), threads=3)
    with ThreadPoolExecutor(10) as pool:
        assert [status for status, _ in pool.map(lambda _: ask(port), range(30))] == [200] * 30
    assert len(at_work) == 3


HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (HEAD + b"Content-Length: 101\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\0\r\n\r\n", b"HTTP/1.1 400 "),
        (HEAD + b"Content-Length: 10\r\n\r\n{", b""),  # its connection is cut
    ],
)
def test_what_is_too_large_or_no_request_or_has_no_body_is_refused(words, answer, monkeypatch):
    monkeypatch.setattr(rest, "MOST_BODY_BYTES", 100)
    monkeypatch.setattr(rest, "BODY_S", 0.1)
    port = served(Model())
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(words)
        said = b"".join(iter(lambda: connection.recv(1000), b""))
    assert said.startswith(answer)
    assert bool(said) == bool(answer)
    assert ask(port)[0] == 200
