"""The rooms of the package: imports run one way, and a thing has one name and one address.

All is read from the syntax trees. Imports inside functions and for type checkers count, too.
"""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

#: From the bottom to the top: a room may import from those before it.
ORDER = (
    "support",
    "core",
    "workloads",
    "tuning",
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
    """An import of this package: who imports, the module, and the name if it is not all of it."""

    by: str
    module: str
    name: str | None


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "rrl").rglob("*.py"))
}


@cache
def trees() -> dict[str, ast.Module]:
    return {module: tree(path) for module, path in FILES.items()}


def imports(by: str, tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "rrl"]
            yield from (Import(by, name, None) for name in names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{by}: a relative import"
            if node.module.split(".")[0] == "rrl":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    whole = inner in FILES
                    yield Import(by, *((inner, None) if whole else (node.module, alias.name)))


def defined(tree: ast.Module) -> set[str]:
    """Names that a module gives a value of its own; imported ones are not among them."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return names


@cache
def all_imports() -> list[Import]:
    return [one for module, parsed in trees().items() for one in imports(module, parsed)]


def room(module: str) -> str:
    return (module + ".").split(".")[1]


def test_every_module_lies_in_a_room_and_all_imports_are_seen():
    assert {room(module) for module in FILES} == {"", *ORDER}
    assert len(all_imports()) > 500


def test_imports_between_rooms_run_one_way():
    height = {name: number for number, name in enumerate((*ORDER, ""))}  # all names on top
    upwards = [one for one in all_imports() if height[room(one.module)] > height[room(one.by)]]
    assert upwards == []


def test_the_method_needs_no_other_room():
    assert [one for one in all_imports() if room(one.by) == "core" != room(one.module)] == []


def test_no_modules_import_each_other():
    uses = defaultdict(set)
    for one in all_imports():
        uses[one.by].add(one.module)
    TopologicalSorter(uses).prepare()  # a CycleError names the circle


def test_a_name_is_imported_from_the_module_that_defines_it():
    others = [(path.name, tree(path)) for path in sorted((ROOT / "tests").glob("*.py"))]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [line for c in cells if c["cell_type"] == "code" for line in (*c["source"], "\n")]
        others.append((path.name, ast.parse("".join(x for x in code if not x.startswith("%")))))
    outside = [one for name, parsed in others for one in imports(name, parsed)]
    assert len(outside) > 300
    names = {module: defined(parsed) for module, parsed in trees().items()}
    elsewhere = [
        one
        for one in all_imports() + [one for one in outside if one.module != "rrl"]
        if one.name and one.name not in names[one.module]
    ]
    assert elsewhere == []


def test_what_is_private_to_a_module_is_used_by_no_other():
    assert [one for one in all_imports() if one.name and one.name.startswith("_")] == []


def test_a_room_itself_holds_its_docstring_and_nothing_else():
    rooms = [module for module, path in FILES.items() if path.stem == "__init__"]
    assert len(rooms) == len(ORDER)  # cli is a module, and there is the package itself
    rooms.remove("rrl")
    assert [r for r in rooms if len(trees()[r].body) > 1 or not ast.get_docstring(trees()[r])] == []
