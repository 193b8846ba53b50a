"""Exercises about the recommended agent: improvement and price, a horizon, and an optimist."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from rrl.core.knob import Knob
from rrl.core.qtable import QTable
from rrl.core.space import ConfigSpace
from rrl.exercises.judging import Function, Values, ask, compare, kind_of, require
from rrl.extension.expected_saving import expected_improvement

#: Which of two equal expectations with different sds improves more and costs more; the same if the
#: noise doubles.
check_improvement_and_price = Values(
    larger_improvement=(
        "second",
        ("same", "only a cost below the incumbent's saves: is that as likely for both?"),
        (
            "first",
            "a cost below the incumbent's is 1 sd away with an sd of 0.1, a quarter with 0.4",
        ),
    ),
    higher_price=(
        "second",
        ("same", "the price contains s, too: exp(g + s**2 / 2) - 1"),
        ("first", "s**2 / 2 is positive: what is uncertain may also cost far more"),
    ),
    noisier_improvement=(
        "smaller",
        ("same", "a noisier measurement tells less: s' contains the noise"),
        ("larger", "noise does not tell that a cost is low: s' falls as the noise grows"),
    ),
    noisier_price=(
        "same",
        ("smaller", "clients pay for the cost, however well it is measured: s stays in the price"),
        ("larger", "the mean of the noise is 0, and s already says how unsure the cost is"),
    ),
)


def _price(gap: float, sd: float) -> float:
    return float(np.expm1(gap + sd**2 / 2))


def _improvement(gap: float, sd: float, noise: float) -> float:
    return float(expected_improvement(np.array(gap), np.array(sd**2 / np.hypot(sd, noise))))


#: The number of episodes from which on a trial pays: price over improvement.
check_shortest_horizon = Function(
    lambda g, s, noise: _price(g, s) / _improvement(g, s, noise),
    [(0.1, 0.2, 0.1), (0.8, 0.2, 0.05), (0.3, 0.4, 0.3)],
    (
        lambda g, s, noise: _price(g, s) / _improvement(g, s, 0.0),
        "a measurement with noise tells less: the improvement needs s', not s",
    ),
    (
        lambda g, s, noise: np.expm1(g + s**4 / (s**2 + noise**2) / 2) / _improvement(g, s, noise),
        "clients pay for the cost itself: the price contains the full s, not s'",
    ),
    (
        lambda g, s, noise: np.expm1(g) / _improvement(g, s, noise),
        "the price contains the uncertainty, too: s**2 / 2 in the exponent",
    ),
    (
        lambda g, s, noise: np.expm1(g + s**2) / _improvement(g, s, noise),
        "the exponent of the price is g + s**2 / 2: half of the variance",
    ),
    (
        lambda g, s, noise: np.exp(g + s**2 / 2) / _improvement(g, s, noise),
        "the price is what comes on top of the incumbent's cost: subtract 1",
    ),
    (
        lambda g, s, noise: _price(g, s),
        "that is the price alone: divide by the improvement",
    ),
    (
        lambda g, s, noise: _price(g, s) / expected_improvement(s**2 / np.hypot(s, noise), g),
        "the arguments of expected_improvement are the mean and the sd, in this order",
    ),
)


def check_optimistic(agent_class: Callable[..., Any]) -> None:
    """Check an exploration that serves the configuration with the lowest optimistic cost."""
    threads = (1, 2, 3, 4, 6, 8, 12, 16)
    table = QTable(ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", threads)]))
    table.values[:], table.sds[:] = 1.0, 0.1
    table.values[10:] = [60.0, 20.3, 20.1, 50.0, 20.0, 26.0]
    table.sds[10:] = [0.1, 0.55, 0.01, 1.2, 0.2, 1.0]
    table.incumbent = 14
    cells = np.arange(10, 16)
    for width, wanted in ((1.0, 15), (4.0, 13), (0.1, 11)):
        exploration = ask(agent_class)
        exploration.width = width
        got = ask(exploration.choose, table, cells, np.random.default_rng(1))
        whole = isinstance(got, Integral)
        require(whole, f"choose() returns {kind_of(got)}: return one index, a whole number")
        lowest = (table.values * np.exp(-width * table.sds))[wanted]
        rule = f"{wanted} has the lowest optimistic cost of `cells`, {lowest:.3g}"
        compare(f"with self.width = {width:g} choose()", got, wanted, rule)
    print("Optimistic: right")
