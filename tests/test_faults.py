"""Runs that are killed, interrupted, or get no room: nothing that was measured is lost."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import urllib.request
from pathlib import Path

import pytest
from clients import LIMIT_S, RRL, alive, children, running
from test_cli import SLO_REPLAY

from rrl.operating.journal import JOURNAL, open_journal
from rrl.operating.report import PAGE
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import LOCAL, free_port
from rrl.support.files import MARK, replacing

HERE = Path(__file__).parent
ROOT = HERE.parent


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def lines_of(folder):
    """The whole lines of a journal that may not be there yet."""
    try:
        return (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def measured(folder):
    """The whole lines of a journal after the first, which has the folder in its command."""
    return [line for line in lines_of(folder)[1:] if line.endswith(b"\n")]


def wait_for(condition, process):
    """Wait while a process runs, which must not end before."""
    assert wait_until(lambda: condition() or process.poll() is not None, LIMIT_S)
    assert process.poll() is None, f"it ended early: {process.communicate()}"


# --- interrupted ----------------------------------------------------------------------------------


def test_a_live_run_has_metrics_and_leaves_no_server_and_no_half_of_a_line(model, tmp_path):
    out, temporary, port = tmp_path / "out", tmp_path / "tmp", free_port()
    temporary.mkdir()
    command = [
        *RRL, "tune", str(model), "--executable", LOCAL, "--rate", "50", "--requests", "20",
        "--knob", "inter_op=1,2", "--episodes", "1000", "--patience", "0", "--slo", "p99<9s",
        "--default", "inter_op=1", "--metrics-port", str(port), "--out", str(out),
    ]  # fmt: skip
    here = {**os.environ, "TMPDIR": str(temporary)}
    with running(command, cwd=ROOT, stdout=-1, stderr=-1, text=True, env=here) as process:
        wait_for(lambda: len(lines_of(out)) > 2, process)
        servers = children(process)
        assert servers
        assert "so far" in (out / PAGE).read_text()  # it can be watched
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
            assert re.search(rb'rrl_tuning_requests_total\{with="default"\} [1-9]', reply.read())
        process.terminate()
        _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, errors
    last = f"rrl: interrupted; all finished episodes are in {out}: the same command continues"
    assert errors.splitlines()[-1] == last
    assert wait_until(lambda: not any(map(alive, servers)), LIMIT_S)
    assert not list(temporary.glob("rrl-[!m]*"))  # only the lock of the machine may stay
    assert lines_of(out)[-1].endswith(b"\n")


def test_a_terminal_that_is_closed_interrupts(tmp_path):
    """The kernel sends SIGHUP, and nothing can be written to that terminal any more."""
    master, slave = os.openpty()

    def control() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    command = [*RRL, *SLO_REPLAY, "--episodes", "5000", "--out", str(tmp_path)]
    command.remove("--quiet")
    given = {
        "cwd": ROOT,
        "stdin": slave,
        "stdout": slave,
        "stderr": slave,
        "start_new_session": True,
    }
    with running(command, preexec_fn=control, **given) as process:
        os.close(slave)
        wait_for(lambda: len(lines_of(tmp_path)) > 5, process)
        os.close(master)
        assert process.wait(LIMIT_S) == 130
    assert lines_of(tmp_path)[-1].endswith(b"\n")


def test_nohup_keeps_its_word():
    script = (
        "import signal; from rrl.support.errors import interrupt_by_signals\n"
        "interrupt_by_signals(); signal.raise_signal(signal.SIGHUP); print('on')\n"
        "try: signal.raise_signal(signal.SIGTERM)\n"
        "except KeyboardInterrupt: signal.raise_signal(signal.SIGTERM); print('cleaned')"
    )
    done = run(["nohup", sys.executable, "-c", script], stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout.split()) == (0, ["on", "cleaned"]), done.stderr


# --- a fault at a write or a rename ---------------------------------------------------------------

SHORT = [*SLO_REPLAY, "--requests", "20", "--episodes", "12", "--rounds", "2"]


def run_faulty(kind, place, words):
    return run([sys.executable, str(HERE / "faulty.py"), kind, str(place), *map(str, words)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without a fault: its journal, its result, and its number of places for one."""
    folder = tmp_path_factory.mktemp("whole")
    count = folder / "count"
    done = run_faulty("count", count, [*SHORT, "--out", folder / "run"])
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    return measured(folder / "run"), result, int(count.read_text())


def check(kind, place, whole, folder):
    """Run into the fault, and go on without it: the end is that of a run without a fault.

    At the last place the result is written, which was printed before.
    """
    journal, result, places = whole
    words = [*SHORT, "--out", folder]
    broken = run_faulty(kind, place, words)
    if kind == "kill":
        assert broken.returncode == -signal.SIGKILL, (place, broken.stderr)
    else:
        assert broken.returncode == 3, (place, broken.stderr)
        assert broken.stderr.startswith(f"rrl: {folder}/")
        assert "No space left on device; make room" in broken.stderr
        assert broken.stderr.count("\n") == 1
        assert all(line.endswith(b"\n") for line in lines_of(folder)), place  # no half a line
    assert broken.stdout.startswith("recommended: ") or place < places
    kept = measured(folder)
    assert journal[: len(kept)] == kept, place  # no episode lost, doubled or changed
    done = run_faulty("count", os.devnull, words)
    assert done.returncode == 0, (place, done.stderr)
    assert measured(folder) == journal, place
    produced = json.loads((folder / "result.json").read_text())
    assert produced | {"flags": 0} == result | {"flags": 0}, place
    assert not list(folder.glob(".*")), place


@pytest.mark.parametrize("kind", ["kill", "full"])
@pytest.mark.parametrize("all_of_them", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_fault_at_any_place_costs_nothing_that_was_measured(kind, all_of_them, whole, tmp_path):
    places = whole[2]
    assert places > 15
    for place in range(1, places + 1) if all_of_them else [places // 2, places]:
        check(kind, place, whole, tmp_path / str(place))


# --- the journal ----------------------------------------------------------------------------------


GONE = 2**22 + 1  # larger than any process number
SETTINGS = {"seed": 1, "rate": 14.0, "agent_version": 1}


def fill(folder, costs=(0.1, 0.2, 0.3)):
    with open_journal(folder, SETTINGS) as journal:
        for episode, cost in enumerate(costs):
            journal.append({"episode": episode, "cost": cost})
    return folder / JOURNAL


def test_a_record_is_on_disk_when_it_is_appended(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file)))
    with open_journal(tmp_path, SETTINGS) as journal:
        assert tmp_path.stat().st_ino in {entry.st_ino for entry in synced}
        for episode in range(3):
            journal.append({"episode": episode})
            now = (tmp_path / JOURNAL).stat()
            assert (synced[-1].st_ino, synced[-1].st_size) == (now.st_ino, now.st_size)


def test_every_cut_of_the_last_line_is_recovered(tmp_path):
    """A power loss keeps any part of what was written last; the run measures it again."""
    path = fill(tmp_path)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        with open_journal(tmp_path, SETTINGS) as journal:
            assert len(journal.records) == 2
            journal.append({"episode": 2, "cost": 0.3})
        assert path.read_bytes() == whole


def test_a_run_that_measured_nothing_may_be_corrected(tmp_path):
    """A wrong option is found when the first server starts; the corrected command then works."""
    for settings in (SETTINGS, SETTINGS | {"signature": "classify"}):
        with open_journal(tmp_path, settings) as journal:
            assert journal.records == []
    (header,) = map(json.loads, (tmp_path / JOURNAL).read_text().splitlines())
    assert header["signature"] == "classify"


def test_what_a_kill_left_of_an_atomic_write_is_removed(tmp_path):
    (tmp_path / f".result.json.{MARK}{GONE}").write_text("half")
    (tmp_path / ".notes.20240131").write_text("it is the user's")
    fill(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.20240131", JOURNAL}


def test_a_write_that_somebody_stops_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def write():
        with replacing(path) as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(path.name, "old")]
