"""The JSON of the REST API: all tensors, and what is refused; and the HTTP server by itself."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from clients import http_call
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rrl.serving import rest
from rrl.serving.launcher import free_port
from rrl.serving.loadgen import LastingError
from rrl.serving.rest import serve_rest
from rrl.serving.rest_json import decoded, request_inputs, response
from rrl.serving.sample import fit

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


@pytest.mark.parametrize("words", [HEAD + b"Content-Length: 101\r\n\r\n", b"\0\r\n\r\n"])
def test_what_is_too_large_or_no_request_is_refused(words, monkeypatch):
    monkeypatch.setattr(rest, "MOST_BODY_BYTES", 100)
    port = served(Model())
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(words)
        said = b"".join(iter(lambda: connection.recv(1000), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert ask(port)[0] == 200


def test_a_client_that_sends_no_body_loses_its_connection(monkeypatch):
    monkeypatch.setattr(rest, "BODY_S", 0.1)
    port = served(Model())
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n{")
        assert connection.recv(1000) == b""
    assert ask(port)[0] == 200
