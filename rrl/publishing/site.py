"""The executed notebooks as a static site: ``python -m rrl.publishing.site`` (``make site``).

A page needs no script and no other host. Figures are inside the page. Formulas are MathML, which
browsers draw without a script. (nbconvert's own pages load MathJax, RequireJS and widgets from the
network.) If an output has a widget, the page shows the picture that is stored with the widget.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

from rrl.support.errors import DataError, Parser, UsageError, command

if TYPE_CHECKING:
    from nbconvert.exporters import HTMLExporter

EXECUTED, OUT = Path("build/notebooks"), Path("build/site")
_SHOWN = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")


class Page(NamedTuple):
    """A notebook's page without its frame.

    Parameters
    ----------
    name : str
        Name of the notebook's file, without its ending.
    title : str
        First heading of the notebook.
    summary : str
        First paragraph of the notebook, as HTML.
    body, code_css : str
    """

    name: str
    title: str
    summary: str
    body: str
    code_css: str


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


@cache
def _exporter() -> HTMLExporter:
    from nbconvert.exporters import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body)

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def markdown2html(source: str) -> str:
        return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)

    exporter = HTMLExporter(template_name="basic")
    exporter.config.NbConvertBase.display_data_priority = list(_SHOWN)
    exporter.register_filter("markdown2html", markdown2html)
    return exporter


def page(notebook: Any, name: str) -> Page:
    """Convert an executed notebook to a page.

    Parameters
    ----------
    notebook : NotebookNode
    name : str
        Name of the notebook's file, without its ending.
    """
    body, resources = _exporter().from_notebook_node(_for_a_page(notebook))
    body = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', body)
    title = re.search(r"<h1[^>]*>(.*?)(?:<a |</h1>)", body, re.S)
    summary = re.search(r"<p>(.*?)</p>", body, re.S)
    return Page(
        name,
        title[1].strip() if title else name,
        summary[1] if summary else "",
        body,
        "\n".join(resources["inlining"]["css"]),
    )


def _for_a_page(notebook: Any) -> Any:
    """Return a copy without widget state, in which figures are named after their section."""
    copy = deepcopy(notebook)
    copy.metadata.pop("widgets", None)
    section = ""
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            section = [section, *re.findall(r"^#+ (.*)", cell.source, re.M)][-1]
        else:
            cell.metadata["alt"] = f"Figure: {section}"
            for data in (output.get("data", {}) for output in cell.outputs):
                if "image/gif" in data:  # nbconvert has no place for animated pictures
                    source = f"data:image/gif;base64,{data['image/gif'].strip()}"
                    data["text/html"] = f'<img alt="Figure: {section}" src="{source}">'
    return copy


def frame(pages: Sequence[Page], number: int) -> str:
    """Put a page into its frame: links to its neighbours, and a list of its sections."""
    own = pages[number]
    links = ['<a href="index.html">All notebooks</a>']
    if number > 0:
        links.append(
            f'<a rel="prev" href="{pages[number - 1].name}.html">← {_text(pages[number - 1])}</a>'
        )
    if number + 1 < len(pages):
        links.append(
            f'<a rel="next" href="{pages[number + 1].name}.html">{_text(pages[number + 1])} →</a>'
        )
    headings = re.findall(r'<h2 id="([^"]+)"[^>]*>(.*?)(?:<a class="anchor|</h2>)', own.body, re.S)
    contents = [f'<li><a href="#{anchor}">{text}</a></li>' for anchor, text in headings]
    return _fill(own.title, own.code_css, links, contents, own.body)


def index(pages: Sequence[Page]) -> str:
    """Return the first page, which shows every notebook with its first paragraph."""
    items = [
        f'<h2><a href="{own.name}.html">{own.name[:2]} · {own.title}</a></h2>\n<p>{own.summary}</p>'
        for own in pages
    ]
    contents = [
        f'<li><a href="{own.name}.html">{own.name[:2]} {_text(own)}</a></li>' for own in pages
    ]
    heading = "<h1>Region-based reinforcement learning for model serving</h1>\n"
    return _fill("rrl: the notebooks", "", [], contents, heading + "\n".join(items))


def _text(page: Page) -> str:
    """Return the part of a title before its colon, for links."""
    return page.title.split(":")[0]


def _fill(
    title: str, code_css: str, links: Sequence[str], contents: Sequence[str], body: str
) -> str:
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=re.sub("<[^>]*>", "", title),
        code_css=code_css,
        links="\n".join(links),
        contents="\n".join(contents),
        body=body,
    )


def write_site(names: Sequence[str], executed: Path = EXECUTED, out: Path = OUT) -> list[Path]:
    """Write the site of the executed notebooks `names`, in that order.

    Returns
    -------
    list of Path
        The paths of the pages. The index is the first one.

    Raises
    ------
    DataError
        If a notebook was not executed yet, or cannot be read.
    """
    from rrl.publishing.parameters import read_notebook

    missing = [name for name in names if not (executed / f"{name}.ipynb").is_file()]
    if missing:
        raise DataError(f"{executed} has no {missing[0]}.ipynb; `make recorded` executes it")
    pages = [page(read_notebook(executed / f"{name}.ipynb"), name) for name in names]
    texts = {"index": index(pages)}
    texts |= {own.name: frame(pages, number) for number, own in enumerate(pages)}
    out.mkdir(parents=True, exist_ok=True)
    for old in set(out.glob("*.html")) - {out / f"{name}.html" for name in texts}:
        old.unlink()  # its notebook now has another name
    for name, text in texts.items():
        (out / f"{name}.html").write_text(text, encoding="utf-8")
    return [out / f"{name}.html" for name in texts]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv` and print where the site begins."""
    parser = Parser(
        prog="python -m rrl.publishing.site", description="Write the notebooks as a static site."
    )
    parser.add_argument("--executed", type=Path, default=EXECUTED, help="default %(default)s")
    parser.add_argument("--out", type=Path, default=OUT, help="folder (default %(default)s)")
    options = parser.parse_args(argv)
    names = sorted(path.stem for path in Path("notebooks").glob("[0-9]*.ipynb"))
    if not names:
        raise UsageError("no notebooks here; run it in the checkout")
    written = write_site(names, options.executed, options.out)
    print(f"{len(written)} pages; open {written[0]}")


if __name__ == "__main__":
    sys.exit(main())
