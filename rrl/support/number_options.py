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


def finite(words: str, accepts: Callable[[float], bool]) -> Callable[[str], float]:
    """Make the `type` of an option that is a finite number which a function accepts."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = inf
        if not (value < inf and accepts(value)):
            raise ArgumentTypeError(f"{text!r} is not a finite number {words}")
        return value

    return read


number = finite("of 0 or more", lambda value: value >= 0)
above_zero = finite("above 0", lambda value: value > 0)
fraction = finite("above 0 and at most 1", lambda value: 0 < value <= 1)
COUNT, SEED = whole(1, 10**6), whole(0, 2**63 - 1)
"""How many runs or episodes, and the first seed."""
