"""The `rrl` command: what it prints and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

from rrl import Client, read_profile
from rrl.cli import main
from rrl.serving.launcher import free_port


def lines(capsys):
    return capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["profile", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 0
    assert "usage: rrl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "COMMAND"),
        (["nosuch"], 2, "nosuch"),
        (["profile", "nosuch"], 2, "known: mobilenet_v2-threads"),
        (["profile", "x", "--model", "nosuch", "--rates", "1"], 2, "known: mobilenet_v2"),
        (["profile", "x", "--model", "keyword", "--rates", "fast"], 2, "--rates 'fast'"),
        (["profile", "x", "--model", "keyword", "--rates", "-1", "--knob", "inter_op=1"], 3, "-1"),
        (
            ["profile", "x", "--model", "keyword", "--rates", "5", "--knob", "inter_op"],
            2,
            "'inter_op'",
        ),
        (
            ["profile", "x", "--model", "keyword", "--rates", "5", "--knob", "inter_op=-2"],
            2,
            "inter_op=-2",
        ),
        (["profile", "x", "--model", "keyword", "--rates", "5"], 2, "at least one knob"),
        (["serve", "/nosuch/model"], 3, "holds no model version"),
        (["serve", "/nosuch/model", "--knob", "threads=1"], 2, "unknown knob 'threads'"),
    ],
)
def test_mistakes_end_with_one_line(arguments, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    (line,) = lines(capsys)
    assert line.startswith("rrl: ")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_plan_can_be_looked_at_before_it_runs(capsys):
    assert main(["profile", "mobilenet_v2-threads", "--list"]) == 0
    assert "96 configurations, 1152 episodes" in capsys.readouterr().out


def test_profile_records_and_resumes_on_a_real_server(tmp_path, monkeypatch):
    plan = ["--model", "keyword", "--knob", "batch_threads=0,2", "--rates", "40", "--requests", "8"]
    monkeypatch.chdir(tmp_path)
    arguments = ["profile", "small", *plan, "--passes", "1", "--finals", "0"]
    assert main(arguments) == 0
    profile = read_profile(tmp_path / "data" / "small")
    assert len(profile.table) == 2
    before = (tmp_path / "data/small/episodes.csv").read_bytes()
    assert main(arguments) == 0
    assert (tmp_path / "data/small/episodes.csv").read_bytes() == before


def test_serve_answers_until_it_is_interrupted(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "rrl.cli", "serve", "keyword", "--port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert f"127.0.0.1:{port}" in process.stdout.readline()
        with Client(f"127.0.0.1:{port}", "keyword") as client:
            reply = client.predict({"inputs": np.zeros((1, 16_000), np.int16)})
        assert next(iter(reply.values())).shape == (1, 12)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.communicate()
