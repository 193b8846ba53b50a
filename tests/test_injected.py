"""A fault at every write, rename and process start of a short run: nothing is lost, all serves.

`make test` injects faults at a sample of the places, `make test-long` at all of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from probe import build_probe
from test_restarted import Operator

from rrl.cli import main
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.address import keep_others, warning
from rrl.operating.journal import JOURNAL, Journal, begun
from rrl.operating.knob_options import read_default
from rrl.serving.deployed import DEPLOYED
from rrl.serving.loadgen import Client
from rrl.serving.ports import wait_until
from rrl.serving.running import running_configuration

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


def tuning(operator, *more):
    return [
        "tune", "--address", operator.address, "--model-name", "probe", "--restart",
        operator.command, "--rate", "40", "--requests", "10", "--episodes", "3", "--rounds", "2",
        "--knob", "inter_op=1,2", "--knob", "batch_threads=0,1", "--out", str(operator.out),
        "--agent", "random", "--budget", "unlimited", "--quiet", *more,
    ]  # fmt: skip


def started_with(operator, batching):
    """Start the operator's server with settings that are no knob of the tuning."""
    file = operator.folder / "mine.txt"
    file.write_text(batching)
    flags = ["--enable_batching", f"--batching_parameters_file={file}", f"{INTRA}=1"]
    subprocess.run(["sh", str(operator.folder / "restart.sh"), *flags], check=True)
    serves(operator)


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
    result = json.loads((operator.out / "result.json").read_text())
    now = running_configuration(operator.address)
    assert {name: now[name] for name in result["deploy"]} == result["deploy"]
    assert result["default"] == {"inter_op": 0, "batch_threads": 0}  # and not a trial
    tried = [r["configuration"] for r in records_of(operator) if "episode" in r]
    assert any(configuration != result["default"] for configuration in tried)


def records_of(operator):
    journal = operator.out / JOURNAL
    whole = journal.exists() and journal.read_bytes().rpartition(b"\n")[0].splitlines()
    return [json.loads(line) for line in whole or ()]


@pytest.mark.long
def test_a_kill_in_the_middle_of_tuning_an_operators_server(operator):
    check_live(14, operator)


@pytest.mark.long
@pytest.mark.parametrize("place", range(1, 25, 3))
def test_a_kill_at_every_third_place_of_tuning_an_operators_server(place, operator):
    check_live(place, operator)


@pytest.mark.long
def test_a_run_that_was_killed_in_a_trial_goes_on_and_the_server_keeps_its_own_settings(operator):
    """A refused command touches nothing, and more may be asked for when the best is in service."""
    started_with(operator, "max_batch_size { value: 32 } num_batch_threads { value: 2 }")
    own = running_configuration(operator.address)
    default = {"inter_op": 0, "batch_threads": 2}
    command = [sys.executable, "-m", "rrl.cli"]

    def in_a_trial():
        now = running_configuration(operator.address)
        return len(records_of(operator)) > 2 and now and now["inter_op"] > 0

    with subprocess.Popen([*command, *tuning(operator)], cwd=HERE.parent) as killed:
        assert wait_until(lambda: in_a_trial() or killed.poll() is not None, 240)
        killed.kill()
    serves(operator)
    calls = operator.calls
    for more in (["--seed", "3"], [], ["--rounds", "3"]):
        words = [*command, *tuning(operator, *more)]
        done = subprocess.run(words, cwd=HERE.parent, capture_output=True, text=True)
        if "--seed" in more:
            assert (done.returncode, operator.calls) == (2, calls)
            assert done.stderr.startswith(f"rrl: {operator.out / JOURNAL} is of a run with seed 0")
            continue
        assert done.returncode in (0, 5), done.stderr
        if not more:
            own_default = "the run that goes on has the default inter_op 0, batch_threads 2"
            assert own_default in done.stderr
        serves(operator)
        result = json.loads((operator.out / "result.json").read_text())
        assert result["default"] == default
        now = running_configuration(operator.address)
        assert {name: now[name] for name in default} == result["deploy"]
        assert now["intra_op"] == own["intra_op"] == 1
        assert f"{INTRA}=1" in result["flags"]
        if now["batch_threads"]:
            assert now["max_batch_size"] == own["max_batch_size"] == 32


def test_a_run_that_goes_on_has_the_settings_that_it_began_with(operator, capsys):
    """The server runs a trial now; a refused command leaves it as it is."""
    default, fixed = {"inter_op": 0, "batch_threads": 2}, {"intra_op": 1, "max_batch_size": 32}
    asked = Namespace(default=[], address=operator.address, restart=operator.command)
    space = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (0, 1))])
    trial = [f"{INTER}=2", f"{INTRA}=3"]
    subprocess.run(["sh", str(operator.folder / "restart.sh"), *trial], check=True)
    serves(operator)
    calls = operator.calls
    server = f"probe at {operator.address}, "
    what = {"what": f"{server}restarted by sh", "default": default, "fixed": fixed}
    with Journal(operator.out, what) as journal:
        assert begun(operator.out, server) is None  # nothing was changed yet
        journal.append({"episode": 0})
    earlier = begun(operator.out, server)
    assert read_default(asked, space) == {"inter_op": 2, "batch_threads": 0}
    assert read_default(asked, space, earlier) == default
    more = {"flag:--x": 1}
    assert keep_others(asked, space, more) == {**more, "intra_op": 3}
    assert keep_others(asked, space, more, earlier) == {**more, **fixed}
    others = ConfigSpace([Knob("intra_op", (1, 2)), Knob("max_batch_size", (8, 32))])
    assert keep_others(asked, others, {}, earlier) == {"batch_threads": 2}
    off = {"default": {"inter_op": 4, "batch_threads": 0, "max_enqueued_batches": 9}, "fixed": {}}
    assert keep_others(asked, others, {}, off) == {"inter_op": 4}  # no trial, and no batches
    for same in (f"flag:{INTRA}", "flag:--tensorflow_session_parallelism"):
        assert keep_others(asked, space, {same: 4}) == {same: 4}
    note = {"address": operator.address, "configuration": {"inter_op": 2}, "complete": True}
    (operator.out / DEPLOYED).write_text(json.dumps(note))
    assert main(tuning(operator)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "give the same options to continue it" in line
    assert operator.calls == calls


def test_what_another_server_began_with_is_not_that_of_this_one(operator, tmp_path, capsys):
    """A run on a server of the same model has measured nothing; the folder has its name."""
    earlier = {
        "what": "probe at 192.0.2.1:8500, restarted by sh", "fixed": {"intra_op": 2},
        "default": {"inter_op": 2, "batch_threads": 1},
    }  # fmt: skip
    with Journal(operator.out, earlier) as journal:
        journal.append({"machine": {}})
    operator.command = "false {flags}"
    assert main(tuning(operator)) == 4
    settings = json.loads((operator.out / JOURNAL).read_bytes().splitlines()[0])["settings"]
    assert settings["default"] == {"inter_op": 0, "batch_threads": 0}
    assert settings["fixed"] == {}
    capsys.readouterr()
    assert main(tuning(operator, "--out", str(tmp_path / "other"))) == 2  # it was not returned
    assert f"may still run a trial of the run in {operator.out}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "begun", "says"),
    [
        ("x {flags}", None, "what 192.0.2.1:8500 runs now cannot be read from here: with {flags}"),
        ("x {flags}", {"default": {}}, ""),  # it was said when the run began
        ("x {inter_op}", None, ""),
    ],
)
def test_what_may_be_lost_is_said_before_a_run_begins(command, begun, says):
    asked = Namespace(address="192.0.2.1:8500", restart=command)  # an address of no machine
    space = ConfigSpace([Knob("inter_op", (1, 2))])
    line = warning(asked, Namespace(space=space, fixed={}, default={"inter_op": 1}), begun)
    assert line.startswith(says)
    assert bool(line) == bool(says)


def test_a_folder_that_the_servers_user_cannot_enter_is_refused(operator, capsys, monkeypatch):
    """Without its batching file it would not start again, whatever is restored."""
    calls = operator.calls
    monkeypatch.setattr(
        "rrl.serving.operators.may_enter",
        lambda pid, folder: (pid, folder) != (operator.pid, operator.out),
    )
    assert main(tuning(operator)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot enter {operator.out}, so it could not read its batching file" in line
    assert operator.calls == calls


def test_what_no_knob_has_is_not_lost(operator, capsys):
    started_with(operator, "max_batch_size { value: 8 } allowed_batch_sizes: [4, 8]")
    calls = operator.calls
    assert main(tuning(operator)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has allowed_batch_sizes, which no knob has, so {flags} and {batching_file}" in line
    assert operator.calls == calls
    assert not operator.out.exists()
