"""Run notebooks unattended: ``python -m rrl.publishing.reproduce notebooks/00_quickstart.ipynb``.

papermill runs the cells. This module adds what an unattended run needs. It checks parameters
against the notebook, uses the environment's own kernel, limits the time of every cell, and allows
one run at a time. An executed copy appears only when every cell has run. The kernel works in the
notebook's folder, as it does in JupyterLab. Only make runs several notebooks at once, under
:mod:`rrl.publishing.progress`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rrl.publishing.parameters import (
    check_parameters,
    defaults,
    from_file,
    literal,
    read_notebook,
)
from rrl.publishing.tracing import Traffic, traffic
from rrl.support.errors import DataError, Parser, ServerError, UnstableError, UsageError, command
from rrl.support.progress import FOLDER, running
from rrl.support.provenance import digest

OUT = Path("build/notebooks")
FIGURES = Path("figures")
CELL_TIMEOUT = 1800  # seconds; a cell that takes longer is stopped as hanging
OUTPUT_TIMEOUT = 60  # seconds; on a busy machine, the output of a cell comes late
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_KINDS = {kind.__name__: kind for kind in (UsageError, DataError, ServerError)}


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
    cell_timeout: int = CELL_TIMEOUT,
) -> Traffic:
    """Run every cell of `notebook` and write the executed copy to `output`.

    Parameters
    ----------
    notebook : Path
        The notebook to run. It is not changed.
    output : Path
        Path of the executed copy. Only a complete copy replaces an older one.
    parameters : mapping of str to object, optional
        These values replace the notebook's defaults.
    cell_timeout : int
        Longest time in seconds that one cell may take.

    Returns
    -------
    Traffic
        The files that the notebook read and wrote below the current folder.

    Raises
    ------
    UsageError, DataError
        If the notebook cannot be read, or does not have one of the parameters.
    RRLError
        If a cell failed, hung, left the notebook early or stopped the kernel. The error is of the
        kind that the cell raised, or an :class:`UnstableError` in other cases. The copy with the
        traceback is then in the folder of `output`. Its name ends in ``-failed``.
    """
    check_parameters(notebook, parameters or {})
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.partial.ipynb")
    log = output.with_name(f".{output.stem}.files")
    failed = output.with_name(f"{output.stem}-failed.ipynb")
    try:
        kind, reason = _run(notebook, partial, dict(parameters or {}), cell_timeout, log)
        if reason:
            partial.replace(failed)
            raise kind(f"{notebook}, {reason}; the executed copy is {failed}")
        partial.replace(output)
        failed.unlink(missing_ok=True)
        return traffic(log, Path.cwd())
    finally:
        partial.unlink(missing_ok=True)
        log.unlink(missing_ok=True)


def _run(
    notebook: Path, copy: Path, parameters: dict[str, Any], cell_timeout: int, log: Path
) -> tuple[type[Exception], str]:
    """Run the notebook; return the kind of failure, and its cell and reason (empty if none)."""
    from nbclient.exceptions import CellTimeoutError
    from papermill import PapermillExecutionError, execute_notebook

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # the code below reports errors
    paths = (
        str(path.absolute()).replace("{", "{{").replace("}", "}}") for path in (notebook, copy)
    )
    kind, reason = UnstableError, ""
    home = copy.parent.absolute() / ".kernel"
    try:
        with TemporaryDirectory(prefix="rrl-") as sockets:
            execute_notebook(
                *paths,  # papermill applies str.format to them, so their braces are doubled
                parameters=parameters,
                kernel_name="python3",
                language="python",
                kernel_manager_class=_own_kernel(home, log.absolute(), sockets),
                cwd=notebook.parent.absolute(),
                execution_timeout=cell_timeout,
                iopub_timeout=OUTPUT_TIMEOUT,
                progress_bar=False,
                coalesce_streams=True,  # what a bar has overwritten goes
            )
    except PapermillExecutionError as error:
        kind = _KINDS.get(error.ename, UnstableError)
        reason = _ANSI.sub("", f"{error.ename}: {error.evalue}")
    except CellTimeoutError as error:
        reason = f"still running after {cell_timeout} s; raise --cell-timeout if it needs longer"
        if "IOPub" in str(error):  # ZeroMQ drops messages when a thousand wait
            reason = f"its output was not complete {OUTPUT_TIMEOUT} s after its end; print less"
    except RuntimeError as error:  # nbclient raises it for a dead kernel
        reason = f"the kernel died ({error})"
    code = [cell for cell in read_notebook(copy).cells if cell.cell_type == "code"]
    begun = [cell for cell in code if cell.metadata.papermill.start_time]
    if not reason and (len(begun) < len(code) or any(c.metadata.papermill.exception for c in code)):
        reason = "left the notebook by sys.exit, which papermill counts as success"
    lines = begun[-1].source.split("\n") if begun else ["before the first"]
    first = textwrap.shorten(next(filter(str.strip, lines), ""), 60, placeholder=" ...")
    return kind, reason and f"cell [{len(begun)}] ({first}): {reason}"


def _own_kernel(home: Path, files: Path, sockets: str) -> type:
    """Return a kernel manager that starts this Python and ignores other kernels and settings.

    The kernel writes the names of the files that it opens to `files`. It is reached by sockets in
    the folder `sockets`.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    module = "__import__('rrl.publishing.tracing', fromlist=['watch'])"
    watch = f"{module}.watch({str(files)!r}, {str(Path.cwd())!r})"
    options = [f"--profile-dir={home}", f"--IPKernelApp.exec_lines={watch}"]

    class OwnKernel(AsyncKernelManager):
        transport = "ipc"  # kernels that start side by side race for ports
        ip = f"{sockets}/socket"

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict(options))

        async def start_kernel(self, **options: Any) -> None:
            home.mkdir(exist_ok=True)
            with (home / f"{files.stem}.log").open("w") as log:  # tracebacks are not for users
                await super().start_kernel(stdout=log, stderr=log, **options)

    return OwnKernel


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Lock `out` against a second run; make, which keeps its runs apart, shares the lock."""
    out.mkdir(parents=True, exist_ok=True)
    mode = fcntl.LOCK_SH if FOLDER in os.environ else fcntl.LOCK_EX
    with (out / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another run is writing to {out}; wait for it or stop it") from None
        yield


@contextmanager
def _times_kept(folder: Path) -> Iterator[None]:
    """Restore the old time of files that were written again with the same bytes.

    Then make does not rebuild what depends on these files.
    """
    before = {path: (digest(path), path.stat()) for path in folder.glob("*") if path.is_file()}
    yield
    for path, (was, status) in before.items():
        if path.is_file() and path.stat().st_mtime_ns != status.st_mtime_ns and digest(path) == was:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _enter(notebook: Path, output: Path, seen: Traffic, seconds: float) -> None:
    """Record what a notebook was made from and what it made, for make and for the manifest."""
    from rrl.publishing.manifest import record
    from rrl.support.files import write_atomically

    made = [path for path in seen.written if path.count("/") == 1]  # not those of a live run
    seen = Traffic(seen.read, tuple(made))
    lines = [f"{output}: {' '.join(seen.read)}", "", *(f"{path}:" for path in seen.read), ""]
    lines += [f"{path}: {output}\n\t@:" for path in made]  # its readers wait until it is made
    lines += [f"made.{output.stem} := {' '.join(made)}", ""]
    write_atomically(output.with_suffix(".d"), "\n".join(lines))
    with output.with_name(".manifest.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record(Path.cwd(), notebook, defaults(notebook), seen, seconds)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m rrl.publishing.reproduce", description="Run notebooks with papermill."
    )
    add = parser.add_argument
    add("notebook", nargs="+", type=Path, help="notebook to run, with its folder as working folder")
    add("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="parameter")
    add("-f", type=Path, metavar="FILE", help="YAML file of parameters; -p overrides it")
    add("--out", type=Path, default=OUT, help="folder of the executed copies (default %(default)s)")
    add("--suffix", default="", help="end of the copies' names, as in 00_quickstart-live.ipynb")
    add(
        "--cell-timeout", type=int, default=CELL_TIMEOUT, metavar="S", help="seconds a cell may run"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`; print one line per notebook, with its time in seconds."""
    args = _parser().parse_args(argv)
    if args.cell_timeout < 1:
        raise UsageError(f"--cell-timeout is {args.cell_timeout}; give a number of seconds, from 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM must stop the kernel too
    parameters = from_file(args.f) if args.f else {}
    parameters |= {name: literal(value, otherwise=value) for name, value in args.p}
    outputs = {args.out / f"{path.stem}{args.suffix}.ipynb": path for path in args.notebook}
    if len(outputs) < len(args.notebook):
        raise UsageError("two notebooks have the same name and copy; run them one by one")
    for notebook in args.notebook:  # errors must appear before the first notebook runs
        check_parameters(notebook, parameters)
    with _alone(args.out):
        for output, notebook in outputs.items():
            start = time.monotonic()
            try:
                with _times_kept(FIGURES), running(output.stem):
                    seen = execute(notebook, output, parameters, args.cell_timeout)
                seconds = time.monotonic() - start
                if args.out == OUT and not (parameters or args.suffix):
                    _enter(notebook, output, seen, seconds)
            except BaseException:
                print(notebook, "failed", flush=True)
                raise
            print(f"{notebook} {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
