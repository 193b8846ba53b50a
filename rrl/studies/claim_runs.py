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
from rrl.recording.profile import Profile, read_profile
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import rows_of_half
from rrl.studies.outcomes import Results, name_of
from rrl.studies.race import score
from rrl.studies.registration import Problem, Registration
from rrl.studies.scenario import SLO_FACTORS, Scenario, Truth
from rrl.studies.settings import Setting
from rrl.studies.similarity_error import GlobalMean, region_errors, repeat_error
from rrl.tuning.defaults import serving_default

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]
DEFAULT = "tf-serving-default"
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
        and `late` are the true mean latency and the true share of late requests of what is deployed
        after the registered number of episodes. `error` is the standard error of the logarithm of
        `latency_s`, and `requests` is the number of independent requests behind `late`.
    facts : DataFrame
        One row per problem, with the same numbers for TensorFlow Serving's default (`default_s`,
        `default_late`, `default_error`, `default_requests`). `gap` is its true cost above the
        optimum's, as a share. `good` and `possible` count the configurations that are surely, and
        perhaps, within 5 % of the optimum. `judged` and `ceiling` are those of
        :class:`rrl.studies.scenario.Scenario`.
    served : DataFrame
        One row per problem with a changing load, agent and seed, with the mean latency `latency_s`
        that was served while learning.
    similarity : DataFrame
        One row per steady problem and estimator, with the median `error` of its estimates (%), and
        the `repeat` error (%): what two equal configurations of the recording would differ by.
    recorded : DataFrame
        One row per profile, with the number of its `episodes` and whether the `binary` served them.
    """

    runs: pd.DataFrame
    facts: pd.DataFrame
    served: pd.DataFrame
    similarity: pd.DataFrame
    recorded: pd.DataFrame


def settings(
    registered: Registration, problems: Iterable[Problem], seeds: int, most_episodes: int
) -> list[Setting]:
    """Return the settings of the sweep: every registered agent on each problem.

    Under a load that changes, TensorFlow Serving's default is there, too.

    Examples
    --------
    >>> from rrl.studies.registration import read_registration
    >>> registered = read_registration("data")
    >>> one = settings(registered, registered.problems[:1], 30, 3000)
    >>> len(one) == len(registered.agents), one[0].episodes
    (True, 300)
    """
    return [
        Setting(p.testbed, p.load, agent, seeds, min(p.episodes, most_episodes))
        for p in problems
        for agent in (*registered.agents, *([DEFAULT] if p.workload else []))
    ]


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
        known[key] = head | _judging(scenario, limit_s, simulated_requests) | {"late": late}
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
        columns = {"first": found["E5_first"], "deployed": 1 + found["gap"]}
        columns |= {"price": found["price"], "latency_s": scenario.cost[final]}
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
        "gap": float(scenario.cost[default]) / scenario.optimum - 1,
        "default_late": float(about["late"][default]),
        "default_error": float(about["error"][default]),
        "default_requests": int(about["requests"][default]),
    }


def _judging(
    scenario: Scenario, limit_s: float, simulated_requests: int
) -> dict[str, NDArray[Any]]:
    """Return how sure the truth is: per configuration, an error and a number of requests."""
    server, n = scenario.server, len(scenario.space)
    pinned = getattr(scenario.workload, "rate", None)
    if not isinstance(server, RecordedServer) or pinned not in server.profile.rates_per_s:
        return {"error": np.zeros(n), "requests": np.full(n, simulated_requests)}
    assert server.half is not None  # the other half judges
    found = judging_errors(server.profile, pinned, 1 - server.half)
    effect = design_effect(server.profile, pinned, 1 - server.half, limit_s)
    return found | {"requests": np.maximum(1, found["requests"] / effect).astype(int)}


def design_effect(profile: Profile, rate_per_s: float, half: int, limit_s: float) -> float:
    """Return how many requests of an episode count as one independent request, if late ones count.

    Late requests come together, because they wait in one queue. So the share of late requests
    varies more from episode to episode than independent requests would make it. The value is the
    ratio of the two variances over all configurations with at least two episodes, and at least 1.

    References
    ----------
    Kish, *Survey Sampling* (1965), section 8.2.

    Examples
    --------
    >>> profile = read_profile("data/keyword-threads")
    >>> bool(1 <= design_effect(profile, 900.0, 1, 0.005) < 300)
    True
    """
    rows = rows_of_half(profile, rate_per_s, half)
    late = np.array(
        [
            ((profile.latencies(row) > limit_s) | (profile.statuses(row) != 0)).mean()
            for row in rows.index
        ]
    )
    index, n = profile.space.indices(rows), int(profile.description["plan"]["requests"])
    counts = np.bincount(index).astype(float)
    means = np.bincount(index, late) / np.maximum(counts, 1)
    several = counts > 1
    squares = np.bincount(index, (late - means[index]) ** 2)[several]
    between = float((squares / (counts[several] - 1)).sum())
    independent = float((means[several] * (1 - means[several]) / n).sum())
    return max(1.0, between / independent) if independent > 0 else 1.0


def judging_errors(profile: Profile, rate_per_s: float, half: int) -> dict[str, NDArray[Any]]:
    """Return the standard errors of the log mean latencies of a half, and its numbers of requests.

    The scatter of an episode is pooled over the configurations of the grid, without what all
    configurations share in a repeat of a pass. The finals make some means surer than this says.

    Returns
    -------
    dict of str to ndarray, shape (configurations,)
        ``error`` and ``requests``.

    Examples
    --------
    >>> found = judging_errors(read_profile("data/keyword-threads"), 900.0, 1)
    >>> bool(0 < found["error"].max() < 0.3), int(found["requests"].min())
    (True, 600)
    """
    grid = profile.grid[np.isclose(profile.grid["rate_per_s"], rate_per_s)]
    keys = [*profile.knobs, "pass", "repeat"]
    logs = np.log(grid.set_index(keys)["mean_s"].unstack(["pass", "repeat"]).to_numpy())
    logs = logs - np.nanmean(logs, axis=0)
    free = (~np.isnan(logs)).sum() - logs.shape[0] - logs.shape[1] + 1
    rest = logs - np.nanmean(logs, axis=1, keepdims=True)
    scatter = np.sqrt(np.nansum(rest**2) / max(free, 1))
    rows, n = rows_of_half(profile, rate_per_s, half), len(profile.space)
    index = profile.space.indices(rows)
    passes = np.bincount(index[(rows["pass"] < profile.grid_passes).to_numpy()], minlength=n)
    requests = int(profile.description["plan"]["requests"]) * np.bincount(index, minlength=n)
    return {"error": scatter / np.sqrt(np.maximum(passes, 1)), "requests": requests}


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
