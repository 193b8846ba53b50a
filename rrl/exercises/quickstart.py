"""Exercises of the quickstart: the size of a region, another cost, and an agent of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.exercises.judging import Function, Values, ask, compare
from rrl.tuning.episode import Episode

#: Wrong sizes of a region of radius 1 on a grid of three knobs, which has 7 configurations.
NOT_SEVEN = (
    (1, "1 is the measured configuration alone: that is a radius of 0"),
    (3, "each knob offers two neighbours: its next and its previous value"),
    (4, "each knob offers two neighbours: its next and its previous value"),
    (6, "the measured configuration belongs to its own region, too"),
    (19, "a change of two knobs is the square root of 2 away, more than the radius of 1"),
    (27, "corners change two or three knobs: they are further away than 1"),
)


#: How many values a measurement updates: three knobs, a radius of 1, not at a border.
check_updated_values = Values(updated_values=(7, *NOT_SEVEN))


def _episode(late_by: float = 1.0, requests: int = 8) -> Episode:
    """Return the first of eight requests.

    At a limit of 0.1 s, three of the eight are late and two have failed; one is both.
    """
    latency = np.array([0.4, 0.05, 0.1, 0.3, 0.01, 0.2, 0.07, 0.1])[:requests]
    status = np.array([0, 0, 0, 0, 14, 14, 0, 0])[:requests]
    return Episode({}, np.arange(float(requests)), late_by * latency, status)


#: The fraction of an episode's requests that are later than a limit, or fail.
check_violations = Function(
    lambda e, s: e.bad(s) / len(e),
    [(_episode(), 0.1), (_episode(), 1.0), (_episode(2.0), 0.15), (_episode(requests=5), 0.1)],
    (
        lambda e, s: np.mean((e.latency >= s) | ~e.ok),
        "a request of exactly the limit is in time: use >, not >=",
    ),
    (
        lambda e, s: np.mean(e.latency > s),
        "a request may be fast because it failed: count what is not ok, too",
    ),
    (
        lambda e, s: np.mean((e.latency > s) & ~e.ok),
        "a request counts if it is late or failed; it need not be both: use |",
    ),
    (
        lambda e, s: np.mean(e.latency > s) + np.mean(~e.ok),
        "a request that is late and failed counts once: use |, do not add the fractions",
    ),
    (
        lambda e, s: np.mean((e.latency > s) | e.ok),
        "`episode.ok` is true for the requests that did not fail: use ~episode.ok",
    ),
    (
        lambda e, s: np.sum((e.latency > s) | ~e.ok),
        "that is a count: divide by the number of requests",
    ),
    hint="For arrays, write | for `or` and ~ for `not`, with brackets around comparisons.",
)


def check_guess(agent_class: Callable[..., Any]) -> None:
    """Check an agent that keeps all costs and deploys the configuration with the lowest mean."""
    space = ConfigSpace([Knob("inter_op", (1, 2)), Knob("batch_threads", (1, 2, 4))])
    agent = ask(agent_class, space, np.random.default_rng(0))
    hint = "The keys of `self.costs` are numbers: self.space.index(configuration)."
    # Of the costs of index 5 only the mean is the lowest: not their sum, nor their median, nor the
    # first, last, largest or smallest cost.
    for number, cost in ((5, 0.3), (3, 0.05), (3, 0.9), (5, 0.1), (4, 0.25), (5, 0.29)):
        ask(agent.tell, space[number], cost, hint=hint)
    right = {5: [0.3, 0.1, 0.29], 3: [0.05, 0.9], 4: [0.25]}
    compare("self.costs", agent.costs, right, "keep all costs of an index in a list")
    got = ask(agent.best, 100.0)
    rule = "index 5 has the lowest mean of its costs, and a single low cost may be luck"
    compare("best()", got, space[5], f"return self.space[index]; {rule}")
    print("Guess: right")
