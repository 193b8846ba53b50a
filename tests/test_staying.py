"""What is left in service at the end of a run at a port, whatever has gone wrong by then."""

from __future__ import annotations

import io
import os
import signal
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from rrl.operating.staying import leave_running
from rrl.serving.detached import Detached
from rrl.support.errors import ServerError, interrupt_by_signals

OPTIONS = Namespace(executable=None, start_timeout=1.0)


class Kept:
    """A service behind a port; it hands over nothing, and notes what it was asked for."""

    address, kept, front = "127.0.0.1:8500", {"inter_op": 1}, Namespace(port=8500)

    def __init__(self, serves):
        self.serves, self.asked = serves, []

    def return_to_kept(self, rng):
        self.asked.append("return")
        if not self.serves:
            raise ServerError("the server ended with status -9")

    def hand_port_over(self, start):
        self.asked.append("hand over")
        raise SystemExit  # ends the test here

    def warm_up(self, address):
        self.asked.append(f"warm up {address}")
        raise ServerError("it answers too late")


class Closed(io.StringIO):
    """A terminal that was closed."""

    def write(self, text):
        raise OSError(5, "Input/output error")


def test_a_closed_terminal_does_not_end_the_service(monkeypatch):
    service = Kept(serves=True)
    monkeypatch.setattr(sys, "stderr", Closed())
    with pytest.raises(SystemExit):
        leave_running(service, Path(), Path(), OPTIONS)
    assert service.asked == ["return", "hand over"]


def test_nothing_claims_to_serve_if_nothing_does(capsys):
    service = Kept(serves=False)
    with pytest.raises(ServerError, match=r"nothing serves at \S+:8500 any more: the server"):
        leave_running(service, Path(), Path(), OPTIONS)
    assert "stays in service" not in capsys.readouterr().err


@pytest.fixture
def handlers():
    """How a command of rrl takes signals; afterwards they are as before."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    interrupt_by_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def at_the_end(action, error):
    """Do what a run does at its end, which an error may have brought about."""
    try:
        if error:
            raise error
    finally:
        action()


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("error", [KeyboardInterrupt("Ctrl-C"), None])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_closes_the_terminal_meanwhile_does_not_end_the_service(
    error, number, monkeypatch, capsys
):
    """The port is given over all the same; if nothing else has ended the run, the signal does."""
    service = Kept(serves=True)
    left = Detached(4711, "127.0.0.1:8500", Path("log"), own_address="unix:own")
    monkeypatch.setattr("rrl.serving.detached.start_detached", lambda *_, **__: left)

    def hand_port_over(start):
        os.kill(os.getpid(), number)
        start()
        return True

    service.hand_port_over = hand_port_over
    with pytest.raises(KeyboardInterrupt) as end:
        at_the_end(lambda: leave_running(service, Path(), Path(), OPTIONS), error)
    said = capsys.readouterr().err
    assert "stays in service with inter_op 1; the log is log; stop it with: kill 4711" in said
    assert "cut off" not in said
    assert service.asked[-1] == "warm up unix:own"
    assert (str(end.value) == "Ctrl-C") == bool(error)


class Dying(Kept):
    """Its server dies as soon as no other one has taken the port over."""

    def __init__(self, starts):
        self.asked, self.starts, self.lives = [], starts, iter([True, False])

    @property
    def serves(self):
        return next(self.lives)

    def return_to_kept(self, rng):
        self.asked.append("return")
        if len(self.asked) == 1:  # before the hand-over
            return
        if not self.starts:
            raise ServerError("no memory")
        os.kill(os.getpid(), signal.SIGTERM)  # ends the test

    def hand_port_over(self, start):
        start()
        raise ServerError("the new server does not listen there")


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("starts", [True, False])
def test_a_tuner_that_goes_on_serving_starts_its_server_again(starts, monkeypatch, capsys):
    """Nor does it leave a second server behind that nobody knows of."""
    service = Dying(starts)
    left = Detached(4711, "127.0.0.1:8500", Path("log"), own_address="unix:own")
    monkeypatch.setattr("rrl.serving.detached.start_detached", lambda *_, **__: left)
    monkeypatch.setattr(Detached, "stop", lambda self: service.asked.append(f"stop {self.pid}"))
    if starts:
        leave_running(service, Path(), Path(), OPTIONS)
    else:
        with pytest.raises(ServerError, match=r"nothing serves at \S+ any more: no memory"):
            leave_running(service, Path(), Path(), OPTIONS)
    assert service.asked == ["return", "warm up unix:own", "stop 4711", "return"]
    said = capsys.readouterr().err
    assert "only as long as this process runs; Ctrl-C ends it" in said
    assert "has ended; it is started again" in said
