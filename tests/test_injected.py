"""A fault at every write, rename and process start of a short run: nothing is lost, all serves.

`make test` injects faults at a sample of the places, `make test-long` at all of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from probe import build_probe
from test_restarted import Operator

from rrl.operating.journal import JOURNAL
from rrl.serving.loadgen import Client
from rrl.serving.running import running_configuration

HERE = Path(__file__).resolve().parent
SIMULATED = [
    "replay", "cpu2", "--rate", "115", "--requests", "20", "--episodes", "12", "--rounds", "2",
    "--slo", "p99<60ms", "--agent", "rrl-boltzmann", "--quiet", "--json",
]  # fmt: skip


def run(kind, place, words, **environment):
    command = [sys.executable, str(HERE / "faulty.py"), kind, str(place), *map(str, words)]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=HERE.parent, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without a fault: its journal, its result, and its number of places for one."""
    folder = tmp_path_factory.mktemp("whole")
    count = folder / "count"
    done = run("count", 0, [*SIMULATED, "--out", folder / "run"], FAULTY_COUNT=str(count))
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "run" / "result.json").read_text())
    return (folder / "run" / JOURNAL).read_bytes(), result, int(count.read_text())


def check(kind, place, whole, folder):
    """Run into the fault, and go on without it: the end is that of a run without a fault."""
    journal, result, _ = whole
    words = [*SIMULATED, "--out", folder]
    broken = run(kind, place, words)
    if kind == "kill":
        assert broken.returncode == -signal.SIGKILL, (place, broken.stderr)
    else:
        assert broken.returncode == 3, (place, broken.stderr)
        assert "No space left on device; make room" in broken.stderr
        assert broken.stderr.count("\n") == 1
    done = run("count", 0, words)
    assert done.returncode == 0, (place, done.stderr)
    assert (folder / JOURNAL).read_bytes() == journal, place
    produced = json.loads((folder / "result.json").read_text())
    assert produced | {"flags": 0} == result | {"flags": 0}, place
    assert not list(folder.glob(".*")), place


@pytest.mark.parametrize(
    ("kind", "share"), [("kill", 0.5), pytest.param("full", 0.97, marks=pytest.mark.long)]
)
def test_a_fault_at_some_places_of_a_run(kind, share, whole, tmp_path):
    check(kind, max(1, round(share * whole[2])), whole, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["kill", "full"])
def test_a_fault_at_every_place_of_a_run(kind, whole, tmp_path):
    assert whole[2] > 20
    for place in range(1, whole[2] + 1):
        check(kind, place, whole, tmp_path / str(place))


# --- on an operator's server ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_probe(tmp_path_factory.mktemp("models") / "probe")


@pytest.fixture
def operator(model, tmp_path):
    """An operator whose server runs."""
    mine = Operator(tmp_path, model)
    subprocess.run(["sh", str(mine.folder / "restart.sh")], check=True)
    serves(mine)
    yield mine
    os.kill(mine.pid, signal.SIGKILL)


def tuning(operator):
    return [
        "tune", "--address", operator.address, "--model-name", "probe", "--restart",
        operator.command, "--rate", "40", "--requests", "10", "--episodes", "3", "--rounds", "2",
        "--knob", "inter_op=1,2", "--knob", "batch_threads=0,1", "--out", operator.out, "--quiet",
    ]  # fmt: skip


def serves(operator):
    """The server answers, and the files that its command line names are there."""
    with Client(operator.address, "probe") as client:
        assert client.available(60)
    words = Path(f"/proc/{operator.pid}/cmdline").read_bytes().decode().split("\0")
    for word in words:
        if word.startswith("--batching_parameters_file="):
            assert Path(word.partition("=")[2]).exists()


def check_live(place, operator):
    """Kill the tuner at a place; the server serves then, and after the run has gone on."""
    assert run("kill", place, tuning(operator)).returncode == -signal.SIGKILL
    serves(operator)
    done = run("count", 0, tuning(operator))
    assert done.returncode in (0, 5), done.stderr
    serves(operator)
    deployed = json.loads((operator.out / "result.json").read_text())["deploy"]
    now = running_configuration(operator.address)
    assert {name: now[name] for name in deployed} == deployed


@pytest.mark.long
def test_a_kill_in_the_middle_of_tuning_an_operators_server(operator):
    check_live(14, operator)


@pytest.mark.long
@pytest.mark.parametrize("place", range(1, 25, 3))
def test_a_kill_at_every_third_place_of_tuning_an_operators_server(place, operator):
    check_live(place, operator)
