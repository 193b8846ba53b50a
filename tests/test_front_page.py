"""What a visitor sees first agrees with what there is: results, pictures, links and commands."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from test_agent import contract
from test_notebooks import NOTEBOOKS, read

from rrl import cli, parse_objective
from rrl.operating import profiling, racing, tune
from rrl.publishing.__main__ import main
from rrl.publishing.manifest import read_manifest
from rrl.publishing.pages import CAPTIONS, GALLERY
from rrl.publishing.results import insert
from rrl.tuning.slo import parse_slo

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "notebooks/README.md").read_text(encoding="utf-8")
PAGES = [
    path
    for folder in (".", ".github", "data", "data/results", "figures", "notebooks", "rrl/operating")
    for path in sorted((ROOT / folder).glob("*.md"))
] + [ROOT / "rrl/studies/README.md", *NOTEBOOKS]


def test_the_command_writes_the_readme_and_the_gallery_as_they_are(tmp_path, monkeypatch):
    """If it fails after the figures changed: ``make pages``."""
    for folder in ("figures", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "README.md").write_text(insert(README, "old"), encoding="utf-8")
    (tmp_path / GALLERY).write_text("old")
    monkeypatch.chdir(tmp_path)
    assert main(["pages"]) == 0
    for page in ("README.md", GALLERY):
        assert (tmp_path / page).read_bytes() == (ROOT / page).read_bytes()


def test_every_figure_was_made_by_a_notebook_and_every_caption_has_one():
    files = {Path(name).name for name in read_manifest(ROOT)["files"]}
    made_here = {path.name for path in (ROOT / "figures").glob("*.*")}
    assert made_here == files | {"README.md", "manifest.json"}, "a file that no notebook made"
    captions = yaml.safe_load((ROOT / CAPTIONS).read_text(encoding="utf-8"))
    assert {Path(name).stem for name in files} == set(captions)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_is_on_the_pages_that_list_them(notebook):
    name = notebook.stem
    assert f"| [`{name}`]" in README
    for line in (f"| `{name}` |", f"### `{name}`\n"):
        assert f"\n{line}" in GUIDE
    assert f"<notebooks/{name}>" in (ROOT / "rrl/publishing/index.md").read_text(encoding="utf-8")


# --- Links and examples ---------------------------------------------------------------------------


def text_of(page: Path) -> str:
    if page.suffix == ".ipynb":
        return "\n".join(c.source for c in read(page).cells if c.cell_type == "markdown")
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that a forge gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)", text_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.S)
    for link in re.findall(r"\]\((?!https?:)([^)\s]*[#.][^)\s]*)\)", text):
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def examples(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "data/README.md"])
def test_the_examples_run_and_print_what_their_comments_say(page, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert examples(page)
    for example in examples(page):
        exec(compile(example, page, "exec"), {})  # our own text
        said = re.findall(r"^print\(.*\)  # (.*)$", example, flags=re.M)
        assert capsys.readouterr().out.splitlines() == said


def contributed(space, rng):
    """The agent on the contributors' page."""
    (example,) = examples(".github/CONTRIBUTING.md")
    names = {}
    exec(compile(example, "a page", "exec"), names)
    return names["Mine"](space, rng)


TestContributed = contract(contributed)


# --- The commands on the page for operators, and in the help --------------------------------------

OPERATORS = (ROOT / "rrl/operating/README.md").read_text(encoding="utf-8")
HELP = re.compile(r"^ {2,4}(rrl (?:.*\\\n)*.*)$", re.MULTILINE)
CODE = re.compile(r"^(?:\$ )?(rrl \w(?:.*\\\n)*.*)$", re.MULTILINE)
INLINE = re.compile(r"`(rrl (?:replay|race|profile|tune) [^`]+)`")


def commands(text):
    """The commands of a page or a help text: in blocks of code, and in lines of text."""
    blocks = "".join(re.findall(r"```\w+\n(.*?)```", text, re.DOTALL))
    return [*CODE.findall(blocks), *INLINE.findall(text)]


def help_text(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return capsys.readouterr().out


def accepted(command, monkeypatch):
    """The options of a command, after the readers of its values have accepted them, too."""
    read = []
    runs = ((tune, "_tune"), (tune, "_replay"), (racing, "_race"), (profiling, "_profile"))
    for module, name in runs:
        monkeypatch.setattr(module, name, lambda options: read.append(options) or 0)
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    assert cli.main(words[1:]) == 0, command
    (options,) = read
    knobs = dict(getattr(options, "knob", []))
    if getattr(options, "slo", None):
        parse_slo(options.slo)
    if getattr(options, "objective", None):
        parse_objective(options.objective, most_cpus=max(knobs.get("cpus", (1,))))
    return options


@pytest.mark.parametrize("command", commands(OPERATORS))
def test_a_command_of_the_page_is_accepted(command, monkeypatch):
    accepted(command, monkeypatch)


@pytest.mark.parametrize("command", ["tune", "replay", "race", "profile"])
def test_the_examples_of_the_help_are_accepted(command, monkeypatch, capsys):
    found = HELP.findall(help_text(command, capsys))
    assert found
    for example in found:
        accepted(example, monkeypatch)


def test_every_option_that_the_page_names_exists(capsys):
    commands = ("tune", "replay", "race", "profile")
    known = "".join(help_text(command, capsys) for command in commands)
    named = set(re.findall(r"`(--[a-z][a-z-]*)", OPERATORS))
    assert len(named) > 15
    assert [option for option in sorted(named) if f"{option} " not in known + " "] == []
