"""What a module does: a digest of its instructions, without anything that is only for readers."""

from __future__ import annotations

import ast
import dis
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType
from typing import Any


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
        for place in node._attributes:  # lines would leave traces in the instructions
            setattr(node, place, 1)
    code = compile(tree, "", "exec", dont_inherit=True, optimize=2)
    lines = (repr(instruction) for instruction in _instructions(code, str))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _Wordless(ast.NodeTransformer):
    """Takes out of a module's tree what is only for readers and for type checkers."""

    typing = ("__future__", "typing", "collections.abc", "numpy.typing")
    raising = False

    def __init__(self) -> None:
        self.in_class: set[ast.AST] = set()

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

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node in self.in_class:
            return node
        if node.value is None:
            return ast.Pass()
        return self.generic_visit(ast.Assign([node.target], node.value))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.in_class.update(node.body)  # the annotations here make the fields of a dataclass
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
