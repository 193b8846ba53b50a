"""The half of a recording that no agent replayed: how sure it is, and what it says was served.

A replayed half has few episodes of each configuration, and every run is told the same ones. So what
an agent was told is partly luck, and more seeds do not reveal it. Here an episode counts with the
mean latency of its configuration at its load by the finals and the passes of the *other* half
(:mod:`rrl.recording.truth`). Three references choose with knowledge that no agent has.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from rrl.core.space import Floats, Ints
from rrl.recording.profile import Profile
from rrl.recording.replay import RecordedServer
from rrl.recording.truth import CONFIDENCE, judge_half, replay_best, rows_of_half
from rrl.studies.days import DEFAULT
from rrl.studies.scenario import Scenario
from rrl.workloads.workload import cut_into_episodes

ORACLE = "oracle"
"""Always chooses what is best by the half that judges."""
READER = "reader"
"""Reads the replayed half perfectly: always chooses what is best there."""
FIXED = "fixed"
"""Always chooses one configuration: the best one, over a whole changing load, by the judge."""


def told_by_judge(
    scenario: Scenario, first_seed: int, chosen: Mapping[str, NDArray[np.int32]]
) -> tuple[dict[str, Floats], dict[str, float], Floats]:
    """Judge what some agents served under a changing load by the half that none of them replayed.

    The server of the scenario replays one half, and the other one judges. The runs have the seed
    `first_seed` and those that follow. `chosen` contains the configurations that each agent served,
    shape (seeds, episodes), and the default is among the agents.

    Returns
    -------
    latency_s : dict of str to ndarray, shape (seeds,)
        The mean latency that each agent, and each reference, served.
    error : dict of str to float
        The standard error of the logarithm of the default's mean over the agent's. It is common to
        all runs. Where both serve the same configuration at the same load, it cancels out.
    met : ndarray, shape (seeds, episodes)
        The recorded loads (requests/s) that answered.
    """
    server = scenario.server
    assert isinstance(server, RecordedServer)
    assert server.half is not None
    profile, rates, judge = server.profile, server.profile.rates_per_s, 1 - server.half
    costs = np.array([judge_half(profile, rate, judge).cost for rate in rates])
    errors = np.array([ratio_errors(profile, rate, judge) for rate in rates])
    seeds, episodes = chosen[DEFAULT].shape
    met = np.array([loads_met(scenario, first_seed + i, episodes) for i in range(seeds)])
    often = np.bincount(met.ravel(), minlength=len(rates))
    read = np.array([replay_best(profile, rate, server.half) for rate in rates])
    references = {
        ORACLE: costs.argmin(axis=1)[met],
        READER: read[met],
        FIXED: np.full_like(met, np.argmin(often @ costs)),
    }
    latency, share = {}, {}
    for agent, rows in {**chosen, **references}.items():
        told = costs[met, rows]
        latency[agent], weight = told.mean(axis=1), np.zeros_like(costs)
        np.add.at(weight, (met, rows), told)
        share[agent] = weight / weight.sum()
    error = {
        agent: float(np.linalg.norm((share[DEFAULT] - own) * errors))
        for agent, own in share.items()
    }
    return latency, error, np.array(rates)[met]


def loads_met(scenario: Scenario, seed: int, episodes: int) -> Ints:
    """Return the number of the recorded load that answers each episode of a run.

    The arrivals of a seed are those of :func:`rrl.studies.race.race`.
    """
    server, requests = scenario.server, scenario.requests
    assert isinstance(server, RecordedServer)
    arrivals_rng, _ = np.random.default_rng([seed, 1]).spawn(2)
    stretch = scenario.workload.arrivals((episodes + 1) * requests, arrivals_rng)
    served = islice(cut_into_episodes(stretch, requests), 1, None)  # the first is only watched
    return np.array([server.nearest_rate(arrivals) for arrivals in served])


# --- how sure the judge is ------------------------------------------------------------------------


def how_sure(
    scenario: Scenario, limit_s: float, simulated_requests: int
) -> dict[str, NDArray[Any]]:
    """Return how sure the truth of a problem under a load that stays is.

    A request is late if it takes longer than `limit_s`. `simulated_requests` of each configuration
    are behind a simulated truth.

    Returns
    -------
    dict of str to ndarray, shape (configurations,)
        ``error`` is the standard error of the logarithm of the mean latency. ``requests`` is the
        number of independent requests.
    """
    server, n = scenario.server, len(scenario.space)
    if not isinstance(server, RecordedServer):
        return {"error": np.zeros(n), "requests": np.full(n, simulated_requests)}
    assert server.half is not None
    where = server.profile, scenario.workload.rate, 1 - server.half
    found, effect = judging_errors(*where), design_effect(*where, limit_s)
    return found | {"requests": np.maximum(1, found["requests"] / effect).astype(int)}


def design_effect(profile: Profile, rate_per_s: float, half: int, limit_s: float) -> float:
    """Return how many requests of an episode count as one independent request, if late ones count.

    Late requests come together, because they wait in one queue. So the fraction of late requests
    varies more from episode to episode than independent requests would make it. The value is the
    ratio of the two variances over all configurations with at least two episodes, and at least 1.

    References
    ----------
    Kish, *Survey Sampling* (1965), section 8.2.

    Examples
    --------
    >>> from rrl.recording.profile import read_profile
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


def ratio_errors(profile: Profile, rate_per_s: float, half: int) -> Floats:
    """Return the standard error of the logarithm of each cost over the best's, by a half.

    What took part in the finals has the error that its limits stand for, and the best has none. All
    others have the error of :func:`judging_errors`, and so have finalists without limits.

    Returns
    -------
    ndarray, shape (configurations,)

    Examples
    --------
    >>> from rrl.recording.profile import read_profile
    >>> errors = ratio_errors(read_profile("data/keyword-threads"), 900.0, 1)
    >>> float(errors.min()), bool(errors.max() < 0.3)
    (0.0, True)
    """
    truth = judge_half(profile, rate_per_s, half)
    errors = judging_errors(profile, rate_per_s, half)["error"].copy()
    known = np.isfinite(truth.high) & (truth.low > 0)
    errors[known] = np.log(truth.high[known] / truth.low[known]) / (2 * norm.ppf(CONFIDENCE))
    return errors


def judging_errors(profile: Profile, rate_per_s: float, half: int) -> dict[str, NDArray[Any]]:
    """Return the standard errors of the log mean latencies of a half, and its numbers of requests.

    The scatter of an episode is pooled over the configurations of the grid, without what all
    configurations share in a repeat of a pass. The finals make some means surer than this says.

    If only good configurations took part in some passes, what the repeats share is estimated too
    low there: the scatter is 4 to 10 % too high on mobilenet_v2-joint-279, so the intervals of the
    claims are somewhat too wide. The estimate stays, because the claims were judged with it.

    Returns
    -------
    dict of str to ndarray, shape (configurations,)
        ``error`` and ``requests``.

    Examples
    --------
    >>> from rrl.recording.profile import read_profile
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
