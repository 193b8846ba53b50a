"""Models of one's own: their signatures, samples with bytes, and `rrl profile` on them."""

from __future__ import annotations

import base64
import json
import os
from unittest import mock

import numpy as np
import pytest
from clients import WARMUPS, X, dropped_interrupt, write_log, write_warmup
from probe import build_half_plus
from test_cli import said
from test_recording import recorded

from rrl.cli import main
from rrl.operating.requests import digest
from rrl.recording.plan import Plan
from rrl.recording.profile import read_profile
from rrl.recording.record import Recorder
from rrl.serving.launcher import LOCAL, ModelServer
from rrl.serving.loadgen import predict_request
from rrl.serving.sample import FILLED_BYTES, fit, read_sample, to_array
from rrl.serving.saved_model import saved_inputs
from rrl.support.errors import DataError, ServerError

BYTES = [b"\x00\xff\x00", b"", b"ab\x00"]  # zero bytes at the end are easily lost


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_half_plus(tmp_path_factory.mktemp("models") / "words", 1, 1.0)


def write(folder, content):
    path = folder / "sample.json"
    path.write_text(json.dumps(content))
    return path


# --- samples --------------------------------------------------------------------------------------


def test_bytes_of_a_sample_are_sent_unchanged(model, tmp_path):
    """In rows and in columns, with the input's name and without it."""
    for content in (
        {"instances": [b64(data) for data in BYTES]},
        {"instances": [{"image": b64(data)} for data in BYTES]},
        {"inputs": {"image": [b64(data) for data in BYTES]}},
        {"inputs": [b64(data) for data in BYTES], "signature_name": "length"},
        {"image": [b64(data) for data in BYTES]},
    ):
        (request,) = read_sample(write(tmp_path, content), "length")
        sent = predict_request(fit(request, saved_inputs(model / "1", "length")))
        assert to_array(sent.inputs["image"]).tolist() == BYTES


@pytest.mark.parametrize(
    ("signature", "content", "code", "message"),
    [
        ("nosuch", {"x": [1]}, 4, "no signature 'nosuch'; it has: echo, length, serving_default; "),
        ("length", None, 2, "input 'image' is a string: give a request with --sample"),
        ("serving_default", {"x": []}, 3, "a request without an example"),
        ("serving_default", {"x": [[1.0]]}, 4, "the model needs: x float32 (None,)"),
        ("serving_default", {"y": [1.0]}, 4, "the request has the inputs y; the model needs"),
    ],
)
@pytest.mark.parametrize("command", ["tune", "profile"])
def test_a_request_that_does_not_fit_the_model_starts_no_server(
    command, signature, content, code, message, model, tmp_path, capsys
):
    """The SavedModel tells."""
    words = [command, str(model), "--signature", signature, "--knob", "inter_op=1,2"]
    words += ["--rate", "9"] if command == "tune" else ["--rates", "9"]
    words += ["--sample", str(write(tmp_path, content))] if content else []
    found, line = said([*words, "--executable", LOCAL, "--out", str(tmp_path / "out")], capsys)
    assert found == code
    assert message in line
    assert not (tmp_path / "out").exists()


def test_the_predict_requests_for_a_warm_up_are_a_sample(tmp_path):
    """TensorFlow Serving replays requests of other kinds, too."""
    from tensorflow_serving.apis import prediction_log_pb2

    other = prediction_log_pb2.PredictionLog()
    other.classify_log.request.model_spec.name = "probe"
    records = write_warmup(tmp_path, "probe", X, other)
    requests = read_sample(records)
    assert [request["x"].tolist() for request in requests] == [X["x"].tolist()] * WARMUPS
    with pytest.raises(DataError, match=r"no request for the signature 'both'.*serving_default"):
        read_sample(records, "both")
    records.write_bytes(records.read_bytes()[:-5])
    with pytest.raises(DataError, match="not a TFRecord file"):
        read_sample(records)


def rest(content):
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[" * 10**6, "nested too deeply"),
        (rest([1, 2]), "write"),
        (rest({}), "no request in it"),
        (rest({"x": [[1, 2], [3]]}), "'x' is not an array"),
        (rest({"instances": []}), "at least one"),
        (rest({"instances": [1], "inputs": [1]}), "leave one of them out"),
        (rest({"instances": [{"x": 1}, 2]}), "instance 1 has not the same inputs"),
        (rest({"inputs": {"x": [{"b64": "?"}]}}), "'x' is not an array: .* base 64"),
        (rest({"inputs": {"x": [b64(b"a"), 1]}}), "'x' is not an array"),
        (rest({"inputs": {"x": [1]}, "signature_name": "both"}), "choose it by --signature"),
    ],
)
def test_a_bad_sample_file_is_refused(content, words, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json.*{words}"):
        read_sample(path)


def test_a_large_message_may_send_its_values():
    """A small one may not promise so many, as the example of `to_array` shows."""
    import tensorflow as tf

    whole = np.zeros((FILLED_BYTES // 4, 2), np.float32)
    assert to_array(tf.make_tensor_proto(whole)).shape == whole.shape


def test_a_value_that_is_too_large_for_its_type_is_refused(tmp_path):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.uint8(1)))
    log.predict_log.request.inputs["x"].int_val[0] = 300
    with pytest.raises(DataError, match=r"requests: .*300 out of bounds for uint8"):
        read_sample(write_log(tmp_path / "requests", log))


def test_other_variables_are_another_model_even_if_their_folder_is_a_link(tmp_path):
    version, shared = tmp_path / "1", tmp_path / "shared"
    version.mkdir()
    shared.mkdir()
    (version / "saved_model.pb").write_bytes(b"graph")
    (version / "variables").symlink_to(shared)
    digests = set()
    for weights in (b"old", b"new"):
        (shared / "variables.data").write_bytes(weights)
        digests.add(digest(version))
    assert len(digests) == 2


# --- `rrl profile` --------------------------------------------------------------------------------


def test_a_model_of_ones_own_is_profiled_and_replayed(model, tmp_path, monkeypatch, capsys):
    """On real servers; a knob of text is a flag, and the recording goes on after a stop.

    Python drops the interrupt, so the recording ends before its next episode.
    """
    monkeypatch.chdir(tmp_path)
    sample, save = write(tmp_path, {"instances": [b64(BYTES[0])]}), Recorder._save
    grid = ["--knob", "flag:--enable_model_warmup=true,false", "--executable", LOCAL]
    few = ["--rates", "60", "--requests", "6", "--passes", "1"]
    chosen = ["--signature", "length", "--sample", str(sample)]
    arguments = ["profile", str(model), *chosen, *few, *grid]

    def stop_after_the_first(self, key, values, why):
        save(self, key, values, why)
        if not why:
            dropped_interrupt()

    with mock.patch.object(Recorder, "_save", stop_after_the_first):
        assert main(arguments) == 130
    folder = tmp_path / "data" / "words"
    first = (folder / "episodes.csv").read_bytes()
    assert first.count(b"\n") == 2
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert "words: 2 configurations, 2 episodes, about " in err
    assert (folder / "episodes.csv").read_bytes().startswith(first)
    profile = read_profile(folder)
    knob = profile.space.knobs[0]
    assert (knob.name, sorted(knob.values)) == ("flag:--enable_model_warmup", ["false", "true"])
    plan = profile.description["plan"]
    assert plan["model"] == "words"
    assert plan["about"]["sample"].startswith("sample.json (sha256 ")
    assert plan["about"]["model"].startswith("version 1, ")

    write(tmp_path, {"instances": [b64(b"other")]})
    assert main(arguments) == 3
    assert "is from another plan" in capsys.readouterr().err

    short = ["--requests", "6", "--rounds", "2", "--episodes", "2", "--quiet", "--rate", "60"]
    assert main(["replay", "words", *short, "--out", "a"]) == 0


def test_text_levels_come_back_as_they_were(tmp_path):
    """Numbers stay numbers; text that looks like another kind of value stays text."""
    knobs = {"env:A": ("true", 1, "08", "0,1"), "cpus": (1, 2)}
    plan = Plan("m", knobs, (50.0,), requests=3, passes=1)
    space = read_profile(recorded(tmp_path, plan=plan)).space
    assert set(space.knobs[0].values) == {"true", 1, "08", "0,1"}
    assert set(space.knobs[1].values) == {1, 2}


def test_a_model_with_damaged_variables_is_explained(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(tf.ones([99]))
    module.sum = tf.function(lambda: {"y": tf.reduce_sum(module.weights)}, input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "mine" / "1"), {"serving_default": module.sum})
    (values,) = (tmp_path / "mine" / "1" / "variables").glob("*.data-*")
    os.truncate(values, 9)
    server = ModelServer(tmp_path / "mine", {"inter_op": 1}, executable=LOCAL)
    with pytest.raises(ServerError, match=r"ended with status 255; .*: Read less bytes than"):
        server.start()
