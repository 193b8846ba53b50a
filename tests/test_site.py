"""The web site of a small course: its links, its order, its formulas and its pictures."""

from __future__ import annotations

import zipfile
from base64 import b64decode
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_notebooks import NOTEBOOKS

from rrl.publishing import site
from rrl.publishing.results import BEGIN, END
from rrl.support.errors import DataError

NAMES = [path.stem for path in NOTEBOOKS]
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@pytest.fixture(scope="module", autouse=True)
def _extra():
    pytest.importorskip("sphinx_book_theme", reason="in the extra `site`")


def write_course(root, link="10_explorer.ipynb"):
    """Write a checkout with executed notebooks, all alike."""
    for folder in ("notebooks", site.EXECUTED, "figures", "data/results", "rrl/operating"):
        (root / folder).mkdir(parents=True)
    (root / "figures" / "pixel.gif").write_bytes(b64decode(GIF))
    widget = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1", "version_major": 2},
        "image/png": PIXEL,
        "text/plain": "Panel()",
    }
    animated = {"image/gif": GIF, "text/plain": "<IPython.core.display.Image object>"}
    for name in NAMES:
        shown = new_code_cell("Panel()", id="shown")
        shown.outputs = [
            new_output("execute_result", data=widget, execution_count=1),
            new_output("display_data", data=animated),
        ]
        formula = rf"See [the last]({link}). $$\sum_i \frac{{x_i}}{{n}}$$ and $\alpha < \beta$."
        text = new_markdown_cell(
            f"# Course {name[:2]}: $x$ & two\n\nWhy?\n\n## A part\n\n{formula}", id="text"
        )
        notebook = new_notebook(cells=[text, shown])
        notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
        notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
        for folder in ("notebooks", site.EXECUTED):
            nbformat.write(notebook, root / folder / f"{name}.ipynb")
    for page, text in {
        "notebooks/README.md": "# Teaching\n",
        "notebooks/DIFFERENCES.md": "# Differences\n\nSee [the data](../data/README.md).\n",
        "figures/README.md": "# Figures\n\n[the claims](claims.md), [numbers](claims.json)\n",
        "figures/claims.json": "{}",
        "figures/claims.md": "# Claims\n\n## C1: reproduced\n\nFast.\n",
        "README.md": "# rrl\n\nIt tunes.\n\n![A pixel](figures/pixel.gif)\n\n"
        f"<!-- end of the introduction -->\n\n{BEGIN}\nIt saves 7 %.\n{END}\n",
        "data/results/README.md": "# Results\n",
        "rrl/operating/README.md": "# Tune\n",
        "data/README.md": "# Data\n\nSee [the first](../notebooks/00_quickstart.ipynb).\n",
    }.items():
        (root / page).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_course(folder / "checkout")
    return site.write_site(folder / "checkout", folder / "site").parent


class Links(HTMLParser):
    """What a page loads, where its links lead, and the places in it."""

    def __init__(self, path):
        super().__init__()
        self.found, self.ids = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids.add(given.get("id"))
        self.found += [given[name] for name in ("href", "src") if given.get(name)]


def test_every_link_leads_to_something_in_the_site(pages):
    written = [path for path in pages.rglob("*.html") if "_static" not in path.parts]
    inside = {path.resolve(): Links(path) for path in written}
    assert len(inside) > len(NAMES) + 5
    for path, page in inside.items():
        for link in page.found:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "data", "mailto"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), (path, link)
            if parts.fragment and target in inside:
                assert unquote(parts.fragment) in inside[target].ids, (path, link)


def test_the_first_page_has_the_notebooks_in_order_and_the_student_edition(pages):
    text = (pages / "index.html").read_text(encoding="utf-8")
    article = text.split("<article")[1].split("</article>")[0]
    all_notebooks = article.split("All notebooks")[1]
    places = [all_notebooks.index(f"{name[:2]} <") for name in NAMES]
    assert places == sorted(places)
    assert all_notebooks.count(">Course ") == len(NAMES), "their titles"
    parts = ("It tunes.", "pixel.gif", "The short path", "It saves 7 %.", "All notebooks")
    places = [article.index(part) for part in parts]
    assert places == sorted(places)
    menu = text.split("<nav")[1:]
    assert any("00 Quickstart" in part and "10 Explorer" in part for part in menu), "short titles"
    (packed,) = pages.glob("_downloads/*/student-edition.zip")
    assert packed.relative_to(pages).as_posix() in text
    names = zipfile.ZipFile(packed).namelist()
    assert {"student/notebooks/00_quickstart.ipynb", "student/data/README.md"} <= set(names)


def test_a_notebook_has_neighbours_formulas_and_the_pictures_of_its_section(pages):
    text = (pages / "notebooks" / "01_region_update.html").read_text(encoding="utf-8")
    assert 'href="00_quickstart.html"' in text.split('class="left-prev"')[1].split(">")[0]
    assert 'href="02_profiling.html"' in text.split('class="right-next"')[1].split(">")[0]
    article = text.split("<article")[1].split("</article>")[0]
    assert 'display="block"' in article
    assert "<mfrac>" in article
    assert "$" not in article
    assert article.count('alt="Figure: A part"') == 2
    assert ".gif" in article
    assert "IPython" not in article
    claims = (pages / "figures" / "claims.html").read_text(encoding="utf-8")
    assert all(words in claims for words in ("C1: reproduced", "Fast."))


def test_old_pages_go_and_a_link_that_leads_nowhere_is_said(tmp_path, capsys):
    write_course(tmp_path / "checkout", link="03_gone.ipynb")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "old.html").touch()
    with pytest.raises(DataError, match="listed above"):
        site.write_site(tmp_path / "checkout", tmp_path / "site")
    assert "03_gone.ipynb" in capsys.readouterr().err
    assert not (tmp_path / "site" / "old.html").exists()
