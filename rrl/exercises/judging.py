"""How an exercise is checked: the answer is compared with the right one and with known mistakes.

A check is called with what the learner wrote. :class:`Values` checks numbers or words, and
:class:`Function` checks a function, which it calls on a few cases. An answer passes if it agrees
with the right one in all of them. A known mistake is a wrong answer with a reason. The reason is
shown only if the learner's answer agrees with the mistake in all cases, so that the reason is true.
Any other wrong function is shown beside the right one, for the first case in which the two differ.
A few checks are functions of their own, made of :func:`ask`, :func:`compare` and :func:`require`.
"""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mistake = tuple[Any, str]  # a wrong answer, and the reason that is shown
ROUNDING = 1e-4  # relative: an answer may be rounded to five digits
SHOWN = 10  # the most numbers that a reason shows of an answer
_SLIPS: tuple[tuple[Callable[[Any], Any], str], ...] = (
    (lambda right: 100 * right, "that is 100 times the right answer: is it in percent?"),
    (lambda right: 1e3 * right, "that is 1000 times the right answer: is it in milliseconds?"),
    (lambda right: 1 / right, "upside down: turn the fraction over"),
    (lambda right: -right, "the sign is wrong: the right answer is minus that"),
)  # of all exercises whose answers are numbers


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


# --- Calling an answer -------------------------------------------------------------------------


def ask(function: Callable[..., Any], *arguments: Any, hint: str = "") -> Any:
    """Call a learner's function with copies of the arguments; what it raises becomes a reason.

    Parameters
    ----------
    function : callable
    *arguments
    hint : str, optional
        What usually causes a wrong type, shape, index or attribute here.

    Raises
    ------
    WrongAnswer
        If the function raises an exception, or returns a generator, which has computed nothing yet.
    NotImplementedError
        If the exercise is still empty.

    Examples
    --------
    >>> ask(lambda x: 1 / x, 0)
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: <lambda>(0) stops with ZeroDivisionError...
    """
    try:
        returned = _called(function, arguments)
    except (NotImplementedError, WrongAnswer):
        raise
    except (Exception, SystemExit) as error:
        raise WrongAnswer(_told(function, arguments, error, hint)) from None
    require(
        not inspect.isgenerator(returned),
        f"{_name(function)}() returns a generator, which computes nothing until it is read: use "
        "`return` instead of `yield`, and `list(...)` around the comprehension",
    )
    return returned


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "your function")


def _told(
    function: Callable[..., Any], arguments: Sequence[Any], error: BaseException, hint: str
) -> str:
    """Return a sentence that says which call failed, at which line, and what usually causes it."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.line for frame in frames if code and frame.filename == code.co_filename]
    at = f", at `{own[-1]}`" if own and own[-1] else ""
    said = f": {error}" if str(error) else ""
    what = f"{_name(function)}({_listed(arguments)}) stops with {type(error).__name__}{said}{at}"
    fits = isinstance(error, TypeError | ValueError | LookupError | AttributeError)
    return f"{what}. {hint}" if hint and fits else what


def _called(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Call a function without warnings, with copies of the arrays, tables and lists."""
    copies = [value.copy() if hasattr(value, "copy") else value for value in arguments]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*copies)


# --- Comparing answers -------------------------------------------------------------------------


def numbers(value: Any) -> NDArray[Any] | None:
    """Return an answer as an array of numbers or truth values; None if it is anything else.

    Examples
    --------
    >>> numbers([1, 2.5]), numbers([True]), numbers("1"), numbers([1, None]), numbers([[1], [2, 3]])
    (array([1. , 2.5]), array([ True]), None, None, None)
    """
    try:
        array = np.asarray(value)
        if array.dtype == object and all(isinstance(v, Real) for v in array.flat):
            array = array.astype(float)  # fractions, and whole numbers that are very large
    except (TypeError, ValueError, OverflowError):  # lists of several lengths, say
        return None
    if array.dtype.kind in "iuf":
        return array.astype(float)
    return array if array.dtype == bool else None


def same(one: Any, other: Any) -> bool:
    """Whether two answers agree: numbers and arrays up to rounding, anything else exactly.

    A truth value is no number, but 1 and 0 are accepted where truth values are wanted.

    Examples
    --------
    >>> same([1, 2], np.array([1.0, 2.0])), same(1, [1]), same("a", "a"), same(True, 1)
    (True, False, True, False)
    >>> same(1e-3, 1.1e-3), same(np.nan, np.nan), same(None, np.nan), same({"a": 1}, {"a": 1})
    (False, True, False, True)
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    first, second = numbers(one), numbers(other)
    if first is None or second is None:
        return type(one) is type(other) and isinstance(one, str | None) and bool(one == other)
    if first.shape != second.shape or first.dtype == bool != second.dtype:
        return False
    return bool(_close(first, second).all())


def _close(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    one, other = one.astype(float), other.astype(float)
    return np.isclose(one, other, rtol=ROUNDING, atol=1e-12, equal_nan=True)


def compare(what: str, got: Any, right: Any, rule: str = "") -> None:
    """Raise :class:`WrongAnswer` if an answer is not the right one; it says both, and the rule.

    Of an answer of another kind it says the kinds, and of a large array the first entry that
    differs.

    Examples
    --------
    >>> compare("the sum", 4, 4)
    >>> compare("the region", [0, 1], [0, 1, 5], "a border belongs to it")
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: the region is [0, 1], not [0, 1, 5]: a border belongs to it
    """
    if same(got, right):
        return
    said = f" is {shown(got)}, not {shown(right)}"
    kind, wanted = kind_of(got), kind_of(right)
    one, other = numbers(got), numbers(right)
    rows = one is not None and other is not None and one.ndim == other.ndim == 1
    if kind != wanted and right is not None and not (rows and len(got) <= SHOWN >= len(right)):
        said = f" is {kind}, not {wanted}"
    elif one is not None and other is not None and other.size > SHOWN:
        place = np.argwhere(~_close(one, other))[0].tolist()
        said = f"{place} is {shown(one[tuple(place)])}, not {shown(other[tuple(place)])}"
    raise WrongAnswer(f"{what}{said}" + (f": {rule}" if rule else ""))


class Values:
    """A check of one or more values; a reason never contains the right value.

    Parameters
    ----------
    **questions : pair
        For the name of each value, the right one, and mistakes: a wrong one with its reason.

    Examples
    --------
    >>> check = Values(three=(3, (2, "count the middle one, too")), four=(4,))
    >>> check(3, 4)
    three: right
    four: right
    >>> check(2, 4)
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: three = 2: count the middle one, too
    >>> check("3", 4)
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: three = '3' is a str, not a number
    """

    def __init__(self, **questions: tuple[Any, *tuple[Mistake, ...]]) -> None:
        self.questions = questions

    def __call__(self, *answers: Any) -> None:
        """Say that the answers are right, or raise :class:`WrongAnswer`."""
        for answer, (name, (right, *mistakes)) in zip(answers, self.questions.items(), strict=True):
            if same(answer, right):
                print(f"{name}: right")
                continue
            for wrong, reason in mistakes:
                require(not same(answer, wrong), f"{name} = {shown(answer)}: {reason}")
            kind, wanted = kind_of(answer), kind_of(right)
            require(kind == wanted, f"{name} = {shown(answer)} is {kind}, not {wanted}")
            if isinstance(right, str):
                words = sorted({right, *(wrong for wrong, _ in mistakes)})
                raise WrongAnswer(f"{name}: write one of {', '.join(map(repr, words))}")
            raise WrongAnswer(f"{name} is not {shown(answer)}: read the question again")


class Function:
    """A check of a function by what it returns.

    Parameters
    ----------
    right : callable
        The right function.
    cases : sequence of tuple
        The arguments of each call. The cases must tell each mistake from the right function.
    *mistakes : (callable, str)
        Wrong functions, each with the reason why it is wrong. A number in percent or milliseconds,
        upside down or with the wrong sign is known in all exercises.
    hint : str, optional
        See :func:`ask`.
    run : callable, optional
        It makes, of an answer, the function that is called, where this is not the answer itself.

    Examples
    --------
    >>> def twice(x): return 2 * x
    >>> check = Function(twice, [(2,), (3,)], (lambda x: x + 2, "multiply, do not add"))
    >>> check(twice)
    twice: right
    >>> check(lambda x: 2 + x)
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: multiply, do not add
    >>> check(lambda x: x * x)
    Traceback (most recent call last):
    rrl.exercises.judging.WrongAnswer: <lambda>(3) is 9, not 6
    """

    def __init__(
        self,
        right: Callable[..., Any],
        cases: Sequence[tuple[Any, ...]],
        *mistakes: Mistake,
        hint: str = "",
        run: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda answer: answer,
    ) -> None:
        self.right, self.cases, self.mistakes = right, cases, mistakes
        self.hint, self.run = hint, run

    def __call__(self, answer: Callable[..., Any]) -> None:
        """Say that the answer is right, or raise :class:`WrongAnswer`."""
        answer, right = self.run(answer), self.run(self.right)
        got = [ask(answer, *case, hint=self.hint) for case in self.cases]
        wanted = [_quiet(right, case) for case in self.cases]
        calls = [f"{_name(answer)}({_listed(case)})" for case in self.cases]
        for call, g in zip(calls, got, strict=True):
            nothing = g is None and not any(w is None for w in wanted)
            require(not nothing, f"{call} returns nothing: is there a `return`?")
        if _agree(got, wanted):
            print(f"{_name(answer)}: right")
            return
        for mistake, reason in self.mistakes:
            wrong = self.run(mistake)
            require(not _agree(got, [_quiet(wrong, case) for case in self.cases]), reason)
        for slip, reason in _SLIPS:
            require(not _agree(got, [_slipped(slip, w) for w in wanted]), reason)
        for call, g, w in zip(calls, got, wanted, strict=True):
            compare(call, g, w)


def _agree(got: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(map(same, got, others))


def _slipped(slip: Callable[[Any], Any], right: Any) -> Any:
    found = numbers(right)
    with np.errstate(all="ignore"):
        return None if found is None or found.dtype == bool else slip(found)


def _quiet(known: Callable[..., Any], case: tuple[Any, ...]) -> Any:
    """Return what a known function gives; not a number where it cannot be computed."""
    try:
        return _called(known, case)
    except (ArithmeticError, ValueError, IndexError, TypeError):
        return float("nan")


# --- Saying what an answer is ------------------------------------------------------------------


def kind_of(value: Any) -> str:
    """Return what an answer is, in words.

    Examples
    --------
    >>> kind_of(7), kind_of([True, False]), kind_of("7"), kind_of(["7"])
    ('a number', 'truth values of shape (2,)', 'a str', 'a list of things other than numbers')
    """
    array = numbers(value)
    if array is None:
        name = type(value).__name__
        article = "an" if name[0] in "aeiouAEIOU" else "a"
        inside = " of things other than numbers" if isinstance(value, list | tuple) else ""
        return "nothing" if value is None else f"{article} {name}{inside}"
    word = "truth value" if array.dtype == bool else "number"
    return f"{word}s of shape {array.shape}" if array.ndim else f"a {word}"


def _listed(arguments: Sequence[Any]) -> str:
    return ", ".join(shown(value) for value in arguments)


def shown(value: Any) -> str:
    """Return a value as a person would write it: at most `SHOWN` numbers of five digits.

    Numbers that differ by more than `ROUNDING` look different, too.

    Examples
    --------
    >>> shown([1.0, 1.0002, 2 / 3])
    '[1, 1.0002, 0.66667]'
    """
    if isinstance(value, np.random.Generator):
        return "rng"
    if isinstance(value, list | tuple) and len(value) <= SHOWN:
        inner = ", ".join(shown(v) for v in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if isinstance(value, dict) and len(value) <= SHOWN:
        return "{" + ", ".join(f"{shown(k)}: {shown(v)}" for k, v in value.items()) + "}"
    if isinstance(value, np.ndarray | np.generic) and value.size <= SHOWN:
        return shown(value.tolist())
    if isinstance(value, float) or (type(value) is int and abs(value) < 10**15):
        return f"{value:.5g}" if -1e5 < value < 1e5 else f"{value:g}"
    text = repr(value)
    plain = len(text) <= 60 and "\n" not in text and " at 0x" not in text
    return text if plain else f"<{type(value).__name__}>"
