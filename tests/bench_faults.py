"""What clients notice of each fault of a tuning: `python tests/bench_faults.py --clients 32`.

Clients call a service all the time, by gRPC and by REST, with requests of 1 kB and of 8 MB, while
`rrl tune --port` runs into one fault after the other. The table has a line per fault and kind of
client: calls, failed ones, late ones, and the longest; and a line per fault: the seconds until the
run has said it, its exit code, and its words. The run ends with 1 if a call failed that no death of
the kept server explains.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from clients import LIMIT_S, by_grpc, by_rest, calling, kept_at
from probe import build_probe
from test_service import in_a_trial, line_with, tuning

from rrl.serving.envoy import ENVOY
from rrl.serving.lasting import Lasting, wait_until
from rrl.serving.launcher import free_port
from rrl.serving.loadgen import Client
from rrl.serving.service import port_folder, stop_service

MS = 1000.0
SMALL, LARGE = 128, 2**20  # rows of two float32: 1 kB and 8 MB
LARGE_REST = 2**18  # rows that are 3 MiB of JSON
LATE_S = 0.5  # by `--slo`; a call that a trial holds for four times as long is sent to the kept one
EPISODES = 6  # of which at least one is a trial that goes wrong

OFF_OR_ON = ["--knob", "batch_threads=0,2", "--knob"]
USUAL = ["--knob", "inter_op=1,2"]


@dataclass
class Calls:
    """The calls of one kind of client since the last look."""

    name: str
    ask: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def make(self) -> None:
        """Make a call."""
        began = time.monotonic()
        if wrong := self.ask():
            self.failed.append(" ".join(str(wrong).split()))
        self.seconds.append(time.monotonic() - began)

    def row(self, fault: str) -> str:
        """Return a line of the table, and forget the calls."""
        took, self.seconds = np.array(self.seconds), []
        bad, self.failed = self.failed, []
        why = f"  {bad[0][:60]}" if bad else ""
        late, longest = (took > LATE_S).sum(), MS * took.max(initial=0.0)
        numbers = f"{len(took):6d} {len(bad):6d} {late:6d} {longest:8.0f}"
        return f"{fault:28s} {self.name:12s} {numbers}{why}"


@contextmanager
def all_clients(port: int, rest_port: int, count: int):
    """Call all the time, with `count` small and one large client by gRPC and as many by REST."""
    address = f"127.0.0.1:{port}"
    with Client(address, "probe") as one, Client(address, "probe") as other:
        small = [
            Calls("gRPC 1 kB", by_grpc(one, SMALL)),
            Calls("REST 1 kB", by_rest(rest_port, SMALL)),
        ]
        large = [
            Calls("gRPC 8 MB", by_grpc(other, LARGE)),
            Calls("REST 3 MB", by_rest(rest_port, LARGE_REST)),
        ]
        with calling([kind.make for kind in small * count + large]):
            yield small + large


def trial_of(process, folder: Path) -> int:
    """Return the process of the server on trial."""
    kept = kept_at(folder)[1].pid
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            words = child.cmdline()
            forked = "rrl.serving.preloaded" in words and child.parent().pid != process.pid
            if child.pid != kept and forked:
                return child.pid
    raise RuntimeError("no trial")


def kill_trial(process, folder: Path) -> None:
    """Kill the server on trial; the tuning goes on, and is interrupted after that."""
    os.kill(trial_of(process, folder), signal.SIGKILL)
    wait_until(lambda: not in_a_trial(folder), LIMIT_S)
    process.send_signal(signal.SIGINT)


def kill_kept(process, folder: Path) -> None:
    """Kill the kept server; the tuner starts it again, and is interrupted after that."""
    old = kept_at(folder)[1].pid
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: kept_at(folder)[1].pid not in (None, old), LIMIT_S)
    process.send_signal(signal.SIGINT)


def stop_trial(process, folder: Path) -> None:
    """Stop the server on trial by a signal; the tuner is interrupted when it has said so."""
    os.kill(trial_of(process, folder), signal.SIGSTOP)


def stop_kept(process, folder: Path) -> None:
    """Stop the kept server by a signal."""
    os.kill(kept_at(folder)[1].pid, signal.SIGSTOP)


def stop_envoy(process, folder: Path) -> None:
    """Stop Envoy by a signal."""
    os.kill(Lasting(folder, ENVOY).pid, signal.SIGSTOP)


def answers_of_a_trial(mode: str) -> Callable:
    """Return what lets the answers of a trial hang, be cut, or close their connection."""

    def happens(process, folder: Path) -> None:
        MODE.write_text(f"{mode} {TRIAL_FLAG}")

    return happens


def send(number: signal.Signals) -> Callable:
    """Return what sends a signal to the tuner."""
    return lambda process, folder: process.send_signal(number)


MODE = Path(tempfile.gettempdir()) / f"rrl-mode-{os.getpid()}"
TRIAL_FLAG = "--tensorflow_inter_op_parallelism=2"
SAID = ("the server failed", "the episode is repeated")
"""Words by which a run says that a fault has happened."""

FAULTS = {  # options of `rrl tune`, whether it happens in a trial, and what happens then
    "none, first start": (USUAL, False, None),
    "trials that refuse": ([*OFF_OR_ON, "max_batch_size=8"], True, None),
    "trials that hang": (
        [*OFF_OR_ON, f"max_batch_size={2 * LARGE}", "--knob", "batch_timeout_micros=3000000"],
        True,
        None,
    ),
    "trials that do not start": (["--knob", "flag:--grpc_max_threads=32,0"], False, None),
    "trial killed": (USUAL, True, kill_trial),
    "tuner killed in a trial": (USUAL, True, send(signal.SIGKILL)),
    "tuner killed, no trial": (USUAL, False, send(signal.SIGKILL)),
    "Ctrl-C in a trial": (USUAL, True, send(signal.SIGINT)),
    "SIGTERM in a trial": (USUAL, True, send(signal.SIGTERM)),
    "kept server killed": (USUAL, False, kill_kept),
    "trial stopped (SIGSTOP)": (USUAL, True, stop_trial),
    "kept server stopped": (USUAL, False, stop_kept),
    "Envoy stopped": (USUAL, False, stop_envoy),
    "trial never answers": (USUAL, True, answers_of_a_trial("hang")),
    "trial answers half": (USUAL, True, answers_of_a_trial("half")),
    "trial closes each stream": (USUAL, True, answers_of_a_trial("close")),
}
"""Each but the first begins with the hand-over from the run before, and with clients that call."""


WATCHED = [what for _, _, what in list(FAULTS.values())[-6:]]


def read_lines(process, lines: list) -> None:
    """Keep what a run says, and when."""
    for line in process.stderr:
        lines.append((time.monotonic(), line.strip()))


def any_said(lines: list) -> bool:
    """Whether one of the lines is about a fault."""
    return any(words in line for _, line in lines for words in SAID)


def main() -> int:
    """Print the table; 1 if a call failed without need."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=1, help="small ones of each kind at once")
    parser.add_argument("--only", choices=FAULTS, nargs="*", default=[*FAULTS], metavar="FAULT")
    options = parser.parse_args()
    port, rest_port, failed = free_port(), free_port(), 0
    folder = port_folder(port)
    always = ["--rest-port", str(rest_port), "--rate", "20", "--slo", f"p99<{LATE_S}s"]
    always += ["--requests", "20", "--agent", "random", "--budget", "999999", "--episodes"]
    print(f"{'fault':28s} {'clients':12s}  calls failed   late  longest (ms)", flush=True)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(stop_service, folder)
        model, program = build_probe(place / "probe"), place / "server.sh"
        proxy = Path(__file__).with_name("hanging.py")
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {proxy} {MODE} "$@"\n')
        program.chmod(0o755)
        stack.callback(MODE.unlink, missing_ok=True)
        kinds = None
        for number, fault in enumerate(options.only):
            words, inside, happens = FAULTS[fault]
            count = str(EPISODES if happens is None else 10_000)
            words = [*words, *always, count]
            if happens in WATCHED[3:]:
                words += ["--executable", str(program)]
            with tuning(model, place / str(number), *words, port=port) as process:
                line_with(process, "clients may use")
                kinds = kinds or stack.enter_context(all_clients(port, rest_port, options.clients))
                line_with(process, "episodes of 20 requests")
                lines = []
                reader = threading.Thread(target=read_lines, args=[process, lines])
                reader.start()
                if happens is not None:
                    wait_until(lambda now=inside: in_a_trial(folder) == now, LIMIT_S)
                    began = time.monotonic()
                    happens(process, folder)
                if happens in WATCHED:
                    wait_until(lambda found=lines: any_said(found), LIMIT_S)
                    took, words = next(one for one in lines if any(w in one[1] for w in SAID))
                    process.send_signal(signal.SIGINT)
                wait_until(lambda: process.poll() is not None, LIMIT_S)
                reader.join()
                if happens in WATCHED:
                    print(
                        f"{fault:28s} said after {took - began:.1f} s, exit {process.returncode}: "
                    )
                    print(f"    {words}", flush=True)
            time.sleep(2.0)
            for calls in kinds:
                failed += len(calls.failed) if happens is not kill_kept else 0
                print(calls.row(fault), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
