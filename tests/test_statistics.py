"""The page of the statistics: it names what the package uses, and nothing else is used."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "rrl"
PAGE = (PACKAGE / "studies" / "README.md").read_text(encoding="utf-8")
DISTRIBUTIONS = {"norm"}
"""Of `scipy.stats`, what is no procedure."""


def from_scipy():
    """The names that some module of the package takes from `scipy.stats`."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "scipy.stats":
                yield from (alias.name for alias in node.names)


def test_every_function_of_the_page_exists():
    names = re.findall(r"`(rrl(?:\.\w+)+)`", PAGE)
    assert len(names) > 8
    for name in names:
        module, _, function = name.rpartition(".")
        try:
            import_module(name)
        except ModuleNotFoundError:
            assert callable(getattr(import_module(module), function)), name


def test_no_procedure_of_scipy_is_used_that_the_page_does_not_name():
    used = set(from_scipy()) - DISTRIBUTIONS
    assert {"wilcoxon", "binomtest"} <= used
    assert {name for name in used if not re.search(rf"\b{name}\b", PAGE)} == set()
