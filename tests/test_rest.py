"""The JSON of the REST API: all tensors, and what is refused; and the HTTP server by itself."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from clients import http_call
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rrl.serving import rest
from rrl.serving.launcher import free_port
from rrl.serving.loadgen import LastingError
from rrl.serving.rest import serve_rest
from rrl.serving.rest_json import request_inputs, response
from rrl.serving.sample import fit

NUMBERS = ("float32", "float64", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=4)


def as_tensor(request, dtype, rank=1):
    """The array that a server makes of a request's only input."""
    needed = {"x": (dtype, (-1,) * rank)}
    return fit(request_inputs(request), needed)["x"]


@given(st.data(), st.sampled_from((*NUMBERS, "bool")), st.booleans())
def test_every_tensor_survives_the_way_through_json_and_back(data, dtype, by_row):
    array = data.draw(arrays.arrays(dtype, SHAPES))
    answer = json.loads(json.dumps(response({"x": array}, by_row)))
    values = answer["predictions" if by_row else "outputs"]
    back = as_tensor({"instances" if by_row else "inputs": values}, dtype, array.ndim)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=dtype.startswith("float"))


def objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


@given(st.lists(st.binary(), min_size=1), st.lists(TEXTS, min_size=1))
def test_all_bytes_survive_in_base64_and_texts_as_they_are(values, texts):
    answer = json.loads(json.dumps(response({"x_bytes": objects(values)}, by_row=False)))
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


class Echo:
    """What a server answers without a model."""

    def predict(self, name, version, body):
        return {"name": name, "version": version, "body": body.decode()}

    def status(self, name, version):
        return {"name": name, "version": version}


def served(answers, threads=4):
    """The port of a server."""
    port = free_port()
    serve_rest(answers, port, threads)
    return port


def ask(port, method="POST", path="/v1/models/m:predict", body=b"{}", headers=()):
    status, said = http_call(port, path, body, method, headers)
    return status, json.loads(said) if said else None


def test_a_body_arrives_whatever_its_type_and_its_address():
    port = served(Echo())
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d sends
    answer = {"name": "ma", "version": None, "body": "{}"}
    assert ask(port, path="/v1/models/m%61:predict?a=b", headers=form) == (200, answer)
    status = {"name": "m", "version": "7"}
    assert ask(port, "GET", "/v1/models/m/versions/7", b"") == (200, status)
    for method, path, code in (
        ("PUT", "/v1/models/m:predict", 501),
        ("NOSUCH", "/", 501),
        ("POST", "/v1/models/m", 404),
        ("GET", "/v1/models/", 404),
        ("POST", "/v1/models/m:classify", 404),
    ):
        found, answer = ask(port, method, path)
        assert (found, list(answer)) == (code, ["error"])
    with pytest.raises(OSError, match=rf"HTTP Server at 127\.0\.0\.1:{port}"):
        serve_rest(Echo(), port, 1)


def test_requests_are_answered_at_the_same_time_by_as_many_threads_as_allowed():
    together, at_work, most = threading.Barrier(3, timeout=600), [], []

    class Waiting(Echo):
        def predict(self, *_):
            at_work.append(1)
            most.append(len(at_work))
            together.wait()
            at_work.pop()
            together.wait()
            return {}

    port = served(Waiting(), threads=3)
    with ThreadPoolExecutor(6) as pool:
        assert [status for status, _ in pool.map(lambda _: ask(port), range(6))] == [200] * 6
    assert max(most) == 3


def said_to(port, words):
    """What a server says to a client that sends these words and no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1000), b""))


def test_a_return_inside_a_line_begins_no_header():
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nConnection: close\r\n"
    said = said_to(served(Echo()), head + b"X: a\rContent-Length: 2\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")  # it waits for no body, which would be missing
    assert json.loads(said.partition(b"\r\n\r\n")[2])["body"] == ""


def test_what_is_no_request_is_refused_before_it_is_sent(monkeypatch):
    monkeypatch.setattr(rest, "MOST_BODY_BYTES", 1000)
    port = served(Echo())
    assert ask(port, body=b"x" * 1000)[0] == 200
    assert ask(port, body=bytes(2**24))[0] == 413  # while it still sends
    for words, code in (
        (b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST /v1/models/m:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /v1/models/m HTTP/3\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 404),
        (b"\0\r\n\r\n", 400),
    ):
        head, _, body = said_to(port, words).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % code)
        assert list(json.loads(body)) == ["error"]
    assert ask(port)[0] == 200
