"""Models of one's own: signatures, deadlines, REST samples with bytes, traces played faster."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrl.cli import main
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.journal import JOURNAL
from rrl.operating.requests import model_digest
from rrl.serving.launcher import LOCAL
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client
from rrl.serving.sample import fit, read_sample
from rrl.serving.saved_model import saved_inputs
from rrl.support.errors import DataError, ServerError
from rrl.tuning.episode import Status
from rrl.workloads.trace import Trace

BYTES = [b"\x00\xff\x00", b"", b"ab\x00"]  # zero bytes at the end are easily lost


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def build_words(base: Path) -> Path:
    """A model with a signature of bytes, whose answer is their length, and one of two inputs."""
    import tensorflow as tf

    class Words(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
        def length(self, image):
            return {"length": tf.strings.length(image)}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.float32, name="x"),
                tf.TensorSpec([None], tf.int32, name="k"),
            ]
        )
        def both(self, x, k):
            return {"y": tf.reduce_sum(x, axis=1) + tf.cast(k, tf.float32)}

    words = Words()
    signatures = {"serving_default": words.length, "both": words.both}
    tf.saved_model.save(words, str(base / "1"), signatures=signatures)
    return base


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_words(tmp_path_factory.mktemp("models") / "words")


def write(folder, content):
    path = folder / "sample.json"
    path.write_text(json.dumps(content))
    return path


# --- samples --------------------------------------------------------------------------------------


def test_bytes_reach_a_real_model_unchanged(model, tmp_path):
    """Bytes in rows and in columns, with the input's name and without it; then with text."""
    forms = [
        {"instances": [b64(data) for data in BYTES]},
        {"instances": [{"image": b64(data)} for data in BYTES]},
        {"inputs": {"image": [b64(data) for data in BYTES]}},
        {"inputs": [b64(data) for data in BYTES], "signature_name": "serving_default"},
        {"image": [b64(data) for data in BYTES]},
    ]
    requests = [request for form in forms for request in read_sample(write(tmp_path, form))]
    requests += read_sample(write(tmp_path, {"instances": ["é", "", "abc"]}))
    space, rng = ConfigSpace([Knob("inter_op", (1,))]), np.random.default_rng(0)
    with LiveServer(model, space, inputs=requests, executable=LOCAL, warmup=6) as server:
        episode = server.measure({"inter_op": 1}, np.zeros(len(requests)), rng)
        assert episode.ok.all()
        running = server.configure({"inter_op": 1}, rng)
        with Client(running.address, "words") as client:
            for request in requests[:5]:
                fitted = fit(request, saved_inputs(model / "1", "serving_default"))
                assert client.predict(fitted)["length"].tolist() == [3, 0, 3]


@pytest.mark.long
def test_another_signature_is_called_and_a_deadline_counts(model, tmp_path):
    path = write(tmp_path, {"instances": [{"x": [1, 2], "k": 3}, {"x": [4, 5], "k": 6}]})
    (request,) = read_sample(path)
    assert request == {"x": [[1, 2], [4, 5]], "k": [3, 6]}
    options = [
        "tune", str(model), "--executable", LOCAL, "--sample", str(path), "--rate", "60",
        "--requests", "5", "--episodes", "1", "--rounds", "2", "--knob", "inter_op=1,2",
        "--quiet", "--json", "--out",
    ]  # fmt: skip
    assert main([*options, str(tmp_path / "a"), "--signature", "both", "--deadline", "20"]) == 0
    first = json.loads((tmp_path / "a" / JOURNAL).read_text().splitlines()[0])
    assert first["settings"]["signature"] == "both"
    assert first["settings"]["deadline"] == 20.0
    assert sorted((tmp_path / "a" / "logs").glob("words-*.log"))
    space, rng = ConfigSpace([Knob("inter_op", (1, 2))]), np.random.default_rng(0)
    given = {"inputs": request, "executable": LOCAL, "warmup": 0, "signature": "both"}
    with LiveServer(model, space, timeout_s=1e-6, **given) as server:
        episode = server.measure({"inter_op": 1}, [0.0], rng)
        assert episode.status.tolist() == [Status.DEADLINE_EXCEEDED]
    with (
        LiveServer(model, space, **given | {"signature": "nosuch"}) as server,
        pytest.raises(ServerError, match=r"no signature 'nosuch'; it has: both, serving_default; "),
    ):
        server.configure({"inter_op": 1}, rng)


def test_a_wrong_signature_costs_no_start_and_can_be_corrected(
    model, tmp_path, capsys, monkeypatch
):
    """The SavedModel tells; and in the same folder, the right options begin the run."""
    path = write(tmp_path, {"instances": [{"x": [1, 2], "k": 3}]})
    options = [
        "tune", str(model), "--sample", str(path), "--rate", "60",
        "--requests", "5", "--episodes", "1", "--rounds", "2", "--knob", "inter_op=1,2",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    monkeypatch.setattr("rrl.serving.launcher.shutil.which", lambda name: None)
    assert main(options) == 4
    assert "the sample has the inputs k, x; the model needs: image" in capsys.readouterr().err
    assert main([*options, "--signature", "nosuch"]) == 4
    err = capsys.readouterr().err
    assert f"{model}: the model has no signature 'nosuch'; it has: both, serving_default; " in err
    assert not (tmp_path / "out").exists()
    assert main([*options, "--signature", "both"]) == 0
    out, err = capsys.readouterr()
    assert "no tensorflow_model_server on the PATH: the local server of rrl" in err
    assert "recommended: inter_op 0 (the default)\n  mean " in out


def test_records_for_other_signatures_are_left_out(tmp_path):
    from rrl.serving.models import WARMUPS, write_warmup

    (tmp_path / "1" / "assets.extra").mkdir(parents=True)
    records = write_warmup(tmp_path / "1", "words", {"x": np.ones((1, 2), np.float32)})
    assert len(read_sample(records)) == WARMUPS
    with pytest.raises(DataError, match=r"no request for the signature 'both'.*serving_default"):
        read_sample(records, "both")


@given(
    st.lists(
        st.fixed_dictionaries(
            {"a": st.lists(st.integers(-9, 9), min_size=2, max_size=2), "b": st.binary()}
        ),
        min_size=1,
    )
)
def test_rows_and_columns_are_the_same_request(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("samples")
    coded = [row | {"b": b64(row["b"])} for row in rows]
    columns = {name: [row[name] for row in coded] for name in ("a", "b")}
    (one,) = read_sample(write(folder, {"instances": coded}))
    (two,) = read_sample(write(folder, {"inputs": columns}))
    signature = {"a": ("int64", (-1, 2)), "b": ("string", (-1,))}
    for request in (one, two):
        fitted = fit(request, signature)
        assert fitted["a"].tolist() == [row["a"] for row in rows]
        assert fitted["b"].tolist() == [row["b"] for row in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "write"),
        ({"instances": []}, "at least one"),
        ({"instances": {"x": 1}}, "must be a list"),
        ({"instances": [1], "inputs": [1]}, "leave one of them out"),
        ({"instances": [{"x": 1}, {"y": 1}]}, "instance 1 has not the same inputs"),
        ({"instances": [{"x": 1}, 2]}, "instance 1 has not the same inputs"),
        ({"instances": [[1], [1, 2]]}, "the input is not an array"),
        ({"inputs": {"x": [[b64(b"a")], [b64(b"a"), b64(b"b")]]}}, "'x' is not an array"),
        ({"inputs": {"x": [{"b64": "?"}]}}, "'x' is not an array"),
        ({"inputs": {"x": [b64(b"a"), 1]}}, "'1' beside bytes"),
        ({"inputs": {"x": [1]}, "signature_name": "both"}, "choose it by --signature"),
    ],
)
def test_a_bad_rest_sample_is_refused(content, message, tmp_path):
    with pytest.raises(DataError, match=message) as error:
        read_sample(write(tmp_path, content))
    assert "sample.json" in str(error.value)


def test_an_input_without_a_name_needs_a_model_with_one_input(tmp_path):
    (request,) = read_sample(write(tmp_path, {"instances": [1.0, 2.0]}))
    assert fit(request, {"x": ("float32", (-1,))})["x"].tolist() == [1.0, 2.0]
    with pytest.raises(ServerError, match=r"the inputs \(no names\); the model needs: x.*, y"):
        fit(request, {"x": ("float32", (-1,)), "y": ("float32", (-1,))})


# --- traces ---------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 1e6), min_size=2, unique=True).filter(lambda t: max(t) - min(t) > 1e-3),
    st.floats(0.01, 100),
)
def test_a_faster_trace_keeps_the_pattern(times, speed):
    trace = Trace(times)
    assert trace.faster(speed).times * speed == pytest.approx(trace.times)
    assert trace.faster(speed).rate == pytest.approx(speed * trace.rate)


def test_a_trace_is_played_faster_on_request(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("".join(f"{i / 10}\n" for i in range(300)))
    arguments = ["replay", "cpu2", "--trace", "t.csv", "--agent", "random", "--quiet", "--json"]
    few = ["--episodes", "6", "--requests", "30", "--rounds", "2", "--out"]
    loads = []
    for folder, more in (("a", []), ("b", ["--speed", "2.5"])):
        assert main([*arguments, *few, folder, *more]) in (0, 5)
        loads.append(json.loads(capsys.readouterr().out)["load_per_s"])
    assert loads[1] == pytest.approx(2.5 * loads[0])
    assert main([*arguments, *few, "b"]) == 2  # another load than that of the journal


def test_other_variables_are_another_model_even_if_their_folder_is_a_link(tmp_path):
    version, shared = tmp_path / "1", tmp_path / "shared"
    version.mkdir()
    shared.mkdir()
    (version / "saved_model.pb").write_bytes(b"graph")
    (version / "variables").symlink_to(shared)
    digests = set()
    for weights in (b"old", b"new"):
        (shared / "variables.data").write_bytes(weights)
        digests.add(model_digest(version))
    assert len(digests) == 2
