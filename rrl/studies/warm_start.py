"""What a warm start saves, and what it costs where the earlier measurements mislead.

``python -m rrl.studies.warm_start`` writes a table. Each recorded model is tuned at its middle
load, without and with the profile of each other recording. Two adversaries are the model's own
profile, once with good and bad exchanged, and once with all its costs shuffled. Agents replay one
half of a profile, and the other half judges them. The settings in :mod:`rrl.core.warm_start` were
chosen with other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrl.core.agent import Agent, MakeAgent
from rrl.core.space import ConfigSpace
from rrl.core.warm_start import Earlier, transfer
from rrl.studies.problems import DATA, SEEDS, with_truth
from rrl.studies.race import race, score
from rrl.support.errors import Parser, UsageError, command
from rrl.support.files import write_atomically
from rrl.support.intervals import bootstrap_interval
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


def agent_with(problem: str, source: str, data: Path = DATA) -> MakeAgent:
    """Return a function that makes the agent for a problem, with what a source says."""
    if source == COLD:
        return recommended
    known = misleading(problem, source, data) if source in ADVERSARIES else earlier(source, data)

    def make(space: ConfigSpace, rng: np.random.Generator) -> Agent:
        return recommended(space, rng, warm=transfer(space, known))

    return make


def study(
    seeds: Sequence[int] = SEEDS,
    episodes: int = EPISODES,
    problems: Sequence[str] = tuple(PROBLEMS),
    data: Path = DATA,
    workers: int = 1,
) -> pd.DataFrame:
    """Race the agent with each source against the agent without one.

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
        One row per problem and source. ``first`` and ``good`` are median numbers of episodes until
        a good configuration is recommended for the first time, and until it stays so
        (:func:`rrl.studies.race.score`); they are NaN if the best of the replayed half is not good.
        ``price`` is the median of the mean cost of all episodes in units of the best. ``ratio`` is
        the median of the ratio of the prices of equal seeds, with and without the source, and
        ``low`` and ``high`` are its 95 % interval.
    """
    import pandas as pd
    from joblib import Parallel, delayed

    jobs = [
        (problem, source)
        for problem in problems
        for source in (COLD, *(name for name in PROBLEMS if name != problem), *ADVERSARIES)
    ]

    def run(problem: str, source: str) -> dict[str, np.ndarray]:
        scenario = with_truth(f"{problem} {PROBLEMS[problem]}", data)
        return score(scenario, race(scenario, agent_with(problem, source, data), seeds, episodes))

    results = dict(zip(jobs, Parallel(workers)(delayed(run)(*job) for job in jobs), strict=True))
    rows = []
    for (problem, source), measured in results.items():
        judged = with_truth(f"{problem} {PROBLEMS[problem]}", data).judged
        first, good = (np.median(measured[name]) for name in ("E5_first", "E5"))
        ratio = measured["price"] / results[problem, COLD]["price"]
        centre, low, high = bootstrap_interval(ratio, np.random.default_rng(0))
        rows.append(
            {
                "problem": f"{problem} {PROBLEMS[problem]}/s",
                "source": source,
                "first": first if judged else np.nan,
                "good": good if judged else np.nan,
                "price": np.median(measured["price"]),
                "ratio": centre,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the study, print its table and write it."""
    parser = Parser(prog="python -m rrl.studies.warm_start", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/warm-start.csv"))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--workers", type=int, default=-1, help="processes (default: all cores)")
    options = parser.parse_args(argv)
    if options.seeds < 1 or options.episodes < 1 or options.first_seed < 0:
        raise UsageError("--seeds and --episodes must be at least 1, and --first-seed at least 0")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    table = study(seeds, options.episodes, options.problems, workers=options.workers)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, table.to_csv(index=False, float_format="%.4g"))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
