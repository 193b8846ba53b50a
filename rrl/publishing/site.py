"""The course as a static site: ``python -m rrl.publishing.site`` (``make site``).

Sphinx, MyST-NB and the Sphinx Book Theme write it from the executed notebooks and from the pages
beside them. A page asks no other host for anything. Formulas are MathML, which browsers draw
without a script. If an output has a widget, the page shows the picture that is stored with it.
"""

from __future__ import annotations

import html
import io
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.publishing.course import originals, write_edition
from rrl.publishing.parameters import read_notebook
from rrl.publishing.results import results_of
from rrl.support.errors import DataError, Parser, UsageError, command

if TYPE_CHECKING:
    from sphinx.application import Sphinx

EXECUTED, OUT = Path("build/notebooks"), Path("build/site")
ZIP = "student-edition.zip"
_LONG = 40  # TeX characters of a formula that may be wider than a phone
_PAGES = (
    "figures/claims.md",
    "figures/README.md",
    "data/README.md",
    "data/results/README.md",
    "rrl/operating/README.md",
    "notebooks/README.md",
    "notebooks/DIFFERENCES.md",
)
_SHORT = ("00", "01", "08", "10")  # numbers of the notebooks of the short path
_BESIDE = ("figures/*.png", "figures/*.gif", "figures/*.csv", "figures/*.json", "data/*.yaml")
_SETTINGS = {
    "project": "Region-based reinforcement learning for model serving",
    "html_title": "Region-based reinforcement learning for model serving",
    "extensions": ["myst_nb", "rrl.publishing.site"],
    "author": "",
    "language": "en",
    "html_theme": "sphinx_book_theme",
    "html_theme_options": {
        "show_toc_level": 2,
        "home_page_in_toc": True,
        "use_fullscreen_button": False,
        "navbar_persistent": [],
        "pygments_light_style": "a11y-high-contrast-light",
        "pygments_dark_style": "a11y-high-contrast-dark",
    },
    # without the theme's logo, which is in no landmark: the menu begins with the first page
    "html_sidebars": {"**": ["search-button-field.html", "sbt-sidebar-nav.html"]},
    "html_static_path": ["_static"],
    "html_css_files": ["site.css"],
    "html_math_renderer": "mathml",
    "html_show_copyright": False,
    "html_show_sphinx": False,
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_dmath_double_inline": True,
    "myst_heading_anchors": 3,
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},
    "nb_mime_priority_overrides": [["html", "application/vnd.jupyter.widget-view+json", None]],
}


def mathml(formula: str, display: str = "inline") -> str:
    r"""Convert a TeX formula to MathML; if that is not possible, show the formula as TeX.

    Examples
    --------
    >>> mathml("x")[-30:]
    '<mrow><mi>x</mi></mrow></math>'
    >>> mathml(r"\left(")
    '<code>\\left(</code>'
    """
    from latex2mathml.converter import convert

    try:
        return convert(formula, display=display)
    except Exception:  # it can raise any error of its parser
        return f"<code>{html.escape(formula, quote=False)}</code>"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the formulas of this site; Sphinx calls this as it does with every extension."""
    from docutils.nodes import SkipNode

    def visit(display: str) -> Any:
        def show(translator: Any, node: Any) -> None:
            formula = mathml(node.astext(), display)
            if display == "block" or len(node.astext()) > _LONG:  # it scrolls, also by keyboard
                more = 'role="group" aria-label="formula" tabindex="0"'
                formula = f'<span class="formula {display}" {more}>{formula}</span>'
            translator.body.append(formula)
            raise SkipNode

        return show

    app.add_html_math_renderer("mathml", (visit("inline"), None), (visit("block"), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def for_a_page(notebook: Any) -> Any:
    """Return a copy without widget state and the runner's parameters.

    Its figures are named after their section, and the empty corner of a table is no heading.
    """
    copy = deepcopy(notebook)
    copy.metadata.pop("widgets", None)
    section = ""
    given = "injected-parameters"  # papermill's tag
    copy.cells = [cell for cell in copy.cells if given not in cell.metadata.get("tags", [])]
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            section = [section, *re.findall(r"^#+ (.*)", cell.source, re.M)][-1]
        else:
            for output in cell.get("outputs", []):
                if table := output.get("data", {}).get("text/html"):
                    output["data"]["text/html"] = table.replace("<th></th>", "<td></td>")
            cell.metadata["mystnb"] = {"image": {"alt": f"Figure: {section}"}}
    return copy


def title(notebook: Any) -> str:
    """Return the first heading of a notebook."""
    return next(
        found[1]
        for cell in notebook.cells
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.*)", cell.source, re.M))
    )


def index(titles: dict[str, str], front: str) -> str:
    """Return the first page in MyST: a picture, a result, and the notebooks.

    Parameters
    ----------
    titles : dict of str to str
        The title of each notebook, which asks a question, by the notebook's name.
    front : str
        The front page of the project, for its first paragraph, its picture and its results.
    """
    short = {name: f"{name[:2]} {title.split(':')[0]}" for name, title in titles.items()}

    def items(names: Iterable[str]) -> str:
        return "\n".join(f"- [{name[:2]} {titles[name]}](notebooks/{name}.ipynb)" for name in names)

    def toctree(caption: str, pages: Sequence[str]) -> str:
        return "\n".join(("```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"))

    first = re.search(r"^# .*\n+((?:.+\n)+)\n*(!\[.*\))$", front, re.M)
    if not first:
        raise DataError("README.md must begin with a heading, a paragraph and a picture")

    return "\n\n".join(
        (
            f"# {_SETTINGS['project']}",
            *first.groups(),
            "## The short path",
            items(name for name in titles if name[:2] in _SHORT),
            "To work on the exercises, download [the student edition](student-edition.zip): "
            "the notebooks without answers, and the data that they read.",
            "## What it gains",
            results_of(front),
            "## All notebooks",
            "Each notebook asks one question. They build on each other in this order.",
            items(titles),
            "## Results, data and teaching",
            "\n".join(f"- [](./{page})" for page in _PAGES),
            toctree("Notebooks", [f"{short[name]} <notebooks/{name}>" for name in titles]),
            toctree("Results, data and teaching", [page.removesuffix(".md") for page in _PAGES]),
        )
    )


def _executed(copy: Path, notebook: Path) -> Any:
    """Return the executed copy of a notebook as a page; refuse one that is missing or older."""
    command = f"`make recorded NOTEBOOKS={notebook}` executes it"
    if not copy.is_file():
        raise DataError(f"{copy.parent} has no {copy.name}; {command}, `make reproduce` all")
    page = for_a_page(read_notebook(copy))
    if [c.source for c in page.cells] != [c.source for c in read_notebook(notebook).cells]:
        raise DataError(f"{notebook} has changed since {copy} was executed; {command}")
    return page


def _write_source(notebooks: dict[str, Any], root: Path, source: Path) -> None:
    """Write what Sphinx reads; folders are as in the checkout, so relative links stay valid."""
    import nbformat

    for path in sorted({path for glob in (*_BESIDE, *_PAGES) for path in root.glob(glob)}):
        target = source / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name, notebook in notebooks.items():
        nbformat.write(notebook, source / "notebooks" / f"{name}.ipynb")
    titles = {name: title(notebook) for name, notebook in notebooks.items()}
    front = (root / "README.md").read_text(encoding="utf-8")
    (source / "index.md").write_text(index(titles, front), encoding="utf-8")
    (source / "_static").mkdir()
    shutil.copy(Path(__file__).with_name("site.css"), source / "_static")


def pack(folder: Path, out: Path) -> None:
    """Write the folder as a zip file; the same files give the same bytes."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix())
            file.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


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
    UsageError
        If there are no notebooks, or if the extra ``site`` is not installed.
    DataError
        If a notebook was not executed since its last change, or if a link leads nowhere.
    """
    executed = root / EXECUTED
    notebooks = {path.stem: _executed(executed / path.name, path) for path in originals(root)}
    if not find_spec("sphinx_book_theme"):
        raise UsageError("the extra `site` is not installed; `make site` installs it")
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    source = out.with_name(f"{out.name}-source")
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    _write_source(notebooks, root, source)
    edition = source / "student"
    write_edition(root, edition)
    pack(edition, source / ZIP)
    shutil.rmtree(edition)
    warnings = io.StringIO()
    settings = deepcopy(_SETTINGS)  # the theme writes into it
    paths = (source, None, out, source / ".doctrees")
    with patch_docutils(), docutils_namespace():  # so that the next build begins anew
        Sphinx(*paths, "html", settings, status=None, warning=warnings, parallel=2).build()
    (out / ".buildinfo").unlink(missing_ok=True)  # for a build that goes on; no two are the same
    if defects := re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()):  # without the colours
        raise DataError(f"the site has defects:\n{defects}")
    return out / "index.html"


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the site of the checkout in the working folder, and print where it begins."""
    parser = Parser(
        prog="python -m rrl.publishing.site", description="Write the course as a static site."
    )
    parser.parse_args(argv)
    print(f"open {write_site(Path(), OUT)}")


if __name__ == "__main__":
    sys.exit(main())
