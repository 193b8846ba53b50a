"""The contract of a model server, on either executable, with clients that are not ours.

gRPC goes through the stubs of tensorflow-serving-api, and REST through requests.
"""

from __future__ import annotations

import base64
import json

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from clients import WARMUPS, refused, write_warmup
from probe import build_half_plus
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from rrl.serving.launcher import BINARY, LOCAL, ModelServer, find_executable, free_port
from rrl.serving.local_server import parse_flags

PLUS = 2.0
FLAGS = {  # every flag of the original that the local server has
    "port": "",
    "grpc_socket_path": "",
    "rest_api_port": "",
    "model_name": "half",
    "model_base_path": "",
    "grpc_max_threads": "16",
    "tensorflow_intra_op_parallelism": "1",
    "tensorflow_inter_op_parallelism": "2",
    "enable_batching": "true",
    "batching_parameters_file": "",
    "enable_model_warmup": "true",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Version 2 of two, with a warm-up file."""
    base = tmp_path_factory.mktemp("models") / "half"
    build_half_plus(base, 1, 1.0)
    build_half_plus(base, 2, PLUS)
    write_warmup(base / "2", "half", {"x": np.array([1.0, 3.0], np.float32)})
    return base


@pytest.fixture(scope="module")
def server(executable, model, tmp_path_factory):
    """The addresses for gRPC and REST of a server with all flags."""
    folder = tmp_path_factory.mktemp("s")
    (folder / "batching.txt").write_text("max_batch_size { value: 64 }")
    flags = FLAGS | {
        "port": str(free_port()),
        "rest_api_port": str(free_port()),
        "grpc_socket_path": str(folder / "s"),
        "model_base_path": str(model),
        "batching_parameters_file": str(folder / "batching.txt"),
    }
    process, own = ModelServer(model, executable=executable), find_executable(executable)
    process.command = [*own, *(f"--{name}={text}" for name, text in flags.items())]
    process.address = f"127.0.0.1:{flags['port']}"
    with process:
        if executable == LOCAL:
            assert f"Warmed up with {WARMUPS} requests" in process.log.read_text()
        yield process.address, f"http://127.0.0.1:{flags['rest_api_port']}"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server[0]) as opened:
        yield opened


@pytest.fixture
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def rest(server):
    with requests.Session() as session:

        def ask(path, body=None):
            method = "GET" if body is None else "POST"
            return session.request(method, server[1] + path, data=body, timeout=30)

        yield ask


def test_the_contract_names_every_flag():
    assert set(vars(parse_flags(["--model_base_path=x"]))) == set(FLAGS)


def predict_request(**spec):
    """A request for two numbers, of the model unless it names another one."""
    request = predict_pb2.PredictRequest(model_spec={"name": "half"} | spec)
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([1.0, 3.0], np.float32)))
    return request


def status_request(**spec):
    return get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "half"} | spec)


# gRPC


OLD, NEW = ({"version": {"value": number}} for number in (1, 2))


@pytest.mark.parametrize("spec", [{}, NEW])
def test_predict_by_name_and_version(prediction, spec):
    response = prediction.Predict(predict_request(**spec), timeout=600)
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [0.5 + PLUS, 1.5 + PLUS]
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "serving_default"


def test_status(channel):
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    (one,) = service.GetModelStatus(status_request(), timeout=600).model_version_status
    assert (one.version, one.state) == (2, one.AVAILABLE)
    for spec, code in (
        ({"name": "nosuch"}, "NOT_FOUND"),
        (OLD, "NOT_FOUND"),
        ({"name": ""}, "INVALID_ARGUMENT"),
    ):
        assert refused(service.GetModelStatus, status_request(**spec))[0] == code


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"name": "no"}, "NOT_FOUND", "Servable not found for request: Latest(no)"),
        (OLD, "NOT_FOUND", "Servable not found for request: Specific(half, 1)"),
        ({"version_label": "no"}, "INVALID_ARGUMENT", "Unrecognized servable version label: no"),
        ({"signature_name": "no"}, "FAILED_PRECONDITION", 'Serving signature key "no" not found.'),
    ],
)
def test_what_is_not_there_has_the_code_and_message_of_the_original(
    prediction, spec, code, message
):
    assert refused(prediction.Predict, predict_request(**spec)) == (code, message)


def test_wrong_names_are_named(prediction):
    request = predict_request()
    request.inputs["z"].CopyFrom(request.inputs["x"])
    two = refused(prediction.Predict, request)
    del request.inputs["x"]
    other = refused(prediction.Predict, request)
    request = predict_request()
    request.output_filter.append("z")
    for code, words in (two, other, refused(prediction.Predict, request)):
        assert code == "INVALID_ARGUMENT"
        assert "z" in words
    assert "x" in two[1]


def test_wrong_shapes_and_types(prediction):
    for bad in (np.ones((1, 3), np.float32), np.ones(2, np.int32)):
        request = predict_request()
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(bad))
        assert refused(prediction.Predict, request)[0] == "INVALID_ARGUMENT"
    for number in (0, 999):  # no type, and one that nobody knows
        request = predict_request()
        request.inputs["x"].dtype = number
        assert refused(prediction.Predict, request)[0] == "INVALID_ARGUMENT"


def test_a_request_takes_no_more_memory_than_it_sends(prediction, executable):
    """A message may have one value, and a shape of as many as it likes."""
    if executable == BINARY:
        pytest.skip("the original has limits of its own")
    request = predict_request()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(1.0, shape=[1]))
    for count in (300_000_000, 2**62, 2**63 - 1):
        request.inputs["x"].tensor_shape.dim[0].size = count
        code, words = refused(prediction.Predict, request)
        assert code == "INVALID_ARGUMENT"
        assert f"shape [{count}] in a message of" in words


# REST


@pytest.mark.parametrize("path", ["half", "half/versions/2"])
def test_rest_predict_by_row_and_by_column(rest, path):
    expected = [0.5 + PLUS, 1.5 + PLUS]
    for body, answer in (
        ('{"instances": [1.0, 3]}', {"predictions": expected}),
        ('{"instances": [{"x": 1.0}, {"x": 3}]}', {"predictions": expected}),
        ('{"inputs": [1.0, 3]}', {"outputs": expected}),
        ('{"inputs": {"x": [1.0, 3]}}', {"outputs": expected}),
    ):
        reply = rest(f"/v1/models/{path}:predict", body)
        assert (reply.status_code, reply.json()) == (200, answer)
        assert reply.headers["Content-Type"].startswith("application/json")


def test_rest_sends_all_types_back(rest):
    raw = base64.b64encode(b"\xff\x00").decode()
    columns = {
        "number": [0.1, 1e300],
        "whole": [2**53 + 1, -1],
        "flag": [True, False],
        "raw_bytes": [{"b64": raw}, "é"],
    }
    back = columns | {"raw_bytes": [{"b64": raw}, {"b64": base64.b64encode("é".encode()).decode()}]}
    rows = [dict(zip(back, row, strict=True)) for row in zip(*back.values(), strict=True)]
    body = {"signature_name": "echo", "inputs": columns}
    assert rest("/v1/models/half:predict", json.dumps(body)).json() == {"outputs": back}
    body = {"signature_name": "echo", "instances": rows}
    assert rest("/v1/models/half:predict", json.dumps(body)).json() == {"predictions": rows}


def test_rest_status(rest):
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    one = {"model_version_status": [{"version": "2", **available}]}
    assert rest("/v1/models/half").json() == one
    assert rest("/v1/models/half/versions/2").json() == one


def test_a_rest_request_that_would_take_seconds_is_refused(rest, executable):
    """Python reads numbers slowly, and gRPC would wait meanwhile."""
    if executable == LOCAL:
        reply = rest("/v1/models/half:predict", '{"instances": [' + "1.0, " * 2**21 + "1]}")
        assert (reply.status_code, list(reply.json())) == (400, ["error"])
        assert "at most 1048576 values; send larger ones by gRPC" in reply.json()["error"]
    assert rest("/v1/models/half:predict", '{"instances": [1]}').status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("no:predict", '{"instances": [1]}', 404, "Servable not found for request: Latest(no)"),
        ("half/versions/9:predict", '{"instances": [1]}', 404, "Specific(half, 9)"),
        ("half:predict", '{"signature_name": "no", "instances": [1]}', 400, '"no" not found'),
        ("half:predict", "", 400, ""),
        ("half:predict", "[1]", 400, ""),
        ("half:predict", "{}", 400, "instances"),
        ("half:predict", '{"instances": ["a"]}', 400, ""),
        ("half:predict", '{"inputs": {"z": [1]}}', 400, ""),
        ("no", None, 404, ""),
        ("half/versions/9", None, 404, ""),
    ],
)
def test_rest_refuses_with_the_status_of_the_original(rest, path, body, status, message):
    """The words about a body are our own."""
    reply = rest(f"/v1/models/{path}", body)
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"]
    assert message in reply.json()["error"]
    assert reply.headers["Content-Type"].startswith("application/json")
