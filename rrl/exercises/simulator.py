"""Exercises about queues, and about how precise a simulator's error is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from rrl.exercises.judging import Function, ask, numbers, require
from rrl.simulation.textbook import erlang_c

#: The fraction of the time in which a server is busy.
check_utilisation = Function(
    lambda r, s, c: r * s / c,
    [(120.0, 0.0125, 2), (30.0, 0.02, 1), (10.0, 0.1, 4)],
    (lambda r, s, c: r * s, "that is the offered load: divide by the number of servers"),
    (lambda r, s, c: r * s * c, "more servers are less busy: divide by their number"),
    (lambda r, s, c: 1 - r * s / c, "that is the fraction of the time without work"),
)


#: The mean time (s) in M/M/1: the wait and the service.
check_mean_time = Function(
    lambda r, s: s / (1 - r * s),
    [(60.0, 0.0125), (10.0, 0.05), (0.0, 0.2)],
    (
        lambda r, s: r * s * s / (1 - r * s),
        "that is the wait alone: the time in the system contains the service, too",
    ),
    (lambda r, s: 1 / (1 - r * s), "that is in service times: multiply by the seconds of one"),
    (lambda r, s: s, "that is the service alone: requests wait, too"),
)


def _pooled(rho: float, load: float) -> float:
    return 1 + erlang_c(2, load) / (2 * (1 - rho))


#: How many times as long two separate queues take as one with two servers.
check_gain_of_pooling = Function(
    lambda rho: 1 + rho,
    [(0.3,), (0.7,), (0.95,)],
    (lambda rho: 1 / (1 - rho) / _pooled(rho, rho), "the load of two servers is 2 rho, not rho"),
    (
        lambda rho: 1 / (1 - rho) / (_pooled(rho, 2 * rho) - 1),
        "the time in the system is the wait and one service time",
    ),
    (lambda rho: 1 / (1 - rho), "that is the separate queue alone: divide by the merged one"),
    (
        lambda rho: 1 / (1 - rho) / (1 + erlang_c(2, 2 * rho) / (1 - rho)),
        "two servers halve the wait: it is 1 / (2 (1 - rho)) service times",
    ),
)


def _cells() -> tuple[pd.DataFrame, list[str]]:
    """Return made cells of four configurations at three loads, each with another error."""
    rows = [
        (threads, batch, rate, 100 * threads + 10 * batch + rate / 1000)
        for threads in (1, 2)
        for batch in (1, 4)
        for rate in (50.0, 100.0, 150.0)
    ]
    table = pd.DataFrame(rows, columns=["threads", "batch", "rate_per_s", "error"])
    return table, ["threads", "batch"]


def check_draw_configurations(answer: Callable[..., Any]) -> None:
    """Check a bootstrap sample that draws configurations with all their cells."""
    cells, knobs = _cells()
    rows = set(map(tuple, cells.to_numpy()))
    drawn = [ask(answer, cells, knobs, np.random.default_rng(seed)) for seed in (0, *range(60))]
    for sample in drawn:
        require(isinstance(sample, pd.DataFrame), "return a table: pd.concat makes one of parts")
        require(set(sample.columns) >= set(cells.columns), "the sample lacks columns of the table")
        values = numbers(sample[list(cells.columns)])
        own = values is not None and set(map(tuple, values)) <= rows
        require(own, "the sample has rows that the table does not have: draw from its rows")
    repeated = drawn.pop(0)
    require(repeated.equals(drawn[0]), "the same rng gives another sample: draw with `rng` alone")
    different = any(not sample.equals(drawn[0]) for sample in drawn)
    require(different, "every rng gives the same sample: draw with `rng`")
    names = [*knobs, "rate_per_s"]  # a row for each cell, and a column for each sample
    times = pd.concat([s.value_counts(names) for s in drawn], axis=1, ignore_index=True)
    times = times.reindex(pd.MultiIndex.from_frame(cells[names])).fillna(0).astype(int)
    even = (times.groupby(level=knobs).nunique() == 1).all(axis=None)
    require(
        even,
        "some loads of a configuration are there more often than others: draw configurations, each "
        "with all its cells",
    )
    lengths = times.sum()
    require(
        (lengths == len(cells)).all(),
        f"a sample has {min(lengths)} to {max(lengths)} cells, not {len(cells)}: draw as many "
        "configurations as there are, and keep the repeated ones",
    )
    require((times > 1).any(axis=None), "every configuration is there once: draw with replacement")
    drawn_in_all = times.sum(axis=1)
    require(
        (abs(drawn_in_all / drawn_in_all.mean() - 1) < 0.45).all(),
        "some configurations are drawn more often than others: all are equally likely",
    )
    print("draw_configurations: right")
