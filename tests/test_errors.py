"""Every command ends with a code and at most one line, whatever goes wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rrl.support.errors import DataError, ServerError, UnstableError, UsageError, command

CASES = [
    (UsageError("no agent 'x'; use one of a, b"), 2, "rrl: no agent 'x'; use one of a, b\n"),
    (DataError("t.csv: row 3:\n  NaN"), 3, "rrl: t.csv: row 3: NaN\n"),
    (ServerError("127.0.0.1:8500 does not answer"), 4, "rrl: 127.0.0.1:8500 does not answer\n"),
    (UnstableError("two passes differ"), 5, "rrl: two passes differ\n"),
    (KeyboardInterrupt(), 130, "rrl: interrupted\n"),
    (ValueError("radius must be 0 or more, got -1"), 2, "rrl: radius must be 0 or more, got -1\n"),
    (FileNotFoundError(2, "No such file", "a b.csv"), 3, "rrl: a b.csv: No such file\n"),
    (OSError(30, "Read-only", "x"), 3, "rrl: x: Read-only; choose another folder\n"),
    (ModuleNotFoundError("No module named 'x'"), 2, "rrl: No module named 'x'; `make env`"),
    (KeyError("oops"), 1, "rrl: KeyError: 'oops' (RRL_TRACEBACK=1 shows where)\n"),
]


@pytest.mark.parametrize(("error", "code", "line"), CASES, ids=lambda case: type(case).__name__)
def test_an_error_is_one_line_and_a_code(error, code, line, capsys):
    @command
    def main(argv=None):
        raise error

    assert main([]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_the_traceback_is_there_on_demand(monkeypatch):
    @command
    def main(argv=None):
        raise KeyError("oops")

    monkeypatch.setenv("RRL_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main([])


def test_no_news_is_zero_and_a_code_is_passed_on():
    assert command(lambda argv: None)([]) == 0
    assert command(lambda argv: 5)([]) == 5


def test_callers_can_catch_bad_input_as_the_builtin_it_is():
    assert issubclass(UsageError, ValueError)
    assert issubclass(DataError, ValueError)


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
