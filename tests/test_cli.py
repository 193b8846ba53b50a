"""The `rrl` command: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from argparse import Namespace

import pytest

from rrl import read_profile
from rrl.cli import main
from rrl.operating.knob_options import read_space
from rrl.support.versions import version


def lines(capsys):
    return capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize("command", ["", "profile", "tune", "stop", "replay", "race"])
def test_help(command, capsys):
    arguments = [*command.split(), "--help"]
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
        (["profile", "x", "--model", "nosuch", "--rates", "1"], 3, "known model (mobilenet_v2"),
        (["profile", "x", "--model", "keyword", "--rates", "fast"], 2, "--rates 'fast'"),
        (["profile", "x", "--model", "keyword", "--rates", "-1", "--knob", "inter_op=1"], 2, "-1"),
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
        (["tune"], 2, "the following arguments are required: MODEL"),
        (["tune", "keyword"], 2, "give the load: --rate"),
        (["tune", "keyword", "--rate", "0"], 2, "rate 0.0 requests/s"),
        (["tune", "keyword", "--rate", "-3"], 2, "rate -3.0 requests/s"),
        (["tune", "keyword", "--rate", "nan"], 2, "rate nan requests/s"),
        (["tune", "keyword", "--rate", "9", "--trace", "x.csv"], 2, "give one of them"),
        (["tune", "keyword", "--trace", "nosuch.csv"], 3, "nosuch.csv"),
        (["tune", "keyword", "--rate", "9", "--slo", "p99"], 2, "write it as p99<50ms"),
        (["tune", "keyword", "--rate", "9", "--objective", "speed"], 2, "unknown objective"),
        (["tune", "keyword", "--rate", "9", "--agent", "nosuch"], 2, "unknown agent 'nosuch'"),
        (["tune", "keyword", "--rate", "9", "--episodes", "0"], 2, "episodes must be at least 1"),
        (["tune", "keyword", "--rate", "9", "--episodes", "1.5"], 2, "1.5"),
        (["tune", "keyword", "--rate", "9", "--seed", "-1"], 2, "seed must be at least 0"),
        (["tune", "keyword", "--rate", "9", "--seed", "1" * 30], 2, "too large"),
        (["tune", "keyword", "--rate", "9", "--knob", "thraeds=1,2"], 2, "knob 'thraeds'"),
        (["tune", "keyword", "--rate", "9", "--knob", "inter_op=2"], 2, "nothing to tune"),
        (["tune", "keyword", "--rate", "9", "--knob", "inter_op=-1,2"], 2, "inter_op=-1,2"),
        (["tune", "keyword", "--rate", "9", "--knob", "inter_op=1.5,2"], 2, "inter_op=1.5,2"),
        (["tune", "keyword", "--rate", "9", "--knob", "max_batch_size=1,4"], 2, "no effect"),
        (["tune", "keyword", "--rate", "9", "--nosuch"], 2, "--nosuch"),
        (["tune", "/nosuch/model", "--rate", "9"], 3, "it needs /nosuch/model/1/"),
        (["replay", "nosuch"], 2, "unknown source 'nosuch'; known: cpu2"),
        (["replay", "cpu2"], 2, "give the load: --rate"),
        (["replay", "cpu2", "--rate", "9", "--default", "inter_op=99"], 2, "inter_op"),
        (["tune", "keyword", "--rate", "9", "--default", "threads=1"], 2, "a value for each of"),
        (["tune", "keyword", "--rate", "9", "--sample", "no.npz"], 3, "no.npz"),
    ],
)
def test_mistakes_end_with_one_line(arguments, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    (line,) = lines(capsys)
    assert line.startswith("rrl: ")
    assert message in line
    assert not list(tmp_path.iterdir())


TABLE = """threads,batch,p99
1,1,0.3
1,16,0.42
2,1,0.18
4,1,0.11
4,16,0.16
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine é {1}.csv"  # a path may have spaces, braces and accents
    path.write_text(TABLE)
    return path


def test_replay_of_ones_own_table(table, capsys):
    arguments = ["replay", str(table), "--cost", "p99", "--agent", "rrl", "--quiet"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("recommended: threads 4, batch 1\n")
    ratio = "ratio within a round: median 0.37 (95 % interval 0.37 to 0.37); better\n"
    assert f"against 0.3 by default (medians of 8 rounds); {ratio}" in out
    (folder,) = table.parent.glob("build/tune/*")
    names = {"journal.jsonl", "result.json", "tuning.png", "tuning.pdf"}
    assert {path.name for path in folder.iterdir()} == names


def test_a_run_of_another_version_of_its_agent_is_refused(table, capsys, monkeypatch):
    arguments = ["replay", str(table), "--cost", "p99", "--quiet", "--out", "out"]
    assert main(arguments) == 0
    monkeypatch.setattr("rrl.operating.operate.version", lambda name: version(name) + 1)
    capsys.readouterr()
    assert main(arguments) == 3
    (line,) = capsys.readouterr().err.splitlines()
    now = version("agent rrl-gp")
    refusal = f"is of version {now} of the agent, and this is version {now + 1}: finish that run"
    assert refusal in line
    assert "or begin a new run in another folder" in line


INTERRUPTS = """
import signal
import sys


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "rrl.operating.operate":
            exec("signal.raise_signal(signal.SIGINT); [0 for _ in range(9)]")


sys.meta_path.insert(0, Finder())
"""


def test_an_interrupt_in_the_middle_of_an_import_has_its_exit_code(tmp_path):
    """The definition of a dataclass is code that Python has as text."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    words = ["replay", "cpu2", "--rate", "115", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "rrl.cli", *words],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines()[-1].startswith("rrl: interrupted")
    assert done.returncode == 130


def test_json_is_one_object_on_stdout_and_the_same_again(table, capsys):
    arguments = ["replay", str(table), "--cost", "p99", "--agent", "rrl", "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["recommended"] == {"threads": 4, "batch": 1}
    assert "episode 60/60: " in err
    assert main(arguments) == 0  # all of it is in the journal
    assert json.loads(capsys.readouterr().out) == result


def test_a_journal_of_another_table_is_refused(table, capsys):
    arguments = ["replay", str(table), "--cost", "p99", "--agent", "rrl", "--quiet"]
    assert main(arguments) == 0
    table.write_text(TABLE.replace("0.18", "0.19"))
    capsys.readouterr()
    assert main(arguments) == 2
    assert "is of a run of 'mine é {1}.csv (crc32 " in lines(capsys)[0]


def test_crlf_and_windows_line_ends_are_accepted(table, capsys):
    table.write_bytes(TABLE.replace("\n", "\r\n").encode())
    assert main(["replay", str(table), "--cost", "p99", "--agent", "rrl", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.replace(b"p99", b"latency"), "no column 'p99', it has threads, batch"),
        (lambda b: b.replace(b"0.18", b'"0,18"'), "line 4: p99 is '0,18'.*decimals with a point"),
        (lambda b: b.replace(b"0.18", b"nan"), "line 4: p99 is 'nan'"),
        (lambda b: b.replace(b"0.18", b"inf"), "line 4: p99 is 'inf'"),
        (lambda b: b.replace(b"0.18", b"-0.18"), "line 4: p99 is '-0.18'"),
        (lambda b: b.replace(b"0.18", b"\xff"), "not UTF-8 at byte"),
        (lambda b: b.replace(b"2,1,", b"2,1,7,8,9,"), "no table of comma-separated values"),
        (lambda b: b"", "no table of comma-separated values"),
    ],
)
def test_a_bad_table_is_refused_with_line_and_value(change, message, table, capsys):
    table.write_bytes(change(TABLE.encode()))
    assert main(["replay", str(table), "--cost", "p99", "--agent", "rrl"]) == 3
    (line,) = lines(capsys)
    assert re.search(message, line), line
    assert not (table.parent / "build").exists()


def test_a_missed_slo_is_five(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["replay", "cpu2", "--rate", "115", "--slo", "mean<1ms", "--agent", "rrl"]
    assert main([*arguments, "--episodes", "10", "--rounds", "5", "--quiet"]) == 5
    out, err = capsys.readouterr()
    assert "SLO mean<1ms: missed" in out
    assert "lower the load, add cores" in err


def test_a_trace_that_is_too_short_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("".join(f"{i / 10}\n" for i in range(300)))
    arguments = ["replay", "cpu2", "--trace", "t.csv", "--agent", "rrl", "--quiet"]
    assert main(arguments) == 2
    assert "holds 300 requests and the run needs 6100: lower --episodes" in lines(capsys)[0]
    few = ["--episodes", "9", "--requests", "30", "--rounds", "10"]
    assert main([*arguments, *few]) == 0


def test_a_plan_can_be_looked_at_before_it_runs(capsys):
    assert main(["profile", "mobilenet_v2-threads", "--dry-run"]) == 0
    first, *plan = capsys.readouterr().out.splitlines()
    assert "96 configurations, 1152 episodes" in first
    assert plan[0] == "  inter_op: 1, 2, 3, 4"
    assert "  loads: 60, 115, 165 requests/s" in plan


def test_a_value_that_begins_with_a_dash_is_explained(capsys):
    assert main(["tune", "keyword", "--rate", "20", "--default", "--x=8"]) == 2
    assert "begins with a dash as --default=VALUE" in lines(capsys)[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for commands that make the model that they name."""
    return tmp_path_factory.mktemp("place")


@pytest.mark.long
def test_profile_records_and_resumes_on_a_real_server(place, monkeypatch):
    plan = ["--model", "keyword", "--knob", "batch_threads=0,2", "--rates", "40", "--requests", "8"]
    monkeypatch.chdir(place)
    arguments = ["profile", "small", *plan, "--passes", "1", "--finals", "0"]
    assert main(arguments) == 0
    profile = read_profile(place / "data" / "small")
    assert len(profile.table) == 2
    before = (place / "data/small/episodes.csv").read_bytes()
    assert main(arguments) == 0
    assert (place / "data/small/episodes.csv").read_bytes() == before


def test_tuned_thread_counts_are_in_the_order_of_their_effect():
    """Batching off is no neighbour of one batch thread: a region would join what is least alike."""
    knobs = ["batch_threads=0,1,4", "inter_op=2"]
    space, fixed = read_space(Namespace(knob=knobs), 1)
    assert space.knobs[0].positions == (2.0, 0.0, 1.0)
    assert fixed == {"inter_op": 2}


def test_a_batch_must_hold_the_largest_request():
    """A sample of 4 examples: no smaller value is a candidate, with a knob for it or without."""
    knobs = ["batch_threads=0,2", "max_batch_size=1,2,4,8"]
    space, _ = read_space(Namespace(knob=knobs), 4)
    assert {c["max_batch_size"] for c in space} == {4, 8}
    _, fixed = read_space(Namespace(knob=knobs[:1]), 4)
    assert fixed == {"max_batch_size": 4}
    with pytest.raises(ValueError, match=r"max_batch_size 2: .* of 4 examples"):
        read_space(Namespace(knob=["batch_threads=0,2", "max_batch_size=1,2"]), 4)
