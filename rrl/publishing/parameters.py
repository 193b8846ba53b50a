"""Read a notebook, the tags of its cells, and its parameters with their defaults."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrl.support.errors import DataError, UsageError

# nbformat imports jsonschema, which would then build 38 grammars for URIs: most of the time of both
# imports. No notebook is checked for URIs, and jsonschema does without the package.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


def read_notebook(notebook: Path) -> Any:
    """Read a notebook and convert it to the current format."""
    import nbformat

    if not notebook.is_file():
        raise UsageError(f"{notebook}: no such notebook")
    try:
        return nbformat.read(notebook, as_version=4)
    except Exception as error:  # nbformat can raise any error of its parsers
        raise DataError(f"{notebook} is not a notebook ({error}); save it from Jupyter") from error


def tags(cell: Any) -> frozenset[str]:
    """Return the tags of a cell."""
    return frozenset(cell.metadata.get("tags", ()))


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter that is unknown (papermill only warns) or of another kind."""
    known = defaults(notebook)
    for name, value in parameters.items():
        if name not in known:
            listed = ", ".join(known) or "none (no cell is tagged 'parameters')"
            raise UsageError(f"{notebook} has no parameter {name!r}; it has {listed}")
        default, numbers = known[name], (int, float)
        kinds = numbers if type(default) in numbers else (type(default),)
        if type(value) not in kinds and value is not None and default not in (None, ...):
            raise UsageError(f"{notebook}: {name} is {value!r}, not of the type of {default!r}")


def defaults(notebook: Path) -> dict[str, Any]:
    """Return the default for each parameter name; it is Ellipsis if it is not a literal.

    Python's parser reads the cell, because papermill's own inspection misses a line with a second
    ``=`` in its comment.
    """
    cells = (cell for cell in read_notebook(notebook).cells if "parameters" in tags(cell))
    statements = ast.parse(next((cell.source for cell in cells), "")).body
    return {
        ast.unparse(statement.targets[0]): literal(statement.value, ...)
        for statement in statements
        if isinstance(statement, ast.Assign)
    }


def literal(source: ast.expr | str, otherwise: Any) -> Any:
    """Return the value of a literal; `otherwise` if `source` is none.

    A tuple becomes a list, because papermill would write it into the notebook as a text.
    """
    try:
        value = ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return otherwise
    return list(value) if isinstance(value, tuple) else value
