"""The course as a static site, which ``make site`` writes.

Sphinx, MyST-NB and the Sphinx Book Theme write it from the executed notebooks and from the pages
beside them. ``conf.py`` contains Sphinx's settings, and ``index.md`` is the first page.
"""

from __future__ import annotations

import re
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

from rrl.publishing.course import copy_files, originals, write_edition
from rrl.publishing.parameters import read_notebook, tags
from rrl.support.errors import DataError

EXECUTED, SITE = Path("build/notebooks"), Path("build/site")
ZIP = "student-edition"
READ = (
    "README.md",
    "figures/*.*",
    "data/*.*",
    "data/results/*.md",
    "rrl/operating/*.md",
    "rrl/operating/*.png",
    "notebooks/*.md",
)


def for_a_page(notebook: Any) -> Any:
    """Return a copy without widget state and the runner's parameters.

    Its figures are named after their section, and the empty corner of a table is no heading.
    """
    copy = deepcopy(notebook)
    copy.metadata.pop("widgets", None)
    section = ""
    injected = "injected-parameters"  # papermill's tag
    copy.cells = [cell for cell in copy.cells if injected not in tags(cell)]
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            section = [section, *re.findall(r"^#+ (.*)", cell.source, re.M)][-1]
        else:
            for output in cell.get("outputs", []):
                if table := output.get("data", {}).get("text/html"):
                    output["data"]["text/html"] = table.replace("<th></th>", "<td></td>")
            cell.metadata["mystnb"] = {"image": {"alt": f"Figure: {section}"}}
    return copy


def _executed(copy: Path, notebook: Path) -> Any:
    """Return the executed copy of a notebook as a page; refuse one that is missing or older."""
    command = f"`make recorded NOTEBOOKS={notebook}` executes it"
    if not copy.is_file():
        raise DataError(f"{copy.parent} has no {copy.name}; {command}, `make reproduce` all")
    page = for_a_page(read_notebook(copy))
    if [c.source for c in page.cells] != [c.source for c in read_notebook(notebook).cells]:
        raise DataError(f"{notebook} has changed since {copy} was executed; {command}")
    return page


def _write_source(root: Path, source: Path) -> None:
    """Write what Sphinx reads; folders are as in the checkout, so relative links stay valid.

    Raises
    ------
    UsageError
        If there are no notebooks.
    DataError
        If a notebook was not executed since its last change.
    """
    import nbformat

    notebooks = {p.name: _executed(root / EXECUTED / p.name, p) for p in originals(root)}
    shutil.rmtree(source, ignore_errors=True)
    copy_files(root, READ, source)
    for name, notebook in notebooks.items():
        nbformat.write(notebook, source / "notebooks" / name)
    shutil.copy(Path(__file__).with_name("index.md"), source)
    write_edition(root, source / "student")
    shutil.make_archive(str(source / ZIP), "zip", source, "student")
    shutil.rmtree(source / "student")


def write_site(root: Path, out: Path) -> Path:
    """Write the site of a checkout; return its first page.

    Parameters
    ----------
    root : Path
        Root folder of the checkout.
    out : Path
        Folder of the site. What it held is removed. What Sphinx read stays beside it, in
        ``{out}-source``.

    Raises
    ------
    DataError
        If Sphinx finds a defect, for example a link that leads nowhere.
    """
    source = out.with_name(f"{out.name}-source")
    _write_source(root, source)
    from sphinx.cmd.build import build_main

    shutil.rmtree(out, ignore_errors=True)
    options = ["--quiet", "--fail-on-warning", "--jobs=2", "-c", str(Path(__file__).parent)]
    if build_main([*options, "-d", f"{source}/.doctrees", str(source), str(out)]):
        raise DataError("the site has defects, which are listed above")
    return out / "index.html"
