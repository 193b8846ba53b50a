"""Exercises about applications: one cost for two wishes, a Pareto front, restarts, and payback."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from rrl.exercises.judging import Function, ask, kind_of, require, shown
from rrl.studies.goals import front

TARGET_S, CPUS = 0.08, 10
#: CPUs and p99 (s) of episodes, from the one that should cost least to the one that should most.
ORDERED = (
    *((1, 0.02), (1, 0.079), (1, TARGET_S), (2, 0.001), (2, 0.05), (10, 0.0), (10, TARGET_S)),
    *((1, 0.081), (10, 0.085), (1, 0.09), (10, 2.0), (1, 2.1)),
)


def check_cost_of(answer: Callable[..., Any]) -> None:
    """Check a cost that counts first the SLO, then the CPUs, then the latency; for two targets."""
    for longer in (1.0, 1e3):
        target = longer * TARGET_S
        episodes = [(cpus, longer * p99) for cpus, p99 in ORDERED]
        hint = "The arguments are single numbers."
        costs = [ask(answer, cpus, p99, target, CPUS, hint=hint) for cpus, p99 in episodes]
        for kind in map(kind_of, costs):
            require(kind == "a number", f"cost_of() returns {kind}, not a number")
        for ((cpus, p99), a), ((more, later), b) in pairwise(zip(episodes, costs, strict=True)):
            require(
                a < b,
                f"({cpus}, {p99:g}) costs {shown(a)}, and ({more}, {later:g}) costs {shown(b)} "
                f"(CPUs, p99 in s, with a target of {target:g} s), but the first is better: the "
                "SLO comes first, and a p99 of exactly the target keeps it; within the SLO one CPU "
                "less costs less, whatever the latency; else the later one costs more",
            )
    print("cost_of: right")


def _unbeaten(beats: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return an answer by which pairs another one beats: from how much larger both numbers are."""

    def on_front(cpus: Any, latency: Any) -> Any:
        larger = (np.subtract.outer(numbers, numbers) for numbers in (cpus, latency))
        return ~beats(*larger).any(axis=1)

    return on_front


#: Which configurations are on the Pareto front of CPUs and latency.
check_worth_having = Function(
    front,
    [
        ([1, 2, 3], [5, 6, 2]),
        ([1, 1], [5, 4]),
        ([1, 2], [5, 5]),
        ([2, 2], [3, 3]),
        ([3, 1, 2, 2, 4], [1, 9, 4, 6, 1]),
    ],
    (
        _unbeaten(lambda x, y: (x > 0) & (y > 0)),
        "a pair that is lower in one number and equal in the other is better, too",
    ),
    (
        _unbeaten(lambda x, y: (x >= 0) & (y > 0)),
        "a pair with fewer CPUs and the same latency is better, too",
    ),
    (
        _unbeaten(lambda x, y: (x > 0) & (y >= 0)),
        "a pair with the same number of CPUs and a lower latency is better, too",
    ),
    (
        _unbeaten(lambda x, y: (x >= 0) & (y >= 0) & ~np.eye(len(x), dtype=bool)),
        "of two equal pairs none is better: it must be lower in one number",
    ),
    (
        _unbeaten(lambda x, y: (x >= 0) & (y >= 0)),
        "no pair is better than itself: it must be lower in one number",
    ),
    (
        lambda cpus, latency: np.flatnonzero(front(cpus, latency)),
        "return true or false for each configuration, not the numbers of those on the front",
    ),
    hint="np.asarray makes an array of a list.",
)


#: The mean latency of an episode with the requests that arrived during its restart.
check_charged_mean = Function(
    lambda m, n, r, s: (n * m + r * s * s / 2) / (n + r * s),
    [
        (0.1, 100, 50.0, 4.0),
        (0.1, 100, 50.0, 0.0),
        (0.02, 40, 84.0, 1.5),
        (np.array([0.1, 0.3]), 100, np.array([50.0, 60.0]), np.array([0.0, 0.5])),
    ],
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
    (lambda m, n, r, s: m + 0 * s, "that is the mean without the restart"),
    hint="The arguments may be arrays, with one number for each episode.",
)


def _pays(end_of_learning: Callable[..., float]) -> Callable[..., float | None]:
    """Return an answer that knows when learning pays at once, and when it never does."""

    def episodes(default: float, trials: int, trial: float, after: float) -> float | None:
        if trial < default:
            return 1
        return None if after >= default else end_of_learning(default, trials, trial, after)

    return episodes


_first_paid = _pays(lambda d, n, t, e: n + int(n * (t - d) // (d - e)) + 1)

#: The smallest number of first episodes that together cost less than with the default.
check_episodes_to_pay = Function(
    _first_paid,
    [
        (20.0, 10, 50.0, 15.0),
        (20.0, 10, 50.0, 20.0),
        (20.0, 10, 50.0, 25.0),
        (20.0, 10, 19.0, 15.0),
        (20.0, 10, 19.0, 25.0),
        (20.0, 3, 24.0, 13.0),
        (20.0, 5, 20.0, 10.0),
    ],
    (
        _pays(lambda d, n, t, e: int(n * (t - d) // (d - e)) + 1),
        "that counts the episodes after the trials: add the trials",
    ),
    (
        _pays(lambda d, n, t, e: n + int(n * (t - d) // (d - e))),
        "then the two sums are equal, or learning is behind: one episode more",
    ),
    (
        _pays(lambda d, n, t, e: n - int(n * (d - t) // (d - e))),
        "where the two sums are equal, learning has not paid yet: one episode more",
    ),
    (
        _pays(lambda d, n, t, e: n + int(n * t // (d - e)) + 1),
        "the default costs something during the trials, too: take the difference",
    ),
    (
        lambda d, n, t, e: None if e >= d else n + int(n * (t - d) // (d - e)) + 1,
        "trials that are better than the default pay from the first one on",
    ),
    (
        lambda d, n, t, e: None if e >= d else _first_paid(d, n, t, e),
        "the first episodes may cost less although the later ones do not: look at `trial` first",
    ),
    (
        lambda d, n, t, e: 1 if t < d else n + int(abs(n * (t - d) // (d - e or 1))) + 1,
        "if the mean is no better after the trials, learning never pays: return None",
    ),
)
