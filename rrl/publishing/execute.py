"""Execute one notebook with papermill, from its first cell to its last, without a user.

papermill runs the cells. This module adds what such a run needs. It checks parameters against the
notebook, uses the environment's own kernel, limits the time of every cell, and notes which files
the kernel opens. An executed copy appears only when every cell has run. The kernel works in the
notebook's folder, as it does in JupyterLab. :mod:`rrl.publishing.reproduce` runs several notebooks
side by side.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Mapping
from functools import partialmethod
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from rrl.publishing.parameters import check_parameters, read_notebook
from rrl.publishing.tracing import Traffic, traffic
from rrl.support.errors import UnstableError

OUTPUT_TIMEOUT = 60  # seconds; on a busy machine, the output of a cell comes late
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    cell_timeout: int,
    stopped: Event | None = None,
) -> Traffic:
    """Run every cell of `notebook` and write the executed copy to `output`.

    Parameters
    ----------
    notebook : Path
        The notebook to run. It is not changed.
    output : Path
        Path of the executed copy. Only a complete copy replaces an older one.
    parameters : mapping of str to object
        These values replace the notebook's defaults.
    cell_timeout : int
        Longest time in seconds that one cell may take.
    stopped : threading.Event, optional
        It is set before the kernel is stopped from outside.

    Returns
    -------
    Traffic
        The files that the notebook read and wrote below the current folder.

    Raises
    ------
    UsageError, DataError
        If the notebook cannot be read, or does not have one of the parameters.
    UnstableError
        If a cell failed, hung, left the notebook early or stopped the kernel. The copy with the
        traceback is then in the folder of `output`. Its name ends in ``-failed``.
    KeyboardInterrupt
        If the kernel was interrupted or stopped. There is no such copy then.
    """
    check_parameters(notebook, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.partial.ipynb")
    failed = output.with_name(f"{output.stem}-failed.ipynb")
    with TemporaryDirectory(prefix="rrl-", ignore_cleanup_errors=True) as home:
        try:
            reason = _run(notebook, partial, dict(parameters), cell_timeout, home)
            if stopped and stopped.is_set():
                raise KeyboardInterrupt
            if reason:
                partial.replace(failed)
                raise UnstableError(f"{notebook}, {reason}; the executed copy is {failed}")
            partial.replace(output)
            failed.unlink(missing_ok=True)
            return traffic(Path(home, "files"), Path.cwd())
        finally:
            partial.unlink(missing_ok=True)


def _run(
    notebook: Path, copy: Path, parameters: dict[str, Any], cell_timeout: int, home: str
) -> str:
    """Run the notebook; return the cell that failed and the reason, or an empty text."""
    from nbclient.exceptions import CellTimeoutError
    from papermill import PapermillExecutionError, execute_notebook

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # the code below reports errors
    paths = (
        str(path.absolute()).replace("{", "{{").replace("}", "}}") for path in (notebook, copy)
    )
    reason = ""
    try:
        execute_notebook(
            *paths,  # papermill applies str.format to them, so their braces are doubled
            parameters=parameters,
            kernel_name="python3",
            language="python",
            kernel_manager_class=_own_kernel(home),
            # papermill's own `cwd` would move this process, in which others run, too
            resources={"metadata": {"path": str(notebook.parent.absolute())}},
            execution_timeout=cell_timeout,
            iopub_timeout=OUTPUT_TIMEOUT,
            progress_bar=False,
            coalesce_streams=True,  # what a bar has overwritten goes
        )
    except PapermillExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
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
    return reason and f"cell [{len(begun)}] ({first}): {reason}"


def _own_kernel(home: str) -> type:
    """Return a kernel manager that starts this Python and ignores other kernels and settings.

    The folder `home` holds the kernel's settings and sockets, and the list ``files`` of the files
    that the kernel opens.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    module = "__import__('rrl.publishing.tracing', fromlist=['watch'])"
    watch = f"{module}.watch({f'{home}/files'!r}, {str(Path.cwd())!r})"
    options = [f"--profile-dir={home}", f"--IPKernelApp.exec_lines={watch}"]

    class OwnKernel(AsyncKernelManager):
        transport = "ipc"  # kernels that start side by side race for ports
        ip = f"{home}/socket"
        # the errors of a kernel are reported here, so its tracebacks are not for users
        start_kernel = partialmethod(
            AsyncKernelManager.start_kernel, stdout=DEVNULL, stderr=DEVNULL
        )

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict(options))

    return OwnKernel
