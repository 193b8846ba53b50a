"""How often `rrl tune` calls one of two equal configurations better, and how often it sees a gain.

``python -m rrl.studies.verdicts`` takes under a minute. It measures the scatter of the log ratios
of paired costs in the finals of the recorded profiles: episodes of the real runtime with the same
arrivals, seconds apart. Then it draws runs of up to 30 rounds from these ratios and from normal
ones, judges each run after every round, and writes three tables as CSV files:

- ``scatter.csv``: the scatter by profile and load, and how it depends on the round before;
- ``level.csv``: the fraction of runs without a difference that got a verdict by then. The level is
  exact for equal configurations ("normal", "recorded"). Two configurations with the same median
  but another skewness ("skewed") are not covered by its proof;
- ``power.csv``: the fraction of runs with a difference that got the right verdict by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.support.errors import Parser, command
from rrl.support.number_options import COUNT
from rrl.support.sequential import PLANNED, first_decisions

if TYPE_CHECKING:
    import pandas as pd

    from rrl.recording.profile import Profile

Values = NDArray[np.float64]
Draw = Callable[[int, np.random.Generator], Values]
"""Takes a number of runs, and returns their log ratios without a difference, (runs, MOST)."""

PROFILES = (
    "mobilenet_v2-threads",
    "mobilenet_v2-busy",
    "mobilenet_v2-batching",
    "inception_v3-threads",
    "keyword-threads",
)
LOADS = ("light", "medium", "heavy")  # 30, 60 and 85 % of what the best configuration sustains
LEAST = 8  # rounds that a pair of finalists must have
MOST = 30  # rounds of a run
LOOKS = (*range(2, PLANNED + 1), MOST)
CUTS = (0.05, 0.10, 0.20)  # the recommendation costs this fraction less
LEVEL = 0.95
ROBUST = 1.4826  # a normal standard deviation, divided by its median absolute deviation
CHUNK = 1000  # runs that are judged together, so that they fit into the processor's cache

# --- the scatter of the recorded ratios -----------------------------------------------------------


def residuals(profile: Profile, rate_per_s: float) -> list[Values]:
    """Return the log ratios of paired mean latencies, less their median, for each two finalists.

    The ratios are in order of time. Pairs with fewer than `LEAST` rounds are left out.
    """
    rows = profile.table[profile.table["pass"] >= profile.grid_passes]
    rows = rows[(rows["valid"] == 1) & (rows["failed"] == 0) & (rows["rate_per_s"] == rate_per_s)]
    rows = rows.assign(
        round=rows.groupby("arrival_seed")["order"].transform("min"), log=np.log(rows["mean_s"])
    )
    logs = rows.pivot(index="round", columns=profile.knobs, values="log").to_numpy().T
    ratios = [one - other for one, other in combinations(logs, 2)]
    ratios = [values[~np.isnan(values)] for values in ratios]
    return [values - np.median(values) for values in ratios if len(values) >= LEAST]


def scatter_of(samples: Sequence[Values]) -> dict[str, float]:
    """Return the quartiles of the scatter over pairs, and the mean rank correlation of neighbours.

    Examples
    --------
    >>> scatter_of([np.array([1.0, -1.0] * 8)])["sd_50"].round(3)
    np.float64(1.033)
    """
    from scipy.stats import rankdata

    sds = [np.std(values, ddof=1) for values in samples]
    robust = [ROBUST * np.median(np.abs(values)) for values in samples]
    ranks = [rankdata(values) for values in samples]
    serial = [np.corrcoef(values[1:], values[:-1])[0, 1] for values in ranks]
    found = {"pairs": len(samples), "rounds": float(np.median([len(v) for v in samples]))}
    for name, numbers in (("sd", sds), ("robust", robust)):
        quartiles = np.quantile(numbers, [0.25, 0.5, 0.75])
        found |= {f"{name}_{q}": value for q, value in zip((25, 50, 75), quartiles, strict=True)}
    return found | {"neighbours": float(np.mean(serial))}


def resampled(groups: Sequence[Sequence[Values]], equals: bool = True) -> Draw:
    """Return a function that draws runs from residuals: a group, a pair of it, then its rounds.

    Each value gets a fair sign if `equals` is true, as two equal configurations would have it that
    take turns at random. Otherwise the distribution is as skewed as that of the two finalists.
    """

    def draw(runs: int, rng: np.random.Generator) -> Values:
        drawn = np.empty((runs, MOST))
        for row in drawn:
            group = groups[rng.integers(len(groups))]
            row[:] = rng.choice(group[rng.integers(len(group))], MOST)
        return drawn * rng.choice([-1.0, 1.0], drawn.shape) if equals else drawn

    return draw


def normal_noise(sd: float) -> Draw:
    """Return a function that draws runs of normal values."""
    return lambda runs, rng: rng.normal(0.0, sd, (runs, MOST))


# --- ways to judge: each takes the values, and returns signed rounds as `first_decisions` ---------


def by_walk(values: Values) -> NDArray[np.int64]:
    """Judge by the method of `rrl tune`."""
    parts = np.array_split(values, max(1, len(values) // CHUNK))
    return np.concatenate([first_decisions(part, LEVEL) for part in parts])


def by_martingale(values: Values) -> NDArray[np.int64]:
    """Judge by a test martingale for each sign; their mean decides when it reaches 1 / 0.05.

    The stake is the value, divided by the mean size so far. Of the grids of stakes and scales that
    were tried, this one found the most differences at 15 rounds.
    """
    scale = np.cumsum(np.abs(values), axis=1) / np.arange(1, values.shape[1] + 1)
    stakes = 2 * np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    up, down = (np.cumsum(np.log(2) - np.logaddexp(0, -s), axis=1) for s in (stakes, -stakes))
    reached = np.logaddexp(up, down) - np.log(2) >= -np.log(1 - LEVEL)
    return _first(np.where(reached, np.sign(up - down), 0))


def by_bootstrap(values: Values, resamples: int = 2000) -> NDArray[np.int64]:
    """Judge at each look by the percentile bootstrap of the median; return the words, -1, 0 or 1.

    A resampled median is the mean of two of the sorted values. How often it is which two does not
    depend on the values, so one set of resamples serves for `CHUNK` runs.
    """
    rng = np.random.default_rng(1)
    words = np.zeros(values.shape, dtype=np.int64)
    for n in range(2, values.shape[1] + 1):
        for part in range(0, len(values), CHUNK):
            ranked = np.sort(values[part : part + CHUNK, :n], axis=1)
            drawn = np.sort(rng.integers(n, size=(resamples, n)), axis=1)
            middle, counts = np.unique(drawn[:, [(n - 1) // 2, n // 2]], axis=0, return_counts=True)
            medians = ranked[:, middle[:, 0]] + ranked[:, middle[:, 1]]
            above, below = ((side @ counts) / resamples for side in (medians > 0, medians < 0))
            most = (1 + LEVEL) / 2
            words[part : part + CHUNK, n - 1] = (above > most).astype(int) - (below > most)
    return words


def _first(words: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first round that has a word, with its sign, or 0."""
    rows, first = np.arange(len(words)), np.argmax(words != 0, axis=1)
    return ((first + 1) * words[rows, first]).astype(np.int64)


# --- tables ---------------------------------------------------------------------------------------


def level_table(draws: dict[str, Draw], runs: int) -> pd.DataFrame:
    """Return the fraction of runs without a difference that got a verdict, by rounds and method."""
    import pandas as pd

    columns: dict[str, list[float]] = {}
    for name, draw in draws.items():
        values = draw(runs, np.random.default_rng(0))
        words = by_bootstrap(values)
        for method, first in {
            "walk": by_walk(values),
            "martingale": by_martingale(values),
            "bootstrap": _first(words),
        }.items():
            columns[f"{method}, {name}"] = [
                float(np.mean((first != 0) & (abs(first) <= n))) for n in LOOKS
            ]
        columns[f"bootstrap, one look, {name}"] = [
            float(np.mean(words[:, n - 1] != 0)) for n in LOOKS
        ]
    return pd.DataFrame({"rounds": LOOKS, **columns})


def power_table(draws: dict[str, Draw], runs: int) -> pd.DataFrame:
    """Return the fraction of runs in which the recommendation was rightly called better.

    The column `rounds` has the mean number of rounds of a run that ends with its verdict, and after
    15 rounds at the latest. `one look` is Wilcoxon's signed-rank test after 15 rounds, for
    comparison: it may look only once.
    """
    import pandas as pd
    from scipy.stats import wilcoxon

    rows = []
    for name, draw in draws.items():
        noise = draw(runs, np.random.default_rng(2))
        for cut in CUTS:
            values = noise + np.log(1 - cut)
            first, rival = by_walk(values), by_martingale(values)
            planned = values[:, :PLANNED]
            once = wilcoxon(planned, axis=1).pvalue < 1 - LEVEL
            ended = np.where((first != 0) & (abs(first) <= PLANNED), abs(first), PLANNED)
            row = {"scatter": name, "cut": cut}
            row |= {f"walk, {n}": np.mean((first < 0) & (first >= -n)) for n in (8, 10, 15, 20, 30)}
            row["martingale, 15"] = np.mean((rival < 0) & (rival >= -PLANNED))
            row["one look, 15"] = np.mean(once & (np.median(planned, axis=1) < 0))
            rows.append(row | {"rounds": ended.mean()})
    return pd.DataFrame(rows)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write and print the three tables."""
    import pandas as pd

    from rrl.recording.profile import read_profile
    from rrl.support.files import write_atomically

    parser = Parser(prog="python -m rrl.studies.verdicts", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the profiles")
    parser.add_argument("--out", type=Path, default=Path("build/verdicts"), help="folder to write")
    parser.add_argument("--runs", type=COUNT, default=20000, help="per cell of the level")
    options = parser.parse_args(argv)
    rows, groups = [], {}
    for name in PROFILES:
        profile = read_profile(options.data / name)
        for load, rate in zip(LOADS, profile.rates_per_s, strict=True):
            groups[name, load] = residuals(profile, rate)
            found = scatter_of(groups[name, load])
            rows.append({"profile": name, "load": load, "rate_per_s": rate, **found})
    scatter = pd.DataFrame(rows)
    everywhere = resampled(list(groups.values()))
    ordinary = np.quantile(scatter["robust_50"], [0.25, 0.5, 0.75])
    draws = {load: resampled([v for key, v in groups.items() if key[1] == load]) for load in LOADS}
    draws |= {"recorded": everywhere} | {f"normal, {s:.3f}": normal_noise(s) for s in ordinary}
    tables = {
        "scatter": scatter,
        "level": level_table(
            {
                "normal": normal_noise(1.0),
                "recorded": everywhere,
                "skewed": resampled(list(groups.values()), equals=False),
            },
            options.runs,
        ),
        "power": power_table(draws, max(1, options.runs // 8)),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        text = table.to_csv(index=False, float_format="%.4g", lineterminator="\n")
        write_atomically(options.out / f"{name}.csv", text)
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"), end="\n\n")


if __name__ == "__main__":
    raise SystemExit(main())
