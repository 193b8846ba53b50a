"""Record the closed loop on a live server while the load follows the paper's five phases.

``python -m rrl.studies.live_phases`` makes several runs. In each, TensorFlow Serving's default, the
configuration `FIXED` and the learners of `LEARNERS` take turns, each on its own server, with the
same arrivals. The learners tune the five knobs of the recorded joint grid behind a guard. Every
latency is kept. `data/claims.yaml` registers fifteen runs, which the code at the tag `live-1`
recorded.

The phases are scaled to the rate that the server's default sustains on this machine before the
first run. ``notebooks/09_applications`` shows the runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from rrl.core.knob import Configuration, Knob
from rrl.core.space import ConfigSpace
from rrl.studies.days import DEFAULT
from rrl.studies.side_by_side import (
    DESCRIPTION,
    Contestant,
    Contestants,
    read_live_runs,
    record_side_by_side,
)
from rrl.support.errors import Parser, UsageError, command
from rrl.support.machine import exclusive
from rrl.support.number_options import COUNT
from rrl.tuning.defaults import serving_default
from rrl.tuning.episode import Server
from rrl.tuning.guard import Guard
from rrl.tuning.presets import paper_cpu
from rrl.workloads.workload import Phases

LEARNERS = ("coordinate-descent", "rrl", "rrl-gp")
FIXED = {
    "inter_op": 2,
    "intra_op": 1,
    "batch_threads": 0,
    "max_batch_size": 1,
    "batch_timeout_micros": 0,
}
"""The configuration of `mobilenet_v2-joint-279` with the lowest geometric mean, over its loads and
both halves, of the costs that :func:`rrl.recording.truth.judge_half` returns."""
FIRST_SEED = 100
"""The seed of the first run; those of the earlier runs in `data/live-phases` are below it."""
PEAK = 1.1
"""The peak rate is this multiple of what the default sustains: the default must fall behind."""
HARM = 0.02
"""Trials of a learner may make this fraction of a run's requests late, as the guard counts."""


def contestants(
    space: ConfigSpace,
    server: Callable[[ConfigSpace], Server],
    seed: int,
    budget: int,
) -> Contestants:
    """Make all contestants of a run.

    Parameters
    ----------
    space : ConfigSpace
        What the learners tune. It has the knob `batch_threads`.
    server : callable
        It makes a server for a space. Each contestant gets its own.
    seed : int
        It sets the agents' random choices.
    budget : int
        Bad requests that the trials of a learner may cause, see :class:`rrl.tuning.guard.Guard`.

    Examples
    --------
    >>> from rrl import testbed
    >>> made = contestants(testbed("cpu2").space, lambda space: testbed("cpu2"), 0, 96)
    >>> list(made)[:2], made["rrl-gp"].guard.budget, made["fixed"].guard
    (['tf-serving-default', 'fixed'], 96, None)
    """
    from rrl.rivals.agents import AGENTS

    def made(number: int, name: str, space: ConfigSpace, guard: Guard | None = None) -> Contestant:
        agent = AGENTS[name](space, np.random.default_rng([seed, number]))
        return Contestant(server(space), agent, guard)

    default = serving_default(space)
    found = {DEFAULT: made(0, DEFAULT, space), "fixed": made(1, DEFAULT, only(FIXED))}
    for number, name in enumerate(LEARNERS, 2):
        found[name] = made(number, name, space, Guard(space, default, budget))
    return found


def only(configuration: Configuration) -> ConfigSpace:
    """Return the space of a single configuration."""
    return ConfigSpace([Knob(name, (value,)) for name, value in configuration.items()])


def scaled_phases(peak_per_s: float, episodes: int, requests: int = 100) -> Phases:
    """Return the paper's phases, scaled to fewer episodes and to another rate at the peak.

    Parameters
    ----------
    peak_per_s : float
        This is the rate of the busiest phase, in requests per second.
    episodes : int
        This is at least 12, so that each phase has at least one episode.
    requests : int
        Each episode has this many requests.

    Raises
    ------
    ValueError
        If there are too few episodes, or the rate is not positive.

    Examples
    --------
    >>> phases = scaled_phases(100.0, 30)
    >>> phases.starts, [round(1 / gap) for gap in phases.gaps]
    ((0, 8, 13, 20, 24), [86, 100, 86, 60, 50])
    """
    paper = Phases()
    starts = [round(start * episodes / paper.episodes) for start in paper.starts]
    if episodes < 12 or not peak_per_s > 0:
        raise ValueError(
            f"{episodes} episodes with a peak of {peak_per_s!r} requests/s: "
            "use at least 12 and a positive rate"
        )
    stretch = 1 / (peak_per_s * min(paper.gaps))
    return Phases(tuple(starts), tuple(gap * stretch for gap in paper.gaps), episodes, requests)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m rrl.studies.live_phases", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--out", type=Path, default=Path("build/live-phases"))
    parser.add_argument("--model", default="mobilenet_v2", help="default: mobilenet_v2")
    parser.add_argument("--models", default="build/models", help="where the model is built")
    parser.add_argument("--runs", type=COUNT, default=15, help="default 15; recorded ones are kept")
    parser.add_argument("--episodes", type=COUNT, default=36, help="rounds of a run (default 36)")
    return parser


def peak_of(folder: Path, episodes: int) -> float | None:
    """Return the peak (requests per second) of the runs in a folder; None without a run.

    Measured anew, it would be another workload.

    Raises
    ------
    UsageError
        If a run there has another number of `episodes`: all runs of a folder are judged together.
    """
    if not any(folder.glob(f"*/{DESCRIPTION}")):
        return None
    runs, _ = read_live_runs(folder)
    if others := {run["what"]["episodes"] for run in runs} - {episodes}:
        raise UsageError(
            f"{folder}: a run there has --episodes {min(others)}; choose this, or another --out"
        )
    return float(max(runs[0]["rates_per_s"]))


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Record the runs that are missing, and return the exit code."""
    from tqdm import tqdm

    from rrl.recording.plans import JOINT_PART, PLANS
    from rrl.recording.source import sustained_rate
    from rrl.serving.live import LiveServer
    from rrl.serving.models import build
    from rrl.serving.saved_model import random_request

    options = _parser().parse_args(argv)
    model, plan = build(options.model, options.models), PLANS[JOINT_PART]
    inputs = random_request(model, np.random.default_rng(0))

    def live(stack: ExitStack, space: ConfigSpace) -> LiveServer:
        server = LiveServer(model, space, inputs=inputs, fixed=plan.fixed)
        return stack.enter_context(server)

    peak = peak_of(options.out, options.episodes)
    if peak is None:
        with exclusive(), ExitStack() as stack:
            default = serving_default(paper_cpu(1))  # a thread per core in each pool, no batches
            server = live(stack, only(default))
            peak = PEAK * sustained_rate(server, default, np.random.default_rng(0), 300)
    phases = scaled_phases(round(peak, 1), options.episodes)
    notes = {"starts": phases.starts, "rates_per_s": [round(1 / g, 1) for g in phases.gaps]}
    budget = int(HARM * phases.episodes * phases.requests)
    for number in range(options.runs):
        folder, seed = options.out / str(number), FIRST_SEED + number
        if (folder / DESCRIPTION).exists():
            continue
        with ExitStack() as stack:
            made = contestants(plan.space, partial(live, stack), seed, budget)
            run = record_side_by_side(
                folder, made, phases, phases.episodes, seed, requests=phases.requests, notes=notes
            )
            title = f"run {number + 1} of {options.runs}"
            for turn in (bar := tqdm(run, title, phases.episodes, unit="round")):
                means = (f"{name} {1e3 * s.episode.latency.mean():.0f}" for name, s in turn.items())
                bar.set_postfix_str(", ".join(means) + " ms", refresh=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
