"""What a module does: a digest of its code, without anything that is only for readers."""

from __future__ import annotations

import ast
import hashlib
from functools import cache


@cache
def behaviour(source: str) -> str:
    r"""Return a digest of what a module's code does, whatever its words are.

    Comments, docstrings, assertions, the messages of errors, annotations and the form of a number
    do not count. The rest of the syntax tree is digested, so two versions of Python may give
    different digests.

    Examples
    --------
    >>> one = 'def half(x):\n    "Half."\n    if x < 0:\n        raise ValueError("x < 0")\n'
    >>> one += "    y = x / 2.0\n    return y"
    >>> other = 'def half(x: float) -> float:\n    if x < 0:\n        raise ValueError(f"{x}")\n'
    >>> other += "    y = x / 2.00  # as long as x is a number\n    return y"
    >>> behaviour(one) == behaviour(other)
    True
    >>> behaviour(one) == behaviour(one.replace("2.0", "2.1"))
    False
    """
    tree = _Wordless().visit(ast.parse(source))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


class _Wordless(ast.NodeTransformer):
    """Takes out of a module's tree what is only for readers and for type checkers."""

    typing = ("__future__", "typing", "collections.abc", "numpy.typing")
    raising = False

    def __init__(self) -> None:
        self.in_class: set[ast.AST] = set()

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        return None

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

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node in self.in_class:
            return node
        if node.value is None:
            return None
        return self.generic_visit(ast.Assign([node.target], node.value))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.in_class.update(node.body)  # the annotations here make the fields of a dataclass
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return list(node.orelse)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module in self.typing else node
