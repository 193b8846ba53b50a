"""What a warm start saves, and what it costs where the earlier measurements mislead.

Each recorded model is tuned at its middle load, without and with the profile of each other
recording. Agents replay one half of a profile, and the other half judges them. Three adversaries
are made from the half that is replayed: good and bad exchanged, all costs shuffled, and the values
of one knob in the opposite order. The agent learns the slope between two models, which may be
negative. So what is inverted need not mislead it, and what is shuffled has no order to take over.
What is mirrored keeps its order along the other knobs, but something else looks best.
:func:`make_warm_start` writes two tables: every run, and one row per problem and source.
``data/README.md`` has their columns. The settings in :mod:`rrl.tuning.warm_start` were chosen
with other seeds than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrl.core.agent import Agent
from rrl.core.qtable import Floats
from rrl.core.space import ConfigSpace
from rrl.recording.replay import RecordedServer
from rrl.studies.outcomes import interval, write_runs
from rrl.studies.problems import DATA, with_truth
from rrl.studies.race import Race, race
from rrl.studies.scenario import Scenario
from rrl.support.limits import censored_median
from rrl.support.machine import one_thread
from rrl.tuning.recommended import recommended
from rrl.tuning.warm_start import Earlier, WarmStart, transfer

if TYPE_CHECKING:
    import pandas as pd

    from rrl.studies.sweeps import Sweep

PROBLEMS = {
    "mobilenet_v2-threads": 115,
    "mobilenet_v2-busy": 76,
    "inception_v3-threads": 21,
    "keyword-threads": 900,
    "mobilenet_v2-batching": 115,
}
"""The recorded models, and their middle loads in requests per second."""

COLD, ADVERSARIES = "none", ("inverted", "shuffled", "mirrored")
EPISODES = 60  # as in `rrl tune`
FIRST_SEED, SEEDS = 8000, 30  # no setting was chosen on these seeds


def earlier(name: str, half: int | None = None) -> Earlier:
    """Return the mean log latencies of a profile, or of one half of it, over its loads."""
    from rrl.recording.profile import Profile, read_profile

    profile = read_profile(DATA / name)
    if half is not None:
        rows = profile.table["pass"] % 2 == half
        profile = Profile(profile.description, profile.table[rows])
    fixed = profile.description["plan"]["fixed"]
    logs = np.mean([np.log(profile.surface(rate)) for rate in profile.rates_per_s], axis=0)
    counts = profile.grid.groupby(profile.knobs).size()
    known = [{**fixed, **c} for c in profile.space]
    return Earlier(known, logs, np.full(len(known), counts.min()))


def misleading(name: str, how: str) -> Earlier:
    """Return a profile that misleads: one of `ADVERSARIES`, made from the half that is replayed.

    Examples
    --------
    >>> true, false = earlier("keyword-threads", half=0), misleading("keyword-threads", "inverted")
    >>> int(false.log_costs.argmin()) == int(true.log_costs.argmax())
    True
    """
    scenario = _scenario(name)
    assert isinstance(scenario.server, RecordedServer)
    true = earlier(name, scenario.server.half)
    logs = true.log_costs
    if how == "mirrored":
        return true._replace(log_costs=mirrored(logs, scenario.space.shape))
    shuffled = np.random.default_rng(0).permutation(logs)
    return true._replace(log_costs=-logs if how == "inverted" else shuffled)


def mirrored(costs: Floats, shape: Sequence[int]) -> Floats:
    """Return the costs of a whole grid with the values of one knob in the opposite order.

    It is the knob for which the configuration that then looks best costs most.

    Examples
    --------
    >>> mirrored(np.array([1.0, 2.0, 3.0, 8.0, 9.0, 7.0]), (2, 3))
    array([8., 9., 7., 1., 2., 3.])
    """
    grid = np.asarray(costs).reshape(shape)
    found = [np.flip(grid, axis).ravel() for axis in range(grid.ndim)]
    return max(found, key=lambda one: costs[one.argmin()])


def warm_start(problem: str, source: str) -> WarmStart | None:
    """Return what a source says about a problem; None if nothing is taken over."""
    if source == COLD:
        return None
    known = misleading(problem, source) if source in ADVERSARIES else earlier(source)
    warm = transfer(_scenario(problem).space, known)
    return None if warm.flat else warm


def study(
    seeds: Sequence[int] = range(FIRST_SEED, FIRST_SEED + SEEDS),
    problems: Sequence[str] = tuple(PROBLEMS),
    workers: int = 1,
) -> pd.DataFrame:
    """Race the agent with each source; for one seed, all meet the same arrivals.

    Parameters
    ----------
    seeds : sequence of int
    problems : sequence of str
        Keys of `PROBLEMS`.
    workers : int
        Number of processes; -1 is one per core.

    Returns
    -------
    DataFrame
        One row per problem, source and seed. ``taken`` says whether anything is taken over; if not,
        the run is the one without a source. ``reached`` is the number of episodes until the
        recommendation costs no more than what the agent without a source recommends at the end (the
        median over the seeds); one more than `EPISODES` means never. ``deployed`` is the true cost
        of the last recommendation in units of the optimum's, and ``mean_cost`` is the true mean
        cost of all episodes in the same units.
    """
    import pandas as pd
    from joblib import Parallel, delayed

    def run(problem: str, source: str) -> Race | None:
        warm = warm_start(problem, source)
        if warm is None and source != COLD:
            return None  # the same run as without a source

        def make(space: ConfigSpace, rng: np.random.Generator) -> Agent:
            return recommended(space, rng, warm=warm)

        with one_thread():
            return race(_scenario(problem), make, seeds, EPISODES)

    jobs = [(problem, source) for problem in problems for source in sources(problem)]
    races = dict(zip(jobs, Parallel(workers)(delayed(run)(*job) for job in jobs), strict=True))
    parts = []
    for (problem, source), runs in races.items():
        scenario, cold = _scenario(problem), races[problem, COLD]
        taken = runs is not None and source != COLD
        head = {"problem": scenario.name, "source": source, "taken": taken}
        parts.append(pd.DataFrame(head | {"seed": seeds} | _measures(scenario, runs or cold, cold)))
    return pd.concat(parts, ignore_index=True)


def sources(problem: str) -> list[str]:
    """Return the sources of a problem: none, the other models, and the adversaries."""
    return [COLD, *(name for name in PROBLEMS if name != problem), *ADVERSARIES]


def _scenario(problem: str) -> Scenario:
    return with_truth(problem, PROBLEMS[problem])


def _measures(scenario: Scenario, runs: Race, cold: Race) -> dict[str, np.ndarray]:
    cost = scenario.cost / scenario.optimum
    found = cost[runs.recommended] <= np.median(cost[cold.recommended[:, -1]])
    return {
        "reached": np.where(found.any(axis=1), found.argmax(axis=1) + 1, found.shape[1] + 1),
        "deployed": cost[runs.recommended[:, -1]],
        "mean_cost": cost[runs.chosen].mean(axis=1),
    }


def warm_start_table(runs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Compare each source with the runs without one, seed by seed.

    Parameters
    ----------
    runs : DataFrame
        See :func:`study`.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per problem and source. ``reached`` is the median over the seeds; the median is
        censored too if the later of the two runs in the middle is. ``saved`` is the median number
        of episodes that the source saves. ``mean_cost`` and ``deployed`` are the medians of these
        measures divided by those without a source. Each has the limits of its 95 % interval
        (``saved_low`` and so on).

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("a", "none", False, 0, 9, 1.2, 2.0), ("a", "b", True, 0, 4, 1.2, 1.0)]
    >>> names = ["problem", "source", "taken", "seed", "reached", "deployed", "mean_cost"]
    >>> table = warm_start_table(pd.DataFrame(rows, columns=names), np.random.default_rng(0))
    >>> table[["source", "saved", "mean_cost", "deployed"]].iloc[1:]
      source  saved  mean_cost  deployed
    1      b    5.0        0.5       1.0
    """
    import pandas as pd

    rows, draws = [], int(rng.integers(2**31))  # a row must not depend on which others there are
    for (problem, source), ours in runs.groupby(["problem", "source"], sort=False):
        ours = ours.set_index("seed")
        cold = runs[(runs["problem"] == problem) & (runs["source"] == COLD)].set_index("seed")
        row = {"problem": problem, "source": source, "taken": ours["taken"].all()}
        row["reached"] = censored_median(ours["reached"].to_numpy(float), EPISODES + 1).item()
        for name, paired in (
            ("saved", cold["reached"] - ours["reached"]),
            ("mean_cost", ours["mean_cost"] / cold["mean_cost"]),
            ("deployed", ours["deployed"] / cold["deployed"]),
        ):
            row |= interval(name, paired, np.random.default_rng(draws))
        rows.append(row)
    return pd.DataFrame(rows)


def make_warm_start(folder: Path, sweep: Sweep) -> None:
    """Run the study in the processes of a sweep, and write ``runs.csv`` and ``table.csv``."""
    write_runs(study(workers=sweep.workers), folder, warm_start_table)
