"""Other constants of an agent under loads that change, and in long runs under loads that stay.

The tuning study has runs of 300 episodes under steady loads. ``python -m rrl.studies.other_loads
--constants '{"horizon": 300}'`` compares other constants of `rrl-gp` with its own on further
problems: the changing loads of ``data/claims.yaml`` that are not held out, and `STEADY` for 1000
episodes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.rivals.constants import with_constants
from rrl.studies.outcomes import name_of
from rrl.studies.problems import DATA, open_scenario
from rrl.studies.race import race
from rrl.studies.registration import read_registration
from rrl.studies.settings import Load, workload
from rrl.support.errors import Parser, command
from rrl.support.intervals import ratio_interval
from rrl.support.machine import available_cpus, one_thread

if TYPE_CHECKING:
    import pandas as pd

STEADY = {
    "cpu2": 115.0,
    "gpu": 500.0,
    "cpu10": 12.5,
    "mobilenet_v2-threads": 115.0,
    "mobilenet_v2-busy": 76.0,
    "mobilenet_v2-batching": 115.0,
    "inception_v3-threads": 21.0,
    "keyword-threads": 900.0,
}
LONGEST = 1000  # episodes
FIRST_SEED, SEEDS = 5300, 30  # neither the tables nor the tuning study use these seeds

Problem = tuple[str, Load, int]


def problems(data: Path = DATA) -> list[Problem]:
    """Return the testbed, the load and the episodes of each problem.

    Examples
    --------
    >>> len(problems()), problems()[-1]
    (43, ('keyword-threads', 900.0, 1000))
    """
    changing = [p for p in read_registration(data).problems if p.workload and p.kind != "held_out"]
    found: list[Problem] = [(p.testbed, p.load, min(p.episodes, LONGEST)) for p in changing]
    return found + [(testbed, load, LONGEST) for testbed, load in STEADY.items()]


def compare_constants(
    constants: dict[str, Any],
    where: Sequence[Problem],
    seeds: Sequence[int],
    rng: np.random.Generator,
    data: Path = DATA,
) -> pd.DataFrame:
    """Divide the mean cost of `rrl-gp`, as it is, by that of `rrl-gp` with other constants.

    Both meet the same arrivals, seed by seed.

    Returns
    -------
    DataFrame
        One row per problem: `ratio` is the median over the seeds, with the limits `low` and `high`
        of its 95 % interval, and `of_means` is the ratio of the means.
    """
    import pandas as pd
    from joblib import Parallel, delayed

    tasks = [(problem, each) for problem in where for each in ({}, constants)]
    runs = Parallel(n_jobs=available_cpus())(
        delayed(_costs)(problem, each, seeds, data) for problem, each in tasks
    )
    rows = []
    for (testbed, load, episodes), own, other in zip(where, runs[::2], runs[1::2], strict=True):
        ratio, low, high = ratio_interval(own, other, rng)
        row = {"problem": name_of((testbed, load)), "episodes": episodes, "ratio": ratio}
        rows.append(row | {"low": low, "high": high, "of_means": own.mean() / other.mean()})
    return pd.DataFrame(rows)


def _costs(
    problem: Problem, constants: dict[str, Any], seeds: Sequence[int], data: Path
) -> NDArray[np.float64]:
    """Return the mean cost of each run, shape (seeds,)."""
    testbed, load, episodes = problem
    with one_thread():
        scenario = open_scenario(testbed, workload(load), data)
        return race(scenario, with_constants("rrl-gp", constants), seeds, episodes).costs.mean(
            axis=1
        )


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison on all problems, and the numbers of intervals below and above 1."""
    parser = Parser(prog="python -m rrl.studies.other_loads", description=__doc__.split("\n\n")[0])
    parser.add_argument("--constants", type=json.loads, required=True, help="the others, in JSON")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args(argv)
    seeds = range(FIRST_SEED, FIRST_SEED + SEEDS)
    rng = np.random.default_rng(0)
    table = compare_constants(options.constants, problems(options.data), seeds, rng, options.data)
    print(table.round(3).to_string(index=False))
    mean = np.exp(np.log(table["of_means"]).mean())
    better, worse = (table["high"] < 1).sum(), (table["low"] > 1).sum()
    print(f"geometric mean {mean:.3f}; shown better on {better} of {len(table)}, worse on {worse}")


if __name__ == "__main__":
    raise SystemExit(main())
