"""The parts of the REST port: the JSON of all tensors, and the HTTP server by itself."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rrl.serving import rest_server
from rrl.serving.json_inputs import input_arrays, parse
from rrl.serving.json_outputs import json_body, plain_outputs
from rrl.serving.launcher import free_port
from rrl.serving.local_flags import parse_flags
from rrl.serving.rest import HttpReply
from rrl.serving.rest_server import RestServer
from rrl.serving.status import StatusError

NUMBERS = ("float32", "float64", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=4)


@given(st.data(), st.sampled_from((*NUMBERS, "bool")), st.booleans())
def test_every_tensor_survives_the_way_through_json_and_back(data, dtype, by_row):
    """Whole numbers in a float type may have no more digits than it can hold, as everywhere."""
    array = data.draw(arrays.arrays(dtype, SHAPES))
    answer = json.loads(json_body(plain_outputs({"x": array}, by_row)))
    values = answer["predictions" if by_row else "outputs"]
    request = {"instances" if by_row else "inputs": values}
    back = input_arrays(parse(json_body(request)), {"x": dtype})["x"]
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=dtype.startswith("float"))


@given(st.lists(st.binary(), min_size=1))
def test_all_bytes_survive_in_base64_and_text_as_it_is(values):
    array = np.empty(len(values), object)
    array[:] = values
    for name in ("x_bytes", "x"):
        body = json_body({"inputs": plain_outputs({name: array}, by_row=False)["outputs"]})
        assert input_arrays(parse(body), {name: "string"})[name].tolist() == values


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_json_is_a_tensor_or_is_refused(value):
    for dtype in (*NUMBERS, "bool", "string"):
        for key in ("instances", "inputs"):
            with contextlib.suppress(StatusError):
                array = input_arrays({key: value}, {"x": dtype})["x"]
                assert array.dtype == (object if dtype == "string" else dtype)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int32", 1.0),
        ("int8", 128),
        ("uint8", -1),
        ("uint64", 2**64),
        ("bool", 1),
        ("string", 1),
        ("float32", 1e39),
        ("float32", 2**24 + 1),
        ("float64", 10**400),
        ("float64", {"b64": "aGk="}),
        ("string", {"b64": "?"}),
        ("string", {"b64": "aGk=", "c": 1}),
        ("string", "\ud800"),
        ("half", 1.0),
    ],
)
def test_a_value_that_does_not_fit_is_refused(dtype, value):
    with pytest.raises(StatusError):
        input_arrays({"inputs": [value]}, {"x": dtype})


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([1.0, {"x": 1.0}], "Expecting value/list but got object at item 1"),
        ([1.0, [1.0]], r"element: 1 of .* Expecting shape \[\] but got: \[1\]"),
        ([[1.0], [1.0, 2.0]], "element: 1 of .* Expecting tensor size: 1 but got: 2"),
        (
            [1.0, "a"],
            'element: 1 of .* JSON Value: "a" Type: String is not of expected type: float',
        ),
        ([{"x": 1.0}, 1.0], "Expecting object but got list at item 1"),
        ([{"x": 1.0}, {"x": [1.0]}], "element: 1 key: x of .* Expecting shape"),
        ([{"x": 1.0}, {}], r"element: 1 of .* JSON object: \{\} must only have keys: x"),
        ([{"x": 1.0, "z": 1.0}], "element: 0 key: z of .* does not have named input: z"),
    ],
)
def test_a_wrong_row_is_named(instances, message):
    with pytest.raises(StatusError, match=message):
        input_arrays({"instances": instances}, {"x": "float32"})


def test_two_inputs_need_names():
    for key in ("instances", "inputs"):
        with pytest.raises(StatusError, match="multiple input tensors required"):
            input_arrays({key: [1.0]}, {"x": "float32", "y": "float32"})


def test_a_list_with_too_many_levels_is_refused():
    value = 1.0
    for _ in range(900):
        value = [value]
    for key in ("instances", "inputs"):
        with pytest.raises(StatusError, match="more than 63 levels"):
            input_arrays({key: value}, {"x": "float32"})


def test_a_type_that_json_has_not_in_the_original_is_refused():
    for dtype in ("float16", "uint16", "complex64"):
        with pytest.raises(StatusError, match="Failed to write JSON value"):
            plain_outputs({"y": np.ones(2, dtype)}, by_row=False)


def test_rows_need_the_same_number_of_all_outputs():
    two, three = np.ones(2, np.float32), np.ones(3, np.float32)
    with pytest.raises(StatusError, match="inconsistent batch size: 3 expecting: 2"):
        plain_outputs({"a": two, "b": three}, by_row=True)
    with pytest.raises(StatusError, match="no shape information"):
        plain_outputs({"a": np.float32(1)}, by_row=True)
    assert plain_outputs({"a": two, "b": three}, by_row=False)["outputs"]["b"] == [1.0] * 3


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff", b"nul"])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(StatusError, match="JSON Parse error"):
        parse(body)


# The HTTP server


@contextlib.contextmanager
def serving(answer, threads=4, timeout_s=30.0):
    port = free_port()
    server = RestServer(answer, "127.0.0.1", port, threads, timeout_s)
    try:
        yield server, port
    finally:
        server.stop()


def ask(port, method="POST", path="/v1/models/m:predict", body=b"{}", headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read()


def echo(method, path, body):
    return HttpReply(200, b"%s %s %s" % (method.encode(), path.encode(), body))


def test_a_body_arrives_whatever_its_type_and_its_form():
    with serving(echo) as (_, port):
        path = "/v1/models/m%61:predict"
        form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d sends
        assert ask(port, path=path + "?a=b", headers=form) == (200, f"POST {path} {{}}".encode())
        pieces = iter([b"ab", b"cd"])  # its length is not known: it goes in chunks
        assert ask(port, path="/", body=pieces) == (200, b"POST / abcd")
        for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert ask(port, method, "/", b"") == (200, f"{method} / ".encode())
        assert ask(port, "HEAD", "/", b"") == (200, b"")
        status, body = ask(port, "NOSUCH", "/", b"")
        assert (status, json.loads(body)) == (405, {"error": "Malformed request: NOSUCH /"})


def test_requests_are_answered_at_the_same_time():
    together = threading.Barrier(3, timeout=30)

    def wait(*_):
        together.wait()
        return HttpReply(200, b"")

    with serving(wait, threads=3) as (_, port), ThreadPoolExecutor(3) as pool:
        assert [status for status, _ in pool.map(lambda _: ask(port), range(3))] == [200] * 3


def test_a_late_answer_is_a_504_and_the_server_goes_on():
    go_on = threading.Event()

    def slow(method, path, body):
        if path == "/slow":
            go_on.wait(30)
        return echo(method, path, body)

    with serving(slow, timeout_s=0.05) as (_, port):
        status, body = ask(port, path="/slow")
        assert (status, list(json.loads(body))) == (504, ["error"])
        go_on.set()
        assert ask(port, path="/fast")[0] == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(monkeypatch):
    monkeypatch.setattr(rest_server, "MOST_BODY_BYTES", 1000)
    with serving(echo) as (_, port):
        assert ask(port, path="/", body=b"x" * 1000)[0] == 200
        for size in (b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + size)
                assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_packed_body_takes_no_more_memory_than_is_allowed(monkeypatch):
    monkeypatch.setattr(rest_server, "MOST_UNPACKED_BYTES", 1000)
    with serving(echo) as (_, port):
        for body, status in (
            (gzip.compress(b"x" * 999), 200),
            (gzip.compress(b"x" * 1001), 400),
            (gzip.compress(b"x" * 999)[:-9], 400),
            (b"no gzip", 400),
        ):
            found, answer = ask(port, path="/", body=body, headers={"Content-Encoding": "gzip"})
            assert found == status
            assert answer == b"POST / " + b"x" * 999 if status == 200 else b"gzip" in answer


def test_open_requests_are_answered_when_the_server_stops():
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        go_on.wait(30)
        return HttpReply(200, b"done")

    with serving(slow) as (server, port), ThreadPoolExecutor(2) as pool:
        asked = pool.submit(ask, port)
        assert begun.wait(30)
        stopped = pool.submit(server.stop)
        go_on.set()
        stopped.result(30)
        assert asked.result(30) == (200, b"done")


def test_a_port_that_is_taken_is_one_clear_error():
    with (
        serving(echo) as (_, port),
        pytest.raises(OSError, match=rf"HTTP Server at 127\.0\.0\.1:{port}"),
    ):
        RestServer(echo, "127.0.0.1", port, 1, 1.0)


# Files and flags


def test_a_server_without_rest_loads_nothing_of_it():
    parts = ("tornado", "rrl.serving.rest", "tensorflow")
    program = (
        f"import sys, rrl.serving.local_server; print([m for m in {parts} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rest_api_port=8500"], "give two ports"),
        (["--rest_api_num_threads=0"], "at least 1"),
        (["--model_base_path="], "--model_base_path"),
    ],
)
def test_flags_that_do_not_go_together(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        parse_flags(["--model_base_path=x", *arguments])
    assert end.value.code == 255
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
