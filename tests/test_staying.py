"""What is left in service at the end of a run at a port, whatever has gone wrong by then."""

from __future__ import annotations

import os
import signal
from argparse import Namespace

import pytest

from rrl.operating.log import show
from rrl.operating.targets import leave_running
from rrl.serving.envoy_config import Door
from rrl.support.errors import ServerError, interrupt_by_signals

show()  # as a command does

LEFT = Namespace(configuration={"inter_op": 1}, log="/logs/probe-1.log")


class Kept:
    """A service behind a port that does what a test wants when it returns to what is kept."""

    door = Door(8500)

    def __init__(self, returning=lambda: None, serves=True):
        self.returning, self.serves = returning, serves

    def return_to_kept(self):
        self.returning()

    def leave(self):
        if not self.serves:
            raise ServerError("nothing serves at 127.0.0.1:8500")
        return LEFT


def fail():
    raise ServerError("the server ended with status -9")


def interrupt():
    raise KeyboardInterrupt("Ctrl-C")


STAYS = "127.0.0.1:8500 stays in service with inter_op 1; the log is /logs/probe-1.log; end it with"


def test_what_serves_goes_on_if_the_kept_one_does_not_start(capsys):
    leave_running(Kept(fail))
    said = capsys.readouterr().err
    assert "the configuration to keep cannot take over: the server ended with status -9" in said
    assert f"{STAYS}: rrl stop 8500" in said
    assert "only a supervisor starts it again" in said


def test_nothing_claims_to_serve_if_nothing_does(capsys):
    with pytest.raises(ServerError, match="nothing serves at"):
        leave_running(Kept(fail, serves=False))
    assert "stays in service" not in capsys.readouterr().err


def test_a_second_ctrl_c_leaves_what_serves(capsys):
    with pytest.raises(KeyboardInterrupt):
        leave_running(Kept(interrupt))
    assert STAYS in capsys.readouterr().err


@pytest.fixture
def handlers():
    """How a command of rrl takes signals; afterwards they are as before."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    interrupt_by_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_closes_the_terminal_meanwhile_does_not_end_the_service(number, capsys):
    """The kept one takes over all the same; afterwards the signal interrupts again."""
    done = []

    def returning():
        os.kill(os.getpid(), number)
        done.append("returned")

    leave_running(Kept(returning))
    assert done == ["returned"]
    assert STAYS in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
