"""The student edition of the notebooks, which ``make student`` writes.

An exercise is a code cell tagged ``exercise``. The lines between ``### BEGIN SOLUTION`` and
``### END SOLUTION`` are the answer. Students get a placeholder instead, which asks for their code
when it runs. After it, a cell tagged ``check`` calls a function of ``rrl.exercises``, which
says what is wrong. Markdown cells tagged ``solution`` are left out. All other cells are the same in
both editions.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rrl.publishing.parameters import read_notebook, tags
from rrl.support.errors import DataError, UsageError

if TYPE_CHECKING:
    from nbformat import NotebookNode

EDITION = Path("build/student")
BESIDE = (
    "data/**/*",
    "figures/*.csv",
    "rrl/operating/README.md",
    "rrl/operating/report.png",
)
"""What notebooks read, and the pages that they link to."""
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_REGION = re.compile(
    rf"^(?P<indent>[ \t]*){BEGIN}[ \t]*\n(?P<answer>.*?)^[ \t]*{END}[ \t]*$\n?", re.M | re.S
)


def blank(source: str, name: str) -> str:
    r"""Replace each answer with a placeholder that fails and names the exercise.

    Examples
    --------
    >>> print(blank("def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION", "f"))
    def f():
        # YOUR CODE HERE
        raise NotImplementedError("exercise 'f' waits for your code")
    """
    message = f"exercise {name!r} waits for your code"
    return _REGION.sub(
        lambda found: (
            f"{found['indent']}# YOUR CODE HERE\n"
            f'{found["indent"]}raise NotImplementedError("{message}")\n'
        ),
        source,
    ).rstrip("\n")


def student(notebook: NotebookNode, name: str) -> NotebookNode:
    """Make the student edition of a notebook; the notebook itself is not changed.

    Parameters
    ----------
    notebook : NotebookNode
    name : str
        Name of the notebook in error messages.

    Raises
    ------
    DataError
        If an exercise has no answer between two marks or no check after it, if a mark is left
        elsewhere, or if a code cell is tagged ``solution``: later cells could depend on it.
    """
    edition = deepcopy(notebook)
    if any("solution" in tags(cell) and cell.cell_type == "code" for cell in notebook.cells):
        raise DataError(f"{name}: code is tagged 'solution', and later cells may need it; mark it")
    order = [kind for c in notebook.cells for kind in ("exercise", "check") if kind in tags(c)]
    if ("exercise", "exercise") in pairwise([*order, "exercise"]):
        raise DataError(f"{name}: an exercise has no cell tagged 'check' after it")
    edition.cells = [cell for cell in edition.cells if "solution" not in tags(cell)]
    for cell in edition.cells:
        source = cell.source
        if "exercise" in tags(cell):
            cell.source = blank(source, cell.id)
        if "SOLUTION" in cell.source or ("exercise" in tags(cell) and cell.source == source):
            raise DataError(
                f"{name}, cell {cell.id!r}: an answer stands between the lines {BEGIN!r} and "
                f"{END!r}, in a cell tagged 'exercise'"
            )
    return edition


def originals(root: Path) -> list[Path]:
    """Return the notebooks of a checkout in their order.

    Raises
    ------
    UsageError
        If there are none.
    """
    if notebooks := sorted((root / "notebooks").glob("[0-9]*.ipynb")):
        return notebooks
    raise UsageError(f"no notebooks in {root / 'notebooks'}; run it in the checkout")


def copy_files(root: Path, globs: Iterable[str], out: Path) -> None:
    """Copy files of a checkout; folders are as in the checkout, so relative links stay valid."""
    for path in sorted({path for glob in globs for path in root.glob(glob)}):
        if path.is_file():
            target = out / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def write_edition(root: Path, out: Path) -> int:
    """Write the student edition of ``root/notebooks``, and what it reads and links to.

    `out` can be given to students as it is. Its folders lie side by side as in the checkout, as the
    notebooks expect. ``figures/`` holds the tables of the experiments. The students draw the
    figures.

    Parameters
    ----------
    root : Path
        Root folder of the checkout.
    out : Path
        What this folder held is removed.

    Returns
    -------
    int
        The number of notebooks.

    Raises
    ------
    UsageError
        If there are no notebooks.
    DataError
        If a notebook cannot be read, or if :func:`student` refuses it.
    """
    import nbformat

    editions = {path.name: student(read_notebook(path), str(path)) for path in originals(root)}
    shutil.rmtree(out, ignore_errors=True)
    copy_files(root, BESIDE, out)
    (out / "notebooks").mkdir(parents=True)
    for name, edition in editions.items():
        nbformat.write(edition, out / "notebooks" / name)
    return len(editions)
