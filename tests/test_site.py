"""The web site of a small course: its notebooks, formulas and pictures, and how people use it."""

from __future__ import annotations

import zipfile
from base64 import b64decode

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
MISSING = "the extra `site` is not installed: `make site`, or `pip install -e '.[site]'`"


@pytest.fixture(scope="module", autouse=True)
def _extra():
    for module in ("myst_nb", "sphinx_book_theme"):
        pytest.importorskip(module, reason=MISSING)


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
        "figures/README.md": "# Figures\n\n[numbers](loads.csv)\n",
        "figures/loads.csv": "load\n",
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


def test_the_first_page_has_the_results_all_notebooks_and_the_student_edition(pages):
    text = (pages / "index.html").read_text(encoding="utf-8")
    article = text.split("<article")[1].split("</article>")[0]
    parts = ("It tunes.", "pixel.gif", "The short path", "It saves 7 %.", "All notebooks")
    assert all(part in article for part in parts)
    listed = article.split("All notebooks")[1].count('href="notebooks/')
    assert listed == len(NAMES) + 2, "the notebooks, and two pages beside them"
    (packed,) = pages.glob("_downloads/*/student-edition.zip")
    assert packed.relative_to(pages).as_posix() in text
    names = zipfile.ZipFile(packed).namelist()
    assert {"student/notebooks/00_quickstart.ipynb", "student/data/README.md"} <= set(names)


def test_a_notebook_has_formulas_and_the_pictures_of_its_section(pages):
    text = (pages / "notebooks" / "01_region_update.html").read_text(encoding="utf-8")
    article = text.split("<article")[1].split("</article>")[0]
    assert 'display="block"' in article
    assert "<mfrac>" in article
    assert "$" not in article
    assert article.count('alt="Figure: A part"') == 2
    assert ".gif" in article
    assert "IPython" not in article


def test_old_pages_go_and_a_link_that_leads_nowhere_is_said(tmp_path, capsys):
    write_course(tmp_path / "checkout", link="03_gone.ipynb")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "old.html").touch()
    with pytest.raises(DataError, match="listed above"):
        site.write_site(tmp_path / "checkout", tmp_path / "site")
    assert "03_gone.ipynb" in capsys.readouterr().err
    assert not (tmp_path / "site" / "old.html").exists()


# --- In a headless Chromium, without a network ---------------------------------------------------


def test_the_site_can_be_searched_without_a_server(tab, pages):
    tab.goto((pages / "search.html").as_uri() + "?q=tunes")
    tab.locator("#search-results a", has_text="serving").first.wait_for()
    assert tab.elsewhere == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_of_the_site_keeps_people_out_or_is_too_wide(tab, pages, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=MISSING)
    tab.set_viewport_size({"width": width, "height": 900})
    for page in ("index", "notebooks/01_region_update", "figures/README", "search"):
        tab.goto((pages / f"{page}.html").as_uri())
        tab.wait_for_load_state("load")
        found = axe.Axe().run(tab, options={"preload": False}).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found] == [], page
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, page
    assert tab.elsewhere == []
