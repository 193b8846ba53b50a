"""Run notebooks unattended: ``python -m rrl.publishing.reproduce notebooks/00_quickstart.ipynb``.

papermill runs the cells. This module adds what an unattended run needs. It checks parameters
against the notebook, uses the environment's own kernel, limits the time of every cell, and allows
one run at a time. An executed copy appears only when every cell has run. The kernel works in the
notebook's folder, as it does in JupyterLab.
"""

from __future__ import annotations

import ast
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
from typing import Any

from rrl.publishing.tracing import Traffic, traffic
from rrl.support.errors import DataError, Parser, ServerError, UnstableError, UsageError, command
from rrl.support.provenance import digest

OUT = Path("build/notebooks")
FIGURES = Path("figures")
CELL_TIMEOUT = 1800  # seconds; a cell that takes longer is stopped as hanging
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
    _check(notebook, parameters or {})
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
    try:
        execute_notebook(
            *paths,  # papermill applies str.format to them, so their braces are doubled
            parameters=parameters,
            kernel_name="python3",
            language="python",
            kernel_manager_class=_own_kernel(copy.parent.absolute() / ".kernel", log.absolute()),
            cwd=notebook.parent.absolute(),
            execution_timeout=cell_timeout,
            progress_bar=False,
        )
    except PapermillExecutionError as error:
        kind = _KINDS.get(error.ename, UnstableError)
        reason = _ANSI.sub("", f"{error.ename}: {error.evalue}")
    except CellTimeoutError:
        reason = f"still running after {cell_timeout} s; raise --cell-timeout if it needs longer"
    except RuntimeError as error:  # nbclient raises it for a dead kernel
        reason = f"the kernel died ({error})"
    code = [cell for cell in read_notebook(copy).cells if cell.cell_type == "code"]
    begun = [cell for cell in code if cell.metadata.papermill.start_time]
    if not reason and (len(begun) < len(code) or any(c.metadata.papermill.exception for c in code)):
        reason = "left the notebook by sys.exit, which papermill counts as success"
    lines = begun[-1].source.split("\n") if begun else ["before the first"]
    first = textwrap.shorten(next(filter(str.strip, lines), ""), 60, placeholder=" ...")
    return kind, reason and f"cell [{len(begun)}] ({first}): {reason}"


def _own_kernel(home: Path, files: Path) -> type:
    """Return a kernel manager that starts this Python and ignores other kernels and settings.

    The kernel writes the names of the files that it opens to `files`.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    module = "__import__('rrl.publishing.tracing', fromlist=['watch'])"
    watch = f"{module}.watch({str(files)!r}, {str(Path.cwd())!r})"
    options = [f"--profile-dir={home}", f"--IPKernelApp.exec_lines={watch}"]

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict(options))

        async def start_kernel(self, **options: Any) -> None:
            home.mkdir(exist_ok=True)
            with (home / "log").open("w") as log:  # a killed kernel's tracebacks are not for users
                await super().start_kernel(stdout=log, stderr=log, **options)

    return OwnKernel


def read_notebook(notebook: Path) -> Any:
    """Read a notebook and convert it to the current format."""
    import nbformat

    if not notebook.is_file():
        raise UsageError(f"{notebook}: no such notebook")
    try:
        return nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat can raise any error of its parsers
        raise DataError(f"{notebook} is not a notebook ({error}); save it from Jupyter") from error


def _check(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter that is unknown (papermill only warns) or of another kind."""
    known = _defaults(notebook)
    for name, value in parameters.items():
        if name not in known:
            listed = ", ".join(known) or "none (no cell is tagged 'parameters')"
            raise UsageError(f"{notebook} has no parameter {name!r}; it has {listed}")
        default, kinds = known[name], ((bool,), (int, float), (str,))
        kind = next((kind for kind in kinds if type(default) in kind), (type(value),))
        if value is not None and type(value) not in kind:
            raise UsageError(f"{notebook}: {name} is {value!r}, not of the type of {default!r}")


def _defaults(notebook: Path) -> dict[str, Any]:
    """Return the default for each parameter name; it is Ellipsis if it is not a literal.

    Python's parser reads the cell, because papermill's own inspection misses a line with a second
    ``=`` or an optional type.
    """
    cells = (c for c in read_notebook(notebook).cells if "parameters" in c.metadata.get("tags", []))
    try:
        statements = ast.parse(next((cell.source for cell in cells), "")).body
    except SyntaxError as error:
        raise DataError(f"{notebook}: its parameters cell is not plain Python ({error})") from error
    pairs = [
        (statement.targets[0] if isinstance(statement, ast.Assign) else statement.target, value)
        for statement in statements
        if isinstance(statement, ast.Assign | ast.AnnAssign) and (value := statement.value)
    ]
    return {name.id: _literal(value, ...) for name, value in pairs if isinstance(name, ast.Name)}


def _literal(source: ast.expr | str, otherwise: Any) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return otherwise


def _from_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as YAML in UTF-8: {error}") from error
    if not isinstance(loaded, dict):
        raise UsageError(f"{path} must hold lines `name: value`, got a {type(loaded).__name__}")
    return loaded


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Lock `out` against a second run, because parallel kernels compete for ports and files."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def _enter(notebook: Path, output: Path, seen: Traffic) -> None:
    """Record what a notebook was made from and what it made, for make and for the manifest."""
    from rrl.publishing.manifest import record
    from rrl.support.files import write_atomically

    made = [path for path in seen.written if path.count("/") == 1]  # not those of a live run
    seen = Traffic(seen.read, tuple(made))
    lines = [f"{output}: {' '.join(seen.read)}", "", *(f"{path}:" for path in seen.read), ""]
    lines += [f"{path}: {output}\n\t@:" for path in made]  # its readers wait until it is made
    lines += [f"made.{output.stem} := {' '.join(made)}", ""]
    write_atomically(output.with_suffix(".d"), "\n".join(lines))
    record(Path.cwd(), notebook, _defaults(notebook), seen)


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
    parameters = _from_file(args.f) if args.f else {}
    parameters |= {name: _literal(value, otherwise=value) for name, value in args.p}
    outputs = {args.out / f"{path.stem}{args.suffix}.ipynb": path for path in args.notebook}
    if len(outputs) < len(args.notebook):
        raise UsageError("two notebooks have the same name and copy; run them one by one")
    for notebook in args.notebook:  # errors must appear before the first notebook runs
        _check(notebook, parameters)
    with _alone(args.out):
        for output, notebook in outputs.items():
            print(notebook, end=" ", flush=True)
            start = time.monotonic()
            try:
                with _times_kept(FIGURES):
                    seen = execute(notebook, output, parameters, args.cell_timeout)
                if args.out == OUT and not (parameters or args.suffix):
                    _enter(notebook, output, seen)
            except BaseException:
                print("failed", flush=True)
                raise
            print(f"{time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
