"""Runs that are killed, interrupted, or get no room: nothing that was measured is lost."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import termios
import urllib.request
from pathlib import Path

import pytest
from clients import LIMIT_S, RRL, alive, children

from rrl.cli import main
from rrl.operating.journal import JOURNAL
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import LOCAL, free_port

HERE = Path(__file__).parent
ROOT = HERE.parent
SIMULATED = [
    "replay", "cpu2", "--rate", "115", "--requests", "30", "--rounds", "4",
    "--slo", "p99<60ms", "--agent", "rrl", "--quiet",
]  # fmt: skip


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def lines_of(folder):
    """The whole lines of a journal that may not be there yet."""
    try:
        return (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def wait_for(condition, process):
    """Wait while a process runs, which must not end before."""
    assert wait_until(lambda: condition() or process.poll() is not None, LIMIT_S)
    assert process.poll() is None, f"it ended early: {process.communicate()}"


# --- interrupted ----------------------------------------------------------------------------------


def test_a_live_run_is_watched_interrupted_continued_and_killed(model, tmp_path):
    """Its metrics are there while it runs; neither end leaves a server, and no episode is lost."""
    out, temporary, port = tmp_path / "out", tmp_path / "tmp", free_port()
    temporary.mkdir()
    command = [
        *RRL, "tune", str(model), "--executable", LOCAL, "--rate", "50", "--requests", "20",
        "--knob", "inter_op=1,2", "--episodes", "1000", "--patience", "0", "--slo", "p99<9s",
        "--default", "inter_op=1", "--metrics-port", str(port), "--out", str(out),
    ]  # fmt: skip
    started = {"cwd": ROOT, "stdout": -1, "stderr": -1, "text": True}
    started["env"] = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, **started)
    wait_for(lambda: len(lines_of(out)) > 2, process)
    servers = children(process)
    assert servers
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        text = reply.read().decode()
    process.terminate()
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, errors
    last = f"rrl: interrupted; all finished episodes are in {out}: the same command continues"
    assert errors.splitlines()[-1] == last
    assert not any(map(alive, servers))
    assert not list(temporary.glob("rrl-[!m]*"))  # only the lock of the machine may stay
    before = lines_of(out)
    assert before[-1].endswith(b"\n")
    assert re.search(r'^rrl_tuning_serves_info\{inter_op="[012]"\} 1\.0$', text, re.MULTILINE)
    assert re.search(r'^rrl_tuning_requests_total\{with="default"\} [1-9]', text, re.MULTILINE)

    process = subprocess.Popen(command, **started)
    wait_for(lambda: len(lines_of(out)) > len(before), process)
    servers = children(process)
    assert servers
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert wait_until(lambda: not any(map(alive, servers)), LIMIT_S)
    kept = [json.loads(line) for line in lines_of(out) if line.endswith(b"\n")]
    assert lines_of(out)[: len(before)] == before
    episodes = [record["episode"] for record in kept if "episode" in record]
    assert episodes == [*range(len(episodes))]


def test_a_terminal_that_is_closed_interrupts(tmp_path):
    """The kernel sends SIGHUP, and nothing can be written to that terminal any more."""
    master, slave = os.openpty()

    def control() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    command = [*RRL, *SIMULATED, "--episodes", "5000", "--out", str(tmp_path)]
    command.remove("--quiet")
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=control,
    )  # fmt: skip
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


# --- no room --------------------------------------------------------------------------------------


def test_a_result_without_room_is_printed_and_spares_the_old_one(tmp_path, capsys):
    arguments = [*SIMULATED, "--episodes", "4", "--out", str(tmp_path)]
    assert main(arguments) in (0, 5)
    first = capsys.readouterr().out
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        assert main(arguments) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'result.json'}: File too large; make room and run it again" in err
    assert out == first
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


# --- a fault at a write or a rename ---------------------------------------------------------------

SHORT = [*SIMULATED, "--requests", "20", "--episodes", "12", "--rounds", "2"]


def run_faulty(kind, place, words, **environment):
    command = [sys.executable, str(HERE / "faulty.py"), kind, str(place), *map(str, words)]
    return run(command, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without a fault: its journal, its result, and its number of places for one."""
    folder = tmp_path_factory.mktemp("whole")
    count = folder / "count"
    done = run_faulty("count", 0, [*SHORT, "--out", folder / "run"], FAULTY_COUNT=str(count))
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    return (folder / "run" / JOURNAL).read_bytes(), result, int(count.read_text())


def check(kind, place, whole, folder):
    """Run into the fault, and go on without it: the end is that of a run without a fault."""
    journal, result, _ = whole
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
    kept = b"".join(line for line in lines_of(folder) if line.endswith(b"\n"))
    assert journal.startswith(kept), place  # no episode lost, doubled or changed
    done = run_faulty("count", 0, words)
    assert done.returncode == 0, (place, done.stderr)
    assert (folder / JOURNAL).read_bytes() == journal, place
    produced = json.loads((folder / "result.json").read_text())
    assert produced | {"flags": 0} == result | {"flags": 0}, place
    assert not list(folder.glob(".*")), place


@pytest.mark.parametrize("kind", ["kill", "full"])
def test_a_fault_in_mid_run_costs_nothing_that_was_measured(kind, whole, tmp_path):
    check(kind, whole[2] // 2, whole, tmp_path)
    assert len(lines_of(tmp_path)) > 5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["kill", "full"])
def test_a_fault_at_every_place_of_a_run(kind, whole, tmp_path):
    assert whole[2] > 15
    for place in range(1, whole[2] + 1):
        check(kind, place, whole, tmp_path / str(place))
