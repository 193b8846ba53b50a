"""The measurements behind the claims: one row per run, and one row per problem.

All tables are made from the sweep over the registered problems. Whoever judges a claim reads these
tables and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.core.learned_similarity import LearnedSimilarity
from rrl.core.similarity import Copy
from rrl.recording.profile import read_profile
from rrl.recording.replay import RecordedServer
from rrl.studies.day_tables import DEFAULT
from rrl.studies.judging_error import judging
from rrl.studies.outcomes import Results, name_of
from rrl.studies.race import score
from rrl.studies.registered import Problem, Registration
from rrl.studies.scenario import SLO_FACTORS, Scenario, Truth
from rrl.studies.settings import Setting
from rrl.studies.similarity_error import (
    GlobalMean,
    on_one_scale,
    region_errors,
    repeat_error,
    typical_difference,
)
from rrl.tuning.defaults import serving_default

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]
ESTIMATORS = {"copy": Copy, "learned": LearnedSimilarity, "mean": GlobalMean}
"""How the agents estimate a region, and what is known without regions."""
RADIUS = 1.0  # of the regions whose estimates are judged: the direct neighbours


class Evidence(NamedTuple):
    """All tables that the claims are judged by.

    Parameters
    ----------
    runs : DataFrame
        One row per steady problem, agent and seed. `first` is the number of episodes until the
        recommendation is within 5 % of the optimum for the first time; it is infinite if it never
        is. `deployed` is the true cost of the last recommendation over the optimum's. `latency_s`
        and `late` are the true mean latency and the true fraction of late requests of what is
        deployed after the registered number of episodes. `error` is the standard error of the
        logarithm of `latency_s`, and `requests` is the number of independent requests behind
        `late`; all requests of a simulated truth count as independent.
    facts : DataFrame
        One row per problem, with the same numbers for TensorFlow Serving's default (`default_s`,
        `default_late`, `default_error`, `default_requests`). `simple_regret` is the default's true
        cost above the optimum's, divided by the optimum's. `good` counts the configurations that
        are within 5 % of the optimum, and `possible` those that may be, by the errors of the truth.
        `judged` and `ceiling` are those of :class:`rrl.studies.scenario.Scenario`. `step` and
        `region` are the fractions by which two configurations within a radius of 1 and of 3 differ
        (median of all pairs). `chance` is the mean number of episodes until a random order meets a
        good configuration.
    served : DataFrame
        One row per problem with a changing load, agent and seed, with the mean latency `latency_s`
        that was served while learning.
    other_half : DataFrame
        The rows of `served` that are about recordings, by the half that no agent replayed, with its
        `error`, see :func:`rrl.studies.other_half.rejudged`.
    similarity : DataFrame
        One row per steady problem and estimator, with the median `error` of its estimates (%), and
        the `repeat` error (%): what two equal configurations of the recording would differ by.
    recorded : DataFrame
        One row per profile, with the number of its `episodes` and whether the `binary` served them.
    late : DataFrame
        As `runs`, for agents that minimised the fraction of late requests, see
        :func:`late_settings`.
    """

    runs: pd.DataFrame
    facts: pd.DataFrame
    served: pd.DataFrame
    other_half: pd.DataFrame
    similarity: pd.DataFrame
    recorded: pd.DataFrame
    late: pd.DataFrame


def settings(
    registered: Registration, problems: Iterable[Problem], seeds: int, most_episodes: int
) -> list[Setting]:
    """Return the settings of the sweep: every registered agent on each problem.

    Under a load that stays, agents that others are only compared with are there, too. Under a load
    that changes, TensorFlow Serving's default is.

    Examples
    --------
    >>> from rrl.studies.registration import read_registration
    >>> registered = read_registration("data")
    >>> one = settings(registered, registered.problems[:1], 30, 3000)
    >>> len(one) == len(registered.agents + registered.only_compared), one[0].episodes
    (True, 300)
    """
    return [
        Setting(p.testbed, p.load, agent, seeds, min(p.episodes, most_episodes))
        for p in problems
        for agent in (*registered.agents, *([DEFAULT] if p.workload else registered.only_compared))
    ]


def late_settings(
    registered: Registration,
    problems: Iterable[Problem],
    scenarios: Mapping[Any, Scenario],
    seeds: int,
    most_episodes: int,
) -> list[Setting]:
    """Return the settings of agents that minimise the fraction of late requests under steady loads.

    They run until the episode after which the registration looks at what is deployed. The limit is
    the registered multiple of the smallest mean latency, in three digits.
    """
    rules, found = registered.rules, []
    episodes = min(rules.deployed_after, most_episodes)
    for problem in problems:
        if not problem.workload:
            limit_s = rules.late_factor * scenarios[problem.testbed, problem.load].optimum
            about = (seeds, episodes, f"slo:{float(f'{limit_s:.3g}'):.15g}")
            found += [
                Setting(problem.testbed, problem.load, agent, *about) for agent in registered.agents
            ]
    return found


def gather(
    registered: Registration,
    problems: Sequence[Problem],
    results: Results,
    truths: Mapping[Any, Truth],
    scenarios: Mapping[Any, Scenario],
    simulated_requests: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the tables `runs`, `facts` and `served` of :class:`Evidence`.

    Parameters
    ----------
    registered : Registration
    problems : sequence of Problem
    results : mapping of Setting to Race
        All agents minimised the same: with those of :func:`late_settings`, `runs` is `late`.
    truths, scenarios : mapping
        By testbed and load.
    simulated_requests : int
        The number of requests per configuration behind a simulated truth.
    """
    import pandas as pd

    rules = registered.rules
    row = SLO_FACTORS.index(rules.late_factor)
    runs, facts, served = [], [], []
    known: dict[Any, dict[str, Any]] = {}
    for problem in problems:
        key = (problem.testbed, problem.load)
        head = {"problem": name_of(key), "kind": problem.kind, "workload": problem.workload}
        scenario, late = scenarios[key], truths[key].late[row]
        limit_s = rules.late_factor * scenario.optimum
        known[key] = head | judging(scenario, limit_s, simulated_requests) | {"late": late}
        facts.append(head | {"testbed": problem.testbed} | _facts(scenario, known[key]))
    for setting, race in results.items():
        about = known[setting.problem]
        head = {name: about[name] for name in ("problem", "kind", "workload")}
        head |= {"agent": setting.agent, "seed": np.arange(len(race.chosen))}
        if about["workload"]:
            served.append(pd.DataFrame(head | {"latency_s": race.costs.mean(axis=1)}))
            continue
        scenario = scenarios[setting.problem]
        found = score(scenario, race)
        end = min(rules.deployed_after, race.recommended.shape[1]) - 1
        final = race.recommended[:, end]
        columns = {"first": found["first_within_5"], "deployed": 1 + found["simple_regret"]}
        columns |= {"mean_cost": found["mean_cost"], "latency_s": scenario.cost[final]}
        columns |= {name: about[name][final] for name in ("late", "error", "requests")}
        columns["episodes"] = setting.episodes
        runs.append(pd.DataFrame(head | columns))
    return tuple(  # type: ignore[return-value]
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        for parts in (runs, [pd.DataFrame(facts)], served)
    )


def _facts(scenario: Scenario, about: Mapping[str, Any]) -> dict[str, Any]:
    default = scenario.space.index(serving_default(scenario.space))
    return {
        "configurations": len(scenario.space),
        "good": int(scenario.good.sum()),
        "possible": int(scenario.possible.sum()),
        "judged": scenario.judged,
        "ceiling": scenario.ceiling,
        "best_s": scenario.optimum,
        "default_s": float(scenario.cost[default]),
        "simple_regret": float(scenario.cost[default]) / scenario.optimum - 1,
        "step": typical_difference(scenario.space, scenario.cost, 1.0),
        "region": typical_difference(scenario.space, scenario.cost, 3.0),
        "chance": (len(scenario.space) + 1) / (scenario.good.sum() + 1),
        "default_late": float(about["late"][default]),
        "default_error": float(about["error"][default]),
        "default_requests": int(about["requests"][default]),
    }


def similarity_table(
    problems: Sequence[Problem],
    scenarios: Mapping[Any, Scenario],
    measurements: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the table `similarity` of :class:`Evidence`, for the problems whose load stays."""
    import pandas as pd

    rows = []
    for problem in problems:
        scenario = scenarios[problem.testbed, problem.load]
        if problem.workload:
            continue
        errors = region_errors(scenario, ESTIMATORS, measurements, RADIUS, rng)
        recorded = isinstance(scenario.server, RecordedServer)
        repeat = repeat_error(scenario) if recorded else 0.0
        head = {"problem": name_of((problem.testbed, problem.load)), "kind": problem.kind}
        for name, part in errors.groupby("estimator", sort=False):
            error = 100 * float(np.expm1(part["error"].median()))
            rows.append(head | {"estimator": name, "error": error, "repeat": repeat})
    return pd.DataFrame(rows)


def copy_over_mean(problems: Mapping[str, Scenario], measurements: int, draws: int) -> pd.DataFrame:
    """Compare the error of a copy with that of the mean, for several draws of the measurements.

    Parameters
    ----------
    problems : mapping of str to Scenario
        Recorded loads.
    measurements : int
        Of each draw.
    draws : int

    Returns
    -------
    DataFrame
        One row per problem and draw: `registered` is the ratio of the two errors that C1 uses, and
        `one scale` is that of :func:`rrl.studies.similarity_error.on_one_scale`.
    """
    import pandas as pd

    chosen = {name: ESTIMATORS[name] for name in ("copy", "mean")}
    rows = []
    for draw in range(draws):
        for name, scenario in problems.items():
            row: dict[str, Any] = {"problem": name, "draw": draw}
            for kind, one in (("registered", scenario), ("one scale", on_one_scale(scenario))):
                rng = np.random.default_rng(draw)
                errors = region_errors(one, chosen, measurements, RADIUS, rng)
                middle = np.expm1(errors.groupby("estimator")["error"].median())
                row[kind] = float(middle["copy"] / middle["mean"])
            rows.append(row)
    return pd.DataFrame(rows)


def recorded_table(data: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the table `recorded` of :class:`Evidence`.

    Examples
    --------
    >>> bool(recorded_table("data")["episodes"].sum() > 1000)
    True
    """
    import pandas as pd

    rows = []
    for path in sorted(Path(data).glob("*/profile.json")):
        profile = read_profile(path.parent)
        versions = profile.description["machine"]["versions"]
        binary = profile.description.get("server") == "tensorflow_model_server"
        row = {"profile": path.parent.name, "episodes": len(profile.table), "binary": binary}
        rows.append(row | {"tensorflow": versions.get("tensorflow", "")})
    return pd.DataFrame(rows, columns=["profile", "episodes", "binary", "tensorflow"])
