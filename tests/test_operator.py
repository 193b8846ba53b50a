"""What an operator is told before, during and after a run, and what happens to the service."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from argparse import Namespace
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clients import LIMIT_S, X, dropped_interrupt, write_warmup
from test_cli import SLO_REPLAY, said
from test_operate import operate

from rrl import ConfigSpace, Knob, MeanLatency, Poisson, Trace
from rrl.cli import main
from rrl.operating import targets
from rrl.operating.job import Job, read_job
from rrl.operating.journal import JOURNAL
from rrl.operating.metrics import HOST, metrics_at
from rrl.operating.operate import carry_out, open_run
from rrl.operating.options import ReplayOptions, TuneOptions
from rrl.operating.report import NO_TRIAL, check_result, plan_lines, verdict_lines
from rrl.operating.targets import command_here, leave_running
from rrl.operating.verdict import FAILED
from rrl.serving.envoy_config import Door
from rrl.serving.lasting import wait_until
from rrl.serving.launcher import LOCAL, LOCAL_COMMAND, ModelServer, free_port
from rrl.serving.local_server import parse_flags
from rrl.support.errors import (
    DeployError,
    ServerError,
    UnstableError,
    UsageError,
    interrupt_by_signals,
)
from rrl.support.machine import BUSY, OtherWork, busy_line
from rrl.tuning.episode import Episode, Status
from rrl.tuning.guard import USUAL_EPISODES, Guard, Part
from rrl.tuning.slo import SLO, parse_slo
from rrl.tuning.watch import WatchingServer


def tuning(model, out, *more):
    return [
        "tune", str(model), "--executable", LOCAL, "--rate", "40", "--requests", "20",
        "--rounds", "2", "--out", str(out), *more,
    ]  # fmt: skip


# --- before a run ---------------------------------------------------------------------------------


def test_a_dry_run_says_what_may_be_tried_and_touches_nothing(model, tmp_path, monkeypatch, capsys):
    def refused(*_):
        raise AssertionError("a server was started")

    monkeypatch.setattr("rrl.serving.launcher.ModelServer.start", refused)
    knobs = ["--knob", "inter_op=1,2,4", "--knob", "batch_threads=0,2"]
    more = [*knobs, "--port", str(free_port()), "--slo", "p99<80ms", "--episodes", "10"]
    assert main(tuning(model, tmp_path / "out", *more, "--dry-run")) == 0
    out, err = capsys.readouterr()
    assert err.endswith("no --sample: the requests of rrl have random values of x float32 (1, 2)\n")
    assert "may be tried: 6 configurations of\n  inter_op: 1, 2, 4\n" in out
    assert "\n  batch_threads: 0, 2\n" in out
    assert "default, which serves first: inter_op 0, batch_threads 0" in out
    assert "at most 14 episodes of 20 requests: 7 s of load at 40 requests/s, each after at" in out
    assert "late (over 80 ms) or failed: trials add at most 10 requests to" in out
    assert "a change starts a server: at most 15 starts" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_who_has_the_port_is_said_before_the_journal_is_read(more, model, tmp_path, capsys):
    """A server of the model, a server of another one, or something else."""
    (tmp_path / JOURNAL).write_text("no journal")
    words = tuning(model, tmp_path, "--slo", "p99<9s", *more)
    with ModelServer(model, {}, executable=LOCAL) as server, Front(server.address) as port:
        assert main([*words, "--port", str(port)]) == 4
        assert "(a server of 'probe' answers there)" in capsys.readouterr().err
        other = shutil.copytree(model, tmp_path / "other")
        assert main([words[0], str(other), *words[2:], "--port", str(port)]) == 4
        assert "(a model server answers there, and it has no 'other')" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert main([*words, "--port", str(silent.getsockname()[1])]) == 4
        assert "(no model server answers there)" in capsys.readouterr().err


class Front:
    """A port before the unix socket of a server, as long as a block lasts."""

    def __init__(self, address):
        self.path = address.removeprefix("unix:")

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        opened = asyncio.run_coroutine_threadsafe(self.open(), self.loop)
        return opened.result(LIMIT_S).sockets[0].getsockname()[1]

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)

    async def open(self):
        return await asyncio.start_server(self.connected, "127.0.0.1", 0)

    async def connected(self, reader, writer):
        inner = await asyncio.open_unix_connection(self.path)
        await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))


async def pump(reader, writer):
    while data := await reader.read(2**16):
        writer.write(data)
    writer.close()


def test_a_trace_may_come_from_a_pipe_which_can_be_read_only_once(model, tmp_path, capsys):
    reads, writes = os.pipe()
    os.write(writes, b"".join(b"%d\n" % second for second in range(400)))
    os.close(writes)
    options = ["--rounds", "2", "--requests", "20", "--episodes", "10", "--dry-run"]
    try:
        assert main(["tune", str(model), "--trace", f"/dev/fd/{reads}", *options]) == 0
    finally:
        os.close(reads)
    assert "14 episodes of 20 requests" in capsys.readouterr().out


def test_the_plan_says_the_rate_of_a_trace_so_milliseconds_are_noticed(model, tmp_path, capsys):
    """They are taken for seconds. The clients sent 20 requests per second."""
    (trace := tmp_path / "trace.csv").write_text("".join(f"{50 * n}\n" for n in range(400)))
    options = ["--rounds", "2", "--requests", "20", "--episodes", "10", "--dry-run"]
    assert main(["tune", str(model), "--trace", str(trace), *options]) == 0
    assert "14 episodes of 20 requests: 3.9 h of load at 0.02 " in capsys.readouterr().out


@pytest.mark.parametrize(("rate", "said"), [(1234.5, "1234"), (99.96, "100"), (12.345, "12.3")])
def test_the_plan_says_a_rate_without_an_exponent(rate, said):
    lines = plan_lines(job(workload=Poisson(rate)))
    assert sum(f" of load at {said} requests/s, " in line for line in lines) == 1


@pytest.mark.parametrize(("budget", "tried"), [(4, False), (5, True)])
def test_a_budget_too_small_for_any_trial_is_told_before_the_run(budget, tried, tmp_path, caplog):
    mine = job(budget=budget)
    run = operate(mine, Service(), tmp_path)
    assert (run.result()["harm"]["trial_requests"] > 0) == tried
    assert (NO_TRIAL in caplog.messages) == (NO_TRIAL in plan_lines(mine)) == (not tried)


@pytest.mark.parametrize("source", [".", "../mine", "mine/../../mine"])
def test_a_run_has_the_name_of_its_model_wherever_it_is_started(source, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    one = job()
    options = ReplayOptions(source, rate=9.0)
    named, folder = read_job("replay", options, one.space, one.default, one.workload)
    assert (named.what, folder) == ("mine", Path("build/replay/mine"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["tune"], "give the load: --rate"),
        (["tune", "--rate", "9", "--slo", "80ms"], "write it as p99<50ms"),
        (["tune", "--rate", "9", "--port", "8500"], "--port: say which requests are late"),
        (["tune", "--rate", "9", "--agent", "nosuch"], "unknown agent"),
        (["tune", "--rate", "9", "--executable", "/nosuch"], "no executable '/nosuch'"),
        (["tune", "--rate", "9", "--knob", "nosuch=1,2"], "unknown knob 'nosuch'"),
        (["tune", "--rate", "9", "--default", "inter_op=-1"], "inter_op must be a whole number"),
        (["profile", "--knob", "inter_op=1,2"], "give the loads in requests/s"),
    ],
)
def test_a_mistake_in_the_options_is_told_before_a_model_is_read(
    command, message, model, monkeypatch, capsys
):
    def read(*_):
        raise AssertionError("the model was read")

    for module in ("tune", "profiling"):
        monkeypatch.setattr(f"rrl.operating.{module}.read_requests", read)
    code, line = said([command[0], str(model), *command[1:]], capsys)
    assert code == 2
    assert message in line


def test_a_folder_that_is_no_model_is_told_from_one(model, tmp_path, capsys):
    shutil.copytree(model / "1", exported := tmp_path / "exported")
    foreign, damaged = (tmp_path / name / "1" for name in ("foreign", "damaged"))
    for version in (foreign, damaged):
        version.mkdir(parents=True)
    (foreign / "model.onnx").touch()
    (damaged / "saved_model.pb").write_bytes(b"\xff" * 9)
    for path, message in (
        (model / "1", "a version of a model; give the folder that contains it"),
        (exported, f"without a number; move what is in it to {exported}/1/"),
        (foreign.parent, f"{foreign}: no saved_model.pb in it; export the model again"),
        (damaged.parent, f"{damaged}/saved_model.pb: not a SavedModel"),
    ):
        code, line = said(tuning(path, tmp_path / "out"), capsys)
        assert code == 3
        assert message in line


def fill_the_disk(monkeypatch):
    full = shutil._ntuple_diskusage(2**30, 2**30, 0)
    monkeypatch.setattr("rrl.operating.operate.shutil.disk_usage", lambda place: full)


def test_a_full_disk_is_said_before_a_server_starts(model, tmp_path, monkeypatch, capsys):
    fill_the_disk(monkeypatch)
    code, line = said(tuning(model, tmp_path / "out", "--quiet"), capsys)
    assert code == 3
    assert "No space left on device; make room and run it again" in line


# --- during a run ---------------------------------------------------------------------------------


SPACE = ConfigSpace([Knob("threads", (1, 2, 3))])
DEFAULT = {"threads": 1}


class Service(WatchingServer):
    """A service with a good default; 3 threads are late.

    From a call on, 2 threads are late, too. `why` is what the watch says of those that are late,
    or "crash".
    """

    def __init__(self, stops_at=10**6, fails=None, slow_from=10**6, default_s=0.05, why="worse"):
        self.space, self.calls, self.slow_from = SPACE, 0, slow_from
        self.seconds, self.why = {1: default_s, 2: 0.02, 3: 0.9}, why
        self.stops_at, self.fails, self.crashed = stops_at, fails or KeyboardInterrupt(), []
        self.before = bool  # what happens before an episode: nothing

    def measure(self, configuration, arrivals, rng, *, watch=None):
        self.before()
        self.calls += 1
        if self.calls > self.stops_at:
            self.crashed += [dict(configuration)] * isinstance(self.fails, ServerError)
            raise self.fails
        n, late = len(arrivals), (2, 3) if self.calls > self.slow_from else (3,)
        if configuration["threads"] in late and self.why == "crash":
            raise ServerError("ended with status 1")
        if configuration["threads"] in late and watch is not None:  # as a watch ends it
            latency, status = np.full(3, 0.9), np.full(3, Status.CANCELLED.value)
            info = {"aborted": self.why}
            latency[2] = 0.001
            return Episode(configuration, arrivals[:3], latency, status, info=info)
        latency = np.full(n, self.seconds[configuration["threads"]])
        return Episode(configuration, arrivals, latency, np.zeros(n))


def job(**changes):
    settings = {
        "what": "service", "space": SPACE, "default": DEFAULT, "workload": Poisson(50.0),
        "objective": MeanLatency(), "agent": "random", "episodes": 12, "requests": 30,
        "rounds": 8, "budget": 400, "slo": parse_slo("p99<100ms"),
    }  # fmt: skip
    return Job(**(settings | changes))


def told(caplog, words):
    """The only line of a run with these words."""
    (line,) = [line for line in caplog.messages if words in line]
    return line


NARROW = ConfigSpace([Knob("threads", (1, 2))])
STOPPED = "stopped after 3 requests: 2 late or failed"
SAID = {
    "worse": STOPPED,
    "budget": f"{STOPPED}, and the budget allows no more",
    "crash": "crashed (ended with status 1)",
}


@pytest.mark.parametrize(("why", "said"), SAID.items())
@pytest.mark.parametrize("whole", [0, 9])
def test_only_whole_rounds_have_costs_and_what_was_stopped_is_not_deployed(
    why, said, whole, tmp_path, caplog
):
    """It did well while the agent learned; after the whole rounds, the load has changed.

    A stop because of the budget says nothing against it.
    """
    mine = job(space=NARROW, rounds=15)
    run = operate(mine, Service(slow_from=mine.episodes + 2 * whole, why=why), tmp_path)
    result = run.result()
    assert (len(run.rounds), result["rounds"], result["lost"]) == (whole + 1, whole, 1)
    assert f"default 50.0 ms, recommended {said}" in told(caplog, f"round {whole + 1}/15")
    costs = {"default": 0.05, "recommended": 0.02}
    assert result["cost"] == (pytest.approx(costs) if whole else None)
    better = why == "budget" and whole > 0
    assert result["deploy"] == ({"threads": 2} if better else DEFAULT)
    assert result["slo"]["by"] == ("recommended" if better else "default")
    errors = {"worse": UnstableError, "crash": DeployError}
    bad = pytest.raises(errors.get(why, UnstableError), match="keep the default")
    with nullcontext() if why == "budget" else bad:
        check_result(result)
    ended = {"worse": "stopped", "crash": FAILED}
    verdict = ended.get(why, "better" if better else "no difference shown")
    assert result["verdict"] == verdict
    text = "\n".join(verdict_lines(mine, result))
    assert ("no round is whole, so the costs are unknown" in text) == (whole == 0)
    hint = "is used up (--budget), and a verdict needs 8 rounds or more\n"
    assert (hint in text) == (verdict == "no difference shown")
    more = operate(replace(mine, budget=500), Service(), tmp_path)
    assert len(more.rounds) == (15 if why == "budget" else whole + 1), "a larger budget allows more"


def test_what_rrl_cancels_is_no_failure_and_has_no_latency(tmp_path, caplog):
    run = operate(job(), Service(), tmp_path)
    said = [line for line in caplog.messages if f": threads 3: {STOPPED} |" in line]
    assert len(said) == 1  # it is shunned from then on
    text = "\n".join(verdict_lines(run.job, run.result()))
    assert f"  threads 3 {STOPPED}" in text.splitlines()
    assert "10000" not in caplog.text + text  # ms, as a failure
    assert not re.search(r"\d failed \|", caplog.text)


@pytest.mark.parametrize("calls", [0, 1])
def test_an_interrupt_that_python_drops_ends_the_run_before_its_next_episode(calls, tmp_path):
    """It comes while the servers start, or in the first episode."""
    server = Service()
    server.before = dropped_interrupt
    interrupt_by_signals()
    with open_run(job(), tmp_path) as run:
        if calls == 0:
            dropped_interrupt()
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            carry_out(run, server)
    assert server.calls == calls


@pytest.mark.parametrize(("good", "word"), [(30, "met"), (28, "undecided")])
def test_an_slo_is_met_only_if_no_round_was_stopped(good, word, tmp_path):
    """The recommendation is fast in `good` measurements of the comparison, and then stopped."""
    mine = job(space=NARROW, rounds=15, requests=50)
    server = Service(slow_from=mine.episodes + good, why="budget")
    assert operate(mine, server, tmp_path).result()["slo"]["recommended"]["word"] == word


def test_what_whole_rounds_call_worse_is_worse_also_if_it_is_stopped_later(tmp_path):
    mine = job(space=NARROW, rounds=15)
    server = Service(slow_from=mine.episodes + 18)
    with open_run(mine, tmp_path) as run:
        run.begin(server)
        run.learn()
        server.seconds[2] = 0.09  # the load has changed
        run.compare()
    assert run.result()["rounds"] == 9
    with pytest.raises(UnstableError, match="worse than the default: keep the default"):
        check_result(run.result())


@pytest.mark.parametrize(
    ("rounds", "seconds", "why", "remedy"),
    [
        (5, 0.02, "", r"the recommended one may meet it: all 5 rounds are measured \(--rounds\)"),
        (5, 0.2, "", "lower the load"),  # no configuration meets it
        (0, 0.02, "budget", r"the recommended one may meet it: .* is used up \(--budget\)"),
        (0, 0.02, "worse", "lower the load"),
    ],
)
def test_an_slo_that_the_default_misses_is_missed_whatever_ends_the_comparison(
    rounds, seconds, why, remedy, tmp_path
):
    mine = job(space=NARROW, rounds=rounds or 9)
    server = Service(slow_from=10**6 if rounds else mine.episodes, default_s=0.3, why=why)
    server.seconds[2] = seconds
    run = operate(mine, server, tmp_path)
    assert len(run.rounds) == (rounds or 1)
    result = run.result()
    text = "\n".join(verdict_lines(mine, result))
    assert "SLO p99<100ms: missed by the default configuration" in text
    word = "missed" if seconds > 0.1 else "undecided"  # a p99 of so few requests is not certain
    assert (f"SLO p99<100ms: {word} by the recommended configuration" in text) == (rounds > 0)
    with pytest.raises(UnstableError, match=rf"300\.0 ms with the default .*{remedy}"):
        check_result(result)


@pytest.mark.parametrize("load", [Poisson(50.0), Trace(np.arange(2000) / 50.0)])
@pytest.mark.parametrize("second", [2, 3])  # the better one, or one that is never recommended
def test_all_episodes_at_the_same_load_count_for_the_slo(second, load, tmp_path, monkeypatch):
    judged = []
    mine = job(space=ConfigSpace([Knob("threads", (1, second))]), workload=load)
    run = operate(mine, Service(), tmp_path)
    monkeypatch.setattr(SLO, "judge", lambda slo, parts: judged.append(parts) or {"word": "met"})
    run.result()
    tuned = sum(one.configuration == DEFAULT for one in run.steps) * isinstance(load, Poisson)
    both = second == 3  # halves of a round are of the default
    assert [len(parts) for parts in judged] == [8 + tuned, 8 + tuned * both]
    assert {len(one) for one in judged[0][:8]} == {60 if both else 30}


def test_the_limit_of_lateness_comes_from_three_episodes_of_the_default(tmp_path, caplog):
    server, mine = Service(), job(slo=None)
    run = operate(mine, server, tmp_path)
    served = [step.configuration for step in run.steps]
    assert served[:USUAL_EPISODES] == [DEFAULT] * USUAL_EPISODES
    assert any(one != DEFAULT for one in served)
    assert told(caplog, "late means over 100 ms: twice the p99 of 3 episodes of the default")
    text = "\n".join(verdict_lines(mine, run.result()))
    assert "late (over 100 ms, by the first episodes of the default) or failed" in text


@pytest.mark.parametrize("fails", [KeyboardInterrupt(), ServerError("no answer")])
@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("stops_at", [0, 9, 33])
def test_after_an_early_end_the_default_returns(fails, keep_best, stops_at, tmp_path):
    """It ends before the first episode, while the agent learns, or in the comparison.

    The best configuration is not kept if it has just failed.
    """
    server = Service(stops_at, fails=fails)
    best = {"threads": 2}
    with open_run(job(space=NARROW, agent="rrl", episodes=30), tmp_path) as run:
        with pytest.raises(type(fails)):
            carry_out(run, server)
        kept = best if keep_best and stops_at and best not in server.crashed else DEFAULT
        assert run.stays(keep_best) == kept


def test_what_a_whole_run_deploys_stays_also_if_the_best_known_one_is_kept(tmp_path):
    with open_run(job(space=NARROW, agent="rrl", episodes=30, rounds=2), tmp_path) as run:
        carry_out(run, Service())
        assert run.result()["recommended"] == {"threads": 2}
        assert run.deploy == run.stays(True) == run.stays(False) == DEFAULT
        run.deploy = None
        assert run.stays(True) == {"threads": 2}


def test_a_server_that_fails_on_a_full_disk_is_not_blamed(tmp_path, monkeypatch):
    server = Service(stops_at=4, fails=ServerError("ended with status 1 (empty log)"))
    fill_the_disk(monkeypatch)
    with open_run(job(), tmp_path) as run, pytest.raises(OSError, match="No space left"):
        carry_out(run, server)


def test_the_metrics_say_what_serves_and_what_is_left_of_the_budget():
    """What Prometheus reads."""
    guard, port = Guard(DEFAULT, 40, 0.1), free_port()
    guard.parts += [
        Part(DEFAULT, 30, 0),
        Part({"threads": 3}, 9, 7, "aborted", charge=1.0),
        Part({"threads": 2}, 2, 2, "crashed", charge=9.0),
    ]
    guard.serves = {"threads": 2}
    with metrics_at(port, guard), urllib.request.urlopen(f"http://{HOST}:{port}") as reply:
        text = reply.read().decode()
    for line in (
        'serves_info{threads="2"} 1.0', "trial 1.0", "budget_left 31.0",
        'requests_total{with="trial"} 11.0', 'requests_total{with="default"} 30.0',
        'bad_requests_total{with="trial"} 9.0', 'bad_requests_total{with="default"} 0.0',
    ):  # fmt: skip
        assert f"\nrrl_tuning_{line}\n" in text


def test_a_run_that_continues_serves_the_default_first_whatever_it_was_stopped_in(tmp_path):
    with open_run(job(space=NARROW), tmp_path) as run:
        run.begin(Service())
        while run.guard.serves == DEFAULT:
            run._advance(learning=True)
    with open_run(job(space=NARROW), tmp_path) as again:
        assert again.guard.serves == DEFAULT


def test_a_run_continues_only_with_the_same_model_requests_and_canary(
    model, tmp_path, monkeypatch, capsys
):
    stored = []

    def opened(job, *_):
        stored.append(job.settings())
        raise UsageError("that is enough")

    monkeypatch.setattr("rrl.operating.tune.open_run", opened)
    monkeypatch.setattr("rrl.operating.targets.look", lambda options: "")  # it finds no envoy
    given = str(write_warmup(tmp_path, "probe", X))
    monkeypatch.setattr("rrl.serving.launcher.shutil.which", lambda name: None)
    words = ["tune", str(model), "--out", str(tmp_path), "--slo", "p99<80ms", "--traffic"]
    words += ["--port", str(free_port())]
    for more in (["0.2"], ["1"], ["1", "--sample", given]):
        assert main([*words, "--canary", *more]) == 2
    one, two, three = stored
    assert {name for name in one if one[name] != two[name]} == {"canary"}
    assert {name for name in two if two[name] != three[name]} == {"sample"}
    assert {"model", "server", "signature", "machine", "packages"} <= set(one)
    err = capsys.readouterr().err
    assert "no tensorflow_model_server on the PATH: the local server of rrl" in err


def test_a_port_of_metrics_that_is_taken_is_said_before_a_server_starts(model, tmp_path, capsys):
    port = free_port()
    with metrics_at(port, Guard(DEFAULT, 40, 0.1)):
        assert main(tuning(model, tmp_path, "--metrics-port", str(port))) == 2
    err = capsys.readouterr().err
    assert re.search(rf"rrl: --metrics-port {port}: .* in use; choose another one", err)
    assert "starting a server" not in err


# --- what is left in service at the end of a run at a port ----------------------------------------

LEFT = Namespace(configuration={"inter_op": 1}, log="/logs/probe-1.log")


class Kept:
    """A service behind a port; at some moments it does what a test wants."""

    door, left = Door(8500), LEFT

    def __init__(self, **does):
        self.does = does

    def now(self, moment):
        self.does.get(moment, bool)()

    def keep(self, configuration):
        self.kept = configuration

    def configure(self, configuration):
        self.now("begins")
        return Namespace(exposed=None)

    def return_to_kept(self):
        self.now("returns")

    def leave(self):
        self.now("leaves")
        return self.left


def fail():
    raise ServerError("the server ended with status -9")


def interrupt():
    raise KeyboardInterrupt("Ctrl-C")


def opened(server, run, model, monkeypatch, keep_best=False):
    """What opens this server as the service of a run."""
    monkeypatch.setattr(targets, "HandoverServer", lambda *_, **__: server)
    return targets.open_server(TuneOptions(str(model), port=8500, keep_best=keep_best), run, [X])


STAYS = (
    "the service at 127.0.0.1:8500 goes on with inter_op 1; the log is /logs/probe-1.log; "
    "end it with: rrl stop 8500"
)


def test_what_an_earlier_run_has_left_goes_on_if_no_other_server_takes_over(caplog):
    server = Kept(returns=fail)
    server.left = None
    assert not leave_running(server, DEFAULT)
    assert told(caplog, "goes on with what served before; end it with: rrl stop 8500")


FULL = OSError("No space left")
ERRORS = (KeyboardInterrupt("Ctrl-C"), ServerError("no answer"), OSError("no answer: a full disk"))


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("error", [*ERRORS, None, FULL])
def test_a_configuration_that_stays_but_does_not_start_is_an_error(
    error, keep_best, model, tmp_path, monkeypatch, caplog
):
    """If the run has failed before, the first error is the one that counts. What serves goes on."""
    server, fails = Kept(returns=fail), ServerError()
    words = str(error or "cannot take over; a line above says why; the same command tries again")
    if error is FULL:  # the run has not failed, but this is why no server starts
        fill_the_disk(monkeypatch)
        error, fails = None, error

    def serve(run):
        monkeypatch.setattr(run, "stays", lambda keep_best: {"threads": 2 + keep_best})
        with opened(server, run, model, monkeypatch, keep_best):
            if error:
                raise error

    with open_run(job(), tmp_path) as run, pytest.raises(type(error or fails), match=words):
        serve(run)
    assert server.kept == {"threads": 2 + keep_best}
    assert (str(error) in caplog.messages) == isinstance(error, Exception)
    why = f"threads {2 + keep_best} cannot take over: the server ended with status -9"
    assert {why, STAYS} <= set(caplog.messages)
    assert told(caplog, "only a supervisor starts it again")


def test_an_error_of_the_disk_during_a_run_is_told_with_its_remedy(
    model, tmp_path, monkeypatch, caplog
):
    def full():
        raise OSError(errno.ENOSPC, "no room", "/d/kept.json")

    with (
        open_run(job(), tmp_path) as run,
        pytest.raises(OSError, match="no room"),
        opened(Kept(returns=full), run, model, monkeypatch),
    ):
        full()
    words = "/d/kept.json: no room; make room and run it again: what was saved before is intact"
    assert {words, f"threads 1 cannot take over: {words}"} <= set(caplog.messages)


@pytest.mark.parametrize(
    ("does", "claims"),
    [
        ({"begins": interrupt}, [STAYS]),
        ({"begins": interrupt, "leaves": fail}, []),  # nothing serves
        ({"says": interrupt}, [STAYS]),
        ({"says": interrupt, "returns": interrupt}, [STAYS]),
        ({"says": interrupt, "leaves": interrupt}, []),
    ],
)
def test_an_interrupt_at_any_moment_leaves_what_serves(does, claims, model, tmp_path, monkeypatch):
    """Also while the default begins to serve, or while the run says that clients may come.

    Another one may come while the kept configuration returns, or while the service is left. The end
    of a `with` block would end the service, so there is none.
    """
    server, lines = Kept(**does), []

    def warning(line):
        lines.append(line)
        if "clients may use" in line:  # not yet, if an interrupt has come before
            server.now("says")

    monkeypatch.setattr(targets.LOG, "warning", warning)
    with open_run(job(), tmp_path) as run, pytest.raises(KeyboardInterrupt):
        opened(server, run, model, monkeypatch).__enter__()
    assert [line for line in lines if "goes on with" in line] == claims


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_closes_the_terminal_after_ctrl_c_does_not_end_the_service(number, caplog):
    """The kept one takes over all the same, and only a second Ctrl-C would interrupt that."""
    done = []

    def returning():
        os.kill(os.getpid(), number)
        done.append("returned")

    interrupt_by_signals()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    with suppress(KeyboardInterrupt):
        leave_running(Kept(returns=returning), DEFAULT)
    assert done == ["returned"]
    assert told(caplog, STAYS)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_the_printed_command_answers_rest_if_the_service_does(model):
    given = TuneOptions(str(model), executable=LOCAL, port=8500, rest_port=8501)
    flags = parse_flags(command_here(given)[len(LOCAL_COMMAND) :])
    assert (flags.port, flags.rest_api_port) == (8500, 8501)


# --- the machine ----------------------------------------------------------------------------------


def test_a_process_of_others_is_noticed_and_said_once(caplog):
    """Its parent has ended, so it is no child of this process; both have the same processor."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})  # of many processors, one busy one would be too few
    started = subprocess.run(
        ["sh", "-c", "yes > /dev/null 2>&1 & echo $!"], capture_output=True, text=True, check=True
    )
    pid = int(started.stdout)
    try:
        others = OtherWork()
        assert wait_until(lambda: others.look() > BUSY, LIMIT_S)
        others.start()
        assert wait_until(lambda: others.look() > BUSY, LIMIT_S)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.sched_setaffinity(0, usual)
    assert told(caplog, "the machine is busy: other processes use ")


def test_our_own_work_is_not_that_of_others(monkeypatch):
    times = iter([(0.0, 0.0, 0.0), (20.0, 12.0, 10.0), (20.0, 12.0, 10.0), (40.0, 32.0, 12.0)])
    monkeypatch.setattr(OtherWork, "_now", lambda self: next(times))
    others = OtherWork()
    looks = [others.look()]
    others.start()
    looks.append(others.look())
    assert looks == [0.1, 0.9]
    assert busy_line([{"other_work": looks[0]}]) == busy_line([{}]) == ""


# --- journals that somebody else made -------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert main([*SLO_REPLAY, "--out", str(folder)]) in (0, 5)
    return [json.loads(line) for line in (folder / JOURNAL).read_bytes().splitlines()]


def put(value, *place):
    """What puts a value at a place in a record."""

    def change(record):
        for key in place[:-1]:
            record = record[key]
        record[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (2, put({"inter_op": 99}, "configuration")),
        (3, put(None, "recommended")),
        (2, put([0], "answers", 0, "status")),
        (2, put(3, "answers", 0, "info", "others")),
        (2, put("much", "answers", 0, "info", "memory_bytes")),
        (2, put("no answer", "answers", 0, "error")),
        (4, put([], "answers")),
        (4, lambda record: record["answers"].append(record["answers"][0])),
        (3, put(float("inf"), "answers", 0, "info", "other_work")),
        (6, put({"default": 1.0}, "costs")),
        (6, put({"inter_op": 99}, "recommended")),
        (6, lambda record: record["answers"].pop()),
    ],
)
def test_a_crafted_record_is_one_line_and_exit_3(line, change, whole, tmp_path, capsys):
    records = json.loads(json.dumps(whole))
    change(records[line - 1])
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    (tmp_path / JOURNAL).write_text(text)
    code, message = said([*SLO_REPLAY, "--out", str(tmp_path)], capsys)
    assert code == 3
    where = f"rrl: {tmp_path / JOURNAL}, line {line}: it is no measurement of this run, or "
    assert message.startswith(where)
    assert (tmp_path / JOURNAL).read_text() == text


def test_a_journal_that_is_a_link_is_not_followed(tmp_path, capsys):
    victim = tmp_path / "victim"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / JOURNAL).symlink_to(victim)
    assert main([*SLO_REPLAY, "--out", str(tmp_path / "out")]) == 3
    assert "it is a link; remove it" in capsys.readouterr().err
    assert not victim.exists()
