"""The `rrl` command: what it prints and how it ends."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_bad_input import said

from rrl import __version__
from rrl.cli import main
from rrl.serving.quiet import quiet
from rrl.support.errors import DataError, ServerError, UnstableError, UsageError, command
from rrl.support.provenance import version

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
    few = ["--rate", "115", "--agent", "rrl", "--episodes", "10", "--rounds", "3", "--quiet"]
    arguments = ["replay", "cpu2", *few, "--out", str(folder)]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("recommended: inter_op ")
    assert {path.name for path in folder.iterdir()} == {"journal.jsonl", "result.json"}

    result = (folder / "result.json").read_bytes()
    assert main(arguments) == 0  # all of it is in the journal
    assert capsys.readouterr().out == out
    assert (folder / "result.json").read_bytes() == result

    code, line = said([*arguments[:1], "cpu10", *arguments[2:]], capsys)
    assert code == 2
    assert "is of a run of 'cpu2', not 'cpu10': continue it" in line
    monkeypatch.setattr("rrl.operating.job.version", lambda name: version(name) + 1)
    code, line = said(arguments, capsys)
    assert code == 2
    now = version("agent rrl")
    assert f"with agent_version {now}, not {now + 1}: continue it with the same options of" in line
    assert "the same version of rrl, or choose another folder" in line


READER = """
import sys
from rrl.operating.log import LOG, show
show(quiet=False)
LOG.info("one")
sys.stdin.read()  # until the reader of the progress has gone
LOG.info("two")
LOG.info("three")
print("done")
"""


def test_a_reader_of_the_progress_that_has_seen_enough_does_not_end_the_run():
    """As with `2>&1 | head -1`."""
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", READER], stdin=-1, stdout=-1, stderr=writer)
    os.close(writer)
    assert re.fullmatch(rb"\d\d:\d\d:\d\d one\n?", os.read(reader, 99))
    os.close(reader)
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, b"done\n")


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
    arguments = ["replay", "cpu2", "--rate", "115", "--slo", "p50<1ms", "--agent", "rrl"]
    arguments += ["--episodes", "10", "--rounds", "5", "--quiet"]
    assert main(arguments) == 5
    out, err = capsys.readouterr()
    assert "SLO p50<1ms: missed by the default configuration" in out
    assert "is used up (--budget)" in err
    assert main([*arguments, "--budget", "9999"]) == 5
    out, err = capsys.readouterr()
    assert out.count("SLO p50<1ms: missed by the ") == 2
    assert "lower the load, add cores" in err


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


def test_a_reader_that_has_seen_enough_is_no_error():
    script = (
        "import sys; from rrl.support.errors import command\n"
        "def main(argv=None):\n"
        "    for _ in range(10**6): print('line')\n"
        "sys.exit(command(main)([]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
