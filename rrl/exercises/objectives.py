"""Exercises about objectives: one cost for two wishes, a Pareto front, and a capacity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rrl.exercises.judging import WrongAnswer, ask, compare_function, require, same
from rrl.studies.goals import front

#: CPUs and p99 (s) of episodes, from the one that should cost least to the one that should most.
ORDERED = (
    *((1, 0.02), (1, 0.079), (1, 0.08), (2, 0.001), (2, 0.05), (10, 0.0), (10, 0.08)),
    *((1, 0.081), (10, 0.09), (1, 2.0), (10, 2.1)),
)
TARGET_S = 0.08
CPUS = 10


def check_cost_of(answer: Callable[..., Any]) -> None:
    """Check a cost that counts first the SLO, then the CPUs, then the latency."""
    hint = "The arguments are single numbers."
    costs = [
        ask(answer, cpus, p99, TARGET_S, CPUS, hints={TypeError: hint}) for cpus, p99 in ORDERED
    ]
    for cost in costs:
        require(np.ndim(cost) == 0, f"cost_of() returns {cost!r}: return one number")
    for (one, a), (other, b) in pairwise(zip(ORDERED, costs, strict=True)):
        require(a < b, _out_of_order(one, float(a), other, float(b)))
    in_ms = [ask(answer, cpus, 1e3 * p99, 1e3 * TARGET_S, CPUS) for cpus, p99 in ORDERED]
    require(
        all(same(a, b) for a, b in zip(costs, in_ms, strict=True)),
        "in milliseconds the costs differ: divide the p99 by the target",
    )
    print("cost_of: right")


def _out_of_order(one: tuple[int, float], a: float, other: tuple[int, float], b: float) -> str:
    """Return why the second episode should cost more than the first."""
    if one[1] <= TARGET_S < other[1]:
        why = "the second is later than the target, and the first is not: the SLO comes first"
        if one[1] == TARGET_S:
            why += "; a p99 of exactly the target keeps it"
    elif one[1] > TARGET_S:
        why = "both are later than the target: the later one costs more, whatever its CPUs"
    elif one[0] < other[0]:
        why = "both keep the target: one CPU less costs less, whatever the latency"
        if one[1] == TARGET_S:
            why += "; a p99 of exactly the target keeps it"
    else:
        why = "both keep the target with as many CPUs: the later one costs more"
    first, second = (
        f"{cpus} CPU{'s' * (cpus > 1)} with a p99 of {p99:g} s" for cpus, p99 in (one, other)
    )
    return f"{first} cost {a:.4g}, and {second} cost {b:.4g}. {why[0].upper()}{why[1:]}."


def check_worth_having(answer: Callable[..., Any]) -> None:
    """Check which configurations are on the Pareto front of CPUs and latency."""

    def dominated(cpus: Any, latency: Any, by: Callable[..., Any]) -> Any:
        x, y = np.asarray(cpus, dtype=float), np.asarray(latency, dtype=float)
        return ~by(x[None], x[:, None], y[None], y[:, None]).any(axis=1)

    mistakes = (
        (
            lambda c, s: dominated(c, s, lambda x, a, y, b: (x < a) & (y < b)),
            "a configuration that is equal in one number and better in the other is better, too",
        ),
        (
            lambda c, s: dominated(
                c, s, lambda x, a, y, b: (x <= a) & (y <= b) & ~np.eye(x.shape[1], dtype=bool)
            ),
            "two equal configurations are both on the front: one number has to be smaller",
        ),
        (
            lambda c, s: dominated(c, s, lambda x, a, y, b: (x < a) | (y < b)),
            "that asks for the best in both numbers: a better one is as good in one, and not worse",
        ),
        (
            lambda c, s: dominated(c, s, lambda x, a, y, b: (x <= a) & (y < b)),
            "as fast with fewer CPUs is better, too",
        ),
        (
            lambda c, s: dominated(c, s, lambda x, a, y, b: (x < a) & (y <= b)),
            "as many CPUs and faster is better, too",
        ),
        (lambda c, s: ~front(c, s), "upside down: true means on the front"),
        (
            lambda c, s: front([-x for x in c], [-y for y in s]),
            "that is the front of the worst: fewer CPUs and less latency are better",
        ),
        (
            lambda c, s: np.asarray(s) == np.min(s),
            "that is the fastest one: slower ones with fewer CPUs are on the front, too",
        ),
        (
            lambda c, s: np.asarray(c) == np.min(c),
            "those have the fewest CPUs: faster ones with more CPUs are on the front, too",
        ),
        (
            lambda c, s: np.flatnonzero(front(c, s)),
            "those are positions: return one true or false per configuration",
        ),
        (lambda c, s: np.ones(len(c), bool), "all are on your front: some are worse in both"),
    )
    cases = [
        ([1, 2, 3], [5, 6, 2]),
        ([1, 1], [5, 4]),
        ([1, 2], [5, 5]),
        ([2, 2], [3, 3]),
        ([3, 1, 2, 2, 4], [1, 9, 4, 6, 1]),
    ]
    compare_function(answer, front, cases, mistakes, returns="true or false for each configuration")
    print("worth_having: right")


RATES = tuple(range(10, 170, 10))
MOST_TRIALS = 5  # a bisection tells 17 answers apart in 5 trials


def check_capacity(answer: Callable[..., Any]) -> None:
    """Check a search for the highest rate that a server keeps, in few trials."""
    for limit in (75, 160, 10, 5, 999, 80, 20, 150):
        tried: list[float] = []

        def keeps(rate: float, limit: float = limit, tried: list[float] = tried) -> bool:
            tried.append(rate)
            return rate <= limit

        wanted = max((rate for rate in RATES if rate <= limit), default=None)
        got = _searched(answer, keeps, tried, f"the SLO is kept up to {limit}/s")
        require(tried, "capacity() calls `keeps` for no rate")
        require(set(tried) <= set(RATES), f"`keeps` is called for rates outside `rates`: {tried}")
        case = f"the SLO is kept up to {limit}/s, and capacity() returns {got!r}"
        if wanted is None:
            require(got is None, f"{case}: no rate keeps it, so return None")
        require(
            wanted is None or got is not None, f"{case}: a rate keeps it, so return the highest one"
        )
        if got in range(len(RATES)) and got not in RATES:
            raise WrongAnswer(f"{case}: that is a position; return rates[position]")
        require(got in RATES or wanted is None, f"{case}: that is not one of `rates`")
        require(wanted is None or got <= wanted, f"{case}: that rate is too high")
        require(wanted is None or got >= wanted, f"{case}: a higher rate keeps it, too")
        many = f"{len(tried)} trials of {len(RATES)} rates: halve what is left after each trial"
        require(len(tried) <= MOST_TRIALS, many)
    require(ask(answer, lambda rate: True, [], returns=None) is None, "no rates: return None")
    print("capacity: right")


def _searched(
    answer: Callable[..., Any], keeps: Callable[[float], bool], tried: Sequence[float], case: str
) -> Any:
    """Return what a search finds; a search without end is stopped and named."""

    def limited(rate: float) -> bool:
        require(len(tried) < 10 * len(RATES), f"{case}: the search does not come to an end")
        return keeps(rate)

    try:
        return ask(answer, limited, list(RATES), returns=None)
    except WrongAnswer as reason:
        raise WrongAnswer(str(reason).replace("capacity(<function>", "capacity(keeps")) from None
