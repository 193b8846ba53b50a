"""The page of the statistics names what exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).parent.parent / "rrl" / "studies" / "README.md"


def test_every_function_of_the_page_exists():
    names = re.findall(r"`(rrl(?:\.\w+)+)`", PAGE.read_text(encoding="utf-8"))
    assert len(names) > 8
    for name in names:
        module, _, function = name.rpartition(".")
        try:
            import_module(name)
        except ModuleNotFoundError:
            assert callable(getattr(import_module(module), function)), name
