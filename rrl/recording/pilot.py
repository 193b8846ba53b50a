"""Before a plan of a large grid is fixed: the load, and whether a reference server helps.

::

    python -m rrl.recording.pilot rate PLAN           # what the best settings sustain
    python -m rrl.recording.pilot record PLAN FILE    # blocks of visits with and without reference
    python -m rrl.recording.pilot ratio PLAN FILE     # what dividing by the reference gains
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rrl.recording.large_grid import GridPlan, Others, Stand, Visit, known_model
from rrl.recording.rows import append
from rrl.recording.source import sustained_rate
from rrl.support.errors import Parser, command
from rrl.tuning.defaults import heuristic_candidates

BLOCKS, VISITS = 20, 10  # blocks with and without the reference take turns
PILOT = {
    "inter_op": 2,
    "intra_op": 1,
    "batch_threads": 2,
    "max_batch_size": 4,
    "batch_timeout_micros": 1000,
}
DRAWN, BEST, AGAIN = 60, 5, 2
RESAMPLES = 10_000


def rate(plan: GridPlan, stand: Stand) -> float:
    """Return the requests per second that the best of some configurations sustains.

    The configurations are those of the batching guide and a random sample. The requests of an
    episode arrive at once. The fastest are measured again, and the highest median decides.
    """
    drawn = plan.rng(0).permutation(len(plan.space))[:DRAWN].tolist()
    tried = [plan.space.index(c) for c in heuristic_candidates(plan.space)] + drawn
    found: dict[int, list[float]] = {}

    def measure(index: int) -> None:
        configuration = plan.space[index]
        value = sustained_rate(stand.server, configuration, plan.rng(0), plan.requests)
        found.setdefault(index, []).append(value)
        stand.server.close()
        print(f"{value:.0f}/s {configuration}", flush=True)

    for index in tried:
        measure(index)
    best = sorted(found, key=lambda index: -found[index][0])[:BEST]
    for index in best * AGAIN:
        measure(index)
    return max(float(np.median(found[index])) for index in best)


def record(plan: GridPlan, stand: Stand, file: Path) -> None:
    """Append the visits of the pilot to a file."""
    others, index = Others(), plan.space.index(PILOT)
    for block in range(BLOCKS):
        for number in range(VISITS):
            beside = block % 2 == 0
            visit = Visit("pass", "A", block * VISITS + number, index)
            others.begin()
            row = {
                "block": str(block),
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "beside": str(int(beside)),
                **stand.visit(index, plan.arrivals(visit)[1], beside),
            }
            append(file, row | {"foreign": f"{others.fraction():.4f}"})
        print(f"block {block + 1} of {BLOCKS}", flush=True)


def divided(table: pd.DataFrame, window: int) -> NDArray[np.float64]:
    """Return the log means less the log of the reference's running median, shape (n,).

    Parameters
    ----------
    table : DataFrame
        Visits beside a reference, in the order of their time.
    window : int
        Visits of the running median, centred.
    """
    reference = (table["reference_before_s"] + table["reference_after_s"]) / 2
    running = reference.rolling(window, center=True, min_periods=1).median()
    return (np.log(table["mean_s"]) - np.log(running)).to_numpy()


def ratios(table: pd.DataFrame, window: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the ratio of standard deviations of log means, with 95 % block-bootstrap intervals.

    The first row compares visits beside a reference, divided by it, with those without one. The
    second compares them with the same visits, not divided.
    """
    beside = table["beside"] == 1
    with_, without = table[beside], table[~beside]
    values = pd.Series(divided(with_, window)).groupby(with_["block"].to_numpy()).apply(list)
    plain = with_.groupby("block")["mean_s"].apply(lambda of: list(np.log(of)))
    other = without.groupby("block")["mean_s"].apply(lambda of: list(np.log(of)))

    def sd(blocks: pd.Series, drawn: NDArray[np.int64]) -> float:
        return float(np.std(np.concatenate([blocks.iloc[i] for i in drawn]), ddof=1))

    def both(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[float, float]:
        return sd(values, a) / sd(other, b), sd(values, a) / sd(plain, a)

    n, m = len(values), len(other)
    draws = [both(rng.integers(n, size=n), rng.integers(m, size=m)) for _ in range(RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {"ratio": both(np.arange(n), np.arange(m)), "low": low, "high": high},
        index=["divided / without reference", "divided / not divided"],
    )


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run a part of the pilot."""
    parser = Parser("python -m rrl.recording.pilot", description="The pilot of a large grid.")
    parser.add_argument("part", choices=["rate", "record", "ratio"])
    parser.add_argument("plan", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--models", default="build/models", help="where the model is built")
    options = parser.parse_args(argv)
    plan = GridPlan.read(options.plan)
    if options.part == "ratio":
        table = pd.read_csv(options.file)
        print(table.groupby("beside")[["mean_s", "foreign", "slip", "steal"]].describe().T)
        print(ratios(table, plan.reference["window"], np.random.default_rng(0)).round(3))
        return 0
    with closing(known_model(plan, options.models)) as stand:
        if options.part == "rate":
            print(f"{rate(plan, stand):.0f} requests/s")
        else:
            record(plan, stand, options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
