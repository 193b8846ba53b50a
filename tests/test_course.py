"""The student edition, its checks, and the site."""

from __future__ import annotations

import ast
import re
from itertools import pairwise

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_front_page import text_of
from test_notebooks import NOTEBOOKS, ROOT, read

from rrl.publishing import course, site
from rrl.publishing.__main__ import main
from rrl.publishing.parameters import tags
from rrl.support.errors import DataError

ANSWER = "def f(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
CHECK = "assert f(2) == 4, f'f(2) is {f(2)}, not 4'"


def cell(source, *tags, **fields):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {}, **fields)


# --- Making the edition ------------------------------------------------------------------------


def test_answers_go_and_all_else_stays():
    text = new_markdown_cell("Because.", metadata={"tags": ["solution"]})
    whole = [cell("x = 1"), cell(ANSWER, "exercise", id="double"), cell(CHECK, "check"), text]
    original = new_notebook(cells=whole)
    edition = course.student(original, "n.ipynb")
    assert [c.source for c in edition.cells] == [
        "x = 1",
        "def f(x):\n    # YOUR CODE HERE\n"
        "    raise NotImplementedError(\"exercise 'double' waits for your code\")",
        CHECK,
    ]
    assert original.cells[1].source == ANSWER


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([cell("x = 1", "exercise", id="c")], r"n\.ipynb, cell 'c': an answer stands between"),
        ([cell(ANSWER, id="c")], "cell 'c': an answer stands"),
        ([cell(ANSWER, "exercise", id=i) for i in "ab"], "no cell tagged 'check'"),
        ([cell("x = 1", "solution")], "code is tagged 'solution'"),
    ],
    ids=["no marks", "not tagged", "not checked", "code that others need"],
)
def test_what_would_leak_an_answer_or_go_unchecked_is_refused(cells, message):
    with pytest.raises(DataError, match=message):
        course.student(new_notebook(cells=[*cells, cell(CHECK, "check")]), "n.ipynb")


def test_the_command_writes_a_folder_to_hand_out(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1\n")
    (tmp_path / "figures").mkdir()
    for name in ("table.csv", "figure.png"):
        (tmp_path / "figures" / name).write_text("2\n")
    monkeypatch.chdir(tmp_path)
    assert main(["student"]) == 2
    assert "no notebooks" in capsys.readouterr().err
    notebook = new_notebook(cells=[cell(ANSWER, "exercise"), cell(CHECK, "check")])
    nbformat.write(notebook, "notebooks/00_a.ipynb")
    assert main(["student"]) == 0
    out = tmp_path / "build" / "student"
    (out / "notebooks" / "01_renamed.ipynb").write_text("stale")
    assert main(["student"]) == 0
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {
        "notebooks/00_a.ipynb",
        "data/a.csv",
        "figures/table.csv",
    }
    assert "SOLUTION" not in (out / "notebooks" / "00_a.ipynb").read_text()


# --- The course's own notebooks ----------------------------------------------------------------


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_answer_is_left_in_the_student_edition(notebook):
    edition = course.student(read(notebook), notebook.name)
    text = "\n".join(cell.source for cell in edition.cells)
    assert not re.search(r"^\W*solution\b", text, flags=re.I | re.M), "tag it 'solution'"
    assert any("exercise" in tags(cell) for cell in edition.cells)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_text_of_an_exercise_names_what_its_check_reads(notebook):
    """The student edition leaves out the lines that give an answer its name."""
    cells = read(notebook).cells
    for before, exercise in pairwise(cells):
        if "exercise" in tags(exercise):
            text = before.source + exercise.source.split(course.BEGIN)[0]
            parsed = ast.parse(exercise.source).body
            targets = [t for node in parsed if isinstance(node, ast.Assign) for t in node.targets]
            named = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            assert {name for name in named if name not in text} == set(), exercise.id


# --- The site ----------------------------------------------------------------------------------


def test_a_notebook_that_was_not_executed_since_its_change_is_said(tmp_path, monkeypatch, capsys):
    for folder in (tmp_path / "notebooks", tmp_path / site.EXECUTED):
        folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    nbformat.write(new_notebook(cells=[cell("x = 2")]), "notebooks/00_a.ipynb")
    remedy = "`make recorded NOTEBOOKS=notebooks/00_a.ipynb`"
    assert main(["site"]) == 3
    err = capsys.readouterr().err
    assert f"build/notebooks has no 00_a.ipynb; {remedy}" in err
    assert "`make reproduce`" in err
    nbformat.write(new_notebook(cells=[cell("x = 1")]), site.EXECUTED / "00_a.ipynb")
    assert main(["site"]) == 3
    assert f"00_a.ipynb was executed; {remedy}" in capsys.readouterr().err


@pytest.mark.parametrize("globs", [site.READ, course.BESIDE], ids=["site", "student edition"])
def test_links_of_notebooks_and_pages_lead_to_what_is_published_with_them(globs):
    inside = {path for glob in globs for path in ROOT.glob(glob)} | set(NOTEBOOKS)
    inside.discard(ROOT / "README.md")  # no page of the site: the first page contains parts of it
    for page in (path for path in inside if path.suffix in (".ipynb", ".md")):
        for link in re.findall(r"\]\((?!https?:|#)([\w./-]+\.\w+)", text_of(page)):
            assert (page.parent / link).resolve() in inside, (page, link)


def test_a_page_shows_no_parameters_of_the_runner_and_no_heading_in_the_corner_of_a_table():
    """With the parameters it would tell readers to write to ``figures/``."""
    html = pd.DataFrame({"a": [1]}).to_html()
    shown = cell("table", outputs=[new_output("display_data", data={"text/html": html})])
    cells = [cell("figures = 'build'", "parameters"), cell("figures = ''", "injected-parameters")]
    page = site.for_a_page(new_notebook(cells=[*cells, shown]))
    assert [c.source for c in page.cells] == ["figures = 'build'", "table"]
    assert "<th></th>" in html
    assert page.cells[1].outputs[0]["data"]["text/html"] == html.replace("<th></th>", "<td></td>")
