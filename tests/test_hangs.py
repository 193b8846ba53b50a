"""A server that hangs is told from one that is dead, and from a bad configuration."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import said
from test_operator import tuning

from rrl import ConfigSpace, Knob, MeanLatency
from rrl.serving import live
from rrl.serving.live import LiveServer
from rrl.support.errors import HangError, ServerError
from rrl.tuning.episode import Episode
from rrl.tuning.guard import Guard, guarded_step
from rrl.tuning.watch import Watch

SPACE = ConfigSpace([Knob("inter_op", (1, 2))])
DEFAULT, OTHER = {"inter_op": 1}, {"inter_op": 2}
DUE = np.linspace(0.0, 0.5, 10)
USUAL = Watch(late_s=60.0, allowance=1000, usual=0.02, idle=True)


@pytest.fixture
def hanging(model, tmp_path, monkeypatch):
    """A real server whose answers a file can stop, and what writes to that file."""
    monkeypatch.setattr(live, "STALL_S", 0.5)
    monkeypatch.setattr(live, "ANSWER_S", 1.0)
    mode, program = tmp_path / "mode", tmp_path / "server.sh"
    words = [sys.executable, str(Path(__file__).with_name("hanging.py")), str(mode)]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    with LiveServer(model, SPACE, executable=str(program), warmup=2) as server:
        yield server, mode.write_text


def measure(server, configuration=DEFAULT):
    return server.measure(configuration, DUE, np.random.default_rng(0), watch=USUAL)


@pytest.mark.parametrize("fault", ["hang", "half", "close"])
def test_a_default_that_does_not_answer_is_started_again(fault, hanging):
    server, switch = hanging
    first = server.configure(DEFAULT)
    switch(fault)
    assert measure(server).ok.all()
    assert not first.alive


def test_a_default_that_never_answers_is_said_to_hang(hanging, monkeypatch):
    server, switch = hanging
    monkeypatch.setattr(live, "RESTARTS", 0)
    server.configure(DEFAULT)
    switch("hang")
    with pytest.raises(HangError, match=r"hangs: it runs but has not told its state") as error:
        measure(server)
    assert (error.value.code, error.value.started) == (6, True)
    assert 0 < error.value.lost <= len(DUE)


@pytest.mark.parametrize("fault", ["hang", "close", signal.SIGSTOP, signal.SIGKILL])
def test_a_trial_whose_server_fails_once_is_measured_again_and_has_no_charge(fault, hanging):
    server, switch = hanging
    guard = Guard(DEFAULT, 400, late_s=0.2)
    given = DUE, np.random.default_rng(0), MeanLatency()
    guard.measure(server, DEFAULT, *given)
    trial = server.configure(OTHER)
    if isinstance(fault, str):
        switch(fault)
    else:
        os.kill(trial.process.pid, fault)
    part, episode, cost = guard.measure(server, OTHER, *given)
    assert [one.ended for one in guard.parts] == ["", "server", ""]
    assert guard.charge(OTHER) is None
    assert guard.parts[1].bad > 0, "what was lost counts against the budget"
    assert (part.ended, episode.ok.all()) == ("", True)
    assert cost < 1.0


class Dies:
    """A server that fails some times after it has started; the default is good."""

    space = SPACE

    def __init__(self, *fails):
        self.fails = list(fails)

    def measure(self, configuration, arrivals, rng):
        if configuration == OTHER and self.fails and self.fails.pop(0):
            raise ServerError("it died", lost=1, started=True)
        return Episode(
            configuration, arrivals, np.full(len(arrivals), 0.1), np.zeros(len(arrivals))
        )


class Asks:
    """An agent that asks for the same all the time."""

    def __init__(self):
        self.told = []

    def ask(self, load):
        return OTHER

    def tell(self, configuration, cost):
        self.told.append((configuration, cost))

    def best(self, load):
        return DEFAULT


@pytest.mark.parametrize(
    ("fails", "budget", "ended", "told"),
    [
        ([1, 0, 1, 0], 100, "", [pytest.approx(0.1)] * 2),  # never twice in a row
        ([1, 1], 100, "crashed", [pytest.approx(10.0)] * 2),  # it is the configuration
        ([1], 5, "server", []),  # it may not be measured again
    ],
)
def test_only_a_configuration_under_which_the_server_fails_twice_in_a_row_pays(
    fails, budget, ended, told
):
    guard, agent, server = Guard(DEFAULT, budget, late_s=1.0), Asks(), Dies(*fails)
    given = DUE, np.random.default_rng(0), MeanLatency()
    guard.measure(server, DEFAULT, *given)
    steps = [guarded_step(server, agent, 9.0, *given, guard) for _ in range(2)]
    assert steps[0].part.ended == ended
    assert np.isnan(steps[0].cost) == (ended == "server")
    costs = [cost for configuration, cost in agent.told if configuration == OTHER]
    assert costs == told


def test_a_program_that_hangs_is_refused_within_the_limit_for_its_start(model, tmp_path, capsys):
    program = tmp_path / "hangs.sh"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    words = tuning(model, tmp_path / "out", "--start-timeout", "0.5", "--knob", "inter_op=1,2")
    words[words.index("local")] = str(program)
    code, line = said([*words, "--quiet"], capsys)
    assert code == 6
    assert f"{program} hangs: it has not answered --version within 0.5 s" in line
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && exit\nexec sleep 600\n')
    code, line = said([*words, "--quiet"], capsys)
    assert code == 6
    assert "the model is not available after 0.5 s" in line


def test_all_attempts_to_start_share_one_limit(model, tmp_path, monkeypatch):
    """Each attempt ends by itself before the limit, which the last one reaches."""
    program, starts = tmp_path / "dies.sh", tmp_path / "starts"
    program.write_text(f"#!/bin/sh\necho >> {starts}\nsleep 1\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(live, "RESTARTS", 10**6)
    with (
        LiveServer(model, SPACE, executable=str(program), start_timeout_s=2.5) as server,
        pytest.raises(HangError, match=r"all attempts together have 2\.5 s"),
    ):
        measure(server)
    assert starts.read_text().count("\n") <= 4
