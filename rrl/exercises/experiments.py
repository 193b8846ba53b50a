"""Exercises about experiments: an excess by hand, runs that are stuck, and a rival's episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rrl.exercises.judging import Function, Values

#: The excess of an agent that serves a default of 3 times the best once.
check_excess_by_hand = Values(
    excess_after_100=(
        0.02,
        (0, "the first episode counts, too: take the mean of all episodes"),
        (0.03, "the default costs 2 more than the best, not 3 more"),
        (2, "that is the excess of the first episode alone"),
        (1.02, "that is the mean cost over the best: the excess is less by 1"),
    ),
    episodes_until_1_percent=(
        200,
        (300, "the default costs 2 more than the best, not 3 more"),
        (100, "after 100 episodes the excess is still above 1 %"),
        (2, "after 2 episodes the clients have paid twice the best"),
    ),
)


def _share(above: Callable[[Any, float], Any]) -> Callable[..., Any]:
    return lambda served, best: np.mean(above(served, best))


def _tail(served: Any) -> Any:
    return served[:, -max(served.shape[1] // 10, 1) :].mean(axis=1)


_SLOW = np.array([[9.0] * 36 + [2.0] * 4, [2.0] * 40, [2.4] * 40, *[[2.0] * 36 + [3.0] * 4] * 2])
_ONCE = np.array(
    [
        [1.0] * 39 + [4.0],
        [1.0] * 36 + [4.0, 1.0, 1.0, 1.0],
        [1.0] * 4 + [3.0] * 32 + [1.0] * 4,
    ]
)

#: The share of runs of which the last tenth costs over 1.25 times the best.
check_stuck_share = Function(
    _share(lambda served, best: _tail(served) > 1.25 * best),
    [(_SLOW, 2.0), (_ONCE, 1.0), (_SLOW, 1.0)],
    (
        _share(lambda served, best: served.mean(axis=1) > 1.25 * best),
        "that is the mean of all episodes: only the last tenth counts",
    ),
    (
        _share(lambda served, best: served[:, -1] > 1.25 * best),
        "that is the last episode alone: take the mean of the last tenth",
    ),
    (
        _share(lambda served, best: served[:, : served.shape[1] // 10].mean(axis=1) > 1.25 * best),
        "that is the first tenth of the episodes",
    ),
    (
        _share(lambda served, best: _tail(served) > 1.25),
        "divide by the best cost: 25 % above the best, not above 1",
    ),
    (
        _share(lambda served, best: _tail(served) <= 1.25 * best),
        "that is the share of the runs that are not stuck",
    ),
    (
        lambda served, best: np.sum(_tail(served) > 1.25 * best),
        "that is the number of runs: the share is asked for",
    ),
)


def _needed(excess: Any, goal: float) -> float:
    above = np.flatnonzero(excess > goal)
    if not len(above):
        return 1.0
    return float(above[-1]) + 2 if above[-1] + 1 < len(excess) else np.inf


#: The episodes that a rival needs until its excess stays at or below a goal.
check_episodes_needed = Function(
    _needed,
    [
        (np.array([3.0, 1.0, 2.0, 1.0, 0.5]), 1.0),
        (np.array([3.0, 1.0, 2.0]), 1.0),
        (np.array([3.0, 2.5, 2.0, 1.5]), 1.0),
        (np.array([0.5, 0.4]), 1.0),
        (np.array([4.0, 0.9, 0.8, 0.7]), 0.8),
    ],
    (
        lambda e, g: np.argmax(e <= g) + 1 if (e <= g).any() else np.inf,
        "that is the first time: later the excess is above the goal again",
    ),
    (
        lambda e, g: _needed(e, g) - 1,
        "episodes count from 1, so the first entry belongs to 1 episode",
    ),
    (
        lambda e, g: np.sum(e > g) + 1,
        "that counts the entries above the goal: look for the last one of them",
    ),
    (
        lambda e, g: np.flatnonzero(e > g)[-1] + 2 if (e > g).any() else 1,
        "if the last entry is above the goal, the rival does not get there: np.inf",
    ),
    (
        lambda e, g: _needed(-np.asarray(e), -g),
        "upside down: an excess at or below the goal is good enough",
    ),
)
