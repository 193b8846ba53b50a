"""Run the notebooks that are not current: ``python -m rrl.publishing.reproduce NOTEBOOK ...``.

A notebook is current if nothing has changed since its last run: its cells, its parameters, the
locked packages, the files that it read, what its code does, and the files that it made
(:mod:`rrl.publishing.records`). The others run two at a time, each in a process of its own
(:mod:`rrl.publishing.execute`). They write to ``figures/``; in JupyterLab, notebooks write to
``build/figures/``. A run with a parameter, a suffix or another folder is extra: it always happens,
and it is not recorded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rrl.publishing import manifest, records
from rrl.publishing.execute import CELL_TIMEOUT
from rrl.publishing.parameters import (
    add_parameter_options,
    as_options,
    check_parameters,
    defaults,
    given_parameters,
)
from rrl.publishing.tracing import Traffic
from rrl.support.errors import (
    DataError,
    Parser,
    ServerError,
    UnstableError,
    UsageError,
    command,
    interrupt_by_signals,
)

EXECUTE = (sys.executable, "-m", "rrl.publishing.execute")
OUT = Path("build/notebooks")
FIGURES = {"figures": "../figures"}
"""The parameter of a recorded run; by default a notebook writes to ``build/figures``."""
FIRST_S = 60.0  # seconds that a notebook is expected to take the first time, later as the last time
EACH_S = 0.2  # so often the processes are looked at
_ERRORS = {kind.code: kind for kind in (UsageError, DataError, ServerError)}


@dataclass
class Execution:
    """A notebook that is to run, or runs now.

    Parameters
    ----------
    notebook : Path
    output : Path
        Path of the executed copy.
    options : sequence of str
        Options of :mod:`rrl.publishing.execute`.
    expected : float
        Seconds that it may take.
    """

    notebook: Path
    output: Path
    options: Sequence[str]
    expected: float
    before: Mapping[str, str] = field(default_factory=dict, init=False)
    began: float = field(default=0.0, init=False)
    seconds: float = field(default=0.0, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the process; a terminal's Ctrl-C does not reach it."""
        self.before, self.began = records.snapshot(), time.monotonic()
        words = [*EXECUTE, str(self.notebook), str(self.output), *self.options]
        self._said.parent.mkdir(parents=True, exist_ok=True)
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                words, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def _said(self) -> Path:
        return self.output.parent / ".kernel" / f"{self.output.stem}.said"

    def has_ended(self) -> bool:
        """Return whether the process has ended; note the seconds since its start."""
        self.seconds = time.monotonic() - self.began
        return self.process is not None and self.process.poll() is not None

    def done(self) -> float:
        """Return the seconds of those expected that are over; the last tenth is never over."""
        return min(self.seconds, 0.9 * self.expected)

    def result(self) -> Traffic:
        """Return what a run that has ended read and wrote; raise the error that it ended with."""
        lines = self._said.read_text(encoding="utf-8", errors="replace").splitlines()
        code = self.process.returncode if self.process else None
        if code:
            errors = [line for line in lines if line.startswith("rrl: ")] or [*lines, "no words"]
            raise _ERRORS.get(code, UnstableError)(errors[-1].removeprefix("rrl: "))
        found = json.loads(lines[-1])
        return Traffic(tuple(found["read"]), tuple(found["written"]))


def run_all(
    runs: Sequence[Execution], jobs: int
) -> Generator[tuple[Execution, Traffic], None, None]:
    """Run notebooks side by side, and yield each that has ended.

    A terminal shows a bar. If a run fails, or the caller does, the others are stopped.

    Parameters
    ----------
    runs : sequence of Execution
    jobs : int
        At most this number runs at once.
    """
    from tqdm import tqdm

    waiting = sorted(runs, key=lambda run: -run.expected)  # a long one at the end would run alone
    running: list[Execution] = []
    total, over = sum(run.expected for run in runs), 0.0
    form = "{desc} |{bar}| {percentage:3.0f} %, {remaining} left"
    with tqdm(total=total, bar_format=form, disable=None, leave=False, smoothing=0) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(waiting.pop(0))
                    running[-1].start()
                time.sleep(EACH_S)
                ended = [run for run in running if run.has_ended()]
                running = [run for run in running if run not in ended]
                for run in ended:
                    over += run.expected
                    yield _ended(run, bar)
                bar.n = over + sum(run.done() for run in running)
                done = len(runs) - len(waiting) - len(running)
                names = ", ".join(run.output.stem for run in running) or "..."
                bar.set_description_str(f"{done} of {len(runs)} done, now {names}")
        finally:
            _stop(running)


def _stop(running: Sequence[Execution]) -> None:
    """End the processes with their kernels, and wait for them."""
    processes = [run.process for run in running if run.process]
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def _ended(run: Execution, bar: Any) -> tuple[Execution, Traffic]:
    try:
        seen = run.result()
    except BaseException:
        bar.write(f"{run.notebook} failed", sys.stdout)
        raise
    bar.write(f"{run.notebook} {run.seconds:.1f} s", sys.stdout)
    sys.stdout.flush()
    return run, seen


def expected_seconds(out: Path, name: str) -> float:
    """Return how long a run may take: as long as its last one, if there was one."""
    return float(records.last_record(out / f"{name}.json").get("seconds", FIRST_S))


def _enter(run: Execution, seen: Traffic) -> None:
    """Record what a notebook was made from and what it made, here and in the manifest."""
    if changed := [n for n in seen.read if run.before.get(n) != records.digest_of(Path(n))]:
        print(f"{changed[0]} has changed while {run.notebook} ran: it has to run again")
        return
    figures = [path for path in seen.written if path.count("/") == 1]  # not those of a live run
    seen = Traffic(seen.read, tuple(figures))
    given = _given(run.notebook)
    made = [*figures, str(run.output)]
    path = run.output.with_suffix(".json")
    records.write_record(path, run.notebook, given, seen, made, run.seconds)
    manifest.record(Path(), run.notebook, defaults(run.notebook) | given, seen)


def _given(notebook: Path) -> dict[str, Any]:
    return {name: value for name, value in FIGURES.items() if name in defaults(notebook)}


def recorded_runs(outputs: Mapping[Path, Path], timeout: Sequence[str]) -> list[Execution]:
    """Return the runs of the notebooks that are not current, and say why they are not."""
    runs: list[Execution] = []
    reasons: dict[str, list[str]] = {}
    for output, notebook in outputs.items():
        given = _given(notebook)
        if why := records.why_outdated(output.with_suffix(".json"), notebook, given):
            options = [word for pair in given.items() for word in ("-p", *pair)]
            seconds = expected_seconds(output.parent, output.stem)
            runs.append(Execution(notebook, output, [*options, *timeout], seconds))
            reasons.setdefault(why, []).append(notebook.stem)
    for why, names in reasons.items():
        print(f"{why}: {', '.join(names)}")
    if current := len(outputs) - len(runs):
        nothing = "" if runs else ": nothing to do"
        print(f"{current} of {len(outputs)} notebooks are current{nothing}", flush=True)
    return runs


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Lock `out` against a second run."""
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UsageError(f"another run is writing to {out}; wait for it or stop it") from None
    try:
        yield
    finally:
        lock.release()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m rrl.publishing.reproduce",
        description="Run the notebooks that are not current, with papermill.",
    )
    add = parser.add_argument
    add("notebook", nargs="+", type=Path, help="notebook to run, with its folder as working folder")
    add_parameter_options(parser)
    add("--out", type=Path, default=OUT, help="folder of the executed copies (default %(default)s)")
    add("--suffix", default="", help="end of the copies' names, as in 00_quickstart-live.ipynb")
    add("--jobs", type=int, default=2, metavar="N", help="notebooks at once (default %(default)s)")
    add(
        "--cell-timeout", type=int, default=CELL_TIMEOUT, metavar="S", help="seconds a cell may run"
    )
    options = parser.parse_args(argv)
    for name, value in (("--cell-timeout", options.cell_timeout), ("--jobs", options.jobs)):
        if value < 1:
            raise UsageError(f"{name} is {value}; give a whole number from 1")
    return options


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`; print one line per notebook, with its time in seconds."""
    options = _options(argv)
    parameters = given_parameters(options)
    outputs = {
        options.out / f"{path.stem}{options.suffix}.ipynb": path for path in options.notebook
    }
    if len(outputs) < len(options.notebook):
        raise UsageError("two notebooks have the same name and copy; run them one by one")
    for notebook in options.notebook:  # errors must appear before the first notebook runs
        check_parameters(notebook, parameters)
    interrupt_by_signals()  # the kernels must end, too
    timeout = ["--cell-timeout", str(options.cell_timeout)]
    recorded = options.out == OUT and not (parameters or options.suffix)
    with _alone(options.out):
        if recorded:
            runs = recorded_runs(outputs, timeout)
        else:
            words = [*as_options(options), *timeout]
            runs = [
                Execution(path, output, words, expected_seconds(options.out, output.stem))
                for output, path in outputs.items()
            ]
        with closing(run_all(runs, options.jobs)) as ended:
            for run, seen in ended:
                if recorded:
                    _enter(run, seen)


if __name__ == "__main__":
    sys.exit(main())
