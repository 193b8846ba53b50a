"""Run the notebooks that are not current: ``python -m rrl.publishing.reproduce NOTEBOOK ...``.

A notebook is current if nothing has changed since its last run: its cells, its parameters, the
locked packages, the files that it read, what its code does, and the files that it made
(:mod:`rrl.publishing.records`). The others run two at a time (:mod:`rrl.publishing.execute`). They
write to ``figures/``; in JupyterLab, notebooks write to ``build/figures/``. A run with a parameter,
a suffix or another folder is extra: it always happens, and it is not recorded.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rrl.publishing import manifest, records
from rrl.publishing.execute import CELL_TIMEOUT, Kernels, execute
from rrl.publishing.parameters import check_parameters, defaults, literal
from rrl.publishing.tracing import Traffic
from rrl.support.errors import Parser, UsageError, command, interrupt_by_signals

OUT = Path("build/notebooks")
FIGURES = {"figures": "../figures"}
"""The parameter of a recorded run; by default a notebook writes to ``build/figures``."""
FIRST_S = 60.0  # seconds that a notebook is expected to take the first time, later as the last time
EACH_S = 0.2  # so often the bar is drawn
GRACE_S = 5.0  # after this time, a kernel that was interrupted is killed


@dataclass
class Execution:
    """A notebook that is to run, or runs now.

    Parameters
    ----------
    notebook : Path
    output : Path
        Path of the executed copy.
    parameters : mapping of str to object
        These values replace the notebook's defaults.
    """

    notebook: Path
    output: Path
    parameters: Mapping[str, Any]
    expected: float = field(init=False)
    began: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        last = records.last_record(self.output.with_suffix(".json"))
        self.expected = float(last.get("seconds", FIRST_S))

    def run(self, cell_timeout: int, kernels: Kernels) -> Traffic:
        """Execute the notebook; return what it read and wrote."""
        self.began = time.time()
        return execute(self.notebook, self.output, self.parameters, cell_timeout, kernels)

    @property
    def seconds(self) -> float:
        """Seconds since the start; 0 before it."""
        return time.time() - self.began if self.began else 0.0

    def done(self) -> float:
        """Return the seconds of those expected that are over; the last tenth is never over."""
        return min(self.seconds, 0.9 * self.expected)


def run_all(
    runs: Sequence[Execution], jobs: int, cell_timeout: int
) -> Generator[tuple[Execution, Traffic], None, None]:
    """Run notebooks side by side, and yield each that has ended.

    A terminal shows a bar. If a run fails, or the caller does, the others are stopped.

    Parameters
    ----------
    runs : sequence of Execution
    jobs : int
        At most this number runs at once.
    cell_timeout : int
        Longest time in seconds that one cell may take.
    """
    from tqdm import tqdm

    kernels = Kernels()
    total, over = sum(run.expected for run in runs), 0.0
    form = "{desc} |{bar}| {percentage:3.0f} %, {remaining} left"
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=total, bar_format=form, disable=None, leave=False, smoothing=0) as bar,
    ):
        # a long one at the end would run alone
        order = sorted(runs, key=lambda run: -run.expected)
        futures = {pool.submit(run.run, cell_timeout, kernels): run for run in order}
        waiting = set(futures)
        try:
            while waiting:
                ended, waiting = wait(waiting, EACH_S, FIRST_COMPLETED)
                for future in ended:
                    over += futures[future].expected
                    yield _ended(futures[future], future, bar)
                running = [futures[future] for future in waiting if futures[future].began]
                bar.n = over + sum(run.done() for run in running)
                names = ", ".join(sorted(run.output.stem for run in running)) or "..."
                done = len(runs) - len(waiting)
                bar.set_description_str(f"{done} of {len(runs)} done, now {names}")
        finally:
            _stop(waiting, kernels)


def _stop(waiting: set[Future[Traffic]], kernels: Kernels) -> None:
    """Interrupt the runs that have not ended, and wait for them."""
    for future in waiting:
        future.cancel()
    number = signal.SIGINT
    while waiting := {future for future in waiting if not future.done()}:
        kernels.signal(number)
        wait(waiting, GRACE_S)
        number = signal.SIGKILL


def _ended(run: Execution, future: Future[Traffic], bar: Any) -> tuple[Execution, Traffic]:
    try:
        seen = future.result()
    except BaseException:
        bar.write(f"{run.notebook} failed", sys.stdout)
        raise
    bar.write(f"{run.notebook} {run.seconds:.1f} s", sys.stdout)
    sys.stdout.flush()
    return run, seen


def _enter(run: Execution, seen: Traffic) -> None:
    """Record what a notebook was made from and what it made, here and in the manifest."""
    if changed := [name for name in seen.read if Path(name).stat().st_mtime > run.began]:
        print(f"{changed[0]} has changed while {run.notebook} ran: it has to run again")
        return
    figures = tuple(path for path in seen.written if path.count("/") == 1)  # not of a live run
    seen = Traffic(seen.read, figures)
    records.write_record(run.output, run.notebook, run.parameters, seen, run.seconds)
    manifest.record(Path(), run.notebook, defaults(run.notebook) | {**run.parameters}, seen)


def recorded_runs(outputs: Mapping[Path, Path]) -> list[Execution]:
    """Return the runs of the notebooks that are not current, and say why they are not."""
    runs: list[Execution] = []
    reasons: dict[str, list[str]] = {}
    for output, notebook in outputs.items():
        known = defaults(notebook)
        given = {name: value for name, value in FIGURES.items() if name in known}
        if why := records.why_outdated(output, notebook, given):
            runs.append(Execution(notebook, output, given))
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
    add("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="parameter")
    add("-f", type=Path, metavar="FILE", help="YAML file of parameters; -p overrides it")
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


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters that a command line gives; a value that is no literal is a text."""
    parameters = from_file(options.f) if options.f else {}
    return parameters | {name: literal(value, otherwise=value) for name, value in options.p}


def from_file(path: Path) -> dict[str, Any]:
    """Read the parameters in a YAML file."""
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML in UTF-8: {error}") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"{path} must hold lines `name: value`, got a {type(loaded).__name__}")
    return loaded


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`; print one line per notebook, with its time in seconds."""
    options = _options(argv)
    parameters = _given(options)
    outputs = {
        options.out / f"{path.stem}{options.suffix}.ipynb": path for path in options.notebook
    }
    if len(outputs) < len(options.notebook):
        raise UsageError("two notebooks have the same name and copy; run them one by one")
    for notebook in options.notebook:  # errors must appear before the first notebook runs
        check_parameters(notebook, parameters)
    interrupt_by_signals()  # the kernels must end, too
    recorded = options.out == OUT and not (parameters or options.suffix)
    with _alone(options.out):
        if recorded:
            runs = recorded_runs(outputs)
        else:
            runs = [Execution(path, output, parameters) for output, path in outputs.items()]
        with closing(run_all(runs, options.jobs, options.cell_timeout)) as ended:
            for run, seen in ended:
                if recorded:
                    _enter(run, seen)


if __name__ == "__main__":
    sys.exit(main())
