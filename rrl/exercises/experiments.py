"""Exercises about experiments: a mean cost over the best, lost duels, and censored runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from rrl.exercises.judging import Function, Values

#: The mean cost of an agent that serves a default of 3 times the best once.
check_mean_cost_over_best = Values(
    mean_cost_after_100=(
        1.02,
        (1, "the first episode counts, too: take the mean of all episodes"),
        (1.03, "the default costs 2 more than the best, not 3 more"),
        (3, "that is the cost of the first episode alone"),
        (0.02, "that is the excess on top of 1: a mean cost over the best is at least 1"),
    ),
    episodes_until_1_01=(
        200,
        (300, "the default costs 2 more than the best, not 3 more"),
        (100, "after 100 episodes the mean is still above 1.01"),
        (2, "after 2 episodes the mean is still twice the best"),
    ),
)


_DUELS = pd.DataFrame(
    {
        "rival": list("aaaabbbb"),
        "measure": list("xxyyxxyy"),
        "verdict": ["lost", "won", "lost", "lost", "tied", "lost", "lost", "won"],
    }
)


def _counted(chosen: Callable[[pd.DataFrame, str], Any]) -> Callable[..., Any]:
    return lambda duels, rival: duels[chosen(duels, rival)]["measure"].value_counts().to_dict()


#: How many duels were lost to a rival, by measure.
check_duels_lost_to = Function(
    _counted(lambda t, rival: (t["rival"] == rival) & (t["verdict"] == "lost")),
    [(_DUELS, "a"), (_DUELS, "b")],
    (
        _counted(lambda t, rival: (t["rival"] == rival) & (t["verdict"] == "won")),
        "these are the duels that ours won: the verdict is 'lost'",
    ),
    (
        _counted(lambda t, rival: t["rival"] == rival),
        "that counts all duels with the rival: only those with the verdict 'lost'",
    ),
    (
        _counted(lambda t, rival: t["verdict"] == "lost"),
        "that counts the lost duels with all rivals: only those with `rival`",
    ),
)


def _factor(theirs: Any, ours: Any, horizon: float, more: float = 1) -> Any:
    return np.median(np.minimum(theirs, horizon + more) / np.minimum(ours, horizon + more))


def _finite(values: Any) -> Any:
    return values[np.isfinite(values)]


#: The median of ratios by seed, in which a run without end counts as horizon + 1.
check_paired_factor = Function(
    _factor,
    [
        (np.array([40.0, 100.0, np.inf]), np.array([10.0, 50.0, 2.0]), 99),
        (np.full(3, np.inf), np.full(3, np.inf), 99),
        (np.array([np.inf]), np.array([1.0]), 99),
        (np.array([10.0, 20.0, 30.0]), np.array([np.inf, np.inf, 10.0]), 199),
    ],
    (
        lambda t, o, h: np.median(t / o),
        "a run that never reaches the goal counts as horizon + 1, not as infinity",
    ),
    (
        lambda t, o, h: np.median(np.minimum(t, h + 1)) / np.median(np.minimum(o, h + 1)),
        "that is the ratio of the medians: divide seed by seed first",
    ),
    (lambda t, o, h: _factor(o, t, h), "upside down: theirs over ours"),
    (
        lambda t, o, h: np.mean(np.minimum(t, h + 1) / np.minimum(o, h + 1)),
        "that is the mean of the ratios: take their median",
    ),
    (
        lambda t, o, h: _factor(t, o, h, 0),
        "a run that never reaches the goal counts as one more than the horizon",
    ),
    (
        lambda t, o, h: np.median(_finite(t)) / np.median(_finite(o)),
        "runs that never reach the goal were left out: they count as horizon + 1",
    ),
)
