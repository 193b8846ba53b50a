"""What a module does: its digest follows what the code does, and not how it is written."""

from __future__ import annotations

import pytest

from rrl.support.instructions import behaviour

SOURCE = '''"""A module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

LIMIT: float = 2.0  # s


class Point(NamedTuple):
    """A point."""

    x: float = 1.0


def scaled(values: list[float], factor: float = 10.0) -> list[float]:
    """Return the values, scaled."""
    assert values, "no values"
    if factor < 0:
        raise ValueError(f"factor is {factor}; " "it must not be negative")
    zero, bound = 0.0, LIMIT
    largest = max(values)

    def one(value: float) -> float:
        share = value / largest
        return min(share * factor, bound) + zero

    return [one(value) + bound for value in values if value not in {"a", "b"}]
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # s\n", "  # seconds, and no more\n"),
        ('    """Return the values, scaled."""\n', ""),
        ('    """A point."""\n', '    """The point."""\n'),
        ('f"factor is {factor}; " "it must not be negative"', '"a negative factor"'),
        ('assert values, "no values"', "assert len(values) > 0"),
        ("values: list[float], factor: float = 10.0", "values, factor=10.0"),
        ("LIMIT: float = 2.0", "LIMIT = 2.00"),
        ("    from pathlib import Path\n", "    from os import PathLike\n"),
        ("TYPE_CHECKING, Any, NamedTuple", "TYPE_CHECKING, NamedTuple"),
    ],
)
def test_words_change_nothing(old, new):
    assert old in SOURCE
    assert behaviour(SOURCE.replace(old, new)) == behaviour(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.0", "2.1"),
        ("share * factor", "share + factor"),
        ("share * factor, bound) + zero", "share * factor, zero) + bound"),
        ("LIMIT", "BOUND"),
        ("factor < 0", "factor <= 0"),
        ("ValueError", "TypeError"),
        ("x: float = 1.0", "y: float = 1.0"),
        ("    x: float = 1.0", "    x = 1.0"),
        ('"a", "b"', '"a", "c"'),
        ("def one", "async def one"),
    ],
)
def test_another_number_or_name_changes_it(old, new):
    assert old in SOURCE
    assert behaviour(SOURCE.replace(old, new)) != behaviour(SOURCE)
