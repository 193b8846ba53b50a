"""Run notebooks from their first cell to their last: ``python -m rrl.publishing.reproduce``.

They run two at a time (:mod:`rrl.publishing.execute`), and the executed copies go to
``build/notebooks/``. A notebook writes to ``build/figures/`` unless its parameter ``figures`` names
another folder. ``make reproduce`` names ``figures/``: what a notebook made there is entered in the
manifest (:mod:`rrl.publishing.manifest`).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from rrl.publishing import manifest
from rrl.publishing.execute import execute
from rrl.publishing.parameters import check_parameters, defaults, literal
from rrl.publishing.tracing import Traffic
from rrl.support.errors import Parser, UsageError, check_interrupt, command, interrupt_by_signals
from rrl.support.files import alone_in
from rrl.support.number_options import COUNT

OUT = Path("build/notebooks")
COMMITTED = "../figures"  # the folder of figures for which there is a manifest
CELL_TIMEOUT = 1800  # seconds; a cell that takes longer is stopped as hanging
GRACE_S = 5.0  # after this time, a kernel that was interrupted is killed


def _run_all(
    outputs: Mapping[Path, Path], parameters: dict[str, Any], jobs: int, cell_timeout: int
) -> None:
    """Run notebooks side by side, and print the time of each.

    A terminal shows a bar. If a run fails, the others are stopped.

    Parameters
    ----------
    outputs : mapping of Path to Path
        The notebook of each executed copy.
    parameters : dict of str to object
        These values replace the notebooks' defaults.
    jobs : int
        At most this number runs at once.
    cell_timeout : int
        Longest time in seconds that one cell may take.
    """
    from tqdm import tqdm

    running: list[str] = []
    stopped = Event()  # what a kernel says after this is no failure of its notebook

    def run(output: Path, notebook: Path) -> tuple[Path, Traffic, float]:
        began = time.monotonic()
        running.append(notebook.stem)
        bar.set_postfix_str(", ".join(running))
        try:
            seen = execute(notebook, output, parameters, cell_timeout, stopped)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # before this thread takes the next
            raise
        running.remove(notebook.stem)
        return notebook, seen, time.monotonic() - began

    form = "{n_fmt} of {total_fmt} notebooks |{bar}| {elapsed}{postfix}"
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(outputs), bar_format=form, disable=None, leave=False) as bar,
    ):
        runs = [pool.submit(run, *pair) for pair in outputs.items()]
        try:
            for ended in as_completed(runs):
                notebook, seen, seconds = ended.result()
                if parameters.get("figures") == COMMITTED:
                    manifest.record(Path(), notebook, defaults(notebook) | parameters, seen)
                bar.write(f"{notebook} {seconds:.1f} s", sys.stdout)
                sys.stdout.flush()
                bar.set_postfix_str(", ".join(running), refresh=False)
                bar.update()
                check_interrupt()
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            _stop(runs)


def _stop(runs: Iterable[Future[Any]]) -> None:
    """Interrupt the kernels of the runs that have not ended, and wait for the runs."""
    from psutil import NoSuchProcess, Process

    number = signal.SIGINT
    while left := [run for run in runs if not run.done()]:
        for child in Process().children():
            with suppress(NoSuchProcess, ProcessLookupError):
                if "ipykernel_launcher" in child.cmdline():
                    os.killpg(child.pid, number)  # a kernel's processes are one group
        wait(left, GRACE_S)
        number = signal.SIGKILL


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m rrl.publishing.reproduce",
        description="Run notebooks from their first cell to their last, with papermill.",
    )
    add = parser.add_argument
    add("notebook", nargs="+", type=Path, help="notebook to run, with its folder as working folder")
    add("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="parameter")
    add("--out", type=Path, default=OUT, help="folder of the executed copies (default %(default)s)")
    add("--jobs", type=COUNT, default=2, metavar="N", help="notebooks at once (default 2)")
    add(
        "--cell-timeout",
        type=COUNT,
        default=CELL_TIMEOUT,
        metavar="S",
        help="seconds a cell may run (default %(default)s)",
    )
    return parser.parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`; print one line per notebook, with its time in seconds."""
    options = _options(argv)
    # a value that is no literal is a text
    parameters = {name: literal(value, otherwise=value) for name, value in options.p}
    outputs = {options.out / path.name: path for path in options.notebook}
    if len(outputs) < len(options.notebook):
        raise UsageError("two notebooks have the same name; run them one by one")
    for notebook in options.notebook:  # errors must appear before the first notebook runs
        check_parameters(notebook, parameters)
    interrupt_by_signals()  # the kernels must end, too
    with alone_in(options.out):
        _run_all(outputs, parameters, options.jobs, options.cell_timeout)


if __name__ == "__main__":
    sys.exit(main())
