"""Agents that are tuned for other goals than the mean latency, and what their choice is worth.

A goal is an objective by its name: a percentile, the fraction of late requests, or the fewest CPUs
that keep a service-level objective (:mod:`rrl.tuning.slo`). :func:`judging_requests`
finds the latencies of all requests of a configuration, in episodes that no agent learned from.
:func:`runs_by_goal` looks up there what the agents deployed at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import gmean

from rrl.core.space import Bools, Floats
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import requests_of_half
from rrl.simulation.optimum import charged
from rrl.simulation.simulator import SimulatedServer
from rrl.studies.outcomes import Results, name_of
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Problem, Setting
from rrl.support.intervals import bootstrap_interval
from rrl.tuning.defaults import heuristic_candidates
from rrl.tuning.presets import CPUS
from rrl.workloads.workload import cut_into_episodes


@dataclass(frozen=True, eq=False)
class Requests:
    """The sorted latencies (s) of all requests that judge each configuration.

    Examples
    --------
    >>> requests = Requests([np.arange(1.0, 101), np.array([7.0])])
    >>> requests.percentile(90), requests.late(6.5)
    (array([90.,  7.]), array([0.94, 1.  ]))
    """

    latency: Sequence[NDArray[np.floating]]

    def percentile(self, q: float) -> Floats:
        """Return the percentile of each configuration in seconds, as :class:`rrl.Percentile`."""
        ranks = [max(int(np.ceil(q / 100 * len(one))) - 1, 0) for one in self.latency]
        return np.array([one[rank] for one, rank in zip(self.latency, ranks, strict=True)])

    def late(self, limit_s: float) -> Floats:
        """Return each configuration's fraction of requests that take longer than a limit (s)."""
        return np.array(
            [1 - np.searchsorted(one, limit_s, "right") / len(one) for one in self.latency]
        )

    @property
    def reference_s(self) -> float:
        """The p99 of the configuration with the lowest mean latency, in seconds.

        Targets are multiples of it. The lowest p99 of a recorded grid is partly luck, because most
        configurations have few requests. Those with a low mean were measured more often.
        """
        return float(self.percentile(99)[self.mean.argmin()])

    def target_s(self, factor: float) -> float:
        """Return a target for the p99 (s): a multiple of `reference_s`, with three digits."""
        return float(f"{factor * self.reference_s:.3g}")

    @cached_property
    def mean(self) -> Floats:
        """The mean latency of each configuration in seconds."""
        return np.array([one.mean(dtype=float) for one in self.latency])


def judging_requests(scenario: Scenario, *, replications: int = 100) -> Requests:
    """Return the requests by which the configurations of a scenario are judged.

    Parameters
    ----------
    scenario : Scenario
        It has a steady load, on a simulated server or a recorded profile.
    replications : int
        A simulated configuration is judged by this many episodes, with common random numbers. A
        recorded one is judged by the half of the profile that agents do not replay, finals
        included.

    Examples
    --------
    >>> from rrl.studies.problems import open_scenario
    >>> requests = judging_requests(open_scenario("keyword-threads", 900.0))
    >>> len(requests.latency), bool((requests.percentile(99) > requests.mean).all())
    (16, True)
    """
    server = scenario.server
    if isinstance(server, RecordedServer):
        assert server.half is not None
        latencies = requests_of_half(server.profile, scenario.workload.rate, 1 - server.half)
        return Requests([np.sort(one) for one in latencies])
    assert isinstance(server, SimulatedServer)
    rng, n = np.random.default_rng(0), scenario.requests
    whole = np.empty((len(scenario.space), replications * n), dtype=np.float32)
    stretch = scenario.workload.arrivals(replications * n, rng)
    for number, latency in enumerate(charged(server, list(cut_into_episodes(stretch, n)), rng)):
        whole[:, number * n : (number + 1) * n] = latency
    whole.sort(axis=1)
    return Requests(list(whole))


def runs_by_goal(
    results: Results,
    scenarios: Mapping[Problem, Scenario],
    judged: Mapping[Problem, Requests],
    targets_s: Mapping[Problem, Mapping[str, float]],
) -> pd.DataFrame:
    """Return what each run deployed at the end, tuned for its goal, as the judging requests say.

    Parameters
    ----------
    results : mapping of Setting to Race
    scenarios, judged : mapping
        They are by problem.
    targets_s : mapping
        By problem and name, the targets for the p99 in seconds.

    Returns
    -------
    DataFrame
        It has one row per run, with the columns `problem`, `agent`, `goal`, `seed` and `episodes`.
        The goal ``none`` has the server's default, and the guide's heuristic
        (:func:`rrl.tuning.defaults.heuristic_candidates`). `p99_s` is the p99 in seconds, `p99` is
        the same divided by :attr:`Requests.reference_s`, and `mean` is the mean latency divided by
        the lowest one. For each target, `late NAME` is the fraction of requests above it, and
        `kept NAME` says whether the p99 keeps it. `cpus` is the number of CPUs, if it is a knob.
    """
    finals = {setting: race.recommended[:, -1] for setting, race in results.items()}
    problems = list(dict.fromkeys(setting.problem for setting in results))
    for problem in problems:
        scenario = scenarios[problem]
        (guide,) = heuristic_candidates(scenario.space)  # it has nothing to measure here
        untuned = {"default": scenario.default, "heuristic": scenario.space.index(guide)}
        for name, index in untuned.items():
            finals[Setting(*problem, name, 1, 1, "none")] = np.array([index])
    values = {p: _values(scenarios[p], judged[p], targets_s[p]) for p in problems}
    tables = []
    for setting, final in finals.items():
        columns = {
            "problem": name_of(setting.problem),
            "agent": setting.agent,
            "goal": setting.objective,
            "seed": setting.first_seed + np.arange(len(final)),
            "episodes": setting.episodes,
        }
        measured = {name: of_each[final] for name, of_each in values[setting.problem].items()}
        tables.append(pd.DataFrame(columns | measured))
    return pd.concat(tables, ignore_index=True)


def _values(
    scenario: Scenario, requests: Requests, targets_s: Mapping[str, float]
) -> dict[str, Floats]:
    """Return the measures of :func:`runs_by_goal` for each configuration."""
    p99, mean, space = requests.percentile(99), requests.mean, scenario.space
    found = {"p99_s": p99, "p99": p99 / requests.reference_s, "mean": mean / mean.min()}
    found |= {f"late {name}": requests.late(target) for name, target in targets_s.items()}
    found |= {f"kept {name}": p99 <= target for name, target in targets_s.items()}
    if CPUS in space.names:
        found["cpus"] = np.array([space[i][CPUS] for i in range(len(space))], dtype=float)
    return found


def compared_with_mean(runs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Compare each agent, tuned for a goal, with itself, tuned for the mean latency.

    Parameters
    ----------
    runs : DataFrame
        See :func:`runs_by_goal`. A goal has the same name on all problems.
    rng : numpy.random.Generator
        Problems are drawn again for the intervals.

    Returns
    -------
    DataFrame
        One row per goal and agent: the number of `problems`, and the `ratio` of the deployed p99 to
        that of the agent that is tuned for the mean, with its limits `low` and `high`. It is the
        geometric mean over the problems and the runs.

    Examples
    --------
    >>> import pandas as pd
    >>> columns = ["problem", "agent", "goal", "p99_s"]
    >>> rows = [(p, "a", goal, s) for p in "pq" for goal, s in (("mean", 0.2), ("p99", 0.1))]
    >>> compared_with_mean(pd.DataFrame(rows, columns=columns), np.random.default_rng(0))
      goal agent  problems  ratio  low  high
    0  p99     a         2    0.5  0.5   0.5
    """
    tuned = runs[runs["goal"] != "none"]
    p99 = tuned.groupby(["problem", "agent", "goal"], sort=False)["p99_s"].agg(gmean)
    ratios = p99.unstack("goal")
    ratios = ratios.div(ratios.pop("mean"), axis="index")
    rows = []
    for goal in ratios:
        for agent, own in ratios[goal].dropna().groupby("agent", sort=False):
            centre = bootstrap_interval(own.to_numpy(), rng, statistic=gmean)
            rows.append((goal, agent, len(own), *centre))
    return pd.DataFrame(rows, columns=["goal", "agent", "problems", "ratio", "low", "high"])


def front(cost: Sequence[float], latency: Sequence[float]) -> Bools:
    """Return which points are on the Pareto front: no other is as good in one and better in one.

    Examples
    --------
    >>> front([1, 1, 2, 3], [5.0, 6.0, 5.0, 2.0])
    array([ True, False, False,  True])
    """
    x, y = np.asarray(cost, dtype=float), np.asarray(latency, dtype=float)
    as_good = (x[None] <= x[:, None]) & (y[None] <= y[:, None])
    better = (x[None] < x[:, None]) | (y[None] < y[:, None])
    return np.logical_not((as_good & better).any(axis=1))
