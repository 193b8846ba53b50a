"""Exercises about experiments: a mean cost over the best, lost duels, and censored runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd

from rrl.exercises.judging import compare_function, compare_value, same


def check_mean_cost_over_best(price_after_100: Any, episodes_until_1_01: Any) -> None:
    """Check the mean cost of an agent that serves a default of 3 times the best once."""
    prices = (
        (1, "the first episode counts, too: take the mean of all episodes"),
        (1.03, "the default costs 2 more than the best, not 3 more"),
        (3, "that is the cost of the first episode alone"),
        (2, "that is what the first episode costs more: take the mean of all 100 episodes"),
        (102, "that is the sum: divide by 100 episodes"),
        (0.02, "that is the excess on top of 1: a mean cost over the best is at least 1, so add 1"),
        (1.2, "2 more in one of 100 episodes are 0.02 more in the mean"),
    )
    numbers = (
        (300, "the default costs 2 more than the best, not 3 more: 2 / n = 0.01"),
        (100, "after 100 episodes the mean is still above 1.01"),
        (2, "2 / n = 0.01: solve for n"),
        (20, "2 / n = 0.1 for that n, and 0.01 is wanted"),
        (201, "the first episode is one of the n: n = 2 / 0.01"),
        (199, "the first episode is one of the n: count it"),
    )
    compare_value(price_after_100, 1.02, prices, "price_after_100")
    compare_value(episodes_until_1_01, 200, numbers, "episodes_until_1_01")


def check_cells_lost_to(answer: Callable[[str], Any], duels: pd.DataFrame) -> None:
    """Check the number of lost duels with each rival, by measure."""

    @wraps(answer)
    def known(rival: str) -> Any:
        counts = answer(rival)
        if not isinstance(counts, dict):
            return counts
        return {name: number for name, number in counts.items() if not same(number, 0)}

    def counted(chosen: Callable[[str], Any]) -> Callable[[str], dict[str, int]]:
        return lambda rival: duels[chosen(rival)]["measure"].value_counts().to_dict()

    lost, rivals = duels["verdict"] == "lost", duels["rival"]
    mistakes = (
        (
            counted(lambda rival: (rivals == rival) & (duels["verdict"] == "won")),
            "these are the duels that ours won: the verdict is 'lost'",
        ),
        (
            counted(lambda rival: rivals == rival),
            "that counts all duels with the rival: only those with the verdict 'lost'",
        ),
        (
            counted(lambda rival: lost),
            "that counts the lost duels with all rivals: only those with `rival`",
        ),
        (
            counted(lambda rival: (rivals == rival) & ~lost),
            "that counts all duels but the lost ones",
        ),
    )
    compare_function(
        known,
        counted(lambda rival: (rivals == rival) & lost),
        [(rival,) for rival in sorted(set(rivals))],
        mistakes,
        returns="a dictionary from measure to number",
    )


def check_paired_factor(answer: Callable[..., Any]) -> None:
    """Check a median of ratios by seed, in which a run without end counts as horizon + 1."""
    least = np.minimum

    def factor(theirs: Any, ours: Any, horizon: float, more: float = 1) -> Any:
        return np.median(least(theirs, horizon + more) / least(ours, horizon + more))

    def finite(values: Any) -> Any:
        return values[np.isfinite(values)]

    mistakes = (
        (
            lambda t, o, h: np.median(t / o),
            "a run that never reaches the goal counts as horizon + 1, not as infinity",
        ),
        (
            lambda t, o, h: np.median(least(t, h + 1)) / np.median(least(o, h + 1)),
            "that is the ratio of the medians: divide seed by seed first",
        ),
        (
            lambda t, o, h: np.mean(least(t, h + 1) / least(o, h + 1)),
            "that is the mean of the ratios: take the median",
        ),
        (
            lambda t, o, h: np.mean(least(t, h + 1)) / np.mean(least(o, h + 1)),
            "that is the ratio of the means: divide seed by seed, and take the median",
        ),
        (lambda t, o, h: factor(o, t, h), "upside down: theirs over ours"),
        (
            lambda t, o, h: factor(t, o, h, 0),
            "a run that never reaches the goal counts as one more than the horizon",
        ),
        (
            lambda t, o, h: np.median(finite(t)) / np.median(finite(o)),
            "runs that never reach the goal were left out: they count as horizon + 1",
        ),
        (
            lambda t, o, h: np.median(least(t, h + 1) - least(o, h + 1)),
            "that is a difference: divide",
        ),
        (
            lambda t, o, h: least(t, h + 1) / least(o, h + 1),
            "that is one ratio per seed: take their median",
        ),
        (
            lambda t, o, h: np.median(np.where(np.isinf(t), h + 1, t) / o),
            "runs of ours that never reach the goal count as horizon + 1, too",
        ),
        (
            lambda t, o, h: np.median(t / np.where(np.isinf(o), h + 1, o)),
            "runs of theirs that never reach the goal count as horizon + 1, too",
        ),
    )
    inf, array = np.inf, np.array
    cases = [
        (array([40.0, 100.0, inf]), array([10.0, 50.0, 2.0]), 99),
        (array([inf, inf, inf]), array([inf, inf, inf]), 99),
        (array([inf]), array([1.0]), 99),
        (array([10.0, 20.0, 30.0]), array([inf, inf, 10.0]), 199),
    ]
    compare_function(answer, factor, cases, mistakes)
