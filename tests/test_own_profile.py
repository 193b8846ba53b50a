"""`rrl profile` on a SavedModel of one's own: recorded, continued, replayed."""

from __future__ import annotations

import json

import pytest
from test_own_model import BYTES, b64, build_words
from test_recording import recorded

from rrl.cli import main
from rrl.recording.plan import Plan
from rrl.recording.profile import read_profile
from rrl.recording.record import Recorder
from rrl.serving.launcher import LOCAL

FEW = ["--requests", "6", "--passes", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_words(tmp_path_factory.mktemp("own") / "words")


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.json"
    path.write_text(json.dumps({"instances": [b64(data) for data in BYTES[:1]]}))
    return path


def test_a_model_of_ones_own_is_profiled_and_replayed(model, sample, tmp_path, monkeypatch, capsys):
    """On real servers; a knob of text is a flag, and the recording goes on after a stop."""
    monkeypatch.chdir(tmp_path)
    grid = ["--knob", "flag:--enable_model_warmup=true,false", "--executable", LOCAL]
    arguments = ["profile", str(model), "--sample", str(sample), "--rates", "60", *FEW, *grid]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "_save", stop_after_the_first(Recorder._save))
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
    assert plan["about"]["sample"].startswith("sample.json (crc32 ")
    assert plan["about"]["model"].startswith("version 1, ")

    sample.write_text(json.dumps({"instances": [b64(b"other")]}))
    assert main(arguments) == 3
    assert "is from another plan" in capsys.readouterr().err

    short = ["--requests", "6", "--rounds", "2", "--episodes", "2", "--quiet", "--rate", "60"]
    assert main(["replay", "words", *short, "--out", "a"]) == 0


def stop_after_the_first(save):
    """Make a function that saves an episode, and is then interrupted."""

    def stop(self, values, why):
        save(self, values, why)
        if not why:
            raise KeyboardInterrupt("interrupted by the test")

    return stop


def test_text_levels_come_back_as_they_were(tmp_path):
    """Numbers stay numbers; text that looks like another kind of value stays text."""
    knobs = {"env:A": ("true", 1, "08", "0,1"), "cpus": (1, 2)}
    plan = Plan("m", knobs, (50.0,), requests=3, passes=1)
    recorded(tmp_path, plan=plan).finish()
    space = read_profile(tmp_path).space
    assert set(space.knobs[0].values) == {"true", 1, "08", "0,1"}
    assert set(space.knobs[1].values) == {1, 2}


def test_a_string_needs_a_request_as_an_example(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["profile", str(model), "--executable", LOCAL, "--knob", "inter_op=1,2"]
    assert main([*command, "--rates", "9"]) == 2
    assert "'image' is a string: give a request with" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
