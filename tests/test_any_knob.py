"""Any flag, environment variable or number of CPUs of a server: with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from rrl.cli import main
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.operating.knob_options import read_default, read_space
from rrl.serving.detached import start_detached
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import LOCAL, free_port
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client
from rrl.serving.preloaded import Forked
from rrl.serving.process_knobs import usable_cpus
from rrl.serving.settings import process_flags
from rrl.support.errors import UsageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROOT = Path(__file__).parent.parent
MANY, FEW = {"flag:--grpc_max_threads": 8}, {"flag:--grpc_max_threads": 4}
ODD = "a b'c"  # a value that a shell would take apart


def runs_with(pid, names=("RRL_TEST",)):
    """The flags, some environment variables and the number of CPUs of a process."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    texts = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    variables = dict(text.split("=", 1) for text in texts if text)
    return words, [variables.get(name) for name in names], len(os.sched_getaffinity(pid))


def test_a_process_is_started_with_them_and_only_a_new_one_has_others(model):
    space = ConfigSpace([Knob("cpus", (1, len(usable_cpus()))), Knob("max_batch_size", (1, 2))])
    given = {"executable": LOCAL, "warmup": 2}
    fixed = {**MANY, "env:RRL_TEST": ODD, "batch_threads": 1}
    rng = np.random.default_rng(0)
    with LiveServer(model, space, fixed=fixed, **given) as server:
        running = server.configure({"cpus": 1, "max_batch_size": 1}, rng)
        first = running.process.pid
        _, variables, cpus = runs_with(first)  # forked, so its command line is its parent's
        assert isinstance(running.process, Forked)
        assert "--grpc_max_threads=8" in running.command
        assert (variables, cpus) == ([ODD], 1)
        assert len(os.sched_getaffinity(0)) == len(usable_cpus())  # the generator keeps all
        assert server.configure({"cpus": 1, "max_batch_size": 1}, rng).process.pid == first
        assert server.configure({"cpus": 1, "max_batch_size": 2}, rng).process.pid != first


def test_a_server_that_stays_has_them_too(model, tmp_path):
    configuration = {**FEW, "env:RRL_TEST": ODD, "cpus": 1}
    left = start_detached(model, configuration, tmp_path / "out", executable=LOCAL)
    try:
        words, variables, cpus = runs_with(left.process.pid)
        assert "--grpc_max_threads=4" in words
        assert (variables, cpus) == ([ODD], 1)
    finally:
        left.stop()


# --- the command line -----------------------------------------------------------------------------


def test_the_printed_lines_start_what_was_measured(model, tmp_path, capsys):
    """Tune at a port, then paste the line into a shell."""
    port = free_port()
    arguments = [
        "tune", str(model), "--executable", LOCAL, "--port", str(port), "--rate", "50",
        "--requests", "10", "--episodes", "1", "--rounds", "2", "--late", "60s", "--agent",
        "random", "--out", str(tmp_path / "out"), "--knob", "env:RRL_TEST=one,two", "--knob",
        "flag:--grpc_max_threads=6,7", "--knob", "batch_threads=0,1", "--knob", "cpus=1",
        "--knob", f"env:RRL_ODD={ODD}", "--knob", "flag:--enable_model_warmup=false",
    ]  # fmt: skip
    assert main(arguments) in (0, 5)
    out, err = capsys.readouterr()
    assert main(["stop", str(port)]) == 0
    assert sum(line[2:3] == line[5:6] == ":" for line in err.splitlines()) >= 3  # times
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    own = {"env:RRL_TEST": "one", "flag:--grpc_max_threads": 6}
    assert result["default"] == {**own, "batch_threads": 0}
    assert result["environment"]["RRL_ODD"] == ODD
    line, wanted = result["start"], result["deploy"]
    assert line in out
    process = subprocess.Popen(["sh", "-c", f"exec {line}"], stdout=-3, stderr=-3, cwd=ROOT)
    try:
        with Client(f"127.0.0.1:{port}", "probe") as client:
            assert wait_until(lambda: client.available(timeout_s=1.0), 300)
        words, variables, cpus = runs_with(process.pid, ("RRL_TEST", "RRL_ODD"))
        assert (variables, cpus) == ([wanted["env:RRL_TEST"], ODD], 1)
        assert f"--grpc_max_threads={wanted['flag:--grpc_max_threads']}" in words
        assert "--enable_model_warmup=false" in words
        assert ("--enable_batching" in words) == bool(wanted["batch_threads"])
    finally:
        process.kill()
        process.wait()


# --- defaults -------------------------------------------------------------------------------------


def test_the_default_of_a_flag_or_a_variable_is_its_first_value():
    knobs = ["flag:--new_one=b,a", "env:A=1,0", "cpus=1", "inter_op=1,2"]
    options = Namespace(knob=knobs, default=[])
    space, fixed = read_space(options, 1)
    assert fixed == {"cpus": 1}
    usual, fixed = read_space(Namespace(knob=["flag:--x=1"]), 1)
    assert (usual.names[0], fixed) == ("inter_op", {"flag:--x": 1})
    default = read_default(options, space)
    assert default == {"flag:--new_one": "b", "env:A": 1, "inter_op": 0}
    here = len(usable_cpus())
    assert read_default(options, ConfigSpace([Knob("cpus", (1, here + 1))])) == {"cpus": here}


def test_text_levels_keep_their_order_and_numbers_are_sorted():
    knobs = ["flag:--mode=slow,fast,7", "env:A=10,9,0.5"]
    space, _ = read_space(Namespace(knob=knobs), 1)
    mode, number = space.knobs
    assert (mode.values, mode.positions) == (("slow", "fast", 7), (0.0, 1.0, 2.0))
    assert (number.values, number.positions) == ((10, 9, 0.5), (2.0, 1.0, 0.0))


def test_two_settings_of_one_flag_are_refused():
    with pytest.raises(UsageError, match="inter_op and flag:--tensorflow_inter_op_parallelism are"):
        process_flags({"inter_op": 1, "flag:--tensorflow_inter_op_parallelism": 2})
    assert process_flags({"intra_op": 1, **FEW}) == [
        "--tensorflow_intra_op_parallelism=1", "--grpc_max_threads=4"
    ]  # fmt: skip


# --- mistakes -------------------------------------------------------------------------------------
