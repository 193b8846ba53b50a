"""The measurements behind the claims: one row per run, and one row per problem.

Every number on a recording is there twice: `half` is the half that the agents replay, and the other
one judges. What is simulated has `half` 0 only. Beside the agents stand references with knowledge
that no agent has (:data:`rrl.studies.other_half.ORACLE`), so each number has what can be reached.
Whoever judges a claim reads these tables and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rrl.core.similarity import Copy
from rrl.core.space import Floats
from rrl.extension.learned_similarity import LearnedSimilarity
from rrl.recording.profile import read_profile
from rrl.recording.replay import RecordedServer
from rrl.studies.days import DEFAULT, KNOWING, Arrays, Day, day_scenario, problem_label
from rrl.studies.other_half import FIXED, ORACLE, READER, how_sure, told_by_judge
from rrl.studies.outcomes import Results, name_of
from rrl.studies.problems import PathLike, half_of
from rrl.studies.race import Race, score
from rrl.studies.registration import Problem, Registration
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Setting
from rrl.studies.similarity_error import (
    GlobalMean,
    error_again,
    region_errors,
    typical_difference,
)

ESTIMATORS = {"copy": Copy, "learned": LearnedSimilarity, "mean": GlobalMean}
"""How the agents estimate a region, and what is known without regions."""
RADIUS = 1.0  # of the regions whose estimates are judged: the direct neighbours
LOADS = ("low", "middle", "high")


NO_ROWS = pd.DataFrame()


class Evidence(NamedTuple):
    """All tables that the claims are judged by. Each has the columns `problem`, `kind` and `half`.

    Where a table is empty, no problem can test the claims that it judges.

    Parameters
    ----------
    runs : DataFrame
        One row per problem under a load that stays, agent or reference, and seed.
        `first_within_5`, `mean_cost` and `deployed` are those of :func:`rrl.studies.race.score`.
        `latency_s` and `late` are the true mean latency and the true fraction of late requests of
        what is deployed after the registered number of episodes. `error` is the standard error of
        the logarithm of `latency_s`, and `requests` is the number of independent requests behind
        `late`. `simple_regret` is the default's true cost above the optimum's, divided by the
        optimum's. `load` is "low", "middle" or "high" on a recording of three loads, and empty
        elsewhere.
    late : DataFrame
        The same for agents that minimised the fraction of late requests.
    served : DataFrame
        One row per problem whose load changes, agent or reference, and seed: the mean latency
        `latency_s` that was served while learning, on recordings by the half that judges, with the
        `error` of the logarithm of its ratio to the default's, and `simple_regret`. On a recording,
        `seen` is the fraction of the problem's episodes that replay a load which was seen in
        development, and is not held out.
    similarity : DataFrame
        One row per problem under a load that stays, and estimator, with the median `error` of its
        estimates (%). The estimator ``again`` measures the configuration itself once more.
    recorded : DataFrame
        One row per profile, with the number of its episodes on the `runtime` and on the `binary`.
    """

    runs: pd.DataFrame = NO_ROWS
    late: pd.DataFrame = NO_ROWS
    served: pd.DataFrame = NO_ROWS
    similarity: pd.DataFrame = NO_ROWS
    recorded: pd.DataFrame = NO_ROWS


# --- what to run ----------------------------------------------------------------------------------


def settings(
    registered: Registration, problems: Iterable[Problem], seeds: int, most_episodes: int
) -> list[Setting | Day]:
    """Return what the sweeps run: every registered agent on each problem.

    Under a load that changes, TensorFlow Serving's default is there, too, and on a day of devices
    the agent that knows.

    Examples
    --------
    >>> from rrl.studies.registration import read_registration
    >>> registered = read_registration("data")
    >>> one = settings(registered, registered.problems[:1], 30, 3000)
    >>> len(one) == len(registered.steady_agents), one[0].episodes
    (True, 300)
    """
    found: list[Setting | Day] = []
    for problem in problems:
        what = problem.what
        if isinstance(what, Day):
            agents = (*registered.agents, DEFAULT, KNOWING)
        else:
            what = what._replace(episodes=min(what.episodes, most_episodes))
            changing = (*registered.agents, DEFAULT)
            agents = changing if problem.workload else registered.steady_agents
        found += [what._replace(agent=agent, seeds=seeds) for agent in agents]
    return found


def late_settings(
    registered: Registration, steady: Iterable[Setting], scenarios: Mapping[Any, Scenario]
) -> list[Setting]:
    """Return the same settings for agents that minimise the fraction of late requests.

    They run until the episode after which the registration looks at what is deployed. The limit is
    the registered multiple of the smallest mean latency, in three digits. The problems that confirm
    are not asked about late requests.
    """
    rules, found = registered.rules, []
    unasked = {one.what.problem for one in registered.confirming().problems}
    for setting in steady:
        if setting.agent in registered.agents and setting.problem not in unasked:
            limit_s = rules.late_factor * scenarios[setting.problem].optimum
            objective = f"slo:{float(f'{limit_s:.3g}'):.15g}"
            episodes = min(rules.deployed_after, setting.episodes)
            found.append(setting._replace(objective=objective, episodes=episodes))
    return found


# --- loads that stay ------------------------------------------------------------------------------


def steady_table(
    registered: Registration,
    problems: Sequence[Problem],
    results: Results,
    scenarios: Mapping[Any, Scenario],
    simulated_requests: int,
) -> pd.DataFrame:
    """Return the table `runs` of :class:`Evidence`.

    All agents of the `results` minimised the same: with those of :func:`late_settings`, it is the
    table `late`. The `scenarios` are given by testbed and load, with their truths. A simulated
    truth rests on `simulated_requests` of each configuration.
    """
    rules, runs = registered.rules, []
    for problem in problems:
        own = {one: race for one, race in results.items() if one.problem == problem.what.problem}
        if problem.workload or not own:
            continue
        scenario, head = scenarios[problem.what.problem], _head(problem)
        sure = how_sure(scenario, rules.late_factor * scenario.optimum, simulated_requests)
        least_late = any(setting.objective != "mean" for setting in own)
        races = {setting.agent: race for setting, race in own.items()}
        races |= _references(scenario, least_late, next(iter(races.values())))
        for agent, race in races.items():
            found, episodes = score(scenario, race), race.recommended.shape[1]
            final = race.recommended[:, min(rules.deployed_after, episodes) - 1]
            columns: dict[str, Any] = {
                "agent": agent,
                "seed": np.arange(len(final)),
                "episodes": episodes,
                "load": _level(scenario),
                **{name: found[name] for name in ("first_within_5", "mean_cost", "deployed")},
                "latency_s": scenario.cost[final],
                "error": sure["error"][final],
                "requests": sure["requests"][final],
                "late": scenario.violations[final],
                "simple_regret": _regret(scenario),
            }
            runs.append(pd.DataFrame(head | columns))
    return pd.concat(runs, ignore_index=True) if runs else NO_ROWS


def _head(problem: Problem) -> dict[str, Any]:
    what, (name, half) = problem.what, half_of(problem.testbed)
    if isinstance(what, Day):
        label = f"{problem_label(what._replace(testbed=name))}, day"
    else:
        label = name_of((name, what.load))
    return {
        "problem": label, "kind": problem.kind, "half": half, "workload": problem.workload,
    }  # fmt: skip


def _references(scenario: Scenario, least_late: bool, like: Race) -> dict[str, Race]:
    """Return races of references: the default serves first, then always one configuration.

    It is the default, or the best one: that with the lowest cost, or with the fewest late requests
    and among these the lowest cost.
    """
    cost = scenario.cost
    best = int(np.lexsort((cost, scenario.violations if least_late else cost))[0])
    numbers = {DEFAULT: scenario.default, ORACLE: best}
    if scenario.replay_best is not None:
        numbers[READER] = scenario.replay_best
    races = {}
    for name, number in numbers.items():
        chosen = np.full_like(like.chosen, number)
        chosen[:, 0] = scenario.default
        races[name] = Race(chosen, chosen)
    return races


def _level(scenario: Scenario) -> str:
    """Return which of the three loads of a recording it is; empty where there are not three."""
    rates = getattr(getattr(scenario.server, "profile", None), "rates_per_s", ())
    return LOADS[rates.index(scenario.workload.rate)] if len(rates) == len(LOADS) else ""


def facts_table(problems: Sequence[Problem], scenarios: Mapping[Any, Scenario]) -> pd.DataFrame:
    """Return facts about the problems whose load stays; no verdict depends on them.

    Returns
    -------
    DataFrame
        One row per problem, with the costs of the best configuration and of the default. `good`
        counts the configurations that are surely within 5 % of the optimum. `step` and `region` are
        the fractions by which two configurations within a radius of 1 and of 3 differ. `chance` is
        the mean number of episodes until a random order meets a good one.
    """
    facts = []
    for problem in problems:
        if problem.workload:
            continue
        scenario = scenarios[problem.what.problem]
        space, cost, good = scenario.space, scenario.cost, int(scenario.good.sum())
        columns = {
            "load": _level(scenario),
            "configurations": len(space),
            "good": good,
            "best_s": scenario.optimum,
            "default_s": float(cost[scenario.default]),
            "step": typical_difference(space, cost, 1.0),
            "region": typical_difference(space, cost, 3.0),
            "chance": (len(space) + 1) / (good + 1),
        }
        facts.append(_head(problem) | columns)
    return pd.DataFrame(facts)


def similarity_table(
    problems: Sequence[Problem],
    scenarios: Mapping[Any, Scenario],
    measurements: int,
    draws: int,
) -> pd.DataFrame:
    """Return the table `similarity` of :class:`Evidence`, for the problems whose load stays.

    The measured configurations are drawn `draws` times, and the errors of all draws count.
    """
    rows = []
    for problem in problems:
        if problem.workload:
            continue
        scenario, head = scenarios[problem.what.problem], _head(problem)
        rngs = [np.random.default_rng(draw) for draw in range(draws)]
        drawn = [region_errors(scenario, ESTIMATORS, measurements, RADIUS, rng) for rng in rngs]
        errors = pd.concat(drawn).groupby("estimator", sort=False)["error"].median().to_dict()
        errors["again"] = error_again(scenario, np.random.default_rng(draws))
        for name, error in errors.items():
            rows.append(head | {"estimator": name, "error": 100 * float(np.expm1(error))})
    return pd.DataFrame(rows)


# --- loads that change ----------------------------------------------------------------------------


def served_table(
    problems: Sequence[Problem],
    results: Mapping[Setting | Day, Race | Arrays],
    scenarios: Mapping[Any, Scenario],
    data: PathLike,
) -> pd.DataFrame:
    """Return the table `served` of :class:`Evidence`.

    The `results` are those of :func:`settings` by :meth:`rrl.Sweep.run`, the `scenarios` are given
    by testbed and load, and `data` is the folder of the profiles.
    """
    served = []
    held_out = {problem.what.problem for problem in problems if problem.kind == "held_out"}
    for problem in problems:
        what = problem.what
        own = {one.agent: found for one, found in results.items() if one.problem == what.problem}
        if not problem.workload or not own:
            continue
        day = what if isinstance(what, Day) else None
        scenario = day_scenario(day, data) if day else scenarios[what.problem]
        error: dict[str, float] = {}
        seen = float("nan")
        if isinstance(scenario.server, RecordedServer):
            chosen = {agent: _chosen(found) for agent, found in own.items() if agent != KNOWING}
            latency, error, met = told_by_judge(scenario, what.first_seed, chosen)
            seen = float(np.mean([(what.testbed, rate) not in held_out for rate in met.flat]))
        else:
            latency = {agent: _mean_s(found) for agent, found in own.items()}
            if day:
                latency[ORACLE] = latency.pop(KNOWING)
            else:
                best = latency[DEFAULT] / (1 + _regret(scenario))  # on the arrivals of each seed
                latency |= {ORACLE: best, FIXED: best}
        middle = {agent: np.median(values) for agent, values in latency.items()}
        regret = float(middle[DEFAULT] / middle[ORACLE]) - 1 if day else _regret(scenario)
        for agent, values in latency.items():
            row: dict[str, Any] = {"agent": agent, "seed": np.arange(len(values))}
            row |= {"latency_s": values, "error": error.get(agent, 0.0)}
            row |= {"simple_regret": regret, "seen": seen}
            served.append(pd.DataFrame(_head(problem) | row))
    return pd.concat(served, ignore_index=True) if served else NO_ROWS


def _chosen(found: Race | Arrays) -> NDArray[np.int32]:
    return found.chosen if isinstance(found, Race) else found["chosen"]


def _mean_s(found: Race | Arrays) -> Floats:
    if isinstance(found, Race):
        assert found.costs is not None, "make the sweep with costs=True"
        return found.costs.mean(axis=1)
    return np.asarray(np.mean(found["mean_s"], axis=1, dtype=float))


def _regret(scenario: Scenario) -> float:
    """Return the default's true cost above the optimum's, in units of the optimum's."""
    return float(scenario.cost[scenario.default]) / scenario.optimum - 1


def recorded_table(data: PathLike) -> pd.DataFrame:
    """Return the table `recorded` of :class:`Evidence`; both halves of a profile count as one.

    Examples
    --------
    >>> bool(recorded_table("data")["runtime"].sum() > 1000)
    True
    """
    rows = []
    for path in sorted(Path(data).glob("*/profile.json")):
        profile = read_profile(path.parent)
        binary = profile.description.get("server") == "tensorflow_model_server"
        row = {"problem": path.parent.name, "kind": "real", "half": 0, "workload": ""}
        episodes = len(profile.table)
        rows.append(row | {"runtime": episodes, "binary": episodes if binary else 0})
    return pd.DataFrame(rows)
