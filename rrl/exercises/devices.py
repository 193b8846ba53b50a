"""Exercises about devices: bursts, what an episode leaves behind, and when learning has paid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rrl.exercises.judging import compare_function


def check_burstiness(answer: Callable[..., Any]) -> None:
    """Check the variance of the counts of arrivals in windows, over their mean."""

    def counts(times: Any, window: float, until: float) -> Any:
        return np.histogram(times, bins=round(until / window), range=(0, until))[0]

    def index(numbers: Any) -> Any:
        return np.var(numbers) / np.mean(numbers)

    mistakes = (
        (
            lambda t, w, u: index(counts(t, w, u)[counts(t, w, u) > 0]),
            "windows without a request count, too: their count is 0",
        ),
        (
            lambda t, w, u: index(counts(t, w, w * np.ceil(np.max(t) / w))),
            "the windows end with the last request: go on to `until_s`",
        ),
        (lambda t, w, u: np.var(counts(t, w, u)), "that is the variance: divide by the mean"),
        (lambda t, w, u: np.mean(counts(t, w, u)), "that is the mean: divide the variance by it"),
        (
            lambda t, w, u: np.std(counts(t, w, u)) / np.mean(counts(t, w, u)),
            "that is the standard deviation over the mean: take the variance",
        ),
        (lambda t, w, u: 1 / index(counts(t, w, u)), "upside down: the variance over the mean"),
        (
            lambda t, w, u: np.var(counts(t, w, u), ddof=1) / np.mean(counts(t, w, u)),
            "divide the squares by the number of windows: ddof=0",
        ),
        (
            lambda t, w, u: index(np.diff(np.sort(t))),
            "those are the times between requests: count the requests in each window",
        ),
        (
            lambda t, w, u: index(counts(t, 1.0, u)),
            "the windows are 1 s long: use `window_s`",
        ),
    )
    clock, pairs = np.arange(0.5, 100.5), np.repeat(np.arange(0.5, 100.5, 2), 2)
    poisson = np.random.default_rng(0).uniform(0, 97.0, 500)
    cases = [
        (pairs, 1.0, 100.0),
        (clock, 5.0, 100.0),
        (clock[:50], 50.0, 100.0),
        (poisson, 2.0, 100.0),
    ]
    compare_function(answer, lambda t, w, u: index(counts(t, w, u)), cases, mistakes)
    print("burstiness: right")


def check_left_over(answer: Callable[..., Any]) -> None:
    """Check how many requests are unanswered at the last arrival, and for how long."""

    def left(number: Callable[..., Any], seconds: Callable[..., Any]) -> Callable[..., Any]:
        def function(arrivals: Any, latency: Any) -> Any:
            arrived, waited = np.asarray(arrivals), np.asarray(latency)
            end = arrived.max()
            return number(arrived, waited, end), seconds(arrived, waited, end)

        return function

    def number(a: Any, w: Any, end: float) -> int:
        return int(np.sum(a + w > end))

    def seconds(a: Any, w: Any, end: float) -> float:
        return float(np.max(a + w) - end)

    mistakes = (
        (
            left(lambda a, w, end: 1, seconds),
            "the last request is not the only one: count all that are answered after its arrival",
        ),
        (
            left(number, lambda a, w, end: np.max(a + w)),
            "the seconds count from the end of the episode, not from its start",
        ),
        (
            left(number, lambda a, w, end: w[-1]),
            "an earlier request may be answered after the last one: take the latest answer",
        ),
        (
            left(lambda a, w, end: int(np.sum(w > end)), seconds),
            "`latency` counts from the arrival: a request is answered at arrival + latency",
        ),
        (
            left(lambda a, w, end: int(np.sum(a + w > end)) - 1, seconds),
            "the last request is unanswered when it arrives: it counts, too",
        ),
        (
            left(lambda a, w, end: int(np.sum(a + w <= end)), seconds),
            "those are answered already: count the others",
        ),
        (
            left(number, lambda a, w, end: np.max(w)),
            "that is the longest latency: it may have begun long before the end",
        ),
        (
            left(number, lambda a, w, end: np.sum(np.maximum(a + w - end, 0))),
            "that is the sum of the waiting: the seconds until the last answer are asked for",
        ),
        (left(seconds, number), "the two are swapped: first the number, then the seconds"),
        (
            left(lambda a, w, end: int(np.sum(a + w > end)) / len(a), seconds),
            "that is a fraction of the requests: return their number",
        ),
    )
    cases = [
        ([0.0, 1.0, 2.0], [2.5, 0.5, 0.7]),
        ([0.0, 1.0, 2.0], [4.0, 0.5, 0.7]),
        ([0.0, 0.5, 9.0, 10.0], [9.5, 0.2, 1.5, 0.1]),
        ([3.0, 4.0, 5.0], [2.5, 1.5, 0.25]),
    ]
    hint = "The arguments may be lists: np.asarray makes arrays of them."
    compare_function(
        answer,
        left(number, seconds),
        cases,
        mistakes,
        hints={TypeError: hint, ValueError: hint},
        returns="two numbers",
    )
    print("left_over: right")


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
    print("episodes_to_pay: right")
