"""What a result depends on: the code that ran, the data that were read, and the versions.

The code behind a module is the module itself and all modules of this package that it can import,
directly or through other modules. It is found by reading import statements, not by importing. So a
change in other code leaves a result valid, and a change in this code is always detected.
"""

from __future__ import annotations

import ast
import hashlib
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
NUMERICAL = ("numpy", "scipy", "numba", "scikit-learn", "scikit-optimize")
"""Packages whose version can change a simulated number."""
DRAWING = ("matplotlib", "seaborn", "pandas")
"""Packages whose version can change how a number is shown."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def combined(paths: Iterable[Path], root: Path) -> str:
    """Return one digest of the names (below `root`) and the contents of many files.

    The order of the files does not matter.

    Examples
    --------
    >>> combined([PACKAGE / "cli.py"], PACKAGE) == combined([PACKAGE / "__init__.py"], PACKAGE)
    False
    """
    lines = sorted(f"{path.relative_to(root).as_posix()} {digest(path)}" for path in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def code_digest(paths: Iterable[Path], root: Path) -> str:
    """Return one digest of the names and the code of many source files.

    Comments, docstrings and empty lines do not count, so other words leave a result valid. The
    digest is the same on all versions of Python.
    """
    paths = sorted(paths)
    lines = [
        f"{path.relative_to(root).as_posix()} {_code(path, path.stat().st_mtime_ns)}"
        for path in paths
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=512)
def _code(path: Path, changed: int) -> str:
    code = without_words(path.read_text(encoding="utf-8"))
    return hashlib.sha256(code.encode()).hexdigest()


def without_words(source: str) -> str:
    r"""Return a module's source without comments, docstrings, other lone strings and empty lines.

    Examples
    --------
    >>> print(without_words('def one():  # comment\n    "Docstring."\n\n    return "1 # 1"'))
    def one():
        return "1 # 1"
    """
    lines = [line.encode() for line in source.split("\n")]  # the tree counts bytes
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                first, last = node.lineno - 1, node.end_lineno - 1
                after, before = lines[last][node.end_col_offset :], lines[first][: node.col_offset]
                lines[first : last + 1] = [before, *[b""] * (last - first)]
                lines[last] += after
    text = [line.decode() for line in lines]
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row = token.start[0] - 1
            text[row] = text[row].removesuffix(token.string)
    return "\n".join(filter(None, map(str.rstrip, text)))


def locked(packages: Iterable[str]) -> dict[str, list[str]]:
    """Return the versions in requirements.lock by name, each with the Pythons that it is for.

    All are returned, whatever Python this is. The result is empty without a lock.

    Examples
    --------
    >>> list(locked(["numba", "no-such-package"]))
    ['numba']
    """
    lock = PACKAGE.parent / "requirements.lock"
    pins = _pins(lock, lock.stat().st_mtime_ns) if lock.is_file() else {}
    return {name: pins[name] for name in packages if name in pins}


@lru_cache(maxsize=1)
def _pins(lock: Path, changed: int) -> dict[str, list[str]]:
    text = lock.read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for name, pin in re.findall(r"^([\w.-]+)==([^\\\n]+?)\s*\\?$", text, re.MULTILINE):
        found.setdefault(name, []).append(pin)
    return found


def code_behind(*modules: str) -> frozenset[Path]:
    """Return the source files of the modules and of all in this package that they can import.

    Parameters
    ----------
    *modules : str
        Names of modules, such as ``"rrl.studies.race"``.

    Raises
    ------
    ValueError
        If a module does not exist.

    Examples
    --------
    >>> sorted(path.name for path in code_behind("rrl.support.errors"))
    ['__init__.py', 'errors.py']
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports(module)
    return frozenset(_file(module) for module in found)


@cache
def imports(module: str) -> tuple[str, ...]:
    """Return the modules of this package that a module's import statements name.

    Import statements anywhere in the module count, except under ``if TYPE_CHECKING``, since these
    never run. The subpackage of the module is included, because it runs before the module.
    """
    found = set(_imported(ast.parse(_file(module).read_text(encoding="utf-8"))))
    room = module.rpartition(".")[0]
    return tuple(sorted(found | ({room} if _is_module(room) else set())))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name):
            if node.test.id != "TYPE_CHECKING":
                yield from _imported(node)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if _is_module(inner):
                    yield inner
                elif _is_module(node.module):
                    yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_module(alias.name))
        else:
            yield from _imported(node)


def _path(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")[1:])


def _is_module(name: str) -> bool:
    """Return whether `name` is a module inside this package.

    The package itself does not count, because it contains only names.
    """
    inside = name.startswith("rrl.")
    path = _path(name)
    return inside and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


def _file(module: str) -> Path:
    if not _is_module(module):
        raise ValueError(f"no module {module!r} in this package")
    path = _path(module)
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions by name; a package that is not installed is left out.

    Examples
    --------
    >>> list(versions(["numpy", "no-such-package"]))
    ['numpy']
    """
    found = ((package, _installed(package)) for package in packages)
    return {package: number for package, number in found if number}


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
