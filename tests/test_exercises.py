"""The checks of the exercises: right answers pass, and each wrong one gets its reason.

Each answer is tried in the notebook's own cell, with the notebook's own check and imports.
"""

from __future__ import annotations

import ast
import linecache
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
import yaml
from test_notebooks import NOTEBOOKS, ROOT, read

from rrl.exercises import judging
from rrl.publishing import course
from rrl.publishing.parameters import tags

FILE = Path(__file__).with_name("answers.yaml")
ANSWERS = yaml.safe_load(FILE.read_text(encoding="utf-8"))

#: What any answer may be by mistake; every exercise is tried with all of them.
ODD = [
    "None",
    "True",
    "-1",
    "1j",
    "10**400",
    "float('nan')",
    "'seven'",
    "print",
    "object()",
    "[1.0, 2.0, 3.0, 4.0, 5.0]",
    "[[1], [2, 3]]",
    "np.array(['a', 'b'])",
    "{'a': 1}",
    "{1, 2}",
    "(n for n in range(3))",
]
#: What the lines of a function may do by mistake, with a part of the reason.
STOPS = {
    "raise KeyError('cost')": "stops with KeyError: 'cost', at `raise KeyError('cost')`",
    "raise SystemExit": "stops with SystemExit, at `raise SystemExit`",
    "return 1 / 0": "stops with ZeroDivisionError: division by zero, at `return 1 / 0`",
    "yield 1": "returns a generator",
}


def wrong(name, exercise):
    """Yield a part of the reason, and the answer."""
    for entry in ANSWERS.get(name, {}).get(exercise, ()):
        yield from ((key, value) for key, value in entry.items() if key not in ("given", "right"))


@cache
def cells(name):
    return {cell.id: cell for cell in read(ROOT / "notebooks" / f"{name}.ipynb").cells}


def checked(name):
    """Return pairs: each exercise of a notebook, and its check."""
    found = [cell for cell in cells(name).values() if tags(cell) & {"exercise", "check"}]
    return zip(found[::2], found[1::2], strict=True)


CHECKS = {(p.stem, one.id): check.source for p in NOTEBOOKS for one, check in checked(p.stem)}
each = pytest.mark.parametrize(("name", "exercise"), CHECKS)


@cache
def imports(name):
    """Return the imports of a notebook, all in one."""
    code = [cell.source for cell in cells(name).values() if cell.cell_type == "code"]
    return "\n".join(
        ast.unparse(node)
        for source in code
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    )


def fill(source, answer):
    """Return the cell of an exercise with an answer in each place.

    An answer consists of lines, or of changes to the right ones; None keeps them.
    """
    answers = iter(answer if isinstance(answer, list) else [answer])

    def lines(found):
        text, right = next(answers), found["answer"]
        if isinstance(text, str):
            return indent(text, found["indent"]) + "\n"
        for old, new in (text or {}).items():
            assert old in right, f"no {old!r} to change in {right}"
            right = right.replace(old, new)
        return right

    return course._REGION.sub(lines, source)


def attempt(name, exercise, source):
    """Run the cell of an exercise, and then its check, as the notebook does."""
    space = {"__name__": "notebook"}
    exec(imports(name), space)
    entries = ANSWERS.get(name, {}).get(exercise, ())
    for given in (entry["given"] for entry in entries if "given" in entry):
        exec(cells(name)[given].source if given in cells(name) else given, space)
    linecache.cache["answer"] = (len(source), None, source.splitlines(keepends=True), "answer")
    exec(compile(source, "answer", "exec"), space)
    exec(compile(CHECKS[name, exercise], "check", "exec"), space)


def mistakes(name, exercise):
    """Return the known mistakes of an exercise: its check, the wrong answers, and the reason."""
    found = []
    nodes = [n for n in ast.parse(CHECKS[name, exercise]).body if isinstance(n, ast.ImportFrom)]
    for module, one in ((node.module, one.name) for node in nodes for one in node.names):
        check = getattr(import_module(module), one)
        if isinstance(check, judging.Function):
            found += [(check, [wrong], reason) for wrong, reason in check.mistakes]
        elif isinstance(check, judging.Values):
            right = [answer for answer, *_ in check.questions.values()]
            for number, (_, *known) in enumerate(check.questions.values()):
                for wrong, reason in known:
                    found.append((check, [*right[:number], wrong, *right[number + 1 :]], reason))
    return found


def test_answers_are_those_of_exercises():
    assert {(name, exercise) for name in ANSWERS for exercise in ANSWERS[name]} <= set(CHECKS)


@each
def test_right_answers_pass_in_any_form_and_an_empty_one_asks_for_code(name, exercise, capsys):
    source = cells(name)[exercise].source
    others = [e["right"] for e in ANSWERS.get(name, {}).get(exercise, ()) if "right" in e]
    for right in (source, *(fill(source, answer) for answer in others)):
        attempt(name, exercise, right)
        assert "right" in capsys.readouterr().out
    with pytest.raises(NotImplementedError, match="waits for your code"):
        attempt(name, exercise, course.blank(source, exercise))


@each
def test_each_mistake_gets_its_reason(name, exercise):
    """A known mistake must not be taken for another one, and any other answer is explained, too."""
    known = mistakes(name, exercise)
    for check, answers, reason in known:
        with pytest.raises(judging.WrongAnswer) as raised:
            check(*answers)
        assert str(raised.value).endswith(reason)
    others = list(wrong(name, exercise))
    for reason, answer in others:
        with pytest.raises(judging.WrongAnswer) as raised:
            attempt(name, exercise, fill(cells(name)[exercise].source, answer))
        assert reason in str(raised.value), answer
    assert len(known) + len(others) >= 5


def odd_answers(source):
    """Return odd answers to an exercise, each with a part of its reason (empty if it has none)."""
    found = list(course._REGION.finditer(source))
    for number, place in enumerate(found):
        if place["indent"]:
            tries = {f"return {odd}": "" for odd in ODD} | STOPS
        else:
            targets = [
                target for node in ast.parse(place["answer"]).body for target in node.targets
            ]
            names = [
                n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)
            ]
            tries = {f"{place['answer']}{name} = {odd}": name for name in names for odd in ODD}
        for answer, reason in tries.items():
            yield [answer if i == number else None for i in range(len(found))], reason


@each
def test_an_odd_answer_gets_a_reason_and_no_bare_exception(name, exercise):
    source = cells(name)[exercise].source
    for answer, part in odd_answers(source):
        with pytest.raises(judging.WrongAnswer) as raised:
            attempt(name, exercise, fill(source, answer))
        reason = str(raised.value)
        assert part in reason, answer
        assert len(reason.split()) > 3, answer
        assert " at 0x" not in reason, "an address in memory says nothing"


@each
def test_a_check_gives_the_notebook_no_name_but_its_own(name, exercise):
    """A check had once taken the name of an array that a later cell counts."""
    parsed = ast.parse(CHECKS[name, exercise]).body
    assert all(isinstance(node, ast.ImportFrom | ast.Expr) for node in parsed)
    imported = [node for node in parsed if isinstance(node, ast.ImportFrom)]
    names = (one.asname or one.name for node in imported for one in node.names)
    assert all(name.startswith("check_") for name in names)


# --- The parts of a check ----------------------------------------------------------------------


def test_an_answer_cannot_change_the_arguments_of_other_cases():
    values = np.zeros(2)
    judging.Function(lambda x: x + 1, [(values,)] * 2)(lambda x: x.fill(1) or x)
    assert values.tolist() == [0, 0]
