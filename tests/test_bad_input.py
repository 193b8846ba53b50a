"""Bad input: whatever a user, a file or another client sends, one line says what to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from rrl.cli import main
from rrl.operating.journal import JOURNAL
from rrl.operating.racing import read_table

ROOT = Path(__file__).parent.parent
SHORT = ["--episodes", "3", "--requests", "10", "--rounds", "3", "--agent", "rrl"]
REPLAY = ["replay", "cpu2", *SHORT, "--quiet"]


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
