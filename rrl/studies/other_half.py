"""What was served under a changing load, by the half of a recording that no agent replayed.

A replayed half has few episodes of each configuration, and every run is told the same ones. So what
an agent was told is partly luck, and more seeds do not reveal it. Here an episode counts with the
mean latency of its configuration at its load by the finals and the passes of the *other* half
(:mod:`rrl.recording.truth`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.recording.replay import RecordedServer
from rrl.recording.truth import judge_half
from rrl.studies.day_tables import DEFAULT, problem_label
from rrl.studies.days import Day
from rrl.studies.judging_error import ratio_errors
from rrl.studies.outcomes import Results, name_of
from rrl.studies.problems import open_scenario
from rrl.studies.settings import workload
from rrl.workloads.device_day import device_day
from rrl.workloads.workload import Workload
from rrl.workloads.workload import episodes as cut

if TYPE_CHECKING:
    import pandas as pd

Chosen = Sequence[NDArray[np.int32]]


def loads_met(
    server: RecordedServer, load: Workload, requests: int, seed: int, episodes: int
) -> NDArray[np.int64]:
    """Return the number of the recorded load that answers each episode of a run.

    Parameters
    ----------
    server : RecordedServer
    load : Workload
    requests : int
        Requests of an episode.
    seed : int
        The seed of the run. Its arrivals are those of :func:`rrl.studies.race.race`.
    episodes : int
    """
    arrivals_rng, _ = np.random.default_rng([seed, 1]).spawn(2)
    stretch = load.arrivals((episodes + 1) * requests, arrivals_rng)
    served = islice(cut(stretch, requests), 1, None)  # the first part is only watched
    return np.array([server.nearest_rate(arrivals) for arrivals in served])


def rejudged(
    served: pd.DataFrame,
    races: Results,
    days: Mapping[Day, Mapping[str, NDArray[Any]]],
    data: str | os.PathLike[str],
) -> pd.DataFrame:
    """Return what was served on recordings, by the half that was not replayed.

    Parameters
    ----------
    served : DataFrame
        See :class:`rrl.studies.claim_runs.Evidence`.
    races : mapping of Setting to Race
    days : mapping of Day to arrays
        As :func:`rrl.studies.days.run_days` returns them.
    data : path
        The folder of the profiles.

    Returns
    -------
    DataFrame
        The rows of `served` whose problem is a recording under a changing load, with another
        `latency_s`. `error` is the standard error of the logarithm of the default's mean latency
        over the agent's, as far as the recording is to blame.
    """
    import pandas as pd

    runs: dict[tuple[str, Any], dict[str, Chosen]] = {}
    about: dict[tuple[str, Any], tuple[str, Workload, int | None, int]] = {}
    for setting, race in races.items():
        if not isinstance(setting.load, int | float):
            name, load = name_of(setting.problem), workload(setting.load)
            about[setting.problem] = name, load, None, setting.first_seed
            runs.setdefault(setting.problem, {})[setting.agent] = race.chosen
    for day, arrays in days.items():
        key, name = (day.testbed, day.problem), f"{problem_label(day)}, day"
        about[key] = name, device_day(day.rate, day.length_s), day.requests, day.first_seed
        runs.setdefault(key, {})[day.agent] = arrays["chosen"]
    found: dict[tuple[str, str], tuple[NDArray[np.float64], float]] = {}
    for key, (name, load, requests, first_seed) in about.items():
        scenario = open_scenario(key[0], load, data)
        if isinstance(scenario.server, RecordedServer):
            how = load, requests or scenario.requests, first_seed
            means = _means(scenario.server, *how, runs[key])
            found |= {(name, agent): values for agent, values in means.items()}
    parts = [
        rows.sort_values("seed").assign(latency_s=found[key][0], error=found[key][1])
        for key, rows in served.groupby(["problem", "agent"], sort=False)
        if key in found
    ]
    return pd.concat(parts, ignore_index=True) if parts else served[:0]


def _means(
    server: RecordedServer,
    load: Workload,
    requests: int,
    first_seed: int,
    agents: Mapping[str, Chosen],
) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Return for each agent the mean latency (s) of each run, and its error, by the other half.

    The error is the standard error of the logarithm of the default's mean over the agent's. It is
    common to all runs. Where both serve the same configuration at the same load, it cancels out.
    """
    profile, judge = server.profile, 1 - (server.half or 0)
    costs = np.array([judge_half(profile, rate, judge).cost for rate in profile.rates_per_s])
    errors = np.array([ratio_errors(profile, rate, judge) for rate in profile.rates_per_s])
    seeds, episodes = np.shape(next(iter(agents.values())))
    met = [loads_met(server, load, requests, first_seed + i, episodes) for i in range(seeds)]
    fractions, latencies = {}, {}
    for agent, chosen in agents.items():
        told = np.array([costs[at, row] for at, row in zip(met, chosen, strict=True)])
        latencies[agent], weight = told.mean(axis=1), np.zeros_like(costs)
        np.add.at(weight, (np.array(met), np.asarray(chosen)), told)
        fractions[agent] = weight / weight.sum()
    default = fractions.get(DEFAULT, 0.0)
    return {
        agent: (latencies[agent], float(np.linalg.norm((default - fractions[agent]) * errors)))
        for agent in agents
    }
