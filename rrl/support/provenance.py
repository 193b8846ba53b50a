"""What a result depends on: the code that ran, the data that were read, and the versions.

The code behind a module is the module itself and all modules of this package that it can import,
directly or through other modules. It is found by reading import statements, not by importing. So a
change in other code leaves a result valid, and a change in this code is always detected.
"""

from __future__ import annotations

import ast
import dis
import hashlib
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from types import CodeType
from typing import Any

PACKAGE = Path(__file__).parent.parent
NUMERICAL = ("numpy", "scipy", "numba", "scikit-learn", "scikit-optimize")
"""Packages whose version can change a simulated number."""
DRAWING = ("matplotlib", "seaborn", "pandas")
"""Packages whose version can change how a number is shown."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


@cache
def behaviour(source: str) -> str:
    r"""Return a digest of what a module's code does, whatever its words are.

    Comments, docstrings, the messages of errors, annotations, the names of local variables and the
    form of a number do not count. Python compiles the rest, and the instructions are digested. So
    two versions of Python give different digests.

    Examples
    --------
    >>> one = 'def half(x):\n    "Half."\n    if x < 0:\n        raise ValueError("x < 0")\n'
    >>> one += "    y = x / 2.0\n    return y"
    >>> other = 'def half(x: float) -> float:\n    if x < 0:\n        raise ValueError(f"{x}")\n'
    >>> other += "    result = x / 2.00  # as long as x is a number\n    return result"
    >>> behaviour(one) == behaviour(other)
    True
    >>> behaviour(one) == behaviour(one.replace("2.0", "2.1"))
    False
    """
    tree = _Wordless().visit(ast.parse(source))
    for node in ast.walk(tree):
        if "lineno" in node._attributes:  # lines would leave traces in the instructions
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
    code = compile(tree, "", "exec", dont_inherit=True, optimize=2)
    lines = (repr(instruction) for instruction in _instructions(code, str))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _Wordless(ast.NodeTransformer):
    """Takes out of a module's tree what is only for readers and for type checkers."""

    typing = ("__future__", "typing", "collections.abc", "numpy.typing")
    raising = False

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        self.raising = True
        self.generic_visit(node)
        self.raising = False
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if self.raising and isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant("") if self.raising else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if getattr(node, "field", False):
            return node
        if node.value is None:
            return ast.Pass()
        return self.generic_visit(ast.Assign([node.target], node.value))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for line in node.body:  # the annotations of a class make the fields of a dataclass
            line.field = True
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [ast.Pass(), *node.orelse]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.Pass() if node.module in self.typing else node


def _instructions(code: CodeType, outer: Callable[[str], str]) -> Iterator[tuple[Any, ...]]:
    """Yield what code does; its local variables are numbered in the order in which it uses them.

    `outer` gives the numbers of variables of the function around it.
    """
    numbers: dict[str, int] = {}

    def variable(name: str) -> str:
        if name in code.co_freevars:
            return f"outer {outer(name)}"
        return str(numbers.setdefault(name, len(numbers)))

    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for name in parameters:
        variable(name)
    called_by_name = not code.co_name.startswith("<")  # unlike a lambda
    yield (*counts, parameters if called_by_name else (), code.co_exceptiontable)
    shared = {*code.co_cellvars, *code.co_freevars}
    for step in dis.get_instructions(code):
        if step.opname in _IN_ORDER_OF_NAMES:
            continue
        if isinstance(step.argval, CodeType):
            yield from _instructions(step.argval, variable)
        elif step.opcode in dis.hasconst:
            yield step.opname, _constant(step.argval)
        elif step.opcode in dis.haslocal or step.opcode in dis.hasfree:
            names = step.argval if isinstance(step.argval, tuple) else (step.argval,)
            closure = step.opname.startswith("LOAD_FAST")  # as Python 3.13 hands on a variable
            yield step.opname, *(variable(n) for n in names if not (closure and n in shared))
        else:
            yield step.opname, step.argval if step.opcode in dis.hasname else step.arg


_IN_ORDER_OF_NAMES = ("MAKE_CELL", "COPY_FREE_VARS", "LOAD_CLOSURE", "EXTENDED_ARG")
"""Instructions that prepare variables for inner functions, sorted by name."""


def _constant(value: Any) -> str:
    """Return a text that tells 1 from 1.0 and True, with the elements of a set in order."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    return f"{type(value).__name__} {value!r}"


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
