"""What is left in service at the end of a run at a port, whatever has gone wrong by then."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from rrl.operating.staying import leave_running
from rrl.support.errors import ServerError

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
