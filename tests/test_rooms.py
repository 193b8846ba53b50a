"""The rooms of the package: imports between them run one way.

All is read from the syntax trees. Imports inside functions and for type checkers count, too.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

#: From the bottom to the top: a room may import from those before it. The method needs no other.
ORDER = (
    "ladder",
    "core",
    "support",
    "workloads",
    "tuning",
    "extension",
    "serving",
    "recording",
    "simulation",
    "rivals",
    "theory",
    "studies",
    "exercises",
    "plotting",
    "publishing",
    "operating",
    "cli",
)


class Import(NamedTuple):
    """An import: who imports, the module, and the name if it is not all of it."""

    by: str
    module: str
    name: str | None


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "rrl").rglob("*.py"))
}
TESTS = {path.name: path for path in sorted((ROOT / "tests").glob("*.py"))}
NOTEBOOKS = {path.name: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
FENCED = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)  # what a text suggests


def source(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    code = []
    for cell in json.loads(text)["cells"]:
        whole = "".join(cell["source"])
        code += [whole] if cell["cell_type"] == "code" else FENCED.findall(whole)
    return "\n".join(line for part in code for line in part.splitlines() if line[:1] != "%")


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of each module, test and notebook."""
    files = MODULES | TESTS | NOTEBOOKS
    return {name: ast.parse(source(path)) for name, path in files.items()}


@cache
def all_imports() -> list[Import]:
    """Return what all modules, tests and notebooks import."""
    found = []
    for by, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [Import(by, alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{by}: a relative import"
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    whole = (inner, None) if inner in MODULES else (node.module, alias.name)
                    found.append(Import(by, *whole))
    return found


def own_imports() -> list[Import]:
    """Return what the package imports from itself."""
    found = [one for one in all_imports() if one.by in MODULES]
    return [one for one in found if one.module.split(".")[0] == "rrl"]


def room(module: str) -> str:
    return (module + ".").split(".")[1]


def test_every_module_lies_in_a_room_and_all_imports_are_seen():
    assert {room(module) for module in MODULES} == {"", *ORDER}
    assert len(own_imports()) > 500


def test_imports_between_rooms_run_one_way():
    height = {name: number for number, name in enumerate((*ORDER, ""))}  # all names on top
    upwards = [one for one in own_imports() if height[room(one.module)] > height[room(one.by)]]
    assert upwards == []


def test_no_modules_import_each_other():
    uses = defaultdict(set)
    for one in own_imports():
        uses[one.by].add(one.module)
    TopologicalSorter(uses).prepare()  # a CycleError names the circle


def test_what_is_private_to_a_module_is_used_by_no_other():
    assert [one for one in own_imports() if one.name and one.name.startswith("_")] == []
