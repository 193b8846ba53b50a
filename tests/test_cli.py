"""The `rrl` command: what it prints and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rrl import __version__
from rrl.cli import main
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.journal import JOURNAL
from rrl.operating.knobs import knob, own_default, read_space
from rrl.operating.racing import read_table
from rrl.operating.report import PAGE
from rrl.serving.quiet import quiet
from rrl.serving.settings import flags, read_batching
from rrl.support.errors import DataError, ServerError, UnstableError, UsageError, command
from rrl.support.provenance import Version, known
from rrl.tuning.presets import THREADS

TABLE_OF_MISTAKES = Path(__file__).with_name("mistakes.yaml").read_text(encoding="utf-8")
MISTAKES = [
    (code, line, words)
    for code, lines in yaml.safe_load(TABLE_OF_MISTAKES).items()
    for line, words in lines.items()
]


@pytest.mark.parametrize(("code", "command", "words"), MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(
    code, command, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found, line = said(shlex.split(command), capsys)
    assert found == code
    assert words in line
    assert not list(tmp_path.iterdir())


def test_a_replay_has_a_report_and_only_the_same_run_goes_on(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "mine é {1}"  # a path may have spaces, braces and accents
    arguments = [*REPLAY, "--rate", "115", "--out", str(folder)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("recommended: inter_op ")
    assert {path.name for path in folder.iterdir()} == {JOURNAL, PAGE, "result.json"}

    result = (folder / "result.json").read_bytes()
    assert main(arguments) == 0  # all of it is in the journal
    assert capsys.readouterr().out == out
    assert (folder / "result.json").read_bytes() == result

    code, line = said([*arguments[:1], "cpu10", *arguments[2:]], capsys)
    assert code == 2
    assert "is of a run of 'cpu2', not 'cpu10': continue it" in line
    now = known()["agent rrl"].number
    new = {"agent rrl": Version(now + 1, "")}
    monkeypatch.setattr("rrl.operating.job.known", lambda: new)
    code, line = said(arguments, capsys)
    assert code == 2
    assert f"with agent_version {now}, not {now + 1}: continue it with the same options of" in line
    assert "the same version of rrl, or choose another folder" in line


INTERRUPTS = """
import signal
import sys


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "rrl.operating.operate":
            exec("signal.raise_signal(signal.SIGINT); [0 for _ in range(9)]")


sys.meta_path.insert(0, Finder())
"""


def test_a_line_is_said_once_also_after_a_model_was_saved(monkeypatch):
    """TensorFlow logs by the root logger then, which gives the root a handler of its own."""
    monkeypatch.setattr(logging.root, "handlers", [])
    with quiet():
        logging.info("Fingerprint not found.")
    assert logging.root.handlers == []


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


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"rrl {__version__}\n"


def test_a_missed_slo_is_five(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*REPLAY, "--rate", "115", "--slo", "p50<1ms"]) == 5
    out, err = capsys.readouterr()
    assert "SLO p50<1ms: missed by the default configuration" in out
    assert "SLO p50<1ms missed: " in err


def test_a_trace_that_is_too_short_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("".join(f"{i / 10}\n" for i in range(300)))
    arguments = ["replay", "cpu2", "--trace", "t.csv", "--agent", "rrl", "--quiet"]
    code, line = said(arguments, capsys)
    assert code == 2
    assert "holds 300 requests and the run needs 6100: lower --episodes" in line
    few = ["--episodes", "9", "--requests", "30", "--rounds", "10"]
    assert main([*arguments, *few]) == 0


def test_a_plan_can_be_looked_at_before_it_runs(capsys):
    assert main(["profile", "mobilenet_v2-threads", "--dry-run"]) == 0
    first, *plan = capsys.readouterr().out.splitlines()
    assert "96 configurations, 1152 episodes" in first
    assert plan[0] == "  inter_op: 1, 2, 3, 4"
    assert "  loads: 60, 115, 165 requests/s" in plan


# --- whatever goes wrong --------------------------------------------------------------------------

CASES = [
    (UsageError("no agent 'x'; use one of a, b"), 2, "rrl: no agent 'x'; use one of a, b\n"),
    (DataError("t.csv: row 3:\n  NaN"), 3, "rrl: t.csv: row 3: NaN\n"),
    (ServerError("127.0.0.1:8500 does not answer"), 4, "rrl: 127.0.0.1:8500 does not answer\n"),
    (UnstableError("two passes differ"), 5, "rrl: two passes differ\n"),
    (KeyboardInterrupt(), 130, "rrl: interrupted\n"),
    (ValueError("radius must be 0 or more, got -1"), 2, "rrl: radius must be 0 or more, got -1\n"),
    (FileNotFoundError(2, "No such", "a b.csv"), 3, "rrl: a b.csv: No such; check the path\n"),
    (IsADirectoryError(21, "Is a directory", "x"), 3, "rrl: x: Is a directory; give a file\n"),
    (OSError(27, "File too large", "x"), 3, "rrl: x: File too large; make room and run it again"),
    (OSError(30, "Read-only", "x"), 3, "rrl: x: Read-only; choose another folder\n"),
    (ModuleNotFoundError("No module named 'x'"), 2, "rrl: No module named 'x'; `make env`"),
    (KeyError("oops"), 1, "rrl: KeyError: 'oops' (RRL_TRACEBACK=1 shows where)\n"),
]


@pytest.mark.parametrize(("error", "code", "line"), CASES, ids=lambda case: type(case).__name__)
def test_an_error_is_one_line_and_a_code(error, code, line, capsys, monkeypatch):
    @command
    def failing(argv=None):
        raise error

    assert failing([]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1
    monkeypatch.setenv("RRL_TRACEBACK", "1")
    with pytest.raises(type(error)):
        failing([])


LINES = """
import sys
from rrl.operating.log import LOG, show
from rrl.support.errors import command


def main(argv=None):
    show(quiet=False)
    for _ in range(10**5):
        {say}("line")
    print("done")


sys.exit(command(main)([]))
"""


@pytest.mark.parametrize(
    ("say", "read", "first", "rest"),
    [
        ("print", "stdout", rb"line", b""),
        ("LOG.info", "stderr", rb"\d\d:\d\d:\d\d line", b"done\n"),  # it goes on to its end
    ],
)
def test_a_reader_that_has_seen_enough_is_no_error(say, read, first, rest):
    """As with `| head -1`, or `2>&1 | head -1`."""
    reader, writer = os.pipe()
    pipes = {"stdout": -1, "stderr": -1, read: writer}
    process = subprocess.Popen([sys.executable, "-c", LINES.format(say=say)], **pipes)
    os.close(writer)
    assert re.match(first, os.read(reader, 99))
    os.close(reader)
    assert rest in process.communicate()
    assert process.returncode == 0


# --- how a configuration is written: knobs, flags, variables, and the file for batching -----------


def test_spaces_and_remarks_in_a_file_change_nothing():
    text = "max_batch_size{value:8}# { value: 4 }\n\n num_batch_threads  {\n value : 2 }"
    assert read_batching(text) == {"max_batch_size": 8, "num_batch_threads": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_bach_size { value: 1 }", "max_bach_size"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros"),
        ("allowed_batch_sizes: 4", "allowed_batch_sizes"),
        ("max_batch_size {", "batching parameters file"),
    ],
)
def test_bad_files(text, message):
    with pytest.raises(ValueError, match=message):
        read_batching(text)


def test_a_knob_is_a_whole_number():
    """The other mistakes in a knob are among those of the command line."""
    with pytest.raises(UsageError, match=r"inter_op must be a whole number .*, got 1\.5"):
        flags({"inter_op": 1.5}, Path("b.txt"))


def test_the_default_of_a_flag_or_a_variable_is_its_first_value():
    knobs = ["flag:--new_one=b,a", "env:A=1,0", "cpus=1", "inter_op=1,2"]
    space, fixed = read_space([*map(knob, knobs)], 1)
    assert fixed == {"cpus": 1}
    usual, fixed = read_space([knob("flag:--x=1"), knob("inter_op=2")], 1)
    assert (usual.names, fixed) == (THREADS[1:], {"flag:--x": 1, "inter_op": 2})
    default = own_default(space)
    assert default == {"flag:--new_one": "b", "env:A": 1, "inter_op": 0}
    here = len(os.sched_getaffinity(0))
    assert own_default(ConfigSpace([Knob("cpus", (1, here + 1))])) == {"cpus": here}


def test_a_batch_must_hold_the_largest_request():
    """A sample of 4 examples: no smaller value is a candidate, with a knob for it or without."""
    knobs = [knob("batch_threads=0,2"), knob("max_batch_size=1,2,4,8")]
    space, _ = read_space(knobs, 4)
    assert {c["max_batch_size"] for c in space} == {4, 8}
    threads = space.knobs[space.names.index("batch_threads")]
    assert threads.positions == (1, 0)  # batching off is least like few threads
    _, fixed = read_space(knobs[:1], 4)
    assert fixed == {"max_batch_size": 4}
    with pytest.raises(ValueError, match=r"max_batch_size 2: .* of 4 examples"):
        read_space([knobs[0], ("max_batch_size", (1, 2))], 4)


# --- bad input: whatever a user, a file or another client sends, one line says what to do ---------


ROOT = Path(__file__).parent.parent
SHORT = ["--episodes", "3", "--requests", "10", "--rounds", "3", "--agent", "rrl"]
REPLAY = ["replay", "cpu2", *SHORT, "--quiet"]
SLO_REPLAY = [*REPLAY, "--rate", "115", "--slo", "p99<60ms"]


def said(arguments, capsys):
    """The exit code and the only line of a command that fails."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("rrl: ")
    assert len(err) < 600
    return code, err


# --- journals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"my notes", 1),
        (b"\n", 1),
        (b'{"episode":0,"cost":0.1}\n', 1),
        (b'{"journal":1}\n{"episode":0}\n{"epi\0ode":1}\n{"episode":2}\n', 3),
    ],
)
def test_a_file_that_is_no_journal_or_is_damaged_is_left_alone(content, number, tmp_path, capsys):
    (tmp_path / JOURNAL).write_bytes(content)
    code, line = said([*REPLAY, "--rate", "9", "--out", str(tmp_path)], capsys)
    assert code == 3
    where = f"{tmp_path / JOURNAL}, line {number}"
    assert f"{where}: no line of a journal, or a damaged one" in line
    assert (tmp_path / JOURNAL).read_bytes() == content


# --- profiles -------------------------------------------------------------------------------------


@pytest.fixture
def profile(tmp_path):
    shutil.copytree(ROOT / "data" / "keyword-threads", tmp_path / "p")
    return tmp_path / "p"


NUMBERS = {"schema": 2, "complete": False, "machine": {"cpus": 2}}
PLAN = {"knobs": {"a": [1]}, "passes": 1, "requests": 5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no description of a profile"),
        ("[" * 10**5, "nested too deeply"),
        ("{", "not a JSON file"),
        (json.dumps(NUMBERS | {"plan": PLAN, "schema": 99}), "schema 99, this version of rrl"),
        (json.dumps(NUMBERS | {"plan": PLAN, "machine": {}}), "('cpus')"),
        (json.dumps(NUMBERS | {"plan": PLAN, "complete": True}), "('sha256')"),
        (json.dumps(NUMBERS | {"plan": PLAN | {"knobs": 5}}), "has no attribute 'items'"),
        (json.dumps(NUMBERS | {"plan": PLAN | {"passes": "two"}}), "with base 10: 'two'"),
        (json.dumps(NUMBERS | {"plan": PLAN, "machine": {"cpus": None}}), "no description of a"),
    ],
)
def test_a_description_that_is_none_is_refused(content, message, profile, capsys):
    (profile / "profile.json").write_text(content)
    code, line = said(["replay", str(profile), *SHORT, "--out", str(profile / "out")], capsys)
    assert code == 3
    assert str(profile / "profile.json") in line
    assert message in line
    assert not (profile / "out").exists()


def test_other_line_ends_are_no_change(profile):
    path = profile / "episodes.csv"
    path.write_text(path.read_text().replace("\n", "\r\n"))
    arguments = ["replay", str(profile), *SHORT, "--quiet", "--out", str(profile / "out")]
    assert main(arguments) in (0, 5)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("data/recording/mobilenet_v2-joint", "the recording is not complete; finish it with `rrl"),
        ("tests", "not found; restore it, or record it with `rrl profile`"),
    ],
)
def test_an_incomplete_profile_or_none_is_not_replayed(folder, message, capsys, tmp_path):
    words = ["replay", str(ROOT / folder), *SHORT, "--out", str(tmp_path / "out")]
    code, line = said(words, capsys)
    assert code == 3
    assert f"profile.json: {message}" in line


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,cost\n1,x,3\n2,,4\n", "line 3: b is '': a value is missing"),
        ("a,cost\n1,3\nNA,4\n2,5\n", "line 3: a is 'NA': a value is missing"),
        ("a,cost\n1,3\nInfinity,4\n2,5\n", "line 3: a is 'Infinity': a value is missing"),
        ("\n\na,cost\n1,3\n2,x\n", "line 5: cost is 'x'"),
        ("\na, cost\n\n1,3\n2\n", "line 5: the header has 2 cells, and this line 1"),
        ("a,cost\n1,3\n2,NA\n", "line 3: cost is 'NA': it must be a number, 0 or from"),
        ("a,cost\n1,3\n2,-0.1\n", "line 3: cost is '-0.1'"),
        ("a,cost\n1,3\n2,1e26\n", r"line 3: cost is '1e26': .* from 1e-25 to 1e\+25"),
        ("a,cost\n1,3e-26\n2,1\n", r"line 2: cost is '3e-26': .* from 1e-25 to 1e\+25"),
        ('a,cost\n1,3\n2,"0,18"\n', "line 3: cost is '0,18'.*a point for decimals"),
        ("a,cost\n1,3\n2,\udcff\n", "not UTF-8 at byte"),
        ("", "no table of comma-separated values"),
        ("a,a,cost\n1,2,3\n2,3,4\n", "more than one column is 'a'"),
        (",a,cost\n0,1,3\n1,2,4\n", "a column has no name"),
        ("cost\n1\n2\n", "it has the cost only"),
        ("a,cost\n1,3\n", "one configuration only"),
        ("a,cost\n1,3\n2,0,4\n", "line 3: the header has 2 cells, and this line 3"),
        ("a;cost\n1;2,5\n", "header has 1 cells, and this line 2; .*: commas separate the cells"),
        ('a,cost\n1,3\n"2,4\n', "line 3: unexpected end of data; correct"),
        ('a,b,cost\n"x\ny",1,3\nz,1,-4\n', "line 4: cost is '-4'"),
        ("a;cost\n1;3\n", "no column 'cost', it has a;cost; separate the columns by commas"),
        ("a,cost\n1,0\n2,1\n", "its lowest cost is 0"),
    ],
)
def test_a_bad_table_is_one_line(text, message, tmp_path, capsys):
    table = tmp_path / "mine" / "table.csv"
    table.parent.mkdir()
    table.write_bytes(text.encode(errors="surrogateescape"))
    code, line = said(["race", str(table.parent), "--out", str(tmp_path / "o")], capsys)
    assert code == 3
    assert re.search(message, line), line
    assert str(table) in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a,cost\r\n1,3\r\n2,4\r\n", [1, 2]),
        ("a,cost\nNA,3\nfast,4\n1,5\n", ["NA", "fast", "1"]),  # text among texts
        ("a,cost\n1,3\n1_000,4\n", ["1", "1_000"]),  # numbers for Python only
        ("a,cost\n1,3\n\uff12,4\n", ["1", "\uff12"]),
        ("a,cost\n-1,3\n9007199254740993,4\n", [-1, 2**53 + 1]),
        ("a,cost\n-1,3\n1.5,4\n", [-1.0, 1.5]),
        (' a, cost\n\n1, "3"\n,\n 2,4\n', [1, 2]),  # spaces, and lines without a value
    ],
)
def test_a_table_is_read(text, values, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_bytes(text.encode())
    read = read_table(table, "cost")["a"].tolist()
    assert list(map(repr, read)) == list(map(repr, values))  # whole numbers, numbers or text
