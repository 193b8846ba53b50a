"""The contract of a model server, on either executable, with clients that are not ours.

gRPC goes through the stubs of tensorflow-serving-api, REST through requests and http.client, and
the metrics through the parser of prometheus_client.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import math
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from half_plus import add_warm_up, build_half_plus
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from test_serving import EXECUTABLES

from rrl.serving.launcher import LOCAL, find_executable, free_port
from rrl.serving.local_flags import parse_flags
from rrl.serving.process import ServerProcess

METRICS, PREFIX = "/watch/metrics", ":tensorflow:serving:"
PLUS = {("half", 1): 1.0, ("half", 2): 2.0, ("other", 7): 7.0}
CONFIG = """
model_config_list {{
  config {{
    name: "half" base_path: "{models}/half" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
  {more}
}}
"""
OTHER = 'config {{ name: "{name}" base_path: "{models}/other" model_platform: "tensorflow" }}'
FLAGS = {  # every flag of the original that the local server has
    "port": "",
    "grpc_socket_path": "",
    "rest_api_port": "",
    "rest_api_num_threads": "8",
    "rest_api_timeout_in_ms": "60000",
    "model_name": "ignored",
    "model_base_path": "/ignored",
    "model_config_file": "",
    "model_config_file_poll_wait_seconds": "0",
    "file_system_poll_wait_seconds": "1",
    "allow_version_labels_for_unavailable_models": "true",
    "monitoring_config_file": "",
    "grpc_max_threads": "16",
    "grpc_channel_arguments": "grpc.so_reuseport=0",
    "tensorflow_session_parallelism": "0",
    "tensorflow_intra_op_parallelism": "1",
    "tensorflow_inter_op_parallelism": "2",
    "enable_batching": "true",
    "enable_per_model_batching_parameters": "false",
    "batching_parameters_file": "",
    "enable_model_warmup": "true",
    "enable_grpc_healthcheck_service": "true",
}
ONLY_LOCAL = {"bind_address", "adaptive_batching"}
METHODS = {  # every method that the local server has
    *("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"),
    *("GetModelStatus", "HandleReloadConfigRequest"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for (name, version), plus in PLUS.items():
        build_half_plus(folder / name, version, plus)
    add_warm_up(folder / "other", 7, list(warm_up_logs()))
    return folder


def warm_up_logs():
    """A request of each method."""
    regress = identify(regression_pb2.RegressionRequest(), signature="regress")
    classify = identify(classification_pb2.ClassificationRequest(), signature="classify")
    for kind, request in {
        "predict_log": predict_request(name="other"),
        "regress_log": with_examples(regress),
        "classify_log": with_examples(classify),
        "multi_inference_log": inference_request(("regress", "regress"), name="other"),
    }.items():
        log = prediction_log_pb2.PredictionLog()
        getattr(log, kind).request.CopyFrom(request)
        yield log


@contextlib.contextmanager
def started(executable, models, folder, **changes):
    """A server with all flags, and its addresses for gRPC and REST."""
    (folder / "models.txt").write_text(
        CONFIG.format(models=models, more=OTHER.format(models=models, name="other"))
    )
    (folder / "monitoring.txt").write_text(
        f'prometheus_config {{ enable: true path: "{METRICS}" }}'
    )
    (folder / "batching.txt").write_text("max_batch_size { value: 64 }")
    flags = FLAGS | {
        "port": str(free_port()),
        "rest_api_port": str(free_port()),
        "grpc_socket_path": str(folder / "s"),
        "model_config_file": str(folder / "models.txt"),
        "monitoring_config_file": str(folder / "monitoring.txt"),
        "batching_parameters_file": str(folder / "batching.txt"),
    }
    flags |= changes
    command = [*find_executable(executable), *(f"--{name}={text}" for name, text in flags.items())]
    address = f"127.0.0.1:{flags['port']}"
    with ServerProcess(command, address, "other", log=folder / "log") as process:
        yield process, address, f"http://127.0.0.1:{flags['rest_api_port']}"


@pytest.fixture(scope="module", params=EXECUTABLES)
def server(request, models, tmp_path_factory):
    with started(request.param, models, tmp_path_factory.mktemp("s")) as (_, address, rest):
        yield address, rest


@pytest.fixture(scope="module")
def prediction(server):
    with grpc.insecure_channel(server[0]) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def service(server):
    with grpc.insecure_channel(server[0]) as channel:
        yield model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="module")
def rest(server):
    with requests.Session() as session:
        yield (
            lambda path, body=None, **more: (
                session.get(server[1] + path, timeout=30, **more)
                if body is None
                else session.post(server[1] + path, data=body, timeout=30, **more)
            )
        )


def test_the_contract_names_every_flag_and_every_method():
    assert set(vars(parse_flags(["--model_base_path=x"]))) == set(FLAGS) | ONLY_LOCAL
    services = (
        prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    )
    there = {method.name for service in services for method in service.methods}
    assert there - {"PredictStreamed"} == METHODS


def identify(message, name="half", version=None, label=None, signature=""):
    spec = message.model_spec
    spec.name, spec.signature_name = name, signature
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return message


def predict_request(x=(1.0, 3.0), **spec):
    request = identify(predict_pb2.PredictRequest(), **spec)
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(x, np.float32)))
    return request


def with_examples(request, values=(1.0, 3.0), context=False):
    """Put an example for each value into a request; with a context, all share it."""
    shared = request.input.example_list_with_context
    if context:
        shared.context.features.feature["x"].float_list.value.append(values[0])
    for value in values:
        if context:
            shared.examples.add()
        else:
            one = request.input.example_list.examples.add()
            one.features.feature["x"].float_list.value.append(value)
    return request


def refused(method, request):
    with pytest.raises(grpc.RpcError) as error:
        method(request, timeout=30)
    return error.value.code().name, error.value.details()


# gRPC


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        ({}, 2),
        ({"version": 1}, 1),
        ({"version": 2}, 2),
        ({"label": "stable"}, 1),
        ({"label": "canary"}, 2),
        ({"name": "other"}, 7),
    ],
)
def test_predict_by_name_version_and_label(prediction, spec, version):
    response = prediction.Predict(predict_request(**spec), timeout=30)
    plus = PLUS[spec.get("name", "half"), version]
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [0.5 + plus, 1.5 + plus]
    assert response.model_spec.version.value == version
    assert response.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize("context", [False, True])
def test_regress(prediction, context):
    request = identify(regression_pb2.RegressionRequest(), label="stable", signature="regress")
    response = prediction.Regress(with_examples(request, context=context), timeout=30)
    expected = [1.5, 1.5] if context else [1.5, 2.5]
    assert [one.value for one in response.result.regressions] == expected
    assert response.model_spec.version.value == 1


def test_classify(prediction):
    request = identify(classification_pb2.ClassificationRequest(), signature="classify")
    response = prediction.Classify(with_examples(request), timeout=30)
    assert [
        [(one.label, one.score) for one in each.classes] for each in response.result.classifications
    ] == [[("low", -2.5), ("high", 2.5)], [("low", -3.5), ("high", 3.5)]]


def inference_request(*tasks, **spec):
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = identify(request.tasks.add(), signature=signature, **spec)
        task.method_name = f"tensorflow/serving/{method}"
    return with_examples(request)


def test_multi_inference(prediction):
    request = inference_request(("regress", "regress"), ("classify", "classify"))
    first, second = prediction.MultiInference(request, timeout=30).results
    assert [one.value for one in first.regression_result.regressions] == [2.5, 3.5]
    assert second.classification_result.classifications[1].classes[1].label == "high"
    twice = inference_request(("regress", "regress"), ("regress", "regress"))
    assert refused(prediction.MultiInference, twice) == (
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: regress",
    )
    two = inference_request(("regress", "regress"), ("classify", "classify"))
    two.tasks[1].model_spec.name = "other"
    assert refused(prediction.MultiInference, two) == (
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    )
    unknown = inference_request(("regress", "nosuch"))
    assert refused(prediction.MultiInference, unknown)[0] == "UNIMPLEMENTED"


def test_metadata(prediction):
    request = identify(get_model_metadata_pb2.GetModelMetadataRequest(), label="stable")
    assert refused(prediction.GetModelMetadata, request) == (
        "INVALID_ARGUMENT",
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field.append("signature_def")
    response = prediction.GetModelMetadata(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    assert response.model_spec.version.value == 1
    assert set(signatures.signature_def) >= {"serving_default", "regress", "classify", "echo"}


def states(service, name):
    request = identify(get_model_status_pb2.GetModelStatusRequest(), name)
    names = get_model_status_pb2.ModelVersionStatus.State.Name
    reply = service.GetModelStatus(request, timeout=30)
    return [(one.version, names(one.state)) for one in reply.model_version_status]


def test_status(service):
    assert states(service, "half") == [(2, "AVAILABLE"), (1, "AVAILABLE")]
    for name, version, message in (
        ("nosuch", None, "Could not find any versions of model nosuch"),
        ("half", 9, "Could not find version 9 of model half"),
    ):
        request = identify(get_model_status_pb2.GetModelStatusRequest(), name, version)
        assert refused(service.GetModelStatus, request) == ("NOT_FOUND", message)
    nothing = get_model_status_pb2.GetModelStatusRequest()
    assert refused(service.GetModelStatus, nothing) == ("INVALID_ARGUMENT", "Missing ModelSpec")


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"name": "no"}, "NOT_FOUND", "Servable not found for request: Latest(no)"),
        ({"version": 9}, "NOT_FOUND", "Servable not found for request: Specific(half, 9)"),
        ({"label": "no"}, "INVALID_ARGUMENT", "Unrecognized servable version label: no"),
        (
            {"name": "other", "label": "stable"},
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: stable",
        ),
        ({"signature": "no"}, "FAILED_PRECONDITION", 'Serving signature key "no" not found.'),
    ],
)
def test_what_is_not_there_has_the_code_and_message_of_the_original(
    prediction, spec, code, message
):
    assert refused(prediction.Predict, predict_request(**spec)) == (code, message)


def test_a_request_without_a_model_is_refused(prediction):
    request = predict_pb2.PredictRequest()
    assert refused(prediction.Predict, request) == ("INVALID_ARGUMENT", "Missing ModelSpec")


def test_wrong_names_are_named(prediction):
    request = predict_request()
    request.inputs["z"].CopyFrom(request.inputs["x"])
    _, two = refused(prediction.Predict, request)
    del request.inputs["x"]
    _, other = refused(prediction.Predict, request)
    assert two.startswith("input size does not match signature: 2!=1 len({x,z}) != len({x}). ")
    assert other == (
        "input tensor alias not found in signature: z. Inputs expected to be in the set {x}."
    )
    request = predict_request()
    request.output_filter.append("z")
    assert refused(prediction.Predict, request) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
    )


def test_examples_need_a_signature_for_them(prediction):
    request = identify(classification_pb2.ClassificationRequest(), signature="no")
    code, message = refused(prediction.Classify, with_examples(request))
    assert (code, message) == ("INVALID_ARGUMENT", "No signature was found with the name: no")
    for call, message in (
        (prediction.Classify, classification_pb2.ClassificationRequest()),
        (prediction.Regress, regression_pb2.RegressionRequest()),
    ):
        request = with_examples(identify(message))  # serving_default is for Predict
        assert refused(call, request)[0] == "INVALID_ARGUMENT"
    empty = identify(regression_pb2.RegressionRequest(), signature="regress")
    assert refused(prediction.Regress, empty) == ("INVALID_ARGUMENT", "Input is empty.")


# A list of models that changes


def reload_request(models, more, **texts):
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(
        CONFIG.format(models=models, more=more.format(models=models, **texts)), request.config
    )
    return request


def predicts(prediction, name):
    return prediction.Predict(predict_request(name=name), timeout=30).model_spec.version.value


def test_models_come_and_go_while_others_serve(prediction, service, models):
    over, answers = threading.Event(), []

    def load():
        while not over.is_set():
            answers.append(predicts(prediction, "half"))

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load)
        try:
            third = reload_request(models, OTHER, name="third")
            assert service.HandleReloadConfigRequest(third, timeout=60).status.error_code == 0
            assert predicts(prediction, "third") == 7
            wait_until(lambda: states(service, "other") == [(7, "END")])
            code, message = refused(prediction.Predict, predict_request(name="other"))
            assert (code, message) == ("NOT_FOUND", "Servable not found for request: Latest(other)")
            back = reload_request(models, OTHER, name="other")
            service.HandleReloadConfigRequest(back, timeout=60)
            assert predicts(prediction, "other") == 7
        finally:
            over.set()
        loading.result(60)
    assert len(answers) > 1
    assert set(answers) == {2}


def test_a_label_moves_to_a_version_that_is_available(prediction, service, models):
    request = reload_request(models, OTHER, name="other")
    half = request.config.model_config_list.config[0]
    half.version_labels["stable"] = 2
    half.version_labels["new"] = 5  # allowed by the flag, because nobody uses this label yet
    service.HandleReloadConfigRequest(request, timeout=60)
    stable = prediction.Predict(predict_request(label="stable"), timeout=30)
    assert stable.model_spec.version.value == 2
    code, message = refused(prediction.Predict, predict_request(label="new"))
    assert (code, message) == ("NOT_FOUND", "Servable not found for request: Specific(half, 5)")
    half.version_labels["stable"] = 3
    assert refused(service.HandleReloadConfigRequest, request) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 3 of model half, "
        "which is not currently available for inference",
    )
    service.HandleReloadConfigRequest(reload_request(models, OTHER, name="other"), timeout=60)
    stable = prediction.Predict(predict_request(label="stable"), timeout=30)
    assert stable.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (OTHER + OTHER, "Illegal to list model third multiple times in config list"),
        ('config {{ name: "a" base_path: "b" model_platform: "tensorflow" }}', "absolute path"),
        ('config {{ name: "a" base_path: "/b" }}', "Illegal setting neither"),
        ('config {{ name: "a" base_path: "/b" model_platform: "nosuch" }}', "nosuch"),
    ],
)
def test_a_bad_list_of_models_changes_nothing(prediction, service, models, more, message):
    request = reload_request(models, more, name="third")
    code, details = refused(service.HandleReloadConfigRequest, request)
    assert code == "INVALID_ARGUMENT"
    assert message in details
    assert predicts(prediction, "other") == 7


def test_a_reload_needs_a_list_of_models(service):
    request = model_management_pb2.ReloadConfigRequest()
    code, details = refused(service.HandleReloadConfigRequest, request)
    assert code == "INVALID_ARGUMENT"
    assert "Only ModelConfigList is currently supported" in details


def test_a_new_model_that_is_missing_or_broken_changes_nothing(
    request, prediction, service, models, tmp_path
):
    if LOCAL not in request.node.name:
        pytest.skip("the original waits for a missing model for ever")
    broken = 'config {{ name: "a" base_path: "{path}" model_platform: "tensorflow" }}'
    for folders, code, message in (
        ("no", "INVALID_ARGUMENT", "Could not find base path"),
        ("empty", "NOT_FOUND", "Unable to find a numerical version path for servable a at:"),
        ("broken/1", "UNKNOWN", "1 model(s) did not become available"),
    ):
        if folders != "no":
            (tmp_path / folders).mkdir(parents=True)
        path = tmp_path / folders.split("/")[0]
        bad = reload_request(models, broken + OTHER, path=path, name="third")
        found, details = refused(service.HandleReloadConfigRequest, bad)
        assert (found, message in details) == (code, True), details
        assert predicts(prediction, "other") == 7
        for absent in ("a", "third"):
            assert refused(prediction.Predict, predict_request(name=absent))[0] == "NOT_FOUND"


@pytest.mark.parametrize("executable", EXECUTABLES)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CONFIG.format(models="/m", more=""), "half, which is not currently available"),
        (CONFIG.format(models="m", more=""), "to have an absolute path or URI"),
        ("model_config_list { konfig {} }", "Invalid protobuf file"),
    ],
)
def test_a_bad_config_file_ends_the_start(executable, tmp_path, config, message):
    (tmp_path / "models.txt").write_text(config)
    flags = {"port": free_port(), "model_config_file": tmp_path / "models.txt"}
    command = [*find_executable(executable), *(f"--{name}={text}" for name, text in flags.items())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 255
    assert message in done.stdout + done.stderr
    if executable == LOCAL:
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("executable", EXECUTABLES)
def test_a_config_file_is_followed_and_a_new_version_taken(executable, models, tmp_path):
    wait = "0.1" if executable == LOCAL else "1"
    changes = {"file_system_poll_wait_seconds": wait, "model_config_file_poll_wait_seconds": wait}
    with (
        started(executable, models, tmp_path, **changes) as (process, address, _),
        grpc.insecure_channel(address) as channel,
    ):
        service = model_service_pb2_grpc.ModelServiceStub(channel)
        if executable == LOCAL:
            assert "Warmed up with 4 requests" in process.log.read_text()
        own = build_half_plus(tmp_path / "own", 3, 0.0)
        more = f'config {{ name: "own" base_path: "{own}" model_platform: "tensorflow" }}'
        config = tmp_path / "models.txt"
        config.write_text("model_config_list { config {")  # is refused, and logged
        wait_until(lambda: "models.txt" in process.log.read_text().rpartition("REST API")[2])
        config.write_text(CONFIG.format(models=models, more=more))
        wait_until(lambda: known(service, "own") == [(3, "AVAILABLE")])
        build_half_plus(tmp_path / "next", 4, 0.0)
        (tmp_path / "next" / "4").rename(own / "4")
        wait_until(lambda: known(service, "own") == [(4, "AVAILABLE"), (3, "END")])
        wait_until(lambda: known(service, "other") == [(7, "END")])
        config.write_text("")  # as while somebody writes it: no model is removed
        wait_until(lambda: "Cannot transition" in process.log.read_text())
        assert known(service, "half") == [(2, "AVAILABLE"), (1, "AVAILABLE")]


def known(service, name):
    with contextlib.suppress(grpc.RpcError):
        return states(service, name)


def wait_until(condition, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# REST


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("half", 2),
        ("half/versions/1", 1),
        ("half/labels/stable", 1),
        ("h%61lf/labels/can%61ry", 2),
        ("other", 7),
    ],
)
def test_rest_predict_by_row_and_by_column(rest, path, version):
    plus = PLUS["other" if path == "other" else "half", version]
    expected = [0.5 + plus, 1.5 + plus]
    for body, answer in (
        ('{"instances": [1.0, 3]}', {"predictions": expected}),
        ('{"instances": [{"x": 1.0}, {"x": 3}]}', {"predictions": expected}),
        ('{"inputs": [1.0, 3]}', {"outputs": expected}),
        ('{"inputs": {"x": [1.0, 3]}}', {"outputs": expected}),
    ):
        reply = rest(f"/v1/models/{path}:predict", body)
        assert (reply.status_code, reply.json()) == (200, answer)
        assert reply.headers["Content-Type"] == "application/json"


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


def test_rest_has_the_numbers_that_json_has_not(rest):
    reply = rest("/v1/models/half:predict", '{"instances": [NaN, Infinity, -Infinity, 0.2]}')
    nan, *others = json.loads(reply.text)["predictions"]
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf, 2.1]  # not 2.0999999046, as a float32 has as a double
    assert "NaN" in reply.text
    assert "-Infinity" in reply.text


def test_rest_classify_and_regress(rest):
    body = '{"signature_name": "%s", "examples": [{"x": 1.0}, {"x": [3.0]}]}'
    reply = rest("/v1/models/half:regress", body % "regress")
    assert reply.json() == {"results": [2.5, 3.5]}
    reply = rest("/v1/models/half/versions/1:classify", body % "classify")
    assert reply.json() == {
        "results": [[["low", -1.5], ["high", 1.5]], [["low", -2.5], ["high", 2.5]]]
    }
    shared = '{"signature_name": "regress", "context": {"x": 5.0}, "examples": [{}]}'
    assert rest("/v1/models/half:regress", shared).json() == {"results": [4.5]}


def test_rest_status_and_metadata(rest):
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    both = {"model_version_status": [{"version": "2", **available}, {"version": "1", **available}]}
    assert rest("/v1/models/half").json() == both
    one = {"model_version_status": [{"version": "1", **available}]}
    assert rest("/v1/models/half/versions/1").json() == one
    metadata = rest("/v1/models/half/labels/stable/metadata").json()
    assert metadata["model_spec"] == {"name": "half", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    x = signature["inputs"]["x"]
    assert (x["dtype"], x["name"]) == ("DT_FLOAT", "x:0")
    assert x["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("no:predict", '{"instances": [1]}', 404, "Servable not found for request: Latest(no)"),
        ("half/versions/9:predict", '{"instances": [1]}', 404, "Specific(half, 9)"),
        ("half/labels/no:predict", '{"instances": [1]}', 400, "Unrecognized servable version"),
        ("half:predict", '{"signature_name": "no", "instances": [1]}', 400, 'name: "no" not found'),
        ("half:predict", '{"signature_name": 1, "instances": [1]}', 400, "must be a string value"),
        ("half:predict", "", 400, "JSON Parse error: The document is empty"),
        ("half:predict", '{"instances": [1', 400, "JSON Parse error"),
        ("half:predict", "[1]", 400, "Is not object"),
        ("half:predict", "{}", 400, "Missing 'inputs' or 'instances' key"),
        ("half:predict", '{"instances": [1], "inputs": [1]}', 400, "expecting only one of"),
        ("half:predict", '{"instances": 1}', 400, "to be an list/array"),
        ("half:predict", '{"instances": []}', 400, "No values in"),
        ("half:predict", '{"instances": ["a"]}', 400, "is not of expected type: float"),
        ("half:predict", '{"instances": [true]}', 400, "is not of expected type: float"),
        ("half:predict", '{"instances": [{"z": 1}]}', 400, "does not have named input: z"),
        ("half:predict", '{"instances": [[1], 2]}', 400, "Failed to process element: 1"),
        ("half:predict", '{"inputs": [[1], [2, 3]]}', 400, "Encountered list at unexpected size"),
        ("half:predict", '{"inputs": {"z": [1]}}', 400, "Missing named input: x"),
        ("half:predict", '{"instances": [16777217]}', 400, "without loss of precision"),
        ("half:classify", '{"examples": []}', 400, "is an empty array"),
        ("half:classify", "{}", 400, "'examples' is expected and was not found"),
        ("half:regress", '{"examples": [1]}', 400, "Example must be JSON object"),
        ("half:regress", '{"signature_name": "no", "examples": [{"x": 1.0}]}', 400, "No signature"),
        ("half:nosuch", "{}", 400, "Malformed request: POST /v1/models/half:nosuch"),
        ("half", "{}", 400, "Malformed request: POST /v1/models/half"),
        ("no", None, 404, "Could not find any versions of model no"),
        ("half/versions/9", None, 404, "Could not find version 9 of model half"),
        ("no/metadata", None, 404, "Servable not found for request: Latest(no)"),
        ("half/nosuch", None, 400, "Malformed request: GET /v1/models/half/nosuch"),
        ("", None, 400, "Malformed request: GET /v1/models/"),
    ],
)
def test_rest_refuses_with_the_status_and_message_of_the_original(
    rest, path, body, status, message
):
    reply = rest(f"/v1/models/{path}", body)
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error"]
    assert message in reply.json()["error"]
    assert reply.headers["Content-Type"] == "application/json"


def test_rest_needs_a_name_and_serves_nothing_else(rest):
    reply = rest("/v1/models")
    assert (reply.status_code, reply.json()) == (400, {"error": "Missing model name in request."})
    assert rest("/nosuch").status_code == 404


def test_rest_keeps_the_connection_and_reads_gzip(server):
    connection = http.client.HTTPConnection(server[1].removeprefix("http://"), timeout=30)
    body = gzip.compress(b'{"instances": [1.0]}')
    for _ in range(3):
        connection.request("POST", "/v1/models/half:predict", body, {"Content-Encoding": "gzip"})
        socket = connection.sock
        reply = connection.getresponse()
        assert (reply.version, json.loads(reply.read())) == (11, {"predictions": [2.5]})
        assert connection.sock is socket
    connection.close()


# Metrics


def samples(rest):
    reply = rest(METRICS)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/plain")
    lines = reply.text.splitlines()
    assert any(line.startswith(f'{PREFIX}request_count{{model_name="half",') for line in lines)
    found = {}
    for family in text_string_to_metric_families(reply.text):
        for sample in family.samples if family.name.startswith(PREFIX) else ():
            name = sample.name.removeprefix(PREFIX).removesuffix("_total")  # the parser adds it
            found[name, *sample.labels.values()] = sample.value
    return found


def test_metrics_count_requests_and_their_times(rest, prediction):
    before = samples(rest)
    prediction.Predict(predict_request(), timeout=30)
    refused(prediction.Predict, predict_request(signature="no"))
    rest("/v1/models/half:predict", '{"instances": [1]}')
    request = identify(regression_pb2.RegressionRequest(), signature="regress")
    prediction.Regress(with_examples(request), timeout=30)
    rest("/v1/models/half")  # is no request to the model
    after = samples(rest)
    expected = {
        ("request_count", "half", "OK"): 3,
        ("request_count", "half", "FAILED_PRECONDITION"): 1,
        ("request_latency_count", "half", "Predict", "GRPC"): 1,
        ("request_latency_count", "half", "predict", "REST"): 1,
        ("request_latency_count", "half", "Regress", "GRPC"): 1,
        ("runtime_latency_count", "half", "Predict", "TF1"): 2,
        ("runtime_latency_count", "half", "Regress", "TF1"): 1,
        ("request_latency_bucket", "half", "Predict", "GRPC", "+Inf"): 1,
    }
    assert {key: after[key] - before.get(key, 0) for key in expected} == expected
    total = ("request_latency_sum", "half", "Predict", "GRPC")
    assert 0 < after[total] - before.get(total, 0) < 30e6  # microseconds
    limits = [
        float(key[-1]) for key in after if key[:3] == ("request_latency_bucket", "half", "Predict")
    ]
    assert limits[:4] == [10, 18, 32.4, 58.32]
    assert (len(limits), limits[-1]) == (34, math.inf)
