"""Functions that read the numbers of a command's options, for the `type` of an argument."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from math import inf


def whole(least: int, most: int) -> Callable[[str], int]:
    """Make the `type` of an option that is a whole number between two limits.

    Examples
    --------
    >>> whole(1, 65535)("8500")
    8500
    """

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not least <= int(text[:20]) <= most:
            raise ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def number(text: str) -> float:
    """Read an option that is a finite number of 0 or more."""
    return _finite(text, lambda value: 0 <= value < inf, "of 0 or more")


def above_zero(text: str) -> float:
    """Read an option that is a finite number above 0."""
    return _finite(text, lambda value: 0 < value < inf, "above 0")


def fraction(text: str) -> float:
    """Read an option that is a fraction above 0 and at most 1."""
    return _finite(text, lambda value: 0 < value <= 1, "above 0 and at most 1")


def _finite(text: str, accepts: Callable[[float], bool], words: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = inf
    if not accepts(value):
        raise ArgumentTypeError(f"{text!r} is not a finite number {words}")
    return value


COUNT, SEED = whole(1, 10**6), whole(0, 2**63 - 1)
"""How many runs or episodes, and the first seed."""
