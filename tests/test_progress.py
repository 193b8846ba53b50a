"""What a run of make shows: which steps are done, what runs, and the time left."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from rrl.publishing.progress import UNKNOWN, Steps, estimates, main
from rrl.support import progress

#: Runs three steps as the notebooks do; each waits until the bar or the lines have shown it.
SCRIPT = """
cd "$RRL_PROGRESS_FOLDER"
touch sweeps; echo "1 4 0.5 run" > sweeps; sleep 1; rm sweeps; echo checked
touch 00_a 01_b; sleep 0.7; rm 00_a; echo "notebooks/00_a.ipynb 0.7 s"; sleep 0.7
rm 01_b; echo "notebooks/01_b.ipynb 1.4 s"; echo trouble >&2; exit 3
"""
COMMAND = [sys.executable, "-m", "rrl.publishing.progress", "sweeps", "00_a", "01_b", "--jobs", "2"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(progress.FILE, raising=False)
    monkeypatch.delenv(progress.FOLDER, raising=False)
    (tmp_path / "figures").mkdir()
    notebooks = {"00_a": {"seconds": 40}, "01_b": {"seconds": 20}, "old": {}}
    text = json.dumps({"files": {}, "notebooks": notebooks})
    (tmp_path / "figures" / "manifest.json").write_text(text)
    return tmp_path


def test_the_manifest_says_how_long_a_notebook_takes(folder):
    found = estimates(["00_a", "old", "new", "sweeps"])
    assert found == {"00_a": 40.0, "old": UNKNOWN, "new": UNKNOWN, "sweeps": 30.0}


def test_the_time_left_follows_from_what_is_done_and_from_what_runs(tmp_path):
    steps = Steps({"sweeps": 10.0, "a": 40.0, "b": 20.0, "c": 20.0}, 2, tmp_path)
    assert steps.left(0.0) == 10 + 80 / 2
    (tmp_path / "sweeps").touch()
    steps.look(0.0)
    assert steps.left(4.0) == 6 + 40
    (tmp_path / "sweeps").unlink()
    steps.look(20.0)  # twice as long as expected
    assert steps.left(20.0) == 2 * 40
    assert steps.running == []
    (tmp_path / "a").touch()
    steps.look(20.0)
    assert steps.left(50.0) == (50 + 80) / 2
    (tmp_path / "a").write_text("5 105 50.0 piece")  # its sweep takes 10 s per piece
    assert steps.left(50.0) == 1000
    assert steps.describe() == "1 of 4 done, now a (5 of 105 pieces)"


def test_lines_when_piped(folder):
    done = subprocess.run([*COMMAND, "--", "sh", "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr == "trouble\n"
    first, *others = done.stdout.splitlines()
    assert first == "checked"
    assert [re.sub(r"\(\d+:\d\d left\)", "(left)", line) for line in others] == [
        "notebooks/00_a.ipynb 0.7 s (left)",
        "notebooks/01_b.ipynb 1.4 s (left)",
    ]


def test_one_bar_that_is_redrawn_on_a_terminal(folder):
    terminal, inside = pty.openpty()
    termios.tcsetwinsize(inside, (24, 100))
    with subprocess.Popen(
        [*COMMAND, "--", "sh", "-c", SCRIPT], stdout=inside, stderr=inside
    ) as run:
        os.close(inside)
        shown = b""
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
            shown += part
        assert run.wait() == 3
    os.close(terminal)
    text = shown.decode()
    assert "\r0 of 3 done, now sweeps (1 of 4 runs) |" in text
    assert re.search(r"\r1 of 3 done, now 00_a, 01_b \|[^|]*\| +\d+ %, \d+:\d\d left", text)
    assert "notebooks/00_a.ipynb 0.7 s\r\n" in text
    assert "left)" not in text
    assert text.count("\n") < 8  # the bar adds no lines of its own


def test_an_interrupted_command_ends_and_all_is_said_to_be_done_otherwise(folder, capsys):
    assert main(["--", "sh", "-c", "kill -TERM $$"]) == 130
    assert main(["00_a", "--", "true"]) == 0
    assert re.fullmatch(r"all done in 0:0\d min\n", capsys.readouterr().out)
    assert main(["00_a"]) == 2


@pytest.fixture(autouse=True)
def own_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_unattended_bar_is_one_line_and_tells_how_far_it_is(folder, monkeypatch, capsys):
    monkeypatch.setenv(progress.FOLDER, str(folder))
    seen = []
    with progress.running("09_x"):
        path = Path(os.environ[progress.FILE])
        for _ in progress.bar(iter("abc"), "sweep", 3, "piece"):
            seen.append(path.read_text().split()[:2])
    assert seen == [["1", "3"], ["2", "3"], ["3", "3"]]
    assert re.fullmatch(r"sweep: 3 pieces, \d+ s\n", capsys.readouterr().err)
    assert not path.exists()
    assert progress.FILE not in os.environ
