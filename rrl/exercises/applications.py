"""Exercises about applications: one cost for two wishes, a Pareto front, restarts, and payback."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from rrl.exercises.judging import ask_number, compare_function, require, same
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
        ask_number(answer, cpus, p99, TARGET_S, CPUS, hints={TypeError: hint})
        for cpus, p99 in ORDERED
    ]
    for (one, a), (other, b) in pairwise(zip(ORDERED, costs, strict=True)):
        require(a < b, _out_of_order(one, a, other, b))
    in_ms = [ask_number(answer, cpus, 1e3 * p99, 1e3 * TARGET_S, CPUS) for cpus, p99 in ORDERED]
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


def check_charged_mean(answer: Callable[..., Any]) -> None:
    """Check the mean latency of an episode with the requests that arrived during its restart."""

    def right(mean: Any, requests: int, rate: Any, switch: Any) -> Any:
        waiting = rate * switch
        return (requests * mean + waiting * switch / 2) / (requests + waiting)

    mistakes = (
        (
            lambda m, n, r, s: (n * m + r * s * s / 2) / n,
            "the requests that waited count, too: divide by the requests of both groups",
        ),
        (
            lambda m, n, r, s: (n * m + r * s * s) / (n + r * s),
            "they wait half of the restart on average, not all of it",
        ),
        (
            lambda m, n, r, s: (m + s / 2) / 2,
            "the two groups differ in size: weigh each by its number of requests",
        ),
        (
            lambda m, n, r, s: m + s / 2,
            "only the requests that arrive during the restart wait for its end",
        ),
        (
            lambda m, n, r, s: n * m + r * s * s / 2,
            "that is the total latency: divide by the number of requests",
        ),
        (
            lambda m, n, r, s: (n * m + s / 2) / (n + 1),
            "that counts a single waiting request: rate x seconds of them arrive",
        ),
        (
            lambda m, n, r, s: (n * m + r * s * (s / 2 + m)) / (n + r * s),
            "a request that waited gets half of the restart alone, and no other latency",
        ),
        (
            lambda m, n, r, s: ((n - r * s) * m + r * s * s / 2) / n,
            "the requests that waited come on top of the `requests` of the episode",
        ),
        (lambda m, n, r, s: m + 0 * s, "that is the mean without the restart"),
    )
    cases = [
        (0.1, 100, 50.0, 4.0),
        (0.1, 100, 50.0, 0.0),
        (0.02, 40, 84.0, 1.5),
        (np.array([0.1, 0.3]), 100, np.array([50.0, 60.0]), np.array([0.0, 0.5])),
    ]
    hint = "The arguments may be arrays, with one number for each episode."
    hints = {ValueError: hint, TypeError: hint}
    compare_function(answer, right, cases, mistakes, hints=hints)


def check_episodes_to_pay(answer: Callable[..., Any]) -> None:
    """Check the smallest number of episodes after which learning has paid."""

    def after(price: float, gain: float) -> Any:
        return None if gain <= 0 else int(price // gain) + 1

    def right(default: float, trials: int, trial: float, end: float) -> Any:
        if trial < default:
            return 1
        rest = after(trials * (trial - default), default - end)
        return None if rest is None else trials + rest

    def without(number: Callable[..., Any]) -> Callable[..., Any]:
        """Return a mistake that knows when learning never pays."""
        return lambda d, n, t, e: None if right(d, n, t, e) is None else number(d, n, t, e)

    def price(d: float, n: int, t: float) -> float:
        return n * (t - d)

    mistakes = (
        (
            without(lambda d, n, t, e: right(d, n, t, e) - (0 if t < d else n)),
            "that counts the episodes after the trials: add the trials",
        ),
        (
            without(lambda d, n, t, e: 1 if t < d else right(d, n, t, e) - 1),
            "then the two sums are equal, or learning is behind: one episode more",
        ),
        (
            without(lambda d, n, t, e: 1 if t < d else n + int(np.ceil(price(d, n, t) / (d - e)))),
            "where the two sums become equal, one episode more is needed: below, not equal",
        ),
        (
            without(lambda d, n, t, e: 1 if t < d else n + int(n * t // (d - e)) + 1),
            "the default costs something during the trials, too: take the difference",
        ),
        (
            without(lambda d, n, t, e: n + int(price(d, n, t) // (d - e)) + 1),
            "trials that are better than the default pay from the first one on",
        ),
        (
            lambda d, n, t, e: 1 if t < d else n + int(abs(price(d, n, t) // (d - e or 1))) + 1,
            "if the mean is no better after the trials, learning never pays: return None",
        ),
        (
            without(lambda d, n, t, e: 1 if t < d else n + int((t - d) // (d - e)) + 1),
            "each of the trials costs more: multiply by their number",
        ),
        (
            without(lambda d, n, t, e: 1 if t < d else n + price(d, n, t) / (d - e)),
            "that is not a whole number of episodes: the first one at which learning is ahead",
        ),
        (
            without(lambda d, n, t, e: 1 if t < d else n + int(price(d, n, t) // (t - e)) + 1),
            "each later episode saves the default's latency less `after`, not the trial's",
        ),
    )
    cases = [
        (20.0, 10, 50.0, 15.0),
        (20.0, 10, 50.0, 20.0),
        (20.0, 10, 50.0, 25.0),
        (20.0, 10, 19.0, 15.0),
        (20.0, 3, 24.0, 13.0),
        (20.0, 5, 20.0, 10.0),
    ]
    compare_function(answer, right, cases, mistakes, returns=None)
