"""How an exercise is checked: the answer is compared with the right one and with known mistakes.

A check calls the learner's function on a few cases. An answer passes if it agrees with the right
function in all of them. A known mistake is a wrong function with a reason. The reason is shown only
if the learner's function agrees with the mistake in all cases, so that the reason is true. Any
other wrong answer is shown beside the right one, for the first case in which the two differ.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import unwrap
from typing import Any

import numpy as np

Mistakes = Iterable[tuple[Callable[..., Any], str]]
TOLERANCE = 1e-4  # relative: an answer may be rounded to five digits


class WrongAnswer(AssertionError):
    """The reason why an answer does not pass. A notebook shows the reason alone."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows instead of the lines of the check, which hold the answer."""
        return [f"Not yet: {self}"]


def require(condition: object, reason: str) -> None:
    """Raise :class:`WrongAnswer` with the reason if the condition does not hold.

    Examples
    --------
    >>> require(1 < 2, "one is less than two")
    """
    if not condition:
        raise WrongAnswer(reason)


def ask(
    function: Callable[..., Any],
    *arguments: Any,
    hints: Mapping[type[Exception], str] | None = None,
    returns: str | None = "a value",
) -> Any:
    """Call a learner's function with copies of the arguments; what it raises becomes a reason.

    Parameters
    ----------
    function : callable
    *arguments
    hints : mapping of exception type to str, optional
        What usually causes an exception of this type here.
    returns : str, optional
        What the function has to return. None if it may return nothing.

    Raises
    ------
    WrongAnswer
        If the function raises an exception, or if it returns nothing although it should.
    NotImplementedError
        If the exercise is still empty.

    Examples
    --------
    >>> ask(lambda x: None, 2)
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: <lambda>() returns nothing, and has to return a value: ...
    """
    name = _name(function)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            returned = function(*_copied(arguments))
    except (NotImplementedError, WrongAnswer):
        raise
    except Exception as error:
        raise WrongAnswer(_told(function, arguments, error, hints or {})) from None
    require(
        returned is not None or returns is None,
        f"{name}() returns nothing, and has to return {returns}: is there a `return`?",
    )
    return returned


def _name(function: Callable[..., Any]) -> str:
    called = function.func if isinstance(function, partial) else function
    return getattr(called, "__name__", "your function")


def _told(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    error: Exception,
    hints: Mapping[type[Exception], str],
) -> str:
    """Return a sentence that says which call failed, at which line, and what usually causes it."""
    called = function.func if isinstance(function, partial) else function
    code = getattr(unwrap(called), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.line for frame in frames if code and frame.filename == code.co_filename]
    at = f", at `{own[-1]}`" if own and own[-1] else ""
    hint = next((hint for kind, hint in hints.items() if isinstance(error, kind)), "")
    what = f"{_name(function)}({_shown(arguments)}) stops with {type(error).__name__}: {error}{at}"
    return f"{what}. {hint}" if hint else what


def same(one: Any, other: Any) -> bool:
    """Whether two answers agree: numbers and arrays up to rounding, anything else exactly.

    Examples
    --------
    >>> same([1, 2], np.array([1.0, 2.0])), same(1, [1]), same("a", "a")
    (True, False, True)
    """
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    try:
        first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    except (TypeError, ValueError):
        return type(one) is type(other) and bool(one == other)
    if (one is None) != (other is None) or first.shape != second.shape:
        return False
    return bool(np.allclose(first, second, rtol=TOLERANCE, atol=1e-12, equal_nan=True))


def compare_value(
    answer: Any, right: Any, mistakes: Iterable[tuple[Any, str]], what: str = "the answer"
) -> None:
    """Compare an answer that is a value with the right one, and with known wrong ones.

    Raises
    ------
    WrongAnswer
        If the answer is not the right one. The reason never contains the right answer.

    Examples
    --------
    >>> compare_value(3, 4, [(3, "count the middle one, too")])
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: the answer = 3: count the middle one, too
    """
    if same(answer, right):
        return
    for wrong, reason in mistakes:
        require(not same(answer, wrong), f"{what} = {_one(answer)}: {reason}")
    kind = "" if _shape(answer) == _shape(right) else f", but has the shape {_shape(right)}"
    raise WrongAnswer(f"{what} is not {_one(answer)}{kind}: read the question again")


def compare_function(
    answer: Callable[..., Any],
    right: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]],
    mistakes: Mistakes,
    *,
    hints: Mapping[type[Exception], str] | None = None,
    returns: str | None = "a value",
) -> None:
    """Compare a learner's function with the right one, and with known mistakes, in all cases.

    Parameters
    ----------
    answer, right : callable
    cases : sequence of tuple
        The arguments of each call. The cases must tell each mistake from the right function.
    mistakes : iterable of (callable, str)
        Wrong functions, each with the reason why it is wrong.
    hints, returns
        See :func:`ask`.

    Raises
    ------
    WrongAnswer
        If the learner's function differs from the right one in any case.

    Examples
    --------
    >>> twice = lambda x: 2 * x
    >>> compare_function(twice, twice, [(3,)], [])
    >>> compare_function(lambda x: x * x, twice, [(2,), (3,)], [])
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: <lambda>(3) is 9, not 6
    """
    got = [ask(answer, *case, hints=hints, returns=returns) for case in cases]
    with np.errstate(all="ignore"):
        wanted = [right(*_copied(case)) for case in cases]
    if all(same(g, w) for g, w in zip(got, wanted, strict=True)):
        return
    for mistake, reason in mistakes:
        wrong = [_quiet(mistake, case) for case in cases]
        require(not all(same(g, w) for g, w in zip(got, wrong, strict=True)), reason)
    for case, g, w in zip(cases, got, wanted, strict=True):
        if not same(g, w):
            raise WrongAnswer(_difference(f"{_name(answer)}({_shown(case)})", g, w))


def _difference(call: str, got: Any, wanted: Any) -> str:
    """Return a sentence about an answer and the right one; of a large array, the first entry."""
    if _shape(got) != _shape(wanted):
        return f"{call} has shape {_shape(got)}, not {_shape(wanted)}"
    if np.size(wanted) > 10:
        one, other = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
        place = np.argwhere(~np.isclose(one, other, rtol=TOLERANCE))[0].tolist()
        return f"{call}{place} is {_one(one[tuple(place)])}, not {_one(other[tuple(place)])}"
    return f"{call} is {_one(got)}, not {_one(wanted)}"


def _shape(value: Any) -> tuple[int, ...] | str:
    try:
        return np.shape(value)
    except ValueError:  # a list of lists of several lengths
        return "of several lengths"


def _quiet(mistake: Callable[..., Any], case: tuple[Any, ...]) -> Any:
    """Return what a known mistake gives; not a number where it cannot be computed."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return mistake(*_copied(case))
        except (ArithmeticError, ValueError, IndexError, TypeError):
            return float("nan")


def _copied(arguments: Sequence[Any]) -> list[Any]:
    """Return copies of what a function may change in place: arrays, tables and lists."""
    return [value.copy() if hasattr(value, "copy") else value for value in arguments]


def _shown(arguments: Sequence[Any]) -> str:
    return ", ".join(_one(value) for value in arguments)


def _one(value: Any) -> str:
    """Return a value as a person would write it: four digits, and at most ten numbers."""
    if isinstance(value, np.ndarray | list | tuple) and np.size(value) <= 10:
        inner = ", ".join(_one(v) for v in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.integer | np.floating):
        return f"{value:.4g}" if -1e4 < value < 1e4 else f"{value:g}"
    text = repr(value)
    return text if len(text) <= 60 else f"<{type(value).__name__}>"
