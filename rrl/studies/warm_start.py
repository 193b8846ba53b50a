"""What a warm start saves, and what it costs where the earlier measurements mislead.

Each recorded model is tuned at its middle load, without and with the profile of each other
recording. Two adversaries are the model's own profile, once with good and bad exchanged, and once
with all its costs shuffled. Agents replay one half of a profile, and the other half judges them.
``python -m rrl.studies.warm_start`` writes two tables: every run, and one row per problem and
source. ``data/README.md`` has their columns. The settings in :mod:`rrl.core.warm_start` were chosen
with other seeds than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrl.core.agent import Agent
from rrl.core.space import ConfigSpace
from rrl.core.warm_start import Earlier, WarmStart, transfer
from rrl.studies.problems import DATA, with_truth
from rrl.studies.race import Race, race
from rrl.studies.scenario import Scenario
from rrl.support.errors import Parser, UsageError, command
from rrl.support.files import write_atomically
from rrl.support.intervals import bootstrap_interval
from rrl.support.machine import one_thread
from rrl.tuning.recommended import recommended

if TYPE_CHECKING:
    import pandas as pd

PROBLEMS = {
    "mobilenet_v2-threads": 115,
    "mobilenet_v2-busy": 76,
    "inception_v3-threads": 21,
    "keyword-threads": 900,
    "mobilenet_v2-batching": 115,
}
"""The recorded models, and their middle loads in requests per second."""

COLD, ADVERSARIES = "none", ("inverted", "shuffled")
EPISODES = 60  # as in `rrl tune`
FIRST_SEED, SEEDS = 8000, 30  # no setting was chosen on these seeds


def earlier(name: str, data: Path = DATA) -> Earlier:
    """Return the mean log latencies of a profile, over its loads."""
    from rrl.recording.profile import read_profile

    profile = read_profile(data / name)
    fixed = profile.description["plan"]["fixed"]
    logs = np.mean([np.log(profile.surface(rate)) for rate in profile.rates_per_s], axis=0)
    counts = profile.grid.groupby(profile.knobs).size()
    known = [{**fixed, **c} for c in profile.space]
    return Earlier(known, logs, np.full(len(known), counts.min()))


def misleading(name: str, how: str, data: Path = DATA) -> Earlier:
    """Return a profile that misleads: one of `ADVERSARIES`.

    Examples
    --------
    >>> true, false = (earlier("keyword-threads"), misleading("keyword-threads", "inverted"))
    >>> int(false.log_costs.argmin()) == int(true.log_costs.argmax())
    True
    """
    true = earlier(name, data)
    shuffled = np.random.default_rng(0).permutation(true.log_costs)
    return true._replace(log_costs=-true.log_costs if how == "inverted" else shuffled)


def warm_start(problem: str, source: str, data: Path = DATA) -> WarmStart | None:
    """Return what a source says about a problem; None if nothing is taken over."""
    if source == COLD:
        return None
    known = misleading(problem, source, data) if source in ADVERSARIES else earlier(source, data)
    warm = transfer(_scenario(problem, data).space, known)
    return None if warm.flat else warm


def study(
    seeds: Sequence[int] = range(FIRST_SEED, FIRST_SEED + SEEDS),
    episodes: int = EPISODES,
    problems: Sequence[str] = tuple(PROBLEMS),
    data: Path = DATA,
    workers: int = 1,
) -> pd.DataFrame:
    """Race the agent with each source; for one seed, all meet the same arrivals.

    Parameters
    ----------
    seeds : sequence of int
    episodes : int
    problems : sequence of str
        Keys of `PROBLEMS`.
    data : pathlib.Path
    workers : int
        Number of processes; -1 is one per core.

    Returns
    -------
    DataFrame
        One row per problem, source and seed. ``taken`` says whether anything is taken over; if not,
        the run is the one without a source. ``reached`` is the number of episodes until the
        recommendation costs no more than what the agent without a source recommends at the end (the
        median over the seeds); one more than `episodes` means never. ``deployed`` is the true cost
        of the last recommendation in units of the optimum's, and ``price`` is the true mean cost of
        all episodes in the same units.
    """
    import pandas as pd
    from joblib import Parallel, delayed

    def run(problem: str, source: str) -> Race | None:
        warm = warm_start(problem, source, data)
        if warm is None and source != COLD:
            return None  # the same run as without a source

        def make(space: ConfigSpace, rng: np.random.Generator) -> Agent:
            return recommended(space, rng, warm=warm)

        with one_thread():
            return race(_scenario(problem, data), make, seeds, episodes)

    jobs = [(problem, source) for problem in problems for source in sources(problem)]
    races = dict(zip(jobs, Parallel(workers)(delayed(run)(*job) for job in jobs), strict=True))
    parts = []
    for (problem, source), runs in races.items():
        scenario, cold = _scenario(problem, data), races[problem, COLD]
        head = {"problem": scenario.name, "source": source, "taken": runs is not None}
        head["taken"] &= source != COLD
        parts.append(pd.DataFrame(head | {"seed": seeds} | _measures(scenario, runs or cold, cold)))
    return pd.concat(parts, ignore_index=True)


def sources(problem: str) -> list[str]:
    """Return the sources of a problem: none, the other models, and the adversaries."""
    return [COLD, *(name for name in PROBLEMS if name != problem), *ADVERSARIES]


def _scenario(problem: str, data: Path) -> Scenario:
    return with_truth(f"{problem} {PROBLEMS[problem]}", data)


def _measures(scenario: Scenario, runs: Race, cold: Race) -> dict[str, np.ndarray]:
    cost = scenario.cost / scenario.optimum
    found = cost[runs.recommended] <= np.median(cost[cold.recommended[:, -1]])
    return {
        "reached": np.where(found.any(axis=1), found.argmax(axis=1) + 1, found.shape[1] + 1),
        "deployed": cost[runs.recommended[:, -1]],
        "price": cost[runs.chosen].mean(axis=1),
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
        One row per problem and source. ``reached`` is the median over the seeds. ``saved`` is the
        median number of episodes by which it is reached earlier, ``price`` the median ratio of the
        prices, and ``deployed`` that of what is deployed, each with the ends of its 95 % interval
        (``saved_low`` and so on).

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [("a", "none", False, 0, 9, 1.2, 2.0), ("a", "b", True, 0, 4, 1.2, 1.0)]
    >>> names = ["problem", "source", "taken", "seed", "reached", "deployed", "price"]
    >>> table = warm_start_table(pd.DataFrame(rows, columns=names), np.random.default_rng(0))
    >>> table[["source", "saved", "price", "deployed"]].iloc[1:]
      source  saved  price  deployed
    1      b    5.0    0.5       1.0
    """
    import pandas as pd

    rows, draws = [], int(rng.integers(2**31))  # a row must not depend on which others there are
    for (problem, source), ours in runs.groupby(["problem", "source"], sort=False):
        ours = ours.set_index("seed")
        cold = runs[(runs["problem"] == problem) & (runs["source"] == COLD)].set_index("seed")
        row = {"problem": problem, "source": source, "taken": ours["taken"].all()}
        row["reached"] = ours["reached"].median()
        for name, paired in (
            ("saved", cold["reached"] - ours["reached"]),
            ("price", ours["price"] / cold["price"]),
            ("deployed", ours["deployed"] / cold["deployed"]),
        ):
            ends = bootstrap_interval(paired.to_numpy(float), np.random.default_rng(draws))
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def source_verdicts(table: pd.DataFrame, measure: str) -> pd.Series:
    """Say for each row of a table whether a measure is shown to be better than without a source.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"price_low": [0.8, 0.9, 1.1], "price_high": [0.9, 1.1, 1.2]})
    >>> source_verdicts(table, "price").tolist()
    ['better', 'no difference shown', 'worse']
    """
    low, high = table[f"{measure}_low"], table[f"{measure}_high"]
    if measure == "saved":  # episodes: many are good
        low, high = 1 - high, 1 - low
    words = np.select([high < 1, low > 1], ["better", "worse"], "no difference shown")
    return table.assign(verdict=words)["verdict"]


def write_warm_start(runs: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write ``runs.csv`` and ``table.csv``, and return the table.

    The table follows from the numbers as they are written.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    form = {"index": False, "float_format": "%.6g", "lineterminator": "\n"}
    write_atomically(folder / "runs.csv", runs.to_csv(**form))
    table = warm_start_table(pd.read_csv(folder / "runs.csv"), np.random.default_rng(0))
    write_atomically(folder / "table.csv", table.to_csv(**form))
    return table


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, write its tables and print the second."""
    parser = Parser(prog="python -m rrl.studies.warm_start", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=DATA / "warm-start", help="a folder")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many (default {SEEDS})")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="the first of them")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--workers", type=int, default=-1, help="processes (default: all cores)")
    options = parser.parse_args(argv)
    if options.seeds < 1 or options.episodes < 1 or options.first_seed < 0:
        raise UsageError("--seeds and --episodes must be at least 1, and --first-seed at least 0")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = study(seeds, options.episodes, options.problems, workers=options.workers)
    table = write_warm_start(runs, options.out)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
