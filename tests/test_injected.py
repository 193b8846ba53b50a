"""A fault at every write, rename and process start of a short run: nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rrl.operating.journal import JOURNAL

INTER, INTRA = (f"--tensorflow_{pool}_op_parallelism" for pool in ("inter", "intra"))
HERE = Path(__file__).resolve().parent
SIMULATED = [
    "replay", "cpu2", "--rate", "115", "--requests", "20", "--episodes", "12", "--rounds", "2",
    "--slo", "p99<60ms", "--agent", "rrl", "--quiet", "--json",
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


@pytest.mark.long
@pytest.mark.parametrize("kind", ["kill", "full"])
def test_a_fault_at_every_place_of_a_run(kind, whole, tmp_path):
    assert whole[2] > 20
    for place in range(1, whole[2] + 1):
        check(kind, place, whole, tmp_path / str(place))
